//! Clusters that are gone, late, incomplete or changed (`reliability.md`, scenarios 9, 10 and 11): all nodes go down and
//! come back, the proxy is there first, slots have no owner, a node gets another address. As `faults`.

mod rig;
mod support;

/// The modules of this test are in `tests/changes/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod changes {
    pub(crate) mod down;
    pub(crate) mod late;
    pub(crate) mod replaced;
    pub(crate) mod serving;
}
