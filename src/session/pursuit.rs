//! Finds the node for a slot on behalf of a task (`driven`), as often as it takes: follows redirections, waits while
//! nobody serves the slot, and knows when that has gone on for too long. What goes to the node, and over which kind
//! of connection, is the caller's business. (What is in flight on lanes for the session itself is `redirecting`'s.)

use super::errors::Astray;
use super::refusal::{concerns, kind};
use super::verdict::pause;
use super::{Session, errors};
use crate::cluster::{NodeAddr, Slot};
use crate::observe::{Limit, RetryReason};
use crate::topology::{Report, Trigger};
use crate::upstream::{LaneId, Refusal, Ticket, classify};
use bytes::Bytes;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The beginning of what a server says to clients that it stops blocking because it is no primary any more.
pub(super) const INSTANCE_CHANGED: &[u8] =
    b"-UNBLOCKED force unblock from blocking operation, instance state changed";

/// See the module. One per command.
pub(super) struct Pursuit {
    session: Rc<Session>,
    slot: Option<Slot>,
    /// Where a redirection points.
    next: Option<Target>,
    /// Since the cluster last changed.
    hops: usize,
    /// The highest config epoch of the map at the last hop.
    epoch: u64,
    attempts: u32,
    began: Instant,
    insistence: Insistence,
    /// What has kept it from asking anybody, since when.
    trouble: Option<(Obstacle, Instant)>,
    /// When it came to a node that may keep it.
    arrived: Option<Instant>,
    /// When its target was last chosen: before the request was sent there.
    chosen: Instant,
}

/// A node that says nothing for so long has the client blocked: that is no time in which anything hindered it.
const BLOCKED: Duration = Duration::from_millis(100);

/// What it means that the request is not sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Insistence {
    /// Its client is told so.
    Usual,
    /// Data is lost: it waits for room in a lane for as long as for an unavailable node.
    Data,
}

/// What keeps a request from being sent, or from being answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Obstacle {
    /// There is no node that serves the slot, or it cannot be reached.
    Unavailable,
    /// There is no room in the lane.
    Full,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) node: NodeAddr,
    /// With ASKING in front.
    pub(super) asking: bool,
}

/// What a reply means for the pursuit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is the answer, whatever it says.
    Final,
    /// It was not executed, and this is what its client gets: the redirections lead nowhere.
    GiveUp(Bytes),
    /// It was not executed; to be sent again to the next target.
    Again,
}

impl Pursuit {
    /// For a command that belongs to that slot; without one any primary will do.
    pub(super) fn new(session: Rc<Session>, slot: Option<Slot>) -> Self {
        session.context.clock.tick();
        Self {
            slot,
            next: None,
            hops: 0,
            epoch: 0,
            attempts: 0,
            chosen: session.context.clock.now(),
            began: session.context.clock.now(),
            insistence: Insistence::Usual,
            trouble: None,
            arrived: None,
            session,
        }
    }

    /// For a request without which data would be lost.
    pub(super) fn insistent(session: Rc<Session>, slot: Option<Slot>) -> Self {
        Self {
            insistence: Insistence::Data,
            ..Self::new(session, slot)
        }
    }

    /// It has come to a node where it may stay for long, even for days.
    pub(super) fn arrived(&mut self) {
        let clock = &self.session.context.clock;
        clock.tick();
        self.arrived = Some(clock.now());
    }

    /// It is sent away again. The time that it was blocked for is not counted as time in which it was hindered, and after
    /// a long one nothing is left of what hindered it before.
    fn leaves(&mut self) {
        let Some(arrived) = self.arrived.take() else {
            return;
        };
        let clock = &self.session.context.clock;
        clock.tick();
        let stayed = clock.now().duration_since(arrived);
        if stayed >= self.session.unavailable() {
            self.trouble = None;
            self.attempts = 0;
        } else if stayed >= BLOCKED
            && let Some((_, since)) = &mut self.trouble
        {
            *since += stayed;
        }
    }

    /// Counts a redirection. `false`: too many of them. A slot that changes its owner does so under a new config epoch:
    /// only where the nodes send it back and forth without one they lead nowhere.
    fn hop(&mut self) -> bool {
        let context = &self.session.context;
        let nodes = context.map().clone();
        let epoch = nodes.nodes().iter().map(|node| node.epoch).max();
        let epoch = epoch.unwrap_or_default();
        if epoch > self.epoch {
            self.epoch = epoch;
            self.hops = 0;
        }
        self.hops += 1;
        let goes_on = self.hops <= context.config.limits.redirections;
        if !goes_on {
            context.metrics.limit_hit(Limit::Redirections);
        }
        goes_on
    }

    /// Waits while a request of its slot is in flight whose client was told that no reply came in time: over a lane of
    /// another kind, or a lease, it would overtake that one (invariant 3). `Err` is the reply when that takes too long.
    pub(super) async fn turn(&mut self) -> Result<(), Bytes> {
        // What must not be lost goes out at once: it is for a client that is gone.
        let slot = self.slot.filter(|_| self.insistence == Insistence::Usual);
        while slot.is_some_and(|slot| self.session.is_overdue(slot)) {
            self.failed(errors::overdue()).await?;
        }
        Ok(())
    }

    /// Where it goes next. Waits for its turn, and for an owner; `Err` is the reply when that takes too long.
    pub(super) async fn target(&mut self) -> Result<Target, Bytes> {
        self.turn().await?;
        loop {
            self.chosen = self.session.context.clock.now();
            if let Some(next) = self.next.take() {
                return Ok(next);
            }
            let map = self.session.context.map().clone();
            let node = match self.slot {
                Some(slot) => map.owner(slot),
                None => map.primaries().first().copied(),
            };
            if let Some(node) = node {
                return Ok(Target {
                    node: map.node(node).addr.clone(),
                    asking: false,
                });
            }
            let context = &self.session.context;
            context.report(Report::Refresh(Trigger::ClusterDown));
            let status = context.shared.status.load_full();
            let slot = self.slot.or(Slot::new(0)).expect("0 is a slot");
            self.failed(errors::no_owner(slot, &map, &status)).await?;
        }
    }

    /// The target could not be asked: waits a little. `Err` is `reply` once that has gone on for too long.
    pub(super) async fn failed(&mut self, reply: Bytes) -> Result<(), Bytes> {
        let result = self.hindered(Obstacle::Unavailable, reply).await;
        if result.is_err() {
            let metrics = &self.session.context.metrics;
            metrics.limit_hit(Limit::UnavailableTimeout);
        }
        result
    }

    /// Whether that has kept it last from being sent.
    pub(super) fn is_hindered_by(&self, kind: Obstacle) -> bool {
        self.trouble.is_some_and(|(met, _)| met == kind)
    }

    /// The same, whatever the reason; who calls it counts the limit.
    pub(super) async fn hindered(&mut self, kind: Obstacle, reply: Bytes) -> Result<(), Bytes> {
        self.leaves();
        let context = &self.session.context;
        context.clock.tick();
        let now = context.clock.now();
        let patience = self.session.unavailable();
        let since = match self.trouble {
            Some((same, since)) if same == kind => since,
            _ => now,
        };
        self.trouble = Some((kind, since));
        // It did not get to where a redirection has sent it.
        self.hops = self.hops.saturating_sub(1);
        let until = match (kind, self.insistence) {
            (Obstacle::Unavailable, _) => since + patience,
            (Obstacle::Full, Insistence::Usual) => self.session.room_until(self.began, since),
            (Obstacle::Full, Insistence::Data) => since + patience,
        };
        if now >= until {
            return Err(reply);
        }
        self.attempts += 1;
        tokio::time::sleep(pause(self.attempts)).await;
        self.session.context.metrics.retry(RetryReason::NotSent);
        Ok(())
    }

    /// The target has answered. What it refuses is sent again, after a pause where that helps.
    pub(super) async fn answered(&mut self, reply: &Bytes, from: &NodeAddr) -> Verdict {
        self.leaves();
        let ticket = Ticket::new(0, 0, self.slot);
        if reply.starts_with(INSTANCE_CHANGED) {
            let why = Trigger::ClusterDown;
            let node = from.clone();
            self.session.context.report(Report::Suspect { node, why });
            return self.wait(reply).await;
        }
        let Some(refusal) = classify(reply).filter(|r| concerns(r, ticket)) else {
            self.trouble = None;
            return Verdict::Final;
        };
        let metrics = &self.session.context.metrics;
        metrics.redirection(kind(&refusal));
        metrics.retry(match refusal {
            Refusal::Moved(..) | Refusal::Ask(..) => RetryReason::Redirected,
            _ => RetryReason::Refused,
        });
        let asking = matches!(refusal, Refusal::Ask(..));
        match refusal {
            Refusal::Moved(slot, to) | Refusal::Ask(slot, to) => {
                let to = self.session.reached(&to, from);
                if !asking {
                    self.session.context.moved(slot, &to, from, self.chosen);
                }
                if !self.hop() {
                    return Verdict::GiveUp(errors::astray(Astray::Far, reply));
                }
                // Only addresses that topology named are dialled.
                if self.session.context.map().find(&to).is_none() {
                    let refresh = Report::Refresh(Trigger::Moved);
                    self.session.context.report(refresh);
                    let error = errors::astray(Astray::Unavailable, reply);
                    return match self.failed(error).await {
                        Ok(()) => Verdict::Again,
                        Err(error) => Verdict::GiveUp(error),
                    };
                }
                self.next = Some(Target { node: to, asking });
                Verdict::Again
            }
            Refusal::ClusterDown | Refusal::MasterDown | Refusal::ReadOnly => {
                let why = Trigger::ClusterDown;
                let node = from.clone();
                self.session.context.report(Report::Suspect { node, why });
                self.wait(reply).await
            }
            Refusal::TryAgain => {
                self.hops = 0;
                self.wait(reply).await
            }
            Refusal::Loading => self.wait(reply).await,
        }
    }

    async fn wait(&mut self, reply: &Bytes) -> Verdict {
        match self.failed(reply.clone()).await {
            Ok(()) => Verdict::Again,
            Err(_) => Verdict::Final,
        }
    }
}

impl Session {
    /// Whether a request of that slot is in flight. While a task carries a command out, all before it has been answered:
    /// with an error, if the reply to it is still to come.
    fn is_overdue(&self, slot: Slot) -> bool {
        let state = self.state.borrow();
        let fences = state.fences.as_ref();
        fences.is_some_and(|fences| fences.busy_elsewhere(slot, LaneId::NONE))
    }
}
