//! What tests of faults under load stand on: a cluster with a proxy before it, a load whose checkers compare every
//! reply, and a direct client next to it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file compiles all of it and uses a part"
)]
#![allow(clippy::unwrap_used, reason = "in the rig, too, to fail is to panic")]

pub mod counter;
pub mod findings;
pub mod list;
pub mod load;
pub mod nonce;
pub mod order;
pub mod pulse;
pub mod reply;
pub mod stage;
