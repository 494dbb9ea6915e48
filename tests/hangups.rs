//! Nodes that hang up, have no room for connections, or load their data, under load (`reliability.md`, scenario 13).
//! As `faults`.

mod rig;
mod support;

/// The modules of this test are in `tests/faults/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod faults {
    pub(crate) mod hangup;
}
