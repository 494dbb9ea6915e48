//! Who a refused request is sent to next, when, and how long that goes on.

use super::healing::Proof;
use super::{Session, State};
use crate::cluster::{NodeAddr, NodeIndex, Slot, SlotMap};
use crate::config::Unavailable;
use crate::observe::{Limit, RetryReason};
use crate::route::{Asking, Refused, Sent, Why};
use crate::topology::{Report, Trigger};
use crate::upstream::Ticket;
use std::time::{Duration, Instant};

/// Pause after the first refusal that asks for one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Pauses double up to this.
pub(super) const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A worker asks replicas of an unreachable primary whether they were promoted at most this often.
pub(super) const SCOUT_EVERY: Duration = Duration::from_millis(20);

/// How long commands wait for a node that does not serve, where the nodes' own timeout is not known.
pub(super) const UNAVAILABLE_DEFAULT: Duration = Duration::from_secs(3);

/// What `timeouts.unavailable = "auto"` adds to the nodes' own timeout: the election and the news of it.
pub(super) const UNAVAILABLE_MARGIN: Duration = Duration::from_secs(2);

/// What to do with a refused request whose turn it is.
pub(super) enum Verdict {
    Send(NodeIndex, Asking),
    Wait(Instant),
    /// Nobody can be asked for now: another attempt later.
    Unreachable,
    GiveUp,
    /// Why it was refused is clearer now.
    Learned(Why),
}

impl Session {
    pub(super) fn verdict(
        &self,
        state: &mut State,
        slot: Slot,
        refused: &Refused,
        map: &SlotMap,
        now: Instant,
    ) -> Verdict {
        let ticket = refused.held.ticket;
        let Some(pending) = state.replies.get_mut(ticket.seq) else {
            return Verdict::GiveUp;
        };
        let started = self.context.clock.instant(pending.about.started);
        let past = &refused.past;
        let until = match &refused.why {
            // Followed at once, however late: only how often is bounded.
            Why::Moved(to) | Why::Ask(to) if map.find(to).is_some() => None,
            // The question to the node has a time of its own.
            Why::UnconfirmedAsk { .. } => None,
            Why::Full { room, .. } => Some(self.crowded_until(state, ticket, slot, (*room, past))),
            why => Some(past.waits_since(why, started) + self.patience(why)),
        };
        let over = until.is_some_and(|until| now >= until);
        let hops_max = self.context.config.limits.redirections as u32;
        if let (Why::Unconfirmed { from, .. }, true) = (&refused.why, over) {
            return Verdict::Learned(Why::UnconfirmedAsk { from: from.clone() });
        }
        if over || refused.past.hops > hops_max {
            if let Some(limit) = reached(&refused.why, over) {
                self.context.metrics.limit_hit(limit);
            }
            return Verdict::GiveUp;
        }
        let wait = Verdict::Wait(now + pause(refused.past.attempts));
        match &refused.why {
            Why::Moved(to) | Why::Ask(to) => match map.find(to) {
                Some(node) if matches!(refused.why, Why::Ask(_)) => {
                    Verdict::Send(node, Asking::Yes)
                }
                Some(node) => Verdict::Send(node, Asking::No),
                None => {
                    // Only addresses that topology named are dialled.
                    self.context.report(Report::Refresh(Trigger::Moved));
                    wait
                }
            },
            Why::Unconfirmed { refreshes, from } => {
                let answered = self.context.shared.topology.rounds().answered;
                // That somebody else owns the slot is news only of a node that was believed to own it.
                if refused.past.sent == Sent::ToOwner {
                    if answered < *refreshes {
                        return wait;
                    }
                    let owner = map.owner(slot).map(|owner| &map.node(owner).addr);
                    if let Some(owner) = owner.filter(|owner| *owner != from) {
                        return Verdict::Learned(Why::Moved(owner.clone()));
                    }
                }
                Verdict::Learned(Why::UnconfirmedAsk { from: from.clone() })
            }
            Why::UnconfirmedAsk { from } => {
                if refused.not_before.is_none() && !self.confirm(state, refused, from, map) {
                    return Verdict::GiveUp;
                }
                wait
            }
            Why::Refuted => Verdict::GiveUp,
            Why::NoScript { from } => self.back_to(from, slot, map).unwrap_or(wait),
            Why::UnprovenNoScript { from, moment } => {
                match self.prove_absence(state, refused, from, *moment, map) {
                    Proof::Absent => self.back_to(from, slot, map).unwrap_or(wait),
                    Proof::Asked => wait,
                    Proof::Impossible => Verdict::GiveUp,
                }
            }
            Why::TryAgain | Why::Unavailable if refused.not_before.is_none() => wait,
            Why::Full { to, .. } => {
                let to = to.as_ref().and_then(|(to, a)| Some((map.find(to)?, *a)));
                match to.or_else(|| Some((map.owner(slot)?, Asking::No))) {
                    Some((node, asking)) => Verdict::Send(node, asking),
                    None => wait,
                }
            }
            Why::TryAgain | Why::Unavailable => match map.owner(slot) {
                Some(owner) => Verdict::Send(owner, Asking::No),
                None => wait,
            },
            Why::NotSent | Why::LostRead => match map.owner(slot) {
                Some(owner) => self.owner_or_heir(state, map, owner, refused, now),
                None => wait,
            },
        }
    }

    /// Again to the node that answered: it need not own the slot.
    fn back_to(&self, from: &NodeAddr, slot: Slot, map: &SlotMap) -> Option<Verdict> {
        let owner = map.owner(slot)?;
        Some(match map.find(from) {
            Some(node) if node != owner => Verdict::Send(node, Asking::Yes),
            _ => Verdict::Send(owner, Asking::No),
        })
    }

    /// The owner could not be reached: it is tried again as soon as there is a connection to it. Until then its replicas
    /// are asked, one of which may have been promoted without our knowing it. A replica that was not answers MOVED, which
    /// executes nothing.
    fn owner_or_heir(
        &self,
        state: &State,
        map: &SlotMap,
        owner: NodeIndex,
        refused: &Refused,
        now: Instant,
    ) -> Verdict {
        let addr = &map.node(owner).addr;
        if let Some(heir) = self.context.heirs.borrow().get(addr)
            && let Some(heir) = map.find(heir)
        {
            return Verdict::Send(heir, Asking::No);
        }
        if self.lane_to(state, map, owner).is_reachable() {
            let flows = || {
                let fences = state.fences.as_ref().zip(refused.held.ticket.slot());
                fences.is_some_and(|(fences, slot)| fences.flows(slot, &refused.why))
            };
            return match refused.not_before {
                None if !flows() => Verdict::Wait(now + pause(refused.past.attempts)),
                _ => Verdict::Send(owner, Asking::No),
            };
        }
        // Not with a script: the MOVED of a replica that is promoted right after could not be told from a forged one.
        let may_scout = refused.past.attempts > 1
            && self
                .context
                .scouted
                .get()
                .is_none_or(|last| now.duration_since(last) >= SCOUT_EVERY)
            && !self
                .inspect(refused.held.ticket, &refused.held.request)
                .script;
        let replicas: Vec<_> = map.replicas(owner).collect();
        if may_scout && !replicas.is_empty() {
            self.context.scouted.set(Some(now));
            // Between two of its questions it waits, which is an attempt as well.
            let scout = replicas[refused.past.attempts as usize / 2 % replicas.len()];
            return Verdict::Send(scout, Asking::No);
        }
        Verdict::Unreachable
    }

    /// A node executed a command for a slot that the map gives to another: if that one is its primary and was
    /// not reachable, it was promoted. (Unless it only published: any replica does.)
    pub(super) fn note_heir(&self, state: &State, ticket: Ticket, request: &[u8], from: &NodeAddr) {
        let (Some(slot), true) = (ticket.slot(), state.fences.is_some()) else {
            return;
        };
        let map = self.context.map();
        let Some(owner) = map.owner(slot) else {
            return;
        };
        let Some(node) = map.find(from) else {
            return;
        };
        if map.replicas(owner).any(|r| r == node) && !self.publishes(request) {
            let addr = map.node(owner).addr.clone();
            let mut heirs = self.context.heirs.borrow_mut();
            if heirs.insert(addr, from.clone()).is_none() {
                self.context.report(Report::Suspect {
                    node: map.node(owner).addr.clone(),
                    why: Trigger::ConnectionLost,
                });
            }
        }
    }

    /// A replica says that it was not promoted: what it executed and answered late was from when it was the primary before.
    /// Were it asked again at once, it would say the same again, until the map changes.
    pub(super) fn is_no_heir(&self, replica: &NodeAddr, owner: &NodeAddr) {
        let mut heirs = self.context.heirs.borrow_mut();
        if heirs.get(owner) == Some(replica) {
            heirs.remove(owner);
        }
    }

    /// How long a command may wait, from [`Past::waits_since`](crate::route::Past::waits_since) on.
    fn patience(&self, why: &Why) -> Duration {
        match why {
            Why::Unavailable | Why::NotSent | Why::LostRead | Why::Unconfirmed { .. } => {
                self.unavailable()
            }
            _ => self.context.config.timeouts.command,
        }
    }

    pub(super) fn unavailable(&self) -> Duration {
        match self.context.config.timeouts.unavailable {
            Unavailable::Fixed(fixed) => fixed,
            Unavailable::Auto => match self.context.shared.server.load().node_timeout {
                Some(timeout) => timeout + UNAVAILABLE_MARGIN,
                None => UNAVAILABLE_DEFAULT,
            },
        }
    }
}

pub(super) fn pause(attempts: u32) -> Duration {
    (FIRST_PAUSE * (1 << attempts.min(8))).min(PAUSE_MAX)
}

/// Which bound was reached where a request is given up: its time is `over`, as [`Session::patience`] says, or it has gone
/// too far. Refusals of full lanes are counted by the lanes.
fn reached(why: &Why, over: bool) -> Option<Limit> {
    Some(match why {
        _ if !over => Limit::Redirections,
        Why::Full { .. } => return None,
        Why::Unavailable | Why::NotSent | Why::LostRead | Why::Unconfirmed { .. } => {
            Limit::UnavailableTimeout
        }
        _ => Limit::CommandTimeout,
    })
}

pub(super) fn reason(why: &Why) -> RetryReason {
    match why {
        Why::Moved(_) | Why::Ask(_) | Why::Unconfirmed { .. } => RetryReason::Redirected,
        // Never sent again as such.
        Why::UnconfirmedAsk { .. } | Why::Refuted => RetryReason::Redirected,
        Why::TryAgain | Why::Unavailable | Why::Full { .. } => RetryReason::Refused,
        Why::NotSent => RetryReason::NotSent,
        Why::LostRead => RetryReason::ReadOnly,
        Why::NoScript { .. } | Why::UnprovenNoScript { .. } => RetryReason::Script,
    }
}
