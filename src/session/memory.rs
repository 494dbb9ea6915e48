//! What one client costs in memory: entered in the worker's [`Ledger`](crate::io::Ledger) as it changes, given up at once
//! when the client is the one that is closed for `limits.memory`.

use super::{Life, Output, Session, State};

/// A client that holds less than so many bytes is not closed for `limits.memory`: that would help nobody.
const SHED_MIN: usize = 16 * 1024;

/// What a request that waits to be sent takes besides its bytes: its place and, as most have a slot of their own, a fence.
const WAITING_BYTES: usize = 768;

/// By so many bytes the replies for one client grow before they are entered, however long the tick is.
pub(super) const MARK_BYTES: usize = 256 * 1024;

impl Session {
    /// Enters what the client holds now, the bytes read from it included; says how much that is.
    #[cold]
    pub(super) fn charge(&self, state: &mut State) -> usize {
        let soft = self.context.config.limits.client_output_soft;
        let kept = state.output.len() + state.replies.kept();
        state.mark = kept.saturating_add(MARK_BYTES).min(soft.max(kept));
        state.queue_seen = state.replies.capacity();
        let now = self.input_held.get() + held(state);
        let before = self.charged.replace(now);
        if now != before {
            self.context.memory.client(before, now);
        }
        now
    }

    /// The same after a write: a client that takes what it gets is none of the ledger's business.
    #[inline]
    pub(super) fn charge_written(&self, state: &mut State) {
        if state.blocked || self.charged.get() > 0 {
            self.charge(state);
        }
    }

    /// The same after commands were taken.
    #[inline]
    pub(super) fn charge_taken(&self, state: &mut State) {
        if state.replies.capacity() != state.queue_seen {
            self.charge(state);
        }
    }

    /// The same after a read.
    #[inline]
    pub(super) fn charge_read(&self, input_held: usize) {
        if input_held != self.input_held.get() {
            self.input_held.set(input_held);
            self.charge(&mut self.state.borrow_mut());
        }
    }

    /// The last entry.
    pub(super) fn discharge(&self) {
        let before = self.charged.replace(0);
        self.context.memory.client(before, 0);
    }

    /// Whether nothing more is read from the client now.
    #[inline]
    pub(super) fn is_halted(&self) -> bool {
        let held = self.charged.get() + self.purse.held();
        self.context.memory.halts(held)
    }

    /// What closing this client would give back, if it is worth it.
    pub fn shed_gain(&self) -> Option<usize> {
        let state = &mut *self.state.borrow_mut();
        let gain = self.charge(state) + self.purse.held();
        (state.life != Life::Dead && gain >= SHED_MIN).then_some(gain)
    }

    /// What it gives back as soon as its task sees that it is dead.
    pub fn dying(&self) -> usize {
        match self.state.borrow().life {
            Life::Dead => self.charged.get() + self.purse.held(),
            Life::Open | Life::Finishing => 0,
        }
    }

    /// Ends at once, and gives up what is kept for the client without waiting for its task.
    pub fn shed(&self) {
        let state = &mut *self.state.borrow_mut();
        self.die(state);
        state.output = Output::default();
        state.replies.clear();
        state.transaction = None;
        state.driven = None;
        state.fences = None;
        self.redirecting.set(false);
        self.charge(state);
    }

    /// The worker has made room: it is read on.
    pub fn resume(&self) {
        self.wake();
    }
}

/// Memory that is kept for a client besides what was read from it.
fn held(state: &State) -> usize {
    let lines = state.monitor.as_ref().map_or(0, |m| m.waiting());
    let queued = state.transaction.as_ref().map_or(0, |queue| queue.held());
    let watched = state.watch.as_ref().map_or(0, |watch| watch.memory());
    let listening = state.subscriptions.as_ref().map_or(0, |s| s.memory());
    // Requests in flight are the lanes'; those that wait to be sent are not, nor is what a task carries out.
    let kept = state.fences.is_some() || !state.adrift.is_empty() || state.driven.is_some();
    let waiting = match kept {
        true => state.replies.bytes() + state.replies.len() * WAITING_BYTES,
        false => 0,
    };
    let task = state.driven.as_ref().map_or(0, |driven| driven.held);
    let replies = state.replies.held();
    state.client.held()
        + state.output.held()
        + replies
        + lines
        + queued
        + watched
        + listening
        + waiting
        + task
}
