//! Clients in modes of their own, whose books are compared with what is there: for tests that do something to the cluster
//! meanwhile.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file compiles all of it and uses a part"
)]
#![allow(clippy::unwrap_used, reason = "to fail is to panic")]

pub mod blocks;
pub mod cast;
pub mod channels;
pub mod diary;
pub mod held;
pub mod queues;
pub mod report;
pub mod streams;
