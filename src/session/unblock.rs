//! How CLIENT UNBLOCK reaches a blocked client's command, and how whoever said it learns what came of it. A hang-up of the
//! client, and the proxy's end, reach it the same way.
//!
//! The command itself decides: one that has got its reply meanwhile keeps it, so that nothing popped is lost.

use std::cell::{Cell, RefCell};
use std::task::Poll;
use tokio::sync::{Notify, oneshot};

/// Between a blocked client's task and whoever releases it. One per command.
#[derive(Default)]
pub(super) struct Signal {
    how: Cell<Option<Unblock>>,
    raised: Notify,
    released: Cell<bool>,
    asker: RefCell<Option<oneshot::Sender<Outcome>>>,
    /// The client gets no reply of ours any more, and why.
    sweep: Cell<Option<Sweep>>,
    /// A client that hangs up takes the command along: it is known to wait, or can't be asked to end.
    goes_along: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweep {
    /// The proxy is going down.
    Drain,
    HungUp,
}

/// How a blocked client is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unblock {
    /// As if its time were up.
    Timeout,
    /// With an error.
    Error,
    /// Its client sends no more: the command ends if it has to wait, which takes a look first.
    HangUp,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The command has ended because of it.
    Released,
    /// The command has ended otherwise.
    Missed,
    /// The node at which the command waits does not let us: it waits on.
    Refused,
    /// That node does not answer.
    Unknown,
}

impl Unblock {
    /// What a server says to a client that was unblocked with `ERROR`.
    pub(super) const ERROR: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
}

impl Signal {
    /// Asks the command to end. The answer comes with the command's end, or as soon as it is known that this does
    /// not end it. `None` if another client has asked before, and has no answer yet.
    pub(super) fn raise(&self, how: Unblock) -> Option<oneshot::Receiver<Outcome>> {
        if self.how.get().is_some() {
            return None;
        }
        let (asker, answer) = oneshot::channel();
        *self.asker.borrow_mut() = Some(asker);
        self.how.set(Some(how));
        self.raised.notify_one();
        Some(answer)
    }

    /// How it was raised, once it is.
    pub(super) async fn raised(&self) -> Unblock {
        loop {
            match self.how.get() {
                Some(how) => return how,
                None => self.raised.notified().await,
            }
        }
    }

    /// Asks the command to end because the proxy does. What it has got already is still delivered; otherwise the
    /// connection ends without a reply, as that to a server that shuts down.
    pub(super) fn drain(&self) {
        if self.raise(Unblock::Timeout).is_some() {
            self.sweep.set(Some(Sweep::Drain));
        }
    }

    /// The client sends no more. Ready if the command goes with it; otherwise it is asked to end, and first looks whether it
    /// has to wait.
    pub(super) fn hang_up(&self) -> Poll<()> {
        if self.goes_along.get() {
            return Poll::Ready(());
        }
        if self.raise(Unblock::HangUp).is_some() {
            self.sweep.set(Some(Sweep::HungUp));
        }
        Poll::Pending
    }

    /// It is known that the command has to wait.
    pub(super) fn waits(&self) {
        self.goes_along.set(true);
    }

    /// As [`Self::raised`], for a command that no node was asked to carry out yet, or to say whether it has to wait: a hang-up
    /// does not end it before that.
    pub(super) async fn raised_at_no_node(&self) -> Unblock {
        match self.raised().await {
            Unblock::HangUp if !self.goes_along.get() => std::future::pending().await,
            how => how,
        }
    }

    /// Whether the client is to be gone instead of getting the reply.
    pub(super) fn is_swept_away(&self) -> bool {
        self.sweep.get().is_some() && self.released.get()
    }

    /// The command ends because of it, and with no other reply.
    pub(super) fn release(&self) {
        self.released.set(true);
    }

    /// The command ends because of it, with a reply that is right at any time. A client that has hung up gets none from a
    /// server either.
    pub(super) fn release_with_answer(&self) {
        self.release();
        if self.sweep.get() == Some(Sweep::Drain) {
            self.sweep.set(None);
        }
    }

    /// The command goes on: whoever asked is told why, and the next one may ask.
    pub(super) fn failed(&self, why: Outcome) {
        if self.how.take() == Some(Unblock::HangUp) {
            self.goes_along.set(true);
        }
        self.answer(why);
    }

    /// The command has ended.
    pub(super) fn over(&self) {
        self.answer(match self.released.get() {
            true => Outcome::Released,
            false => Outcome::Missed,
        });
    }

    fn answer(&self, outcome: Outcome) {
        if let Some(asker) = self.asker.take() {
            // Whoever asked may be gone.
            let _ = asker.send(outcome);
        }
    }
}
