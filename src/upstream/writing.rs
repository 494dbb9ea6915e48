//! Writes what a lane has queued, once at the end of a tick, and again when a full socket has room.

use super::lane::Link;
use super::{FaultKind, Lane};
use crate::io::Flush;
use std::rc::Rc;

impl Lane {
    /// Polls a full socket; once it takes bytes again, the rest goes out at the end of this tick.
    pub(super) fn poll_unblock(self: &Rc<Self>, cx: &mut std::task::Context<'_>) {
        let mut state = self.state.borrow_mut();
        if let Link::Blocked(write) = &state.link
            && write.poll_writable(cx).is_ready()
            && let Link::Blocked(write) = std::mem::replace(&mut state.link, Link::Idle)
        {
            state.link = Link::Up(write);
            self.list();
        }
    }
}

impl Flush for Lane {
    fn flush(&self) {
        self.listed.set(false);
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        self.charge(state);
        let Link::Up(write) = &state.link else {
            return;
        };
        let of_oldest = match state.queue.front() {
            Some(oldest) => state.outbox.handed_over() < oldest.len as usize,
            None => false,
        };
        let result = state.outbox.write_with(|pieces| match pieces {
            [one] => write.try_write(one),
            several => write.try_write_vectored(several),
        });
        if of_oldest && result.as_ref().is_ok_and(|written| *written > 0) {
            state.handed = self.context.clock.micros();
        }
        if let Err(e) = result {
            self.ending
                .borrow_mut()
                .get_or_insert(FaultKind::Io(e.to_string()));
            self.wake();
        } else if !state.outbox.is_written()
            && let Link::Up(write) = std::mem::replace(&mut state.link, Link::Idle)
        {
            state.link = Link::Blocked(write);
            self.wake();
        }
    }
}
