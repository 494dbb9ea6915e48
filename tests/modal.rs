//! Clients in a mode of their own (blocked, in transactions, watching, subscribed) across a kill and failovers, under load
//! (`reliability.md`, scenario 15): what they are told is true, and nothing is left of any of them. As `faults`.

mod rig;
mod support;

/// The modules of this test are in `tests/modes/`.
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules, shared with other tests; to fail is to panic"
)]
mod modes {
    pub(crate) mod blocks;
    pub(crate) mod cast;
    pub(crate) mod channels;
    pub(crate) mod diary;
    pub(crate) mod faulty;
    pub(crate) mod held;
    pub(crate) mod queues;
    pub(crate) mod report;
    pub(crate) mod streams;
}
