//! One request of a task on a shared lane: sent to whoever serves its slot now, waited for.
//!
//! The task may be gone before the answer comes, because its client hung up. What was popped for it must not be
//! lost then: an errand has a way to undo what it did.

use super::Session;
use super::pursuit::{Obstacle, Pursuit, Target, Verdict};
use super::{Life, errors};
use crate::cluster::{NodeAddr, Slot};
use crate::io::Purse;
use crate::observe::{ErrorSource, Limit};
use crate::route::{Losses, Resend, resend};
use crate::upstream::{
    Answer, Class, Fate, Fault, Lane, LaneId, NotTaken, REPLY_TOO_LARGE, Requester, Ticket,
};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Makes, from the reply that nobody waits for any more, the request that undoes it.
pub(super) type Undo = Rc<dyn Fn(&[u8]) -> Option<Bytes>>;

/// What is known of the request.
enum Stage {
    /// In flight; somebody waits for it.
    Awaited(Option<Waker>),
    /// Nobody waits for it any more.
    Abandoned,
    Answered(Outcome),
    /// The outcome was taken.
    Over,
}

enum Outcome {
    Reply(Bytes),
    NotSent(Fault),
    Unknown(Fault),
    Late,
}

/// The requester that the lane knows; lives until the lane has answered.
struct Errand {
    session: Rc<Session>,
    slot: Option<Slot>,
    undo: Option<Undo>,
    stage: RefCell<Stage>,
    lane: LaneId,
    /// Whether it takes too long, so that the session's fences know of it.
    is_stray: Cell<bool>,
}

/// Memory of an errand besides its request and the task that waits, in bytes.
pub(super) const ERRAND_BYTES: usize = size_of::<Errand>() + 128;

/// What a task holds of its errand.
struct Waiting(Rc<Errand>);

/// Sends a request to the node that serves the slot, over the session's lane, and waits for the reply. An error of
/// ours where there is none. `undo` is only called if the reply comes too late for the task.
pub(super) async fn ask(
    session: &Rc<Session>,
    slot: Slot,
    request: &Bytes,
    undo: Option<Undo>,
) -> Result<Bytes, Bytes> {
    ask_after(session, slot, request, undo, Losses::None).await
}

/// The same for a request that may have been lost elsewhere before.
pub(super) async fn ask_after(
    session: &Rc<Session>,
    slot: Slot,
    request: &Bytes,
    undo: Option<Undo>,
    losses: Losses,
) -> Result<Bytes, Bytes> {
    let pursuit = Pursuit::new(session.clone(), Some(slot));
    pursue(pursuit, session, slot, request, undo, losses).await
}

async fn pursue(
    mut pursuit: Pursuit,
    session: &Rc<Session>,
    slot: Slot,
    request: &Bytes,
    undo: Option<Undo>,
    mut losses: Losses,
) -> Result<Bytes, Bytes> {
    let effect = || session.inspect(Ticket::new(0, 0, None), request).effect();
    loop {
        let target = pursuit.target().await?;
        let waiting = match send(session, &target, Some(slot), request, undo.clone()) {
            Ok(waiting) => waiting,
            Err(Unsent::Full(lane, full)) => {
                if !pursuit.is_hindered_by(Obstacle::Full) {
                    session.count_crowded(&full);
                }
                let waited = pursuit.hindered(Obstacle::Full, errors::not_taken(&full));
                waited
                    .await
                    .inspect_err(|_| lane.count_refused(Limit::QueueTimeout))?;
                continue;
            }
            Err(Unsent::Unavailable(reply)) => {
                pursuit.failed(reply).await?;
                continue;
            }
        };
        match waiting.outcome().await {
            Outcome::Reply(reply) => match pursuit.answered(&reply, &target.node).await {
                Verdict::Final => return Ok(reply),
                Verdict::GiveUp(error) => return Err(error),
                Verdict::Again => {}
            },
            Outcome::NotSent(fault) => pursuit.failed(errors::unreachable_node(&fault)).await?,
            Outcome::Unknown(fault) => {
                let reply = errors::outcome_unknown(&fault);
                match resend(Fate::MaybeExecuted, effect(), losses) {
                    Resend::Again | Resend::Once => {}
                    Resend::IfProved | Resend::Never => {
                        session.context.metrics.unknown_outcome();
                        return Err(reply);
                    }
                }
                losses = Losses::One;
                pursuit.failed(reply).await?;
            }
            Outcome::Late => {
                session.context.metrics.unknown_outcome();
                return Err(errors::late());
            }
        }
    }
}

/// Tells a node something over the session's lane, and waits for its reply. Without one nobody knows whether the node
/// will do it.
pub(super) async fn tell(session: &Rc<Session>, node: &NodeAddr, request: &[u8]) -> Option<Bytes> {
    let target = Target {
        node: node.clone(),
        asking: false,
    };
    match send(session, &target, None, request, None) {
        Ok(waiting) => match waiting.outcome().await {
            Outcome::Reply(reply) => Some(reply),
            _ => None,
        },
        Err(_) => None,
    }
}

/// Why a request could not be sent.
enum Unsent {
    /// There is no room in that lane, as it says.
    Full(Rc<Lane>, NotTaken),
    /// The node cannot be reached: what the client gets if that goes on.
    Unavailable(Bytes),
}

fn send(
    session: &Rc<Session>,
    target: &Target,
    slot: Option<Slot>,
    request: &[u8],
    undo: Option<Undo>,
) -> Result<Waiting, Unsent> {
    let map = session.context.map().clone();
    let Some(node) = map.find(&target.node) else {
        let text = format!(
            "CLUSTERDOWN slotway: {} is no node of the cluster any more; try again later",
            target.node
        );
        return Err(Unsent::Unavailable(errors::error_reply(&text)));
    };
    let lane = session.lane_to(&session.state.borrow(), &map, node);
    let errand = Rc::new(Errand {
        session: session.clone(),
        slot,
        undo,
        stage: RefCell::new(Stage::Awaited(None)),
        lane: lane.id(),
        is_stray: Cell::new(false),
    });
    let ticket = Ticket::new(0, 0, slot);
    match lane.send(
        request,
        target.asking,
        ticket,
        errand.clone(),
        Class::Normal,
    ) {
        Ok(()) => Ok(Waiting(errand)),
        Err(full @ NotTaken::Full(_)) => Err(Unsent::Full(lane, full)),
        Err(down) => Err(Unsent::Unavailable(errors::not_taken(&down))),
    }
}

impl Waiting {
    async fn outcome(self) -> Outcome {
        poll_fn(|cx| {
            let stage = &mut *self.0.stage.borrow_mut();
            match std::mem::replace(stage, Stage::Over) {
                // Its session has ended: the task is about to be dropped, and what it holds is taken back.
                Stage::Answered(outcome)
                    if self.0.undo.is_some() && self.0.session.life() == Life::Dead =>
                {
                    *stage = Stage::Answered(outcome);
                    Poll::Pending
                }
                Stage::Answered(outcome) => Poll::Ready(outcome),
                _ => {
                    *stage = Stage::Awaited(Some(cx.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let stage = self.0.stage.replace(Stage::Abandoned);
        match stage {
            Stage::Answered(Outcome::Reply(reply)) => self.0.take_back(&reply),
            Stage::Over => *self.0.stage.borrow_mut() = Stage::Over,
            _ => {}
        }
    }
}

impl Errand {
    fn settle(&self, outcome: Outcome) {
        let stage = self.stage.replace(Stage::Over);
        match (stage, outcome) {
            (Stage::Awaited(waker), outcome) => {
                self.stage.replace(Stage::Answered(outcome));
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            (Stage::Abandoned, Outcome::Reply(reply)) => self.take_back(&reply),
            // Told that it takes too long, and not yet taken notice of.
            (Stage::Answered(Outcome::Late), Outcome::Reply(reply)) => {
                self.stage.replace(Stage::Answered(Outcome::Reply(reply)));
            }
            (Stage::Over, Outcome::Reply(reply)) => self.take_back(&reply),
            (stage, _) => drop(self.stage.replace(stage)),
        }
    }

    /// Undoes what was done for a client that is gone.
    fn take_back(&self, reply: &[u8]) {
        if self.undo.is_some() && reply == REPLY_TOO_LARGE {
            tracing::warn!(
                "what was popped for a client that is gone is larger than limits.memory leaves room for, and lost"
            );
            self.session
                .context
                .metrics
                .error(ErrorSource::Proxy, reply);
        }
        let Some(request) = self.undo.as_ref().and_then(|undo| undo(reply)) else {
            return;
        };
        let (session, Some(slot)) = (self.session.clone(), self.slot) else {
            return;
        };
        tokio::task::spawn_local(async move {
            session.context.metrics.pushed_back();
            let pursuit = Pursuit::insistent(session.clone(), Some(slot));
            let undone = pursue(pursuit, &session, slot, &request, None, Losses::None).await;
            let error = match &undone {
                Ok(reply) if reply.first() == Some(&b'-') => reply,
                Ok(_) => return,
                Err(reply) => reply,
            };
            tracing::warn!(
                error = %error.escape_ascii(),
                "an element popped for a client that is gone could not be pushed back"
            );
            session.context.metrics.error(ErrorSource::Proxy, error);
        });
    }
}

impl Requester for Errand {
    fn wants_requests(&self) -> bool {
        false
    }

    /// What is undone if nobody waits for it any more has to be there, whatever became of the client.
    fn purse(&self) -> Option<Rc<Purse>> {
        self.undo.is_none().then(|| self.session.purse.clone())
    }

    fn answered(&self, _: Ticket, answer: Answer<'_>) {
        if self.is_stray.take()
            && let Some(slot) = self.slot
        {
            self.session.stray_landed(slot);
        }
        self.settle(match answer {
            Answer::Reply { reply, .. } => Outcome::Reply(Bytes::copy_from_slice(reply)),
            Answer::NotSent { fault, .. } => Outcome::NotSent(fault.clone()),
            Answer::Unknown { fault, .. } => Outcome::Unknown(fault.clone()),
        });
    }

    fn expired(&self, _: Ticket) {
        if let Some(slot) = self.slot {
            self.is_stray.set(true);
            self.session.strays(slot, self.lane);
        }
        self.settle(Outcome::Late);
    }
}
