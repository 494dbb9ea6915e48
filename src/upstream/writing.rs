//! Writes what a lane has queued, once at the end of a tick.

use super::lane::Link;
use super::{FaultKind, Lane};
use crate::io::Flush;

impl Flush for Lane {
    fn flush(&self) {
        self.listed.set(false);
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        self.charge(state);
        let Link::Up(write) = &state.link else {
            return;
        };
        let result = state.outbox.write_with(|pieces| match pieces {
            [one] => write.try_write(one),
            several => write.try_write_vectored(several),
        });
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
