//! Requests that wait for room in a full lane: in turn with other clients, at most `timeouts.queue`; for room among large
//! replies, where waiting is usual, at most `timeouts.command`. That is counted from when they, or those of their slot in
//! front of them, found no room: what a request has waited for something else before, which may be as long as
//! `timeouts.unavailable`, is not a wait for room. The order of a slot's requests is the fences' business, as everywhere.

use super::{Life, Session, State};
use crate::cluster::{NodeAddr, Slot};
use crate::observe::Limit;
use crate::route::{Past, Room};
use crate::upstream::{Lane, LaneId, NotTaken, Requester, Size, Ticket, Wants};
use rustc_hash::FxHashSet;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// All that a session has waiting for room is looked at so often, at most, in the time that a request waits for it: what is
/// given up between two looks is given up together.
const LOOKS: u32 = 20;

/// The slots whose next request waits for room in one lane. While there is one, the session stands in the lane's queue,
/// once.
pub(super) struct Crowd {
    lane: LaneId,
    /// In the order in which they came; each at most once.
    slots: VecDeque<Slot>,
    known: FxHashSet<Slot>,
}

impl Crowd {
    fn push(&mut self, slot: Slot) {
        if self.known.insert(slot) {
            self.slots.push_back(slot);
        }
    }

    fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.known.remove(&slot);
        Some(slot)
    }
}

impl Session {
    /// A request begins to wait for room. The limit that keeps it out is counted once for it, however often it is tried.
    pub(super) fn count_crowded(&self, not_taken: &NotTaken) {
        match not_taken {
            // Large values wait for one another all the time: only those count that are refused for it.
            NotTaken::Full(Some(Limit::BulkBytes) | None) | NotTaken::Down(_) => {}
            NotTaken::Full(Some(limit)) => self.context.metrics.limit_hit(*limit),
        }
    }

    /// Has a request wait for room in a full lane, in turn. Returns when it is given up.
    pub(super) fn crowd(
        &self,
        state: &mut State,
        ticket: Ticket,
        slot: Slot,
        lane: &Rc<Lane>,
        (room, past): (Room, &Past),
    ) -> Instant {
        match state.crowds.iter_mut().find(|c| c.lane == lane.id()) {
            Some(crowd) => crowd.push(slot),
            None => {
                let mut crowd = Crowd {
                    lane: lane.id(),
                    slots: VecDeque::new(),
                    known: FxHashSet::default(),
                };
                crowd.push(slot);
                state.crowds.push(crowd);
                let me: Weak<dyn Requester> = self.myself.clone();
                lane.wait_for_room(me);
            }
        }
        self.crowded_until(state, ticket, slot, (room, past))
    }

    /// It is this session's turn at a lane that was full.
    pub(super) fn take_room(&self, lane: LaneId) -> Wants {
        let state = &mut *self.state.borrow_mut();
        if state.life == Life::Dead {
            return Wants::Nothing;
        }
        let Some(at) = state.crowds.iter().position(|c| c.lane == lane) else {
            return Wants::Nothing;
        };
        self.look_at_replies(state);
        if self.takes_all(state) {
            // Whatever finds no room from here on stands in the queue anew.
            for slot in state.crowds.swap_remove(at).slots {
                self.let_in(state, slot, lane);
            }
            return Wants::Nothing;
        }
        if let Some(slot) = state.crowds[at].pop() {
            self.let_in(state, slot, lane);
        }
        // What came behind it, of the same slot, waits again: one slot has as many turns as several.
        match state.crowds.iter().position(|c| c.lane == lane) {
            Some(at) if state.crowds[at].slots.is_empty() => {
                state.crowds.swap_remove(at);
                Wants::Nothing
            }
            Some(_) => Wants::More,
            None => Wants::Nothing,
        }
    }

    fn let_in(&self, state: &mut State, slot: Slot, lane: LaneId) {
        if let Some(fences) = &mut state.fences {
            fences.let_in(slot, lane);
        }
        self.advance(state, slot);
    }

    /// Whether all that it has waiting may go in one turn: nothing of it will be large.
    fn takes_all(&self, state: &State) -> bool {
        state.way.is_bulk() && self.expects.get() == Size::Small
    }

    /// Refuses what has waited for room for too long, even if it is not its turn in its slot: it was never sent.
    pub(super) fn give_up_crowded(&self, state: &mut State, slot: Slot, now: Instant) {
        let next = |state: &State| state.fences.as_ref()?.crowded_out(slot);
        while let Some((ticket, room, past)) = next(state) {
            let until = self.crowded_until(state, ticket, slot, (room, &past));
            if until > now {
                return self.schedule(self.looked_at(until, now));
            }
            let refused = state.fences.as_mut().and_then(|f| f.take_crowded_out(slot));
            if let Some(refused) = refused {
                self.give_up(state, &refused);
            }
        }
    }

    /// When it is looked whether what waits for room until then is given up. With many requests some are at any moment.
    pub(super) fn looked_at(&self, until: Instant, now: Instant) -> Instant {
        until.max(now + self.queue_patience() / LOOKS)
    }

    /// How long a request waits for any room.
    fn queue_patience(&self) -> Duration {
        let timeouts = &self.context.config.timeouts;
        timeouts.queue.min(timeouts.command)
    }

    /// Counts a request that is given up because no room came: at the node that a refusal had sent it to, or at its own.
    pub(super) fn count_crowded_out(
        &self,
        state: &mut State,
        ticket: Ticket,
        room: Room,
        sent_to: Option<&NodeAddr>,
    ) {
        let map = self.context.map().clone();
        let sent_to = sent_to.and_then(|to| map.find(to));
        let node = sent_to.or_else(|| match ticket.slot() {
            Some(slot) => map.owner(slot),
            None => self.adrift_node(state, &map, ticket),
        });
        if let Some(node) = node {
            let limit = match room {
                Room::LargeReply => Limit::BulkBytes,
                Room::Request => Limit::QueueTimeout,
            };
            self.lane_to(state, &map, node).count_refused(limit);
        }
    }

    /// Until when a request that finds no room waits for it.
    pub(super) fn crowded_until(
        &self,
        state: &mut State,
        ticket: Ticket,
        slot: Slot,
        (room, past): (Room, &Past),
    ) -> Instant {
        let clock = &self.context.clock;
        let (room, full_since) = self.fences(state).full_since(slot, room, clock.now());
        // A command that is just being sent has no place among the replies yet.
        let started = match state.replies.get_mut(ticket.seq) {
            Some(pending) => clock.instant(pending.about.started),
            None => clock.now(),
        };
        let timeouts = &self.context.config.timeouts;
        let patience = match room {
            Room::Request => self.queue_patience(),
            // Large values take their time, and what is let in is answered soon.
            Room::LargeReply => timeouts.command,
        };
        past.waits_for_room(full_since.max(started) + patience, timeouts.command)
    }

    /// The same for a request of no slot, or of a task, that came and found no room at these moments. It may have found
    /// none, or no node, before, but does not come to wait for ever.
    pub(super) fn room_until(&self, started: Instant, full_since: Instant) -> Instant {
        let timeouts = &self.context.config.timeouts;
        let patience = self.queue_patience();
        let before = timeouts.command.max(self.unavailable());
        (full_since.max(started) + patience).min(started + before + patience)
    }
}
