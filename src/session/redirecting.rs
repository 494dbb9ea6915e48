//! What a session does with refusals, losses and timeouts: it builds fences, which say in which order things may
//! happen (`route::Fences`). What a refusal means is `refusal`'s, what happens next is `retry`'s.

use super::adrift::Way;
use super::errors::{outcome_unknown, unreachable_node};
use super::executing::cause;
use super::refusal::{concerns, kind};
use super::replies::{Duty, Stage};
use super::retry::{held, held_bytes};
use super::{Session, State};
use crate::cluster::{NodeAddr, Slot};
use crate::observe::ErrorSource;
use crate::route::{Fences, Held, Losses, Past, Refused, Resend, Why, resend};
use crate::topology::{Report, Trigger};
use crate::upstream::{
    Class, Fate, Fault, Lane, LaneId, NotTaken, Refusal, Returned, Ticket, classify,
};
use bytes::Bytes;
use std::rc::Rc;

impl Session {
    /// Starts (or prolongs) redirecting.
    pub(super) fn redirect<'a>(&self, state: &'a mut State) -> &'a mut Fences {
        let until = state.replies.next_seq();
        self.redirecting.set(true);
        let fences = self.fences(state);
        fences.extend(until);
        fences
    }

    /// Those there are, or those to begin with.
    pub(super) fn fences<'a>(&self, state: &'a mut State) -> &'a mut Fences {
        let until = state.replies.next_seq();
        self.redirecting.set(true);
        state
            .fences
            .get_or_insert_with(|| Box::new(Fences::enter(state.replies.in_flight(), until)))
    }

    /// A reply that is an error, or any reply while the session is redirecting.
    pub(super) fn examine(
        &self,
        state: &mut State,
        ticket: Ticket,
        reply: &[u8],
        returned: &Returned,
        from: &NodeAddr,
    ) {
        let request = returned.bytes.clone();
        if !self.is_awaited(state, ticket) {
            self.note_reply(state, ticket, reply, returned, from);
            return self.landed_late(state, ticket, request);
        }
        let refusal = if ticket.inner() > 0 {
            classify(&cause(reply))
        } else {
            classify(reply)
        };
        if refusal.is_some() && self.skip_optional(state, ticket) {
            return;
        }
        if let Some(refusal) = refusal.filter(|r| concerns(r, ticket))
            && self.refused(state, ticket, reply, returned, from, refusal)
        {
            return;
        }
        if reply[0] == b'-' {
            if self.heal(state, ticket, reply, &request, from) {
                return;
            }
            self.count_error(state, ticket, reply);
        } else {
            self.note_heir(state, ticket, &request, from);
        }
        self.settled(state, ticket, &request);
        self.note_reply(state, ticket, reply, returned, from);
        self.deliver(state, ticket, reply);
        self.advance_ticket(state, ticket);
    }

    /// Takes a refusal as what it says. `false`: it is to be passed on as it is.
    fn refused(
        &self,
        state: &mut State,
        ticket: Ticket,
        reply: &[u8],
        returned: &Returned,
        from: &NodeAddr,
        refusal: Refusal,
    ) -> bool {
        self.context.metrics.redirection(kind(&refusal));
        let info = self.inspect(ticket, &returned.bytes);
        let sent = self.context.clock.instant(returned.taken);
        let Some(why) = self.why(reply, from, refusal, sent, &info) else {
            return false;
        };
        let reply = match (&why, ticket.slot()) {
            (Why::NotSent, Some(slot)) => super::errors::primary_unreachable(slot),
            _ => Bytes::copy_from_slice(reply),
        };
        let request = returned.bytes.clone();
        self.fence(state, ticket, request, info.class, why, reply)
    }

    /// Puts a request that did not execute behind a fence.
    pub(super) fn fence(
        &self,
        state: &mut State,
        ticket: Ticket,
        request: Bytes,
        class: Class,
        why: Why,
        reply: Bytes,
    ) -> bool {
        let Some(slot) = ticket.slot() else {
            let held = (held_bytes(ticket, request, class), Way::Again);
            return self.set_adrift(state, held, why, reply);
        };
        if state.fences.is_none() {
            self.redirect(state);
        }
        self.mark(state, ticket, None);
        let Some(fences) = &mut state.fences else {
            return false;
        };
        let mut past = fences.past(ticket);
        past.failed(&why, self.context.clock.now());
        fences.refused(
            slot,
            Refused {
                held: held_bytes(ticket, request, class),
                why,
                reply,
                past,
                not_before: None,
            },
        );
        self.advance(state, slot);
        true
    }

    /// A request never left: the connection was not there.
    pub(super) fn not_sent(
        &self,
        state: &mut State,
        ticket: Ticket,
        request: Bytes,
        fault: &Fault,
    ) {
        if !self.is_awaited(state, ticket) {
            return self.landed_late(state, ticket, request);
        }
        if self.skip_optional(state, ticket) {
            return;
        }
        let info = self.inspect(ticket, &request);
        let reply = unreachable_node(fault);
        if !self.fence(
            state,
            ticket,
            request.clone(),
            info.class,
            Why::NotSent,
            reply.clone(),
        ) {
            self.count_final(state, ticket, ErrorSource::Proxy, &reply);
            self.deliver(state, ticket, &reply);
        }
    }

    /// The connection was lost with a request on it: the contract says what follows (`route::resend`).
    pub(super) fn unknown(&self, state: &mut State, ticket: Ticket, request: Bytes, fault: &Fault) {
        if !self.is_awaited(state, ticket) {
            return self.landed_late(state, ticket, request);
        }
        if self.skip_optional(state, ticket) {
            return;
        }
        let info = self.inspect(ticket, &request);
        let reply = outcome_unknown(fault);
        if state.fences.is_none() {
            self.redirect(state);
        }
        let losses = self.losses(state, ticket);
        let fence = |state: &mut State| {
            let (class, request) = (info.class, request.clone());
            self.fence(state, ticket, request, class, Why::LostRead, reply.clone())
        };
        let repeated = match resend(Fate::MaybeExecuted, info.effect(), losses) {
            Resend::Again | Resend::Once => fence(state),
            Resend::IfProved | Resend::Never => false,
        };
        if repeated {
            return;
        }
        self.count_final(state, ticket, ErrorSource::Proxy, &reply);
        self.context.metrics.unknown_outcome();
        self.perhaps_settled(state, ticket, &request);
        self.deliver(state, ticket, &reply);
        self.advance_ticket(state, ticket);
    }

    /// Whether a request that is lost was lost before; one without a slot is from now on.
    fn losses(&self, state: &mut State, ticket: Ticket) -> Losses {
        if let (Some(fences), Some(_)) = (&state.fences, ticket.slot()) {
            return fences.past(ticket).losses;
        }
        let drift = state.drift(ticket, self.context.clock.now());
        std::mem::replace(&mut drift.losses, Losses::One)
    }

    /// No reply in time. The client is told; the request stays in flight, and with it the order of its slot.
    pub(super) fn expire(&self, state: &mut State, ticket: Ticket) {
        if !self.is_awaited(state, ticket) {
            return;
        }
        if state.fences.is_none() {
            self.redirect(state);
        }
        if self.skip_optional(state, ticket) {
            if let Some(fences) = &mut state.fences {
                fences.expire(ticket.seq, ticket.part);
            }
            return;
        }
        let Some(pending) = state.replies.get_mut(ticket.seq) else {
            return;
        };
        let (in_flight, gathered) = match &pending.stage {
            Stage::Fanout(fanout) => {
                let parts = (0..).zip(&fanout.parts);
                let in_flight = parts.filter(|(_, p)| p.lane.is_some());
                (in_flight.map(|(i, _)| i).collect(), fanout.gathering.held())
            }
            _ => (vec![ticket.part], 0),
        };
        pending.stage = Stage::Held;
        state.replies.gathered(gathered);
        if let Some(fences) = &mut state.fences {
            in_flight
                .iter()
                .for_each(|&part| fences.expire(ticket.seq, part));
        }
        self.context.metrics.unknown_outcome();
        let reply = super::errors::late();
        self.count_final(state, ticket, ErrorSource::Proxy, &reply);
        self.complete_whole(state, ticket.seq, &reply);
    }

    /// A part that its command can do without could not be asked: it is left out. `false`: it cannot do without it.
    fn skip_optional(&self, state: &mut State, ticket: Ticket) -> bool {
        let Some(pending) = state.replies.get_mut(ticket.seq) else {
            return false;
        };
        let Stage::Fanout(fanout) = &mut pending.stage else {
            return false;
        };
        let part = &mut fanout.parts[usize::from(ticket.part)];
        if part.duty == Duty::Required {
            return false;
        }
        part.lane = None;
        if fanout.gathering.skip(usize::from(ticket.part)) {
            self.complete_fanout(state, ticket.seq);
        }
        self.forget_if_over(state);
        true
    }

    /// Whether the client still waits for that part.
    fn is_awaited(&self, state: &mut State, ticket: Ticket) -> bool {
        match state.replies.get_mut(ticket.seq).map(|p| &p.stage) {
            Some(Stage::Sent(..)) => true,
            Some(Stage::Fanout(fanout)) => fanout.parts[usize::from(ticket.part)].lane.is_some(),
            _ => false,
        }
    }

    /// The answer to a request whose client got a timeout error.
    fn landed_late(&self, state: &mut State, ticket: Ticket, request: Bytes) {
        self.perhaps_settled(state, ticket, &request);
        if let Some(fences) = &mut state.fences {
            fences.expired_landed(ticket);
        }
        self.advance_ticket(state, ticket);
    }

    /// A request in flight has executed.
    fn settled(&self, state: &mut State, ticket: Ticket, request: &[u8]) {
        if let (Some(fences), Some(slot)) = (&mut state.fences, ticket.slot()) {
            fences.executed(ticket, slot, || self.footprint(request));
        }
    }

    /// A request is no longer in flight, and nobody knows whether it has executed.
    fn perhaps_settled(&self, state: &mut State, ticket: Ticket, request: &[u8]) {
        if let (Some(fences), Some(slot)) = (&mut state.fences, ticket.slot()) {
            fences.lost(ticket, slot, || self.footprint(request));
        }
    }

    fn advance_ticket(&self, state: &mut State, ticket: Ticket) {
        match ticket.slot() {
            Some(slot) => self.advance(state, slot),
            None => self.forget_if_over(state),
        }
    }

    /// Notes where a request is now: in flight on `lane`, or not in flight.
    pub(super) fn mark(&self, state: &mut State, ticket: Ticket, lane: Option<LaneId>) {
        let Some(pending) = state.replies.get_mut(ticket.seq) else {
            return;
        };
        match (&mut pending.stage, lane) {
            (Stage::Fanout(fanout), lane) => {
                fanout.parts[usize::from(ticket.part)].lane = lane;
            }
            (stage @ (Stage::Sent(..) | Stage::Held), Some(lane)) => {
                *stage = Stage::Sent(ticket.slot(), lane);
            }
            (stage @ Stage::Sent(..), None) => *stage = Stage::Held,
            _ => {}
        }
    }

    /// A new request whose slot nobody owns: it waits for the topology, behind what waits already.
    pub(super) fn hold_new_unowned(
        &self,
        state: &mut State,
        class: Class,
        ticket: Ticket,
        slot: Slot,
        request: &[u8],
    ) {
        match &mut state.fences {
            Some(fences) if fences.is_closed(slot) => {
                fences.hold(slot, LaneId::NONE, held(ticket, request, class));
            }
            _ => self.hold_unowned(state, class, ticket, slot, request),
        }
    }

    /// A request whose turn it is, and whose slot nobody owns.
    pub(super) fn hold_unowned(
        &self,
        state: &mut State,
        class: Class,
        ticket: Ticket,
        slot: Slot,
        request: &[u8],
    ) {
        self.context.report(Report::Refresh(Trigger::ClusterDown));
        let status = self.context.shared.status.load();
        let reply = super::errors::no_owner(slot, &self.context.map(), &status);
        let (pause, now) = (super::verdict::FIRST_PAUSE, self.context.clock.now());
        let mut past = Past::default();
        past.found_nobody_yet(now);
        let refused = Refused {
            held: held(ticket, request, class),
            why: Why::NotSent,
            reply,
            past,
            not_before: Some(now + pause),
        };
        self.redirect(state).put_back(slot, LaneId::NONE, refused);
    }

    /// A request that the lane did not take, whose turn it is.
    pub(super) fn hold_not_taken(
        &self,
        state: &mut State,
        held: Held,
        slot: Slot,
        lane: &Rc<Lane>,
        not_taken: &NotTaken,
    ) {
        let mut past = Past::default();
        let not_before = match not_taken {
            NotTaken::Down(_) => {
                let now = self.context.clock.now();
                past.found_nobody_yet(now);
                now + super::verdict::FIRST_PAUSE
            }
            NotTaken::Full(_) => {
                let room = (not_taken.into(), &Past::default());
                self.crowd(state, held.ticket, slot, lane, room)
            }
        };
        self.count_crowded(not_taken);
        let refused = Refused {
            held,
            why: Why::from(not_taken),
            reply: super::errors::not_taken(not_taken),
            past,
            not_before: Some(not_before),
        };
        self.redirect(state).put_back(slot, LaneId::NONE, refused);
    }
}
