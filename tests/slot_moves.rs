//! Slots that move between primaries under load, in every way that servers have (`reliability.md`, scenario 5), and what
//! that does to the order of one client's commands. As `faults`.

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
    pub(crate) mod list;
    pub(crate) mod load;
    pub(crate) mod nonce;
    pub(crate) mod order;
    pub(crate) mod overheard;
    pub(crate) mod pulse;
    pub(crate) mod reply;
    pub(crate) mod reshard;
    pub(crate) mod reversal;
    pub(crate) mod stage;
}
