//! Slots that move between primaries under load, in every way that servers have (`reliability.md`, scenario 5), and what
//! that does to the order of one client's commands. As `faults`.

mod rig;
mod support;

/// The modules of this test are in `tests/faults/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod faults {
    pub(crate) mod overheard;
    pub(crate) mod reshard;
    pub(crate) mod reversal;
}
