//! More than a node can serve (`reliability.md`, scenario 17). What finds no room in a node's lane waits for it in turn,
//! at most `timeouts.queue`, and is refused then, by name; a node at its limit goes on answering as much as before, in
//! time; no client takes the room of the others.
//!
//! The short form asserts counts. The long form asserts times and the ratio of goodput to peak:
//! `SLOTWAY_LONG=1 cargo test --test overload -- --nocapture --test-threads 1`. A run prints its seed;
//! `SLOTWAY_SEED=n` repeats its random choices.

mod support;

/// The modules of this test are in `tests/overload/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod overload {
    pub(crate) mod asked;
    pub(crate) mod crowd;
    pub(crate) mod looks;
    pub(crate) mod open_loop;
    pub(crate) mod paced;
    pub(crate) mod patience;
    pub(crate) mod refusals;
    pub(crate) mod sent_on;
    pub(crate) mod turns;

    /// How a request is refused that found no room.
    pub(crate) const NO_ROOM: &[u8] = b"-ERR slotway: not sent, too many requests in flight for \
        this node for longer than timeouts.queue (limits.lane_in_flight, limits.lane_in_flight_bytes); try again later\r\n";
}
