//! WATCH, UNWATCH and EXEC on a connection of the client's own. The oracle is a plain server (`oracle`); what happens
//! to the connection is played by scripted nodes (`scripted`); a counter that many clients raise while its slot moves says
//! whether a watch can be relied on (`counter`); `rules` are slotway's own.

mod support;

/// The modules of this test are in `tests/watch/`.
#[allow(
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod watch {
    pub(crate) mod counter;
    pub(crate) mod oracle;
    pub(crate) mod rules;
    pub(crate) mod scripted;
}
