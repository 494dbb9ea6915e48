//! Refused requests that belong to no slot: there is no order to keep, so each is retried by itself.

use super::replies::{Rest, Stage};
use super::retry::held;
use super::verdict::{FIRST_PAUSE, pause, reason};
use super::{Session, State, errors};
use crate::cluster::{NodeIndex, SlotMap};
use crate::io::Micros;
use crate::observe::{ErrorSource, Limit};
use crate::route::{Held, Why};
use crate::upstream::{Class, NotTaken, Ticket};
use bytes::Bytes;

/// A refused request that belongs to no slot (DBSIZE on a node that is loading, SCAN on a lost connection).
pub(super) struct Adrift {
    held: Held,
    why: Why,
    reply: Bytes,
    attempts: u32,
    /// When the client sent the command: it may have been refused several times since.
    started: Micros,
}

impl Adrift {
    fn new(state: &mut State, held: Held, why: Why, reply: Bytes) -> Option<Self> {
        let started = state.replies.get_mut(held.ticket.seq)?.about.started;
        Some(Self {
            held,
            why,
            reply,
            attempts: 0,
            started,
        })
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
        let reply = errors::not_taken(not_taken);
        let held = held(ticket, request, class);
        if !self.set_adrift(state, held, Why::from(not_taken), reply.clone()) {
            self.context.metrics.error(ErrorSource::Proxy, &reply);
            self.deliver(state, ticket, &reply);
        }
    }

    pub(super) fn set_adrift(&self, state: &mut State, held: Held, why: Why, reply: Bytes) -> bool {
        let ticket = held.ticket;
        let readonly = self.inspect(ticket, &held.request).readonly;
        // A write for all slots is resent only if nothing behind it can have overtaken it.
        if !readonly && state.replies.next_seq() != ticket.seq + 1 {
            return false;
        }
        let Some(adrift) = Adrift::new(state, held, why, reply) else {
            return false;
        };
        if self.is_out_of_patience(&adrift) {
            return false;
        }
        self.mark(state, ticket, None);
        // A write for all slots must not be overtaken: nothing further is taken before it is answered.
        state.barrier |= !readonly;
        state.adrift.push(adrift);
        self.schedule(self.context.clock.now() + FIRST_PAUSE);
        true
    }

    pub(super) fn retry_adrift(&self, state: &mut State) {
        let now = self.context.clock.now();
        for mut adrift in std::mem::take(&mut state.adrift) {
            let ticket = adrift.held.ticket;
            let sent = self.send_adrift(state, &adrift);
            if sent {
                continue;
            }
            if self.is_out_of_patience(&adrift) {
                if adrift.why.is_full() {
                    self.count_crowded_out(state, ticket);
                }
                self.context
                    .metrics
                    .error(ErrorSource::Proxy, &adrift.reply);
                self.deliver(state, ticket, &adrift.reply);
                continue;
            }
            adrift.attempts += 1;
            self.schedule(now + pause(adrift.attempts));
            state.adrift.push(adrift);
        }
    }

    /// Whether a request without a slot has waited for its node as long as it may.
    pub(super) fn is_out_of_patience(&self, adrift: &Adrift) -> bool {
        let clock = &self.context.clock;
        let age = clock.now().duration_since(clock.instant(adrift.started));
        match adrift.why {
            Why::Full { .. } => age >= self.patience(&adrift.why),
            _ => {
                let over = age >= self.unavailable();
                if over {
                    self.context.metrics.limit_hit(Limit::UnavailableTimeout);
                }
                over
            }
        }
    }

    /// Sends a request without a slot to the node it was for (by its part's place among the primaries).
    pub(super) fn send_adrift(&self, state: &mut State, adrift: &Adrift) -> bool {
        let map = self.context.map().clone();
        let Some(me) = self.myself.upgrade() else {
            return false;
        };
        let ticket = adrift.held.ticket;
        let Some(node) = self.adrift_node(state, &map, ticket) else {
            return false;
        };
        let lane = self.lane_to(state, &map, node);
        if adrift.held.class == Class::Slow {
            self.script_ahead(&lane, &adrift.held.request);
        }
        let taken = lane.send(&adrift.held.request, false, ticket, me, adrift.held.class);
        if taken.is_ok() {
            self.context.metrics.retry(reason(&adrift.why));
            self.mark(state, ticket, Some(lane.id()));
            self.note_resent(state, ticket, &lane);
        }
        taken.is_ok()
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
