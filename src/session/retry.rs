//! Resending what was refused: to whom, when, and until when.

use super::errors::{Astray, astray};
use super::executing::cause;
use super::verdict::{Verdict, pause, reason};
use super::{Session, State};
use crate::cluster::{NodeAddr, NodeIndex, Slot, SlotMap};
use crate::observe::{ErrorSource, Limit, Redirection};
use crate::route::{Asking, Held, Next, Owner, Refused, Room, Sent, Why};
use crate::upstream::{Class, Lane, LaneId, NotTaken, Refusal, Ticket, classify};
use bytes::Bytes;
use std::rc::Rc;
use std::time::Instant;

/// Why it is looked at what waits.
#[derive(Clone, Copy)]
pub(super) enum Occasion<'a> {
    /// The time set by [`Session::schedule`] may have come.
    Time,
    /// There is a new map, in which these slots, in order, have other owners.
    Map(&'a [Slot]),
}

impl Session {
    /// Has another look at what waits.
    pub(super) fn retry(&self, occasion: Occasion<'_>) {
        let now = self.context.clock.now();
        // An earlier moment was set after this one: that call has come already, and has set the next one. Without this
        // each call would set one more, and they would multiply.
        let is_due = self.retry_due.get().is_some_and(|due| due <= now);
        if matches!(occasion, Occasion::Time) && !is_due {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        self.retry_due.set(None);
        if state.life == super::Life::Dead {
            return;
        }
        match state.no_map_until {
            // What topology has published is no map yet.
            Some(until) if self.waits_for_map(state) => self.schedule(until),
            Some(_) => self.wake(),
            None => {}
        }
        if let Some(fences) = &mut state.fences {
            if let Occasion::Map(moved) = occasion {
                fences.hurry(now, |slot| match moved.binary_search(&slot) {
                    Ok(_) => Owner::New,
                    Err(_) => Owner::Same,
                });
            }
            for slot in fences.closed() {
                self.advance(state, slot);
            }
        }
        self.retry_adrift(state);
    }

    /// Has `retry` called at `at` or earlier.
    pub(super) fn schedule(&self, at: Instant) {
        if self.retry_due.get().is_none_or(|due| at < due) {
            self.retry_due.set(Some(at));
            self.context.retry_at(at, self.myself.clone());
        }
    }

    pub(super) fn advance_if_closed(&self, state: &mut State, slot: Slot) {
        if state.fences.as_ref().is_some_and(|f| f.is_closed(slot)) {
            self.advance(state, slot);
        }
    }

    /// Does for `slot` whatever its fence allows now.
    pub(super) fn advance(&self, state: &mut State, slot: Slot) {
        let now = self.context.clock.now();
        self.give_up_crowded(state, slot, now);
        while let Some(fences) = &mut state.fences {
            match fences.next(slot, now, |refused| self.footprint(refused)) {
                // Its command got a timeout error because of another part.
                Next::Conflict(Refused { held, .. })
                | Next::Resend(Refused { held, .. })
                | Next::Release(held)
                    if state.replies.is_answered(held.ticket.seq) => {}
                Next::Idle => break,
                Next::Wait(until) => {
                    let crowded = fences.crowded_out(slot).is_some();
                    self.schedule(match crowded {
                        true => self.looked_at(until, now),
                        false => until,
                    });
                    break;
                }
                Next::Conflict(mut refused) => {
                    self.context.metrics.redirection(Redirection::PassedOn);
                    refused.goes_astray(Astray::Overtaken);
                    self.give_up(state, &refused);
                }
                Next::Resend(refused) => self.resend(state, slot, refused),
                Next::Release(held) => {
                    if !self.release(state, slot, held) {
                        break;
                    }
                    self.give_up_crowded(state, slot, now);
                }
            }
        }
        self.forget_if_over(state);
    }

    /// Ends redirecting when nothing is left of it.
    pub(super) fn forget_if_over(&self, state: &mut State) {
        let oldest = state.replies.oldest();
        if state.fences.as_ref().is_some_and(|f| f.is_over(oldest)) {
            state.fences = None;
            self.redirecting.set(false);
        }
    }

    fn resend(&self, state: &mut State, slot: Slot, mut refused: Refused) {
        let ticket = refused.held.ticket;
        let now = self.context.clock.now();
        let Some(me) = self.myself.upgrade() else {
            return;
        };
        let map = self.context.map().clone();
        match self.verdict(state, slot, &refused, &map, now) {
            Verdict::GiveUp => {
                let most = self.context.config.limits.redirections as u32;
                refused.goes_astray(match refused.past.hops > most {
                    true => Astray::Far,
                    false => Astray::Late,
                });
                return self.give_up(state, &refused);
            }
            Verdict::Learned(why) => {
                refused.learns(why);
                return self.resend(state, slot, refused);
            }
            Verdict::Wait(until) => refused.not_before = Some(until),
            Verdict::Unreachable => refused.wait_longer(now),
            Verdict::Send(node, asking) => {
                let lane = self.lane_to(state, &map, node);
                if let Some(fences) = &mut state.fences
                    && fences.busy_elsewhere(slot, lane.id())
                {
                    fences.stop_flow(slot);
                    return fences.put_back(slot, LaneId::NONE, refused);
                }
                let request = refused.held.request.clone();
                if refused.held.class == Class::Slow {
                    self.script_ahead(&lane, &request);
                }
                let asks = asking == Asking::Yes;
                let aim = Aim {
                    map: &map,
                    slot,
                    node,
                    asking,
                };
                match lane.send(&request, asks, ticket, me, refused.held.class) {
                    Ok(()) => {
                        if !refused.was_never_sent() {
                            self.context.metrics.retry(reason(&refused.why));
                        }
                        self.mark(state, ticket, Some(lane.id()));
                        self.note_resent(state, ticket, &lane);
                        refused.past.sent = match aim.is_owners() {
                            true => Sent::ToOwner,
                            false => Sent::ToOther(asking),
                        };
                        if let Some(fences) = &mut state.fences {
                            fences.resend(slot, lane.id(), &refused);
                        }
                        return;
                    }
                    Err(not_taken) => {
                        self.not_resent(state, &mut refused, (&lane, &not_taken), &aim);
                    }
                }
            }
        }
        if let Some(fences) = &mut state.fences {
            fences.put_back(slot, LaneId::NONE, refused);
        }
    }

    /// The lane does not take it: it waits on.
    fn not_resent(
        &self,
        state: &mut State,
        refused: &mut Refused,
        (lane, not_taken): (&Rc<Lane>, &NotTaken),
        aim: &Aim<'_>,
    ) {
        let now = self.context.clock.now();
        let was_full = refused.why.room();
        let redirected = matches!(refused.why, Why::Moved(_) | Why::Ask(_));
        refused.why = Why::from(not_taken);
        if refused.why == Why::NotSent {
            // It did not get there.
            refused.past.hops = refused.past.hops.saturating_sub(u32::from(redirected));
            refused.past.finds_nobody(now);
        }
        if was_full != Some(Room::from(not_taken)) {
            self.count_crowded(not_taken);
        }
        let is_full = refused.why.is_full();
        if is_full {
            let (room, ticket) = (Room::from(not_taken), refused.held.ticket);
            let until = self.crowd(state, ticket, aim.slot, lane, (room, &refused.past));
            refused.why = aim.full(room);
            refused.not_before = Some(until);
        } else {
            refused.wait_longer(now);
        }
        // What has sent it on is told to its client if that takes too long altogether.
        if (was_full.is_some() || redirected || is_full) && refused.past.moved_since.is_none() {
            refused.reply = super::errors::not_taken(not_taken);
        }
    }

    /// Sends a held request. `false`: its slot is in flight elsewhere, it waits on.
    fn release(&self, state: &mut State, slot: Slot, held: Held) -> bool {
        let map = self.context.map().clone();
        let Some(me) = self.myself.upgrade() else {
            return false;
        };
        if let Some(owner) = map.owner(slot) {
            let lane = self.lane_to(state, &map, owner);
            if let Some(fences) = &mut state.fences
                && fences.busy_elsewhere(slot, lane.id())
            {
                fences.unhold(slot, held);
                return false;
            }
            if held.class == Class::Slow {
                self.script_ahead(&lane, &held.request);
            }
            match lane.send(&held.request, false, held.ticket, me, held.class) {
                Ok(()) => {
                    self.mark(state, held.ticket, Some(lane.id()));
                    self.note_resent(state, held.ticket, &lane);
                    if let Some(fences) = &mut state.fences {
                        fences.sent(slot, lane.id());
                    }
                }
                Err(not_taken) => self.hold_not_taken(state, held, slot, &lane, &not_taken),
            }
        } else {
            let Held {
                ticket,
                request,
                class,
            } = held;
            self.hold_unowned(state, class, ticket, slot, &request);
        }
        true
    }

    pub(super) fn give_up(&self, state: &mut State, refused: &Refused) {
        let source = match refused.why {
            Why::NotSent | Why::LostRead | Why::Full { .. } => ErrorSource::Proxy,
            Why::Moved(_) | Why::Ask(_) => ErrorSource::Proxy,
            _ => ErrorSource::Upstream,
        };
        if refused.why == Why::LostRead {
            self.context.metrics.unknown_outcome();
        }
        let reply = match &refused.why {
            Why::Full { to, room } => {
                let to = to.as_ref().map(|(to, _)| to);
                self.no_room_came(state, refused, *room, to)
            }
            _ => refused.reply.clone(),
        };
        self.count_final(state, refused.held.ticket, source, &reply);
        self.deliver(state, refused.held.ticket, &reply);
    }

    /// Counts a request that is given up for lack of room at the bound that it has reached. Gives what its client is told.
    fn no_room_came(
        &self,
        state: &mut State,
        refused: &Refused,
        room: Room,
        to: Option<&NodeAddr>,
    ) -> Bytes {
        let now = self.context.clock.now();
        let was_sent_on = room == Room::Request
            && refused
                .past
                .is_late(now, self.context.config.timeouts.command)
            && matches!(
                classify(&cause(&refused.reply)),
                Some(Refusal::Moved(..) | Refusal::Ask(..) | Refusal::TryAgain)
            );
        if was_sent_on {
            self.context.metrics.limit_hit(Limit::CommandTimeout);
            return astray(Astray::Late, &cause(&refused.reply));
        }
        self.count_crowded_out(state, refused.held.ticket, room, to);
        super::errors::no_room(room)
    }
}

impl Refused {
    /// Its redirection is followed no further: the client is told in words that it understands. (What a script has
    /// said is the script's, as long as no node has confirmed it.)
    fn goes_astray(&mut self, why: Astray) {
        let last = cause(&self.reply);
        match self.why {
            Why::Moved(_) | Why::Ask(_) => self.reply = astray(why, &last),
            Why::Unavailable if classify(&last).is_some_and(|r| r.leads_nowhere()) => {
                let late = why == Astray::Late;
                self.reply = astray(if late { Astray::Unavailable } else { why }, &last);
            }
            _ => {}
        }
    }

    /// One more attempt came to nothing.
    fn wait_longer(&mut self, now: Instant) {
        self.past.attempts += 1;
        self.not_before = Some(now + pause(self.past.attempts));
    }
}

/// Where a request is sent.
struct Aim<'a> {
    map: &'a SlotMap,
    slot: Slot,
    node: NodeIndex,
    asking: Asking,
}

impl Aim<'_> {
    /// It found no room on its way there; the node need not own its slot.
    fn full(&self, room: Room) -> Why {
        let to = (!self.is_owners()).then(|| (self.map.node(self.node).addr.clone(), self.asking));
        Why::Full { to, room }
    }

    /// Whether what is sent there goes to the owner of its slot, as such.
    fn is_owners(&self) -> bool {
        self.asking == Asking::No && self.map.owner(self.slot) == Some(self.node)
    }
}

/// The request, copied, with its place.
pub(super) fn held(ticket: Ticket, request: &[u8], class: Class) -> Held {
    held_bytes(ticket, Bytes::copy_from_slice(request), class)
}

pub(super) fn held_bytes(ticket: Ticket, request: Bytes, class: Class) -> Held {
    Held {
        ticket,
        request,
        class,
    }
}
