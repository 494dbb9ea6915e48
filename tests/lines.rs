//! Lines to nodes that are long or lose packets, under load (`reliability.md`, scenario 8). As `faults`.

mod rig;
mod support;

/// The modules of this test are in `tests/lines/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod lines {
    pub(crate) mod relay;
    pub(crate) mod under_load;
}
