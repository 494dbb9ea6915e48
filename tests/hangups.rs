//! Nodes that hang up, have no room for connections, or load their data, under load (`reliability.md`, scenario 13).
//! As `faults`.

mod support;

/// The modules of this test are in `tests/faults/`.
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules, shared with other tests; to fail is to panic"
)]
mod faults {
    pub(crate) mod counter;
    pub(crate) mod findings;
    pub(crate) mod hangup;
    pub(crate) mod list;
    pub(crate) mod load;
    pub(crate) mod nonce;
    pub(crate) mod order;
    pub(crate) mod pulse;
    pub(crate) mod reply;
    pub(crate) mod stage;
}
