//! A soak: sessions of all kinds at once (plain, in transactions, watching, blocked, subscribed, scripts, scans), by both
//! servers, whose clients leave in every way and at every stage. No reply may cross, no element of a queue be popped
//! twice, no message come that was not published, no EXEC heed another client's watch; and when the last client is gone,
//! nothing is left of any of them: no lease, no watch, no subscription, no connection, no memory.
//!
//! Short by default: a fixed number of sessions, which CI runs. The long form goes on for at least so many minutes with
//! each server: `SLOTWAY_SOAK_MINUTES=4 cargo test --test soak -- --nocapture --test-threads 1`; the README says what a
//! run of that command came to. A run prints its seed; `SLOTWAY_SEED=n` repeats its random choices.

mod support;

/// The modules of this test are in `tests/soak/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod soak {
    pub(crate) mod blocking;
    pub(crate) mod life;
    pub(crate) mod plain;
    pub(crate) mod pubsub;
    pub(crate) mod queues;
    pub(crate) mod stage;
    pub(crate) mod transactions;
    pub(crate) mod visitor;
}

use soak::stage::Stage;
use support::{redis, valkey};

#[test]
fn sessions_of_all_kinds_leave_nothing_behind_redis() {
    Stage::set(&redis()).soak();
}

#[test]
fn sessions_of_all_kinds_leave_nothing_behind_valkey() {
    Stage::set(&valkey()).soak();
}
