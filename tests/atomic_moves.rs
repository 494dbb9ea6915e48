//! Valkey's atomic slot migration, under load and with clients in a mode of their own (`reliability.md`, scenario 6). As
//! `modal`.

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
    pub(crate) mod atomic;
    pub(crate) mod blocks;
    pub(crate) mod cast;
    pub(crate) mod channels;
    pub(crate) mod diary;
    pub(crate) mod held;
    pub(crate) mod queues;
    pub(crate) mod report;
    pub(crate) mod streams;
}
