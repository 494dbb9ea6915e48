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

/// What a task takes besides what it carries out, in bytes.
const TASK_BYTES: usize = 128;

/// The command that a task carries out; kept in the session's state.
pub(super) struct Driven {
    task: AbortHandle,
    /// Its place among the replies.
    seq: u64,
    /// Memory of the task, in bytes.
    pub(super) held: usize,
    /// How CLIENT UNBLOCK reaches the task, if it may wait for long: its client counts as blocked.
    pub(super) unblock: Option<Rc<Signal>>,
}

/// About how much memory a task takes that carries this out, in bytes.
pub(super) fn task_bytes(task: &impl Future) -> usize {
    size_of_val(task) + TASK_BYTES
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
        task: impl Future<Output = Bytes> + 'static,
    ) -> Taken {
        debug_assert!(state.replies.is_empty() && state.driven.is_none());
        let seq = state.replies.next_seq();
        state.replies.push(about, Stage::Held);
        let me = self.myself.clone();
        let task = async move {
            let reply = task.await;
            if let Some(me) = me.upgrade() {
                me.driven_to_the_end(&reply);
            }
        };
        let held = task_bytes(&task);
        let handle = tokio::task::spawn_local(task);
        state.driven = Some(Box::new(Driven {
            task: handle.abort_handle(),
            seq,
            held,
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
        self.drive(state, about, async move {
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

    /// As [`Self::drive`], for a command that may wait for long: where it really waits a client that hangs up takes it along,
    /// and CLIENT UNBLOCK reaches it through the signal.
    pub(super) fn drive_blocking(
        self: &Rc<Self>,
        state: &mut State,
        about: About,
        unblock: Rc<Signal>,
        task: impl Future<Output = Bytes> + 'static,
    ) -> Taken {
        let taken = self.drive(state, about, task);
        if let Some(driven) = &mut state.driven {
            driven.unblock = Some(unblock);
        }
        taken
    }

    fn driven_to_the_end(&self, reply: &[u8]) {
        self.context.clock.tick();
        let state = &mut *self.state.borrow_mut();
        if state.life == Life::Dead {
            return;
        }
        let signal = state.signal();
        let swept_away = signal.is_some_and(|signal| signal.is_swept_away());
        self.conclude(state, (!swept_away).then_some(reply));
    }

    /// The command ends with that reply, or for nobody: then all that its client has sent behind it does, too. The replies in
    /// front are written in any case.
    fn conclude(&self, state: &mut State, reply: Option<&[u8]>) {
        let Some(driven) = state.driven.take() else {
            return;
        };
        let ticket = Ticket::new(driven.seq, 0, None);
        self.deliver(state, ticket, reply.unwrap_or_default());
        if reply.is_none() && state.life == Life::Open {
            state.life = Life::Finishing;
        }
        if let Some(signal) = &driven.unblock {
            signal.over();
        }
        self.wake();
    }

    /// Reads on while a command is being carried out, without taking any: ready when the client is gone. With
    /// `limits.client_in_flight_bytes` read it is only asked ten times a second whether it is still there, which is not
    /// seen before what it sent has left its own buffers.
    pub(super) fn poll_driven(&self, cx: &mut Context<'_>, reader: &mut Reader) -> Poll<()> {
        if !self.is_waited_for() {
            return Poll::Pending;
        }
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
                Poll::Ready(Ok(_)) => {
                    self.hung_up(cx);
                    return Poll::Pending;
                }
                Poll::Ready(Err(_)) => return self.end_driven(),
            }
        }
        if self.is_blocked() && reader.read.is_closed() {
            self.hung_up(cx);
        }
        Poll::Pending
    }

    /// Whether a task has a command, or nodes have not confirmed a subscription. What else is waited for lanes answer soon.
    fn is_waited_for(&self) -> bool {
        let state = self.state.borrow();
        let subscriptions = state.subscriptions.as_ref();
        state.driven.is_some() || subscriptions.is_some_and(|mine| mine.pending.is_some())
    }

    fn is_blocked(&self) -> bool {
        self.state.borrow().is_blocked()
    }

    /// The client sends no more. What it sent before is still carried out, and the end is read again then; but a command that
    /// has to wait ends as on a server, and what is behind it with it.
    fn hung_up(&self, cx: &Context<'_>) {
        let state = &mut *self.state.borrow_mut();
        let signal = state.signal();
        if signal.is_some_and(|signal| signal.poll_hang_up(cx).is_ready()) {
            self.conclude(state, None);
        }
    }

    /// The same for a session that reads no more.
    pub(super) fn check_hang_up(&self) {
        let state = &mut *self.state.borrow_mut();
        let signal = state.signal();
        if signal.is_some_and(|signal| signal.goes_along()) {
            self.conclude(state, None);
        }
    }

    /// The replies to what came before it are still offered to the client, which may have closed one direction only.
    fn end_driven(&self) -> Poll<()> {
        let _ = self.write_out(&mut self.state.borrow_mut());
        Poll::Ready(())
    }

    /// The proxy is going down: no more commands are taken, and a blocking one is not waited for.
    pub fn drain(&self) {
        self.finish();
        if let Some(signal) = self.state.borrow().signal() {
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

impl State {
    /// How the command that is being carried out is reached, if it may wait for long.
    pub(super) fn signal(&self) -> Option<&Rc<Signal>> {
        self.driven.as_ref()?.unblock.as_ref()
    }

    /// Whether a command is being carried out that may wait for long.
    pub(super) fn is_blocked(&self) -> bool {
        self.signal().is_some()
    }
}
