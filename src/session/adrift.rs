//! Refused requests that belong to no slot: there is no order to keep, so each is retried by itself.

use super::replies::{Rest, Stage};
use super::retry::held;
use super::verdict::{FIRST_PAUSE, pause, reason};
use super::{Session, State, errors};
use crate::cluster::{NodeIndex, SlotMap};
use crate::io::Micros;
use crate::observe::{ErrorSource, Limit};
use crate::route::{Held, Losses, Room, Why};
use crate::upstream::{Class, NotTaken, Ticket};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::time::Instant;

/// A refused request that belongs to no slot (DBSIZE on a node that is loading, SCAN on a lost connection).
pub(super) struct Adrift {
    held: Held,
    why: Why,
    reply: Bytes,
    way: Way,
    attempts: u32,
    /// When the client sent the command: it may have been refused several times since.
    started: Micros,
    /// Since when it has been refused or lost, or not sent.
    away_since: Instant,
    /// Since when it has found no room in its lane.
    full_since: Option<Instant>,
}

/// How often it has been on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Never: no lane has taken it yet.
    First,
    /// It comes from there.
    Again,
}

/// What has become of a request that belongs to no slot, however often it was sent.
pub(super) struct Drift {
    /// When it was first refused or lost, or could not be sent.
    since: Instant,
    /// A read that was lost is repeated once.
    pub(super) losses: Losses,
}

/// Those of a session, as long as their commands are not answered, or longer.
pub(super) type Drifts = FxHashMap<Ticket, Drift>;

impl State {
    /// What has become of a request, which is refused, lost or not sent now.
    pub(super) fn drift(&mut self, ticket: Ticket, now: Instant) -> &mut Drift {
        if self.drifts.len() == self.drifts.capacity() {
            let oldest = self.replies.oldest();
            self.drifts.retain(|ticket, _| ticket.seq >= oldest);
        }
        self.drifts.entry(ticket).or_insert(Drift {
            since: now,
            losses: Losses::None,
        })
    }
}

impl Adrift {
    fn new(
        state: &mut State,
        (held, way): (Held, Way),
        why: Why,
        reply: Bytes,
        now: Instant,
    ) -> Option<Self> {
        let started = state.replies.get_mut(held.ticket.seq)?.about.started;
        Some(Self {
            full_since: why.is_full().then_some(now),
            away_since: state.drift(held.ticket, now).since,
            held,
            why,
            reply,
            way,
            attempts: 0,
            started,
        })
    }

    /// The lane does not take it.
    fn not_taken(&mut self, not_taken: &NotTaken, now: Instant) {
        let was_full = self.why.is_full();
        self.why = Why::from(not_taken);
        match not_taken {
            NotTaken::Full(_) => {
                self.full_since.get_or_insert(now);
            }
            NotTaken::Down(_) => self.full_since = None,
        }
        if was_full || self.why.is_full() {
            self.reply = errors::not_taken(not_taken);
        }
    }
}

impl Session {
    /// A request for no slot that the lane did not take.
    pub(super) fn not_taken_adrift(
        &self,
        state: &mut State,
        ticket: Ticket,
        request: &[u8],
        class: Class,
        not_taken: &NotTaken,
    ) {
        self.count_crowded(not_taken);
        let reply = errors::not_taken(not_taken);
        let held = (held(ticket, request, class), Way::First);
        if !self.set_adrift(state, held, Why::from(not_taken), reply.clone()) {
            self.count_final(state, ticket, ErrorSource::Proxy, &reply);
            self.deliver(state, ticket, &reply);
        }
    }

    pub(super) fn set_adrift(
        &self,
        state: &mut State,
        (held, way): (Held, Way),
        why: Why,
        reply: Bytes,
    ) -> bool {
        let ticket = held.ticket;
        let readonly = self.inspect(ticket, &held.request).readonly;
        // A write for all slots is resent only if nothing behind it can have overtaken it.
        if !readonly && state.replies.next_seq() != ticket.seq + 1 {
            return false;
        }
        let now = self.context.clock.now();
        let Some(adrift) = Adrift::new(state, (held, way), why, reply, now) else {
            return false;
        };
        if self.is_out_of_patience(&adrift) {
            return false;
        }
        self.mark(state, ticket, None);
        // A write for all slots must not be overtaken: nothing further is taken before it is answered.
        state.barrier |= !readonly;
        state.adrift.push(adrift);
        self.schedule(now + FIRST_PAUSE);
        true
    }

    pub(super) fn retry_adrift(&self, state: &mut State) {
        let now = self.context.clock.now();
        for mut adrift in std::mem::take(&mut state.adrift) {
            let ticket = adrift.held.ticket;
            match self.send_adrift(state, &adrift) {
                Ok(()) => continue,
                Err(Some(not_taken)) => {
                    if !adrift.why.is_full() {
                        self.count_crowded(&not_taken);
                    }
                    adrift.not_taken(&not_taken, now);
                }
                Err(None) => {}
            }
            if self.is_out_of_patience(&adrift) {
                if adrift.why.is_full() {
                    self.count_crowded_out(state, ticket, Room::Request, None);
                }
                self.count_final(state, ticket, ErrorSource::Proxy, &adrift.reply);
                self.deliver(state, ticket, &adrift.reply);
                continue;
            }
            adrift.attempts += 1;
            self.schedule(now + pause(adrift.attempts));
            state.adrift.push(adrift);
        }
    }

    /// Whether a request without a slot has waited for its node as long as it may.
    fn is_out_of_patience(&self, adrift: &Adrift) -> bool {
        let clock = &self.context.clock;
        let (now, started) = (clock.now(), clock.instant(adrift.started));
        match adrift.full_since {
            Some(since) => now >= self.room_until(started, since),
            None => {
                let over = now >= adrift.away_since.max(started) + self.unavailable();
                if over {
                    self.context.metrics.limit_hit(Limit::UnavailableTimeout);
                }
                over
            }
        }
    }

    /// Sends a request without a slot to the node it was for (by its part's place among the primaries). `Err(None)`: there
    /// is no such node.
    fn send_adrift(&self, state: &mut State, adrift: &Adrift) -> Result<(), Option<NotTaken>> {
        let map = self.context.map().clone();
        let me = self.myself.upgrade().ok_or(None)?;
        let ticket = adrift.held.ticket;
        let node = self.adrift_node(state, &map, ticket).ok_or(None)?;
        let lane = self.lane_to(state, &map, node);
        if adrift.held.class == Class::Slow {
            self.script_ahead(&lane, &adrift.held.request);
        }
        lane.send(&adrift.held.request, false, ticket, me, adrift.held.class)
            .map_err(Some)?;
        if adrift.way == Way::Again {
            self.context.metrics.retry(reason(&adrift.why));
        }
        self.mark(state, ticket, Some(lane.id()));
        self.note_resent(state, ticket, &lane);
        Ok(())
    }

    pub(super) fn adrift_node(
        &self,
        state: &mut State,
        map: &SlotMap,
        ticket: Ticket,
    ) -> Option<NodeIndex> {
        let primaries = map.primaries();
        let pending = state.replies.get_mut(ticket.seq)?;
        match (&pending.stage, pending.rest.as_deref()) {
            (Stage::Fanout(fanout), _) => {
                let node = fanout.parts[usize::from(ticket.part)].node.as_ref()?;
                map.find(node)
            }
            // Its client got a timeout error.
            (Stage::Early { .. } | Stage::Ready(_), _) => None,
            // A node's cursor means nothing to another node. Under another map any node may answer: the step is
            // repeated whatever it says.
            (_, Some(Rest::Scan(scan))) if scan.step.is_of(map) => Some(scan.step.node),
            _ => primaries
                .get(ticket.seq as usize % primaries.len().max(1))
                .copied(),
        }
    }
}
