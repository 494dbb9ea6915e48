//! What a lane costs in memory: entered in the worker's [`Ledger`](crate::io::Ledger) as it grows.

use super::collecting::REPLY_TOO_LARGE;
use super::in_flight::{InFlight, Own};
use super::lane::State;
use super::{FaultKind, Lane};
use crate::observe::Limit;

/// A reply that was not kept, and says nothing of its size.
pub(super) enum NotKept {
    /// There was no room for it.
    TooLarge,
    /// Its client is gone.
    Unread,
}

/// Whether this stands for a reply to a request with a large one that was skipped.
#[cold]
pub(super) fn not_kept(reply: &[u8], entry: &InFlight) -> Option<NotKept> {
    if reply != REPLY_TOO_LARGE {
        return None;
    }
    let purse = entry.requester.as_ref().and_then(|r| r.purse());
    match purse.is_some_and(|purse| purse.is_closed()) {
        true => Some(NotKept::Unread),
        false => Some(NotKept::TooLarge),
    }
}

/// By so many bytes a lane grows before the worker's ledger hears of it.
const CHARGED_BYTES: usize = 64 * 1024;

/// The memory of a queue that had more places than this is given back once it is nearly empty.
const QUEUE_KEEP_MAX: usize = 1024;

impl Lane {
    /// Bytes of memory it holds for requests in flight and for the reply that is being read.
    pub fn held(&self) -> usize {
        let state = &mut *self.state.borrow_mut();
        let (len, places) = (state.queue.len(), state.queue.capacity());
        // A lane that nobody uses holds nothing, so that what is left once all clients have gone is a leak.
        if len == 0 || (places > QUEUE_KEEP_MAX && len < places / 4) {
            state.queue.shrink_to(len * 2);
        }
        let held = self.holds(state);
        self.charged.set(held);
        held
    }

    fn holds(&self, state: &State) -> usize {
        let queue = state.queue.capacity() * size_of::<InFlight>();
        state.outbox.retained() + queue + self.input_held.get()
    }

    /// The reply to the oldest request was skipped.
    #[cold]
    pub(super) fn too_large(&self) -> Result<(), FaultKind> {
        let purse = {
            let state = self.state.borrow();
            let oldest = state.queue.front();
            // What the lane itself asks for is small, and so is what stands in front of EXEC's reply.
            let may_be_large = oldest.is_some_and(|oldest| {
                oldest.own == Own::No && oldest.ticket.inner() <= state.progress.seen()
            });
            if !may_be_large {
                return Err(FaultKind::Protocol("a reply to another command"));
            }
            let requester = oldest.and_then(|oldest| oldest.requester.as_ref());
            requester.and_then(|requester| requester.purse())
        };
        if purse.is_none_or(|purse| !purse.is_closed()) {
            self.context.metrics.limit_hit(Limit::Memory);
        }
        self.reply(REPLY_TOO_LARGE, REPLY_TOO_LARGE.len()).map(drop)
    }

    /// Enters in the ledger what it has grown by, if that is much. The worker enters the rest ten times a second.
    #[inline]
    pub(super) fn charge(&self, state: &State) {
        let held = self.holds(state);
        if held > self.charged.get() + CHARGED_BYTES {
            let before = self.charged.replace(held);
            self.context.memory.lanes_grew(held - before);
        }
    }
}
