//! How CLIENT UNBLOCK reaches a blocked client's command, and how whoever said it learns what came of it; and what a client
//! that sends no more means for it.
//!
//! The command itself decides: one that has got its reply meanwhile keeps it, so that nothing popped is lost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

/// A command that has no reply so long after it went to its node, or is at none for so long, has to wait.
const WAITS_AFTER: Duration = Duration::from_secs(1);

/// Between a blocked client's task and whoever releases it. One per command.
pub(super) struct Signal {
    /// When the command began, or went to its node.
    since: Cell<Instant>,
    how: Cell<Option<Unblock>>,
    raised: Notify,
    released: Cell<bool>,
    asker: RefCell<Option<oneshot::Sender<Outcome>>>,
    /// The proxy is going down: the client gets no reply of ours any more.
    draining: Cell<bool>,
    /// It is known that the command has to wait.
    waits: Cell<bool>,
    /// The client's session, once the client sends no more.
    hung_up: RefCell<Option<Waker>>,
    told_of_hang_up: Notify,
}

/// How a blocked client is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unblock {
    /// As if its time were up.
    Timeout,
    /// With an error.
    Error,
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
    /// For a command that begins now.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            since: Cell::new(Instant::now()),
            how: Cell::default(),
            raised: Notify::new(),
            released: Cell::default(),
            asker: RefCell::default(),
            draining: Cell::default(),
            waits: Cell::default(),
            hung_up: RefCell::default(),
            told_of_hang_up: Notify::new(),
        })
    }

    /// The client sends no more. Ready if the command goes with it, as it does on a server: as soon as it is known that it has
    /// to wait.
    pub(super) fn poll_hang_up(self: &Rc<Self>, cx: &Context<'_>) -> Poll<()> {
        let is_first = self.hung_up.replace(Some(cx.waker().clone())).is_none();
        if Instant::now() >= self.due() {
            self.waits.set(true);
        }
        if self.goes_along() {
            return Poll::Ready(());
        }
        if is_first {
            self.told_of_hang_up.notify_one();
            let me = self.clone();
            tokio::task::spawn_local(async move {
                while Instant::now() < me.due() {
                    sleep_until(me.due()).await;
                }
                me.waits();
            });
        }
        Poll::Pending
    }

    /// From then on it is known that the command has to wait.
    fn due(&self) -> Instant {
        self.since.get() + WAITS_AFTER
    }

    /// The command goes to a node: if that is slow, its answer is on its way for a while.
    pub(super) fn sent(&self) {
        self.since.set(Instant::now());
    }

    /// Once the client sends no more.
    pub(super) async fn hung_up(&self) {
        while self.hung_up.borrow().is_none() {
            self.told_of_hang_up.notified().await;
        }
    }

    /// Whether the client sends no more.
    pub(super) fn is_hung_up(&self) -> bool {
        self.hung_up.borrow().is_some()
    }

    /// It is known that the command has to wait.
    pub(super) fn waits(&self) {
        self.waits.set(true);
        if let Some(session) = &*self.hung_up.borrow() {
            session.wake_by_ref();
        }
    }

    /// Whether nobody waits for the command any more.
    pub(super) fn goes_along(&self) -> bool {
        self.waits.get() && self.is_hung_up()
    }

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
            self.draining.set(true);
        }
    }

    /// Whether the proxy is going down.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Whether the client is to be gone instead of getting the reply.
    pub(super) fn is_swept_away(&self) -> bool {
        (self.draining.get() || self.is_hung_up()) && self.released.get()
    }

    /// The command ends because of it, and with no other reply.
    pub(super) fn release(&self) {
        self.released.set(true);
    }

    /// The command ends because of it, with a reply that is right at any time.
    pub(super) fn release_with_answer(&self) {
        self.release();
        self.draining.set(false);
    }

    /// The command goes on: whoever asked is told why, and the next one may ask.
    pub(super) fn failed(&self, why: Outcome) {
        self.how.set(None);
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
