//! Lines to nodes that are long or lose packets, under load (`reliability.md`, scenario 8). As `faults`.

mod support;

/// The load, as in `faults`.
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules, shared with other tests; to fail is to panic"
)]
#[path = "faults"]
mod faults {
    pub(crate) mod counter;
    pub(crate) mod findings;
    pub(crate) mod list;
    pub(crate) mod load;
    pub(crate) mod nonce;
    pub(crate) mod order;
    pub(crate) mod pulse;
    pub(crate) mod reply;
    pub(crate) mod stage;
}

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
