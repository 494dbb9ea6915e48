//! Faults of the network and of hosts under load (`reliability.md`, scenarios 3 and 8): everything to a node is dropped,
//! refused or cut off halfway, a primary is stopped. The proxy notices it in time, dials no more often than promised,
//! and serves again soon; nothing crosses, is executed twice, or is executed late.
//!
//! Each test runs in a network namespace of its own (`support::netns`). The long form repeats each fault 20 times and
//! asserts the times: `SLOTWAY_LONG=1 cargo test --test network -- --nocapture --test-threads 1`.

mod rig;
mod support;

/// The modules of this test are in `tests/network/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod network {
    pub(crate) mod cut;
    pub(crate) mod direct;
    pub(crate) mod late;
    pub(crate) mod scene;
    pub(crate) mod stopped;
}
