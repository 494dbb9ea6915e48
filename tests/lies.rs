//! Topology under lies (invariant 7): nodes that are alone with what they say, that say less than they know, that name
//! hosts in every way there is, or answer with what is no answer; and real servers whose addresses are not
//! what they seem. Whatever is said, the map only gets better, and only addresses that topology named are dialled.

#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod lies {
    pub(crate) mod cast;
    pub(crate) mod late;
    pub(crate) mod live;
    pub(crate) mod named;
    pub(crate) mod refused;
    pub(crate) mod said;
    pub(crate) mod tale;
}
mod support;
