//! Faults under load (`reliability.md`, scenarios 2 and 4): primaries hand over, a primary is killed, while pipelining
//! connections check every reply. Nothing may cross, execute twice, be lost or be reordered, and no client may see
//! that there is a cluster. `hangups` and `slot_moves` are more of this kind.
//!
//! Short by default. The long form repeats each fault 20 times and asserts the times of recovery:
//! `./tests/scenarios.sh --long --only faults`. A run prints its seed; `SLOTWAY_SEED=n` repeats its random choices.

mod rig;
mod support;

/// The modules of this test are in `tests/faults/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod faults {
    pub(crate) mod bystanders;
    pub(crate) mod failover;
    pub(crate) mod kill;
}
