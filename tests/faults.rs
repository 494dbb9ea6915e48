//! Faults under load (`reliability.md`, scenarios 2, 4, 5 and 13): slots move between primaries, primaries hand
//! over, a primary is killed, nodes hang up, while pipelining connections check every reply. Nothing may cross,
//! execute twice, be lost or be reordered, and no client may see that there is a cluster.
//!
//! Short by default. The long form repeats each fault 20 times and asserts the times of recovery:
//! `SLOTWAY_LONG=1 cargo test --test faults -- --nocapture --test-threads 1`, about half an hour. A run prints its
//! seed; `SLOTWAY_SEED=n` repeats its random choices.

mod support;

/// The modules of this test are in `tests/faults/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod faults {
    pub(crate) mod counter;
    pub(crate) mod failover;
    pub(crate) mod findings;
    pub(crate) mod hangup;
    pub(crate) mod kill;
    pub(crate) mod list;
    pub(crate) mod load;
    pub(crate) mod nonce;
    pub(crate) mod order;
    pub(crate) mod reply;
    pub(crate) mod reshard;
    pub(crate) mod reversal;
    pub(crate) mod stage;
}
