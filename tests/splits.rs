//! Bytes cut anywhere, and clients that go (`reliability.md`, scenario 1): many clients at once send pipelines of 1 to
//! 1,000 mixed commands over all nodes, cut anywhere, over both versions of the protocol; some half-close or reset their
//! connection in the middle of a request, of a pipeline or of a reply, and new ones take their places. Every value says whose
//! it is, and every reply is compared with the one that it must be.
//!
//! A run prints its seed; `SLOTWAY_SEED=n` repeats what its clients send, where it is cut, and how they end.
//! `./tests/scenarios.sh --long --only splits` is the long form.

mod rig;
mod support;

/// Where the writes of a pipeline end, and inline requests.
#[allow(dead_code, unreachable_pub, reason = "shared with tests/identity.rs")]
#[path = "identity/wire.rs"]
mod wire;

/// The modules of this test are in `tests/splits/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod splits {
    pub(crate) mod crowd;
    pub(crate) mod life;
    pub(crate) mod script;
}
