//! Commands that an async task of their own carries out (blocking ones, EXEC of a watched transaction, WAIT …). Until
//! the task has the reply the session takes no further command, but it still notices when the client hangs up. So it does
//! while nodes have not confirmed a subscription.

use super::dispatch::Taken;
use super::pursuit::Pursuit;
use super::reading::Reader;
use super::replies::{About, Stage};
use super::unblock::Signal;
use super::watching::Hold;
use super::{Life, Session, State};
use crate::cluster::Slot;
use crate::observe::ErrorSource;
use crate::upstream::Ticket;
use bytes::Bytes;
use std::future::Future;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::task::AbortHandle;

/// The command that a task carries out; kept in the session's state.
pub(super) struct Driven {
    task: AbortHandle,
    hang_up: HangUp,
    /// How CLIENT UNBLOCK reaches the task, if it is blocked.
    pub(super) unblock: Option<Rc<Signal>>,
}

/// What it means for a driven command that its client sends no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HangUp {
    /// The client is gone, and the command with it, as on a server: the task is dropped.
    Ends,
    /// The command's reply, which will come soon, is still written, and what the client has sent behind it is answered.
    Waits,
}

impl Driven {
    /// Whether the command may wait for long, so that its client counts as blocked.
    pub(super) fn is_blocking(&self) -> bool {
        self.hang_up == HangUp::Ends
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Has `task` carry out a command; its result is the reply. All before it must have been answered (`must_wait`).
    ///
    /// The task must not borrow the session's state across an `await`. It is dropped at any `await` if the session
    /// ends: what it must not leave half-done has to outlive it.
    pub(super) fn drive(
        self: &Rc<Self>,
        state: &mut State,
        about: About,
        hang_up: HangUp,
        task: impl Future<Output = Bytes> + 'static,
    ) -> Taken {
        debug_assert!(state.replies.is_empty() && state.driven.is_none());
        let seq = state.replies.next_seq();
        state.replies.push(about, Stage::Held);
        let me = self.myself.clone();
        let handle = tokio::task::spawn_local(async move {
            let reply = task.await;
            if let Some(me) = me.upgrade() {
                me.driven_to_the_end(seq, &reply);
            }
        });
        state.driven = Some(Box::new(Driven {
            task: handle.abort_handle(),
            hang_up,
            unblock: None,
        }));
        // The task has the request.
        self.charge(state);
        // Its own place among the replies is what the barrier waits for.
        state.barrier = true;
        Taken::Yes
    }

    /// As [`Self::drive`], for what goes over the lease of a client that watches: not before what may still be in flight for
    /// that slot. If it never comes to that the lease is dropped, and the client told so in those words.
    pub(super) fn drive_in_turn(
        self: &Rc<Self>,
        state: &mut State,
        about: About,
        slot: Slot,
        words: impl FnOnce(Bytes) -> Bytes + 'static,
        task: impl Future<Output = Bytes> + 'static,
    ) -> Taken {
        let me = self.clone();
        self.drive(state, about, HangUp::Waits, async move {
            let turn = Pursuit::new(me.clone(), Some(slot)).turn().await;
            match turn {
                Ok(()) => task.await,
                Err(overdue) => {
                    let reply = words(overdue);
                    me.hold(Hold::Lost, Vec::new());
                    me.context.metrics.error(ErrorSource::Proxy, &reply);
                    reply
                }
            }
        })
    }

    /// As [`Self::drive`], for a command that may wait for long: a client that hangs up takes it along, and CLIENT UNBLOCK
    /// reaches it through the signal.
    pub(super) fn drive_blocking(
        self: &Rc<Self>,
        state: &mut State,
        about: About,
        unblock: Rc<Signal>,
        task: impl Future<Output = Bytes> + 'static,
    ) -> Taken {
        let taken = self.drive(state, about, HangUp::Ends, task);
        if let Some(driven) = &mut state.driven {
            driven.unblock = Some(unblock);
        }
        taken
    }

    fn driven_to_the_end(&self, seq: u64, reply: &[u8]) {
        self.context.clock.tick();
        let state = &mut *self.state.borrow_mut();
        if state.life == Life::Dead {
            return;
        }
        let driven = state.driven.take();
        let signal = driven.and_then(|mut driven| driven.unblock.take());
        let swept_away = signal.as_ref().is_some_and(|signal| signal.is_swept_away());
        // Replies in front of it are still written.
        let told = if swept_away { b"" } else { reply };
        self.deliver(state, Ticket::new(seq, 0, None), told);
        if let Some(signal) = signal {
            signal.over();
        }
        self.wake();
    }

    /// Reads on while a command is being carried out, without taking any: ready when the client is gone. With
    /// `limits.client_in_flight_bytes` read it is only asked ten times a second whether it is still there, which is not
    /// seen before what it sent has left its own buffers.
    pub(super) fn poll_driven(&self, cx: &mut Context<'_>, reader: &mut Reader) -> Poll<()> {
        let Some(hang_up) = self.hang_up() else {
            return Poll::Pending;
        };
        let most = self.context.config.limits.client_in_flight_bytes;
        let memory = &self.context.memory;
        while reader.input.unconsumed() < most && !self.is_halted() {
            let scratch = &self.context.scratch;
            let read =
                reader
                    .input
                    .poll_read(cx, &mut reader.read, scratch, 0, memory.read_max(), |_| 0);
            self.charge_read(reader.input.held());
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(n)) if n > 0 => self.context.metrics.received(n),
                // What came before the end is still carried out; the end is read again then.
                Poll::Ready(Ok(_)) if hang_up == HangUp::Waits => return Poll::Pending,
                Poll::Ready(_) => return self.end_driven(),
            }
        }
        if hang_up == HangUp::Ends && reader.read.is_closed() {
            return self.end_driven();
        }
        Poll::Pending
    }

    /// What a hang-up means for what the session waits for; `None` if that is answered soon, by lanes.
    fn hang_up(&self) -> Option<HangUp> {
        let state = self.state.borrow();
        if let Some(driven) = &state.driven {
            return Some(driven.hang_up);
        }
        let subscriptions = state.subscriptions.as_ref()?;
        subscriptions.pending.as_ref().map(|_| HangUp::Waits)
    }

    /// The replies to what came before it are still offered to the client, which may have closed one direction only.
    fn end_driven(&self) -> Poll<()> {
        let _ = self.write_out(&mut self.state.borrow_mut());
        Poll::Ready(())
    }

    /// The proxy is going down: no more commands are taken, and a blocking one is not waited for.
    pub fn drain(&self) {
        self.finish();
        if let Some(driven) = &self.state.borrow().driven
            && let Some(signal) = &driven.unblock
        {
            signal.drain();
        }
    }

    /// Has the session's task look whether a client that has sent much is still there.
    pub(super) fn check_driven(&self, state: &State) {
        if state.driven.is_some()
            && self.input_held.get() >= self.context.config.limits.client_in_flight_bytes
        {
            self.wake();
        }
    }
}
