//! Blocking commands on clusters of both kinds of servers: the replies are those of a plain server, a client that
//! hangs up takes its wait with it, slots may move and primaries hand over meanwhile, and with keys in several slots
//! nothing is popped twice or lost.

mod support;

/// The modules of this test are in `tests/blocking/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod blocking {
    pub(crate) mod astray;
    pub(crate) mod changes;
    pub(crate) mod drain;
    pub(crate) mod gone;
    pub(crate) mod half_closed;
    pub(crate) mod limits;
    pub(crate) mod queues;
    pub(crate) mod same;
    pub(crate) mod stage;
    pub(crate) mod unanswered;
    pub(crate) mod unblock;
}
