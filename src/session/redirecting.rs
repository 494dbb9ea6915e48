//! What a session does with refusals, losses and timeouts: it builds fences (`route::Fences` says in which order
//! things may happen), decides who is to be asked next, and when to give up.

use super::replies::Stage;
use super::retry::{Adrift, held, held_bytes};
use super::{Session, State};
use crate::cluster::{NodeAddr, Slot};
use crate::command::Command;
use crate::observe::{ErrorSource, Redirection};
use crate::resp::{Span, encode, parse_request};
use crate::route::{Fences, Refused, Why};
use crate::topology::{Report, Trigger};
use crate::upstream::{Class, Fault, LaneId, NotTaken, Refusal, Target, Ticket, classify};
use bytes::Bytes;

impl Session {
    /// Starts (or prolongs) redirecting.
    pub(super) fn redirect<'a>(&self, state: &'a mut State) -> &'a mut Fences {
        let until = state.replies.next_seq();
        self.redirecting.set(true);
        let fences = state
            .fences
            .get_or_insert_with(|| Box::new(Fences::enter(state.replies.in_flight(), until)));
        fences.extend(until);
        fences
    }

    /// A reply that is an error, or any reply while the session is redirecting.
    pub(super) fn examine(
        &self,
        state: &mut State,
        ticket: Ticket,
        reply: &[u8],
        request: Bytes,
        from: &NodeAddr,
    ) {
        if !self.is_awaited(state, ticket) {
            return self.landed_late(state, ticket, request);
        }
        let refusal = classify(reply).filter(|r| concerns(r, ticket));
        if let Some(refusal) = refusal
            && self.refused(state, ticket, reply, &request, from, refusal)
        {
            return;
        }
        if reply[0] == b'-' {
            self.context.metrics.error(ErrorSource::Upstream, reply);
        } else {
            self.note_heir(state, ticket, from);
        }
        self.settled(state, ticket, request);
        self.deliver(state, ticket, reply);
        self.advance_ticket(state, ticket);
    }

    /// Takes a refusal as what it says. `false`: it is to be passed on as it is.
    fn refused(
        &self,
        state: &mut State,
        ticket: Ticket,
        reply: &[u8],
        request: &Bytes,
        from: &NodeAddr,
        refusal: Refusal,
    ) -> bool {
        self.context.metrics.redirection(kind(&refusal));
        let info = self.inspect(request);
        let Some(why) = self.why(reply, from, refusal, ticket, &info) else {
            return false;
        };
        let reply = match (&why, ticket.slot()) {
            (Why::NotSent, Some(slot)) => super::retry::primary_unreachable(slot),
            _ => Bytes::copy_from_slice(reply),
        };
        self.fence(state, ticket, request.clone(), info.class, why, reply)
    }

    /// The node a redirection means, as the map names it (`cluster.address_map`).
    pub(super) fn reached(&self, target: &Target, from: &NodeAddr) -> NodeAddr {
        let announced = target.addr(from);
        let map = &self.context.config.cluster.address_map;
        let mapped = map.iter().find(|(known, _)| *known == announced);
        mapped.map_or(announced, |(_, reached)| reached.clone())
    }

    /// Whether a MOVED is the answer of a replica that was asked in place of its unreachable primary, and says no
    /// more than that it was not promoted.
    fn is_scouts_answer(&self, slot: Slot, to: &NodeAddr, from: &NodeAddr) -> bool {
        let map = self.context.map();
        let (Some(owner), Some(from)) = (map.owner(slot), map.find(from)) else {
            return false;
        };
        map.node(owner).addr == *to && map.replicas(owner).any(|r| r == from)
    }

    /// What a refusal means for the request, and what topology should hear of it.
    fn why(
        &self,
        reply: &[u8],
        from: &NodeAddr,
        refusal: Refusal,
        ticket: Ticket,
        info: &Inspected,
    ) -> Option<Why> {
        if info.script {
            return self.why_script(reply, from, &refusal, info.readonly);
        }
        let suspect = |why| Report::Suspect {
            node: from.clone(),
            why,
        };
        Some(match refusal {
            Refusal::Moved(slot, target) => {
                let to = self.reached(&target, from);
                if self.is_scouts_answer(slot, &to, from) {
                    return Some(Why::NotSent);
                }
                let from = from.clone();
                self.context.report(Report::Moved {
                    slot,
                    to: to.clone(),
                    from,
                });
                debug_assert_eq!(ticket.slot(), Some(slot));
                Why::Moved(to)
            }
            Refusal::Ask(_, target) => Why::Ask(self.reached(&target, from)),
            Refusal::TryAgain => Why::TryAgain,
            Refusal::ClusterDown | Refusal::MasterDown | Refusal::ReadOnly => {
                self.context.report(suspect(Trigger::ClusterDown));
                Why::Unavailable
            }
            Refusal::Loading => Why::Unavailable,
        })
    }

    /// A script may return any error text (invariant 7): MOVED from one counts only when a refresh agrees, ASK
    /// only when the node says the same to a plain command (`confirm`).
    /// The others cannot be confirmed, and what the script wrote before may stand (invariant 5): they count only
    /// in the server's own words, and only for scripts that cannot write.
    fn why_script(
        &self,
        reply: &[u8],
        from: &NodeAddr,
        refusal: &Refusal,
        readonly: bool,
    ) -> Option<Why> {
        match refusal {
            Refusal::Ask(..) => Some(Why::UnconfirmedAsk { from: from.clone() }),
            Refusal::Moved(..) => {
                let refreshes = self.context.shared.topology.rounds().started + 1;
                self.context.report(Report::Refresh(Trigger::Unconfirmed));
                Some(Why::Unconfirmed {
                    refreshes,
                    from: from.clone(),
                })
            }
            _ if !readonly => None,
            Refusal::TryAgain => is_own(reply, TRYAGAIN).then_some(Why::TryAgain),
            _ => is_own(reply, UNAVAILABLE).then_some(Why::Unavailable),
        }
    }

    /// Puts a request that did not execute behind a fence.
    fn fence(
        &self,
        state: &mut State,
        ticket: Ticket,
        request: Bytes,
        class: Class,
        why: Why,
        reply: Bytes,
    ) -> bool {
        let Some(slot) = ticket.slot() else {
            return self.set_adrift(state, ticket, request, class, reply);
        };
        if state.fences.is_none() {
            self.redirect(state);
        }
        self.mark(state, ticket, None);
        let Some(fences) = &mut state.fences else {
            return false;
        };
        let (hops, attempts) = fences.history(ticket);
        let hops = match why {
            Why::Moved(_) | Why::Ask(_) => hops + 1,
            // Several keys on their way: both nodes send the request back and forth until they have arrived. The
            // pauses bound that, and the command's time.
            Why::TryAgain => 0,
            _ => hops,
        };
        fences.refused(
            slot,
            Refused {
                held: held_bytes(ticket, request, class),
                why,
                reply,
                hops,
                attempts: attempts + 1,
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
        let info = self.inspect(&request);
        let reply = unreachable(fault);
        if !self.fence(
            state,
            ticket,
            request.clone(),
            info.class,
            Why::NotSent,
            reply.clone(),
        ) {
            self.context.metrics.error(ErrorSource::Proxy, &reply);
            self.deliver(state, ticket, &reply);
        }
    }

    /// A request's outcome is unknown. A read is repeated once; for anything else the client is told.
    pub(super) fn unknown(&self, state: &mut State, ticket: Ticket, request: Bytes, fault: &Fault) {
        if !self.is_awaited(state, ticket) {
            return self.landed_late(state, ticket, request);
        }
        let info = self.inspect(&request);
        let mut reply = Vec::new();
        encode::error(
            &mut reply,
            &format!(
                "ERR slotway: outcome unknown, connection to {} lost after the command was sent ({fault}); \
                 check before you repeat it",
                fault.node
            ),
        );
        if state.fences.is_none() {
            self.redirect(state);
        }
        let first_time = match (&state.fences, ticket.slot()) {
            (Some(fences), Some(_)) => fences.history(ticket).1 == 0,
            _ => !state.lost_adrift.contains(&ticket),
        };
        if ticket.slot().is_none() && first_time {
            let oldest = state.replies.oldest();
            state.lost_adrift.retain(|lost| lost.seq >= oldest);
            state.lost_adrift.push(ticket);
        }
        if info.readonly && !info.script && first_time {
            let reply = Bytes::from(reply.clone());
            if self.fence(
                state,
                ticket,
                request.clone(),
                info.class,
                Why::LostRead,
                reply,
            ) {
                return;
            }
        }
        self.context.metrics.error(ErrorSource::Proxy, &reply);
        self.context.metrics.unknown_outcome();
        self.settled(state, ticket, request);
        self.deliver(state, ticket, &reply);
        self.advance_ticket(state, ticket);
    }

    /// No reply in time. The client is told; the request stays in flight, and with it the order of its slot.
    pub(super) fn expire(&self, state: &mut State, ticket: Ticket) {
        if !self.is_awaited(state, ticket) {
            return;
        }
        if state.fences.is_none() {
            self.redirect(state);
        }
        let Some(pending) = state.replies.get_mut(ticket.seq) else {
            return;
        };
        let in_flight = match &pending.stage {
            Stage::Fanout(fanout) => fanout.parts.iter().filter(|p| p.lane.is_some()).count(),
            _ => 1,
        };
        pending.stage = Stage::Held;
        if let Some(fences) = &mut state.fences {
            (0..in_flight).for_each(|_| fences.expire());
        }
        self.context.metrics.unknown_outcome();
        let mut reply = Vec::new();
        let text = "ERR slotway: no reply in time (timeouts.command, or timeouts.slow_command for O(N) commands and \
                    scripts); outcome unknown, check before you repeat it";
        encode::error(&mut reply, text);
        self.context.metrics.error(ErrorSource::Proxy, &reply);
        self.complete(state, ticket.seq, &reply);
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
        self.settled(state, ticket, request);
        if let Some(fences) = &mut state.fences {
            fences.expired_landed();
        }
        self.advance_ticket(state, ticket);
    }

    /// A request in flight has executed, or may have.
    fn settled(&self, state: &mut State, ticket: Ticket, request: Bytes) {
        if let (Some(fences), Some(slot)) = (&mut state.fences, ticket.slot()) {
            fences.executed(ticket, slot, Some(request));
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
        let reply = super::retry::no_owner(slot, &self.context.map(), &status);
        self.put_aside(state, ticket, slot, request, class, Why::NotSent, reply);
    }

    /// A new request that the lane did not take.
    pub(super) fn hold_not_taken(
        &self,
        state: &mut State,
        class: Class,
        ticket: Ticket,
        slot: Slot,
        request: &[u8],
        not_taken: NotTaken,
    ) {
        let (why, reply) = match &not_taken {
            NotTaken::Down(fault) => (Why::NotSent, unreachable(fault)),
            NotTaken::Full => (Why::Full, super::retry::queue_full()),
        };
        self.put_aside(state, ticket, slot, request, class, why, reply);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one Refused")]
    fn put_aside(
        &self,
        state: &mut State,
        ticket: Ticket,
        slot: Slot,
        request: &[u8],
        class: Class,
        why: Why,
        reply: Bytes,
    ) {
        let fences = self.redirect(state);
        let refused = Refused {
            held: held(ticket, request, class),
            why,
            reply,
            hops: 0,
            attempts: 0,
            not_before: Some(self.context.clock.now() + super::retry::FIRST_PAUSE),
        };
        fences.put_back(slot, LaneId::NONE, refused);
    }

    /// A request for no slot that the lane did not take.
    pub(super) fn not_taken_adrift(
        &self,
        state: &mut State,
        ticket: Ticket,
        request: &[u8],
        class: Class,
        not_taken: &NotTaken,
    ) {
        let reply = match not_taken {
            NotTaken::Down(fault) => unreachable(fault),
            NotTaken::Full => super::retry::queue_full(),
        };
        let request = Bytes::copy_from_slice(request);
        if !self.set_adrift(state, ticket, request, class, reply.clone()) {
            self.context.metrics.error(ErrorSource::Proxy, &reply);
            self.deliver(state, ticket, &reply);
        }
    }

    fn set_adrift(
        &self,
        state: &mut State,
        ticket: Ticket,
        request: Bytes,
        class: Class,
        reply: Bytes,
    ) -> bool {
        let readonly = self.inspect(&request).readonly;
        // A write for all slots is resent only if nothing behind it can have overtaken it.
        if !readonly && state.replies.next_seq() != ticket.seq + 1 {
            return false;
        }
        let Some(adrift) = Adrift::new(state, ticket, request, class, reply) else {
            return false;
        };
        if self.is_out_of_patience(&adrift) {
            return false;
        }
        self.mark(state, ticket, None);
        state.adrift.push(adrift);
        self.schedule(self.context.clock.now() + super::retry::FIRST_PAUSE);
        true
    }

    /// What the command table says of a request's bytes.
    pub(super) fn inspect(&self, request: &[u8]) -> Inspected {
        let mut spans: Vec<Span> = Vec::new();
        let table = self.context.table();
        let command = parse_request(request, &mut spans).and_then(|r| table.lookup(&r).ok());
        Inspected {
            script: command.is_none_or(Command::is_script),
            readonly: command.is_some_and(Command::is_readonly),
            class: command.map_or(Class::Normal, super::dispatch::class),
        }
    }
}

/// See [`Session::inspect`]; what is not known counts as the worst.
pub(super) struct Inspected {
    pub(super) script: bool,
    pub(super) readonly: bool,
    pub(super) class: Class,
}

/// The texts of the servers themselves (Redis 7.0 and Valkey 9.1, `getNodeByQuery` and `processCommand`).
const TRYAGAIN: &[&str] = &["TRYAGAIN Multiple keys request during rehashing of slot"];
const UNAVAILABLE: &[&str] = &[
    "CLUSTERDOWN Hash slot not served",
    "CLUSTERDOWN The cluster is down",
    "CLUSTERDOWN The cluster is down and only accepts read commands",
    "LOADING Redis is loading the dataset in memory",
    "LOADING Valkey is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
];

fn is_own(reply: &[u8], texts: &[&str]) -> bool {
    let text = reply
        .strip_prefix(b"-")
        .and_then(|t| t.strip_suffix(b"\r\n"));
    text.is_some_and(|t| texts.iter().any(|own| own.as_bytes() == t))
}

/// A redirection counts only if it is about the request's own slot.
fn concerns(refusal: &Refusal, ticket: Ticket) -> bool {
    match refusal {
        Refusal::Moved(slot, _) | Refusal::Ask(slot, _) => ticket.slot() == Some(*slot),
        _ => true,
    }
}

fn kind(refusal: &Refusal) -> Redirection {
    match refusal {
        Refusal::Moved(..) => Redirection::Moved,
        Refusal::Ask(..) => Redirection::Ask,
        Refusal::TryAgain => Redirection::TryAgain,
        Refusal::ClusterDown => Redirection::ClusterDown,
        Refusal::MasterDown => Redirection::MasterDown,
        Refusal::Loading => Redirection::Loading,
        Refusal::ReadOnly => Redirection::ReadOnly,
    }
}

fn unreachable(fault: &Fault) -> Bytes {
    let mut reply = Vec::new();
    encode::error(
        &mut reply,
        &format!("CLUSTERDOWN slotway: not sent, {fault}; try again later"),
    );
    reply.into()
}
