//! Keeps a session's execution order per slot while requests are refused, lost or re-routed (invariant 3).
//!
//! Exists only while a session is redirecting: after a refusal, a loss, an expiry, or a change of the map with
//! requests in flight. A fence around a slot holds the session's later requests for it until everything in
//! flight is answered; refused requests are then resent one by one, each alone, in the order in which the client
//! sent them; what was held follows. A refused request is not resent if a later one that shares a key with it
//! has executed and either of them writes: resending would reverse them.
//!
//! Pure: no socket, no clock; the session acts on what [`Fences::next`] says.

mod fence;
mod line;

use super::overtaken::Footprint;
use super::refused::{Held, Past, Refused, Room, Why};
use crate::cluster::Slot;
use crate::upstream::{LaneId, Ticket};
use fence::{Fence, Resent};
pub use line::Owner;
use rustc_hash::FxHashMap;
use std::time::Instant;

/// What to do next for a slot.
#[derive(Debug)]
pub enum Next {
    /// Nothing: requests are still in flight, or the fence is gone.
    Idle,
    /// Nothing before that moment.
    Wait(Instant),
    /// Resend it, alone.
    Resend(Refused),
    /// Answer its client with its refusal: resending would reverse it with a later command.
    Conflict(Refused),
    /// Send it as if it had just arrived.
    Release(Held),
}

/// See the module. Owned by a session while it is redirecting.
#[derive(Debug, Default)]
pub struct Fences {
    slots: FxHashMap<Slot, Fence>,
    /// Redirecting goes on at least until every command before this one is answered.
    until: u64,
    /// Requests (number of the command, part) whose client got a timeout error while they are still in flight.
    expired: Vec<(u64, u16)>,
    /// The same of tasks, whose requests have no numbers here.
    strays: u32,
}

impl Fences {
    /// Starts with what is in flight; `until` is the sequence number of the session's next command.
    pub fn enter(in_flight: impl Iterator<Item = (Slot, LaneId)>, until: u64) -> Self {
        let mut fences = Self {
            until,
            ..Self::default()
        };
        for (slot, lane) in in_flight {
            fences.sent(slot, lane);
        }
        fences
    }

    /// The map changed again: what is in flight now may be on lanes it no longer points to.
    pub fn extend(&mut self, until: u64) {
        self.until = until;
    }

    /// Whether a new request for `slot` may go to `lane` now. If not it must be held.
    pub fn admits(&self, slot: Slot, lane: LaneId) -> bool {
        self.slots
            .get(&slot)
            .is_none_or(|f| !f.is_closed() && (f.in_flight == 0 || f.lane == lane))
    }

    /// A request for `slot` is in flight on `lane`.
    pub fn sent(&mut self, slot: Slot, lane: LaneId) {
        let fence = self.slots.entry(slot).or_insert_with(|| Fence::new(lane));
        fence.in_flight += 1;
        fence.lane = lane;
    }

    /// Holds a request behind the fence of its slot.
    pub fn hold(&mut self, slot: Slot, lane: LaneId, held: Held) {
        let fence = self.slots.entry(slot).or_insert_with(|| Fence::new(lane));
        if !fence.is_closed() {
            fence.full_since = None;
        }
        fence.held.push_back(held);
    }

    /// The refused request goes out again on `lane`.
    pub fn resend(&mut self, slot: Slot, lane: LaneId, refused: &Refused) {
        self.sent(slot, lane);
        if let Some(fence) = self.slots.get_mut(&slot) {
            fence.flows.take_if(|why| *why != refused.why);
            if refused.only_lacked_room() {
                return;
            }
            // What is behind it waits for its reply.
            fence.full_since = None;
            fence.resent.push_back(Resent {
                ticket: refused.held.ticket,
                why: refused.why.clone(),
                past: refused.past,
            });
        }
    }

    /// What became of the request with that ticket before, if it is one that was resent.
    pub fn past(&self, ticket: Ticket) -> Past {
        let fence = ticket.slot().and_then(|slot| self.slots.get(&slot));
        fence
            .and_then(|f| f.resent.iter().find(|r| r.ticket == ticket))
            .map_or_else(Past::default, |r| r.past)
    }

    /// A request in flight for `slot` was executed. What it touches is only asked for if that may matter.
    pub fn executed(&mut self, ticket: Ticket, slot: Slot, touches: impl FnOnce() -> Footprint) {
        let resent = self.landed(ticket, slot);
        if let (Some(why), Some(fence)) = (resent, self.slots.get_mut(&slot)) {
            fence.flows = why.is_lasting().then_some(why);
        }
        if let Some(fence) = self.slots.get_mut(&slot) {
            fence.away_since = None;
        }
        self.note_executed(ticket, slot, touches);
    }

    /// A request in flight for `slot` may have executed: its reply was lost.
    pub fn lost(&mut self, ticket: Ticket, slot: Slot, touches: impl FnOnce() -> Footprint) {
        self.landed(ticket, slot);
        self.stop_flow(slot);
        self.note_executed(ticket, slot, touches);
    }

    /// Whether a request of `slot` that was refused for that reason has just executed.
    pub fn flows(&self, slot: Slot, why: &Why) -> bool {
        let fence = self.slots.get(&slot);
        fence.is_some_and(|f| f.flows.as_ref() == Some(why))
    }

    /// What is refused waits again until nothing is in flight.
    pub fn stop_flow(&mut self, slot: Slot) {
        if let Some(fence) = self.slots.get_mut(&slot) {
            fence.flows = None;
        }
    }

    fn note_executed(&mut self, ticket: Ticket, slot: Slot, touches: impl FnOnce() -> Footprint) {
        let Some(fence) = self.slots.get_mut(&slot) else {
            return;
        };
        let later = fence
            .refused
            .front()
            .is_some_and(|r| r.held.ticket.seq < ticket.seq);
        if later {
            fence.overtaking.executed(ticket.seq, touches());
        }
    }

    /// A request that was in flight for `slot` did not execute.
    pub fn refused(&mut self, slot: Slot, mut refused: Refused) {
        let ticket = refused.held.ticket;
        self.landed(ticket, slot);
        self.stop_flow(slot);
        if let Some(fence) = self.slots.get_mut(&slot) {
            fence.shares_wait(&mut refused);
            fence.refused.insert(refused);
            fence.full_since = None;
        }
    }

    /// A request that could not be sent, or must wait before it is resent: back to its place.
    pub fn put_back(&mut self, slot: Slot, lane: LaneId, mut refused: Refused) {
        let fence = self.slots.entry(slot).or_insert_with(|| Fence::new(lane));
        if !refused.why.is_full() {
            fence.full_since = None;
        }
        fence.shares_wait(&mut refused);
        fence.refused.insert(refused);
    }

    /// A request finds no room of that kind in its lane. For what, and since when, those of its slot have waited: what comes
    /// behind one that waits waits for the same.
    pub fn full_since(&mut self, slot: Slot, room: Room, now: Instant) -> (Room, Instant) {
        let fence = self
            .slots
            .entry(slot)
            .or_insert_with(|| Fence::new(LaneId::NONE));
        let (before, since) = fence.full_since.unwrap_or((room, now));
        *fence.full_since.insert((before.max(room), since))
    }

    /// More is known about a refused request that waits: why it was refused. It goes on at once.
    pub fn explain(&mut self, ticket: Ticket, why: Why) {
        if let Some(fence) = ticket.slot().and_then(|slot| self.slots.get_mut(&slot)) {
            fence.refused.explain(ticket, why);
        }
    }

    /// The oldest refused request of `slot`, if it waits for room in its lane, and for which.
    pub fn crowded_out(&self, slot: Slot) -> Option<(Ticket, Room, Past)> {
        let first = self.slots.get(&slot)?.refused.front()?;
        Some((first.held.ticket, first.why.room()?, first.past))
    }

    /// Takes it out: it has waited for long enough.
    pub fn take_crowded_out(&mut self, slot: Slot) -> Option<Refused> {
        self.crowded_out(slot)?;
        self.slots.get_mut(&slot)?.refused.pop_front()
    }

    /// There is room for what waits for it in that lane: it may go now if it is next and what is in flight of the slot went
    /// the same way, and else as soon as nothing is. What has been refused since in front of it goes first; then it is
    /// tried without another turn.
    pub fn let_in(&mut self, slot: Slot, lane: LaneId) {
        let Some(fence) = self.slots.get_mut(&slot) else {
            return;
        };
        if fence.refused.front().is_some_and(|r| r.why.is_full()) {
            fence.turn = Some(lane);
        }
        fence.refused.let_in();
    }

    /// The client of a request in flight, that part of that command, got a timeout error.
    pub fn expire(&mut self, seq: u64, part: u16) {
        self.expired.push((seq, part));
    }

    /// A request whose client has got a reply already came back after all.
    pub fn expired_landed(&mut self, ticket: Ticket) {
        let late = (ticket.seq, ticket.part);
        if let Some(at) = self.expired.iter().position(|one| *one == late) {
            self.expired.swap_remove(at);
        }
    }

    /// The client of a task's request, in flight for `slot` on `lane`, got a timeout error.
    pub fn stray(&mut self, slot: Slot, lane: LaneId) {
        self.sent(slot, lane);
        self.strays += 1;
    }

    /// The same request came back after all.
    pub fn stray_landed(&mut self, slot: Slot) {
        self.strays = self.strays.saturating_sub(1);
        self.stop_flow(slot);
        if let Some(fence) = self.slots.get_mut(&slot) {
            fence.in_flight = fence.in_flight.saturating_sub(1);
        }
    }

    /// It is no longer in flight. If it was resent: why.
    fn landed(&mut self, ticket: Ticket, slot: Slot) -> Option<Why> {
        let fence = self.slots.get_mut(&slot)?;
        fence.in_flight = fence.in_flight.saturating_sub(1);
        let at = fence.resent.iter().position(|r| r.ticket == ticket)?;
        fence.resent.remove(at).map(|resent| resent.why)
    }

    /// What to do for `slot`; call again until it says `Idle` or `Wait`. `touches` says what a refused request would touch.
    pub fn next(
        &mut self,
        slot: Slot,
        now: Instant,
        touches: impl FnOnce(&[u8]) -> Footprint,
    ) -> Next {
        let Some(fence) = self.slots.get_mut(&slot) else {
            return Next::Idle;
        };
        let turn = fence.turn.take();
        let closed = !fence.resent.is_empty() || !fence.refused.is_empty();
        if fence.in_flight > 0 && closed && !fence.follows() && !fence.takes(turn) {
            return Next::Idle;
        }
        if let Some(first) = fence.refused.front() {
            let (seq, bytes) = (first.held.ticket.seq, &first.held.request);
            let reversed = fence.overtaking.reverses(seq, || touches(bytes));
            if !reversed && let Some(moment) = first.not_before.filter(|&at| at > now) {
                return Next::Wait(moment);
            }
            if let Some(first) = fence.refused.pop_front() {
                return if reversed {
                    Next::Conflict(first)
                } else {
                    Next::Resend(first)
                };
            }
        }
        fence.overtaking.clear();
        match fence.held.pop_front() {
            Some(held) => Next::Release(held),
            None => {
                fence.full_since = None;
                if fence.in_flight == 0 {
                    self.slots.remove(&slot);
                }
                Next::Idle
            }
        }
    }

    /// A held request whose lane differs from the one in flight waits again, in front of the others.
    pub fn unhold(&mut self, slot: Slot, held: Held) {
        if let Some(fence) = self.slots.get_mut(&slot) {
            fence.held.push_front(held);
            fence.full_since = None;
        }
    }

    /// Whether `slot` has requests in flight on a lane other than `lane`.
    pub fn busy_elsewhere(&self, slot: Slot, lane: LaneId) -> bool {
        self.slots
            .get(&slot)
            .is_some_and(|f| f.in_flight > 0 && f.lane != lane)
    }

    /// Whether `slot` has something refused, resent or held.
    pub fn is_closed(&self, slot: Slot) -> bool {
        self.slots.get(&slot).is_some_and(Fence::is_closed)
    }

    /// Nothing waits for a later moment than `now` any longer: the map has changed. What waits in turn for room in the lane
    /// of its slot's owner waits on, unless that is another one now.
    pub fn hurry(&mut self, now: Instant, owner: impl Fn(Slot) -> Owner) {
        for (slot, fence) in &mut self.slots {
            fence.refused.hurry(now, owner(*slot));
        }
    }

    /// Whether the session can forget that it was redirecting; `oldest` is its oldest unanswered command.
    pub fn is_over(&self, oldest: u64) -> bool {
        let lost = self.expired.len() + self.strays as usize;
        lost == 0 && oldest >= self.until && !self.slots.values().any(Fence::is_closed)
    }

    /// The slots with something refused or held: looked at again when the map or the time changes.
    pub fn closed(&self) -> Vec<Slot> {
        let closed = self.slots.iter().filter(|(_, f)| f.is_closed());
        closed.map(|(&slot, _)| slot).collect()
    }
}

#[cfg(test)]
mod tests;
