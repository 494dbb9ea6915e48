//! Resending what was refused: to whom, when, and until when.

use super::replies::Stage;
use super::{Session, State};
use crate::cluster::{NodeAddr, NodeIndex, Slot, SlotMap};
use crate::command::Keys;
use crate::config::Unavailable;
use crate::io::Micros;
use crate::observe::{ErrorSource, Redirection, RetryReason};
use crate::resp::{Span, encode, parse_request};
use crate::route::{Held, Next, Refused, Why};
use crate::topology::{Report, TopologyStatus, Trigger};
use crate::upstream::{Class, LaneId, NotTaken, Ticket};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// Pause after the first refusal that asks for one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Pauses double up to this.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A worker asks replicas of an unreachable primary whether they were promoted at most this often.
const SCOUT_EVERY: Duration = Duration::from_millis(20);

/// How long commands wait for a node that does not serve, where the nodes' own timeout is not known.
const UNAVAILABLE_DEFAULT: Duration = Duration::from_secs(3);

/// What `timeouts.unavailable = "auto"` adds to the nodes' own timeout: the election and the news of it.
const UNAVAILABLE_MARGIN: Duration = Duration::from_secs(2);

/// A refused request that belongs to no slot (DBSIZE on a node that is loading, SCAN on a lost connection).
pub(super) struct Adrift {
    held: Held,
    reply: Bytes,
    attempts: u32,
    /// When the client sent the command: it may have been refused several times since.
    started: Micros,
}

impl Adrift {
    pub(super) fn new(
        state: &mut State,
        ticket: Ticket,
        request: Bytes,
        class: Class,
        reply: Bytes,
    ) -> Option<Self> {
        let started = state.replies.get_mut(ticket.seq)?.about.started;
        Some(Self {
            held: held_bytes(ticket, request, class),
            reply,
            attempts: 0,
            started,
        })
    }
}

/// What to do with a refused request whose turn it is.
enum Verdict {
    Send(NodeIndex, Asking),
    Wait(Instant),
    GiveUp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    No,
    Yes,
}

impl Session {
    /// Called when the time set by [`Self::schedule`] has come, or when the map has changed.
    pub(super) fn retry(&self, map_changed: bool) {
        let state = &mut *self.state.borrow_mut();
        self.retry_due.set(None);
        if state.life == super::Life::Dead {
            return;
        }
        if let Some(fences) = &mut state.fences {
            if map_changed {
                fences.hurry(self.context.clock.now());
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
        while let Some(fences) = &mut state.fences {
            match fences.next(slot, now, |refused, executed| {
                self.conflict(refused, executed)
            }) {
                Next::Idle => break,
                Next::Wait(until) => {
                    self.schedule(until);
                    break;
                }
                Next::Conflict(refused) => {
                    self.context.metrics.redirection(Redirection::PassedOn);
                    self.give_up(state, &refused);
                }
                Next::Resend(refused) => self.resend(state, slot, refused),
                Next::Release(held) => {
                    if !self.release(state, slot, held) {
                        break;
                    }
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
            Verdict::GiveUp => return self.give_up(state, &refused),
            Verdict::Wait(until) => refused.not_before = Some(until),
            Verdict::Send(node, asking) => {
                let client = &state.client;
                let lane =
                    self.context
                        .lanes
                        .to_node(&map, node, client.proto(), client.id() as usize);
                let asking = asking == Asking::Yes;
                let request = refused.held.request.clone();
                match lane.send(&request, asking, ticket, me, refused.held.class) {
                    Ok(()) => {
                        self.context.metrics.retry(reason(&refused.why));
                        self.mark(state, ticket, Some(lane.id()));
                        if let Some(fences) = &mut state.fences {
                            fences.resend(slot, lane.id(), &refused);
                        }
                        return;
                    }
                    Err(not_taken) => {
                        refused.why = match not_taken {
                            NotTaken::Down(_) => Why::NotSent,
                            NotTaken::Full => Why::Full,
                        };
                        refused.attempts += 1;
                        refused.not_before = Some(now + pause(refused.attempts));
                    }
                }
            }
        }
        if let Some(fences) = &mut state.fences {
            fences.put_back(slot, LaneId::NONE, refused);
        }
    }

    /// Sends a held request. `false`: its slot is in flight elsewhere, it waits on.
    fn release(&self, state: &mut State, slot: Slot, held: Held) -> bool {
        let map = self.context.map().clone();
        let Some(me) = self.myself.upgrade() else {
            return false;
        };
        if let Some(owner) = map.owner(slot) {
            let client = &state.client;
            let lane =
                self.context
                    .lanes
                    .to_node(&map, owner, client.proto(), client.id() as usize);
            if let Some(fences) = &mut state.fences
                && fences.busy_elsewhere(slot, lane.id())
            {
                fences.unhold(slot, held);
                return false;
            }
            match lane.send(&held.request, false, held.ticket, me, held.class) {
                Ok(()) => {
                    self.mark(state, held.ticket, Some(lane.id()));
                    if let Some(fences) = &mut state.fences {
                        fences.sent(slot, lane.id());
                    }
                }
                Err(not_taken) => {
                    let Held {
                        ticket,
                        request,
                        class,
                    } = held;
                    self.hold_not_taken(state, class, ticket, slot, &request, not_taken);
                }
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

    fn verdict(
        &self,
        state: &mut State,
        slot: Slot,
        refused: &Refused,
        map: &SlotMap,
        now: Instant,
    ) -> Verdict {
        let Some(pending) = state.replies.get_mut(refused.held.ticket.seq) else {
            return Verdict::GiveUp;
        };
        let age = now.duration_since(self.context.clock.instant(pending.about.started));
        // ASK is followed at once, so it is for the node it names to say what the client gets.
        let asked = matches!(&refused.why, Why::Ask(to) if map.find(to).is_some());
        let over = age >= self.patience(&refused.why) && !asked;
        if over || refused.hops > self.context.config.limits.redirections as u32 {
            return Verdict::GiveUp;
        }
        let wait = Verdict::Wait(now + pause(refused.attempts));
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
                if self.context.shared.topology.rounds().answered < *refreshes {
                    return wait;
                }
                match map.owner(slot) {
                    Some(owner) if map.node(owner).addr != *from => {
                        Verdict::Send(owner, Asking::No)
                    }
                    _ => Verdict::GiveUp,
                }
            }
            Why::UnconfirmedAsk { from } => {
                if refused.not_before.is_none() && !self.confirm(state, &refused.held, from, map) {
                    return Verdict::GiveUp;
                }
                wait
            }
            Why::Refuted => Verdict::GiveUp,
            Why::TryAgain | Why::Unavailable | Why::Full if refused.not_before.is_none() => wait,
            Why::TryAgain | Why::Unavailable | Why::Full => match map.owner(slot) {
                Some(owner) => Verdict::Send(owner, Asking::No),
                None => wait,
            },
            Why::NotSent | Why::LostRead => match map.owner(slot) {
                Some(owner) => self.owner_or_heir(map, owner, refused, now),
                None => wait,
            },
        }
    }

    /// The owner could not be reached: it is tried again, but so are its replicas, one of which may have been
    /// promoted without our knowing it. A replica that was not answers MOVED, which executes nothing.
    fn owner_or_heir(
        &self,
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
        let may_scout = refused.attempts > 1
            && self
                .context
                .scouted
                .get()
                .is_none_or(|last| now.duration_since(last) >= SCOUT_EVERY);
        let replicas: Vec<_> = map.replicas(owner).collect();
        if may_scout && !replicas.is_empty() {
            self.context.scouted.set(Some(now));
            let scout = replicas[refused.attempts as usize % replicas.len()];
            return Verdict::Send(scout, Asking::No);
        }
        if refused.not_before.is_none() {
            return Verdict::Wait(now + pause(refused.attempts));
        }
        Verdict::Send(owner, Asking::No)
    }

    /// A node executed a command for a slot that the map gives to another: if that one is its primary and was
    /// not reachable, it was promoted.
    pub(super) fn note_heir(&self, state: &State, ticket: Ticket, from: &NodeAddr) {
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
        if map.replicas(owner).any(|r| r == node) {
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

    /// How long a command may wait in all.
    fn patience(&self, why: &Why) -> Duration {
        let timeouts = &self.context.config.timeouts;
        match why {
            Why::Moved(_) | Why::Ask(_) | Why::TryAgain => timeouts.command,
            Why::UnconfirmedAsk { .. } | Why::Refuted => timeouts.command,
            Why::Full => timeouts.queue,
            Why::Unavailable | Why::NotSent | Why::LostRead | Why::Unconfirmed { .. } => {
                self.unavailable()
            }
        }
    }

    fn unavailable(&self) -> Duration {
        match self.context.config.timeouts.unavailable {
            Unavailable::Fixed(fixed) => fixed,
            Unavailable::Auto => match self.context.shared.server.load().node_timeout {
                Some(timeout) => timeout + UNAVAILABLE_MARGIN,
                None => UNAVAILABLE_DEFAULT,
            },
        }
    }

    fn give_up(&self, state: &mut State, refused: &Refused) {
        let source = match refused.why {
            Why::NotSent | Why::LostRead | Why::Full => ErrorSource::Proxy,
            _ => ErrorSource::Upstream,
        };
        if refused.why == Why::LostRead {
            self.context.metrics.unknown_outcome();
        }
        self.context.metrics.error(source, &refused.reply);
        self.deliver(state, refused.held.ticket, &refused.reply);
    }

    /// Whether two requests share a key and either of them writes; what cannot be told counts as yes.
    fn conflict(&self, a: &[u8], b: &[u8]) -> bool {
        let table = self.context.table();
        let (mut spans_a, mut spans_b): (Vec<Span>, Vec<Span>) = Default::default();
        let (Some(a), Some(b)) = (
            parse_request(a, &mut spans_a),
            parse_request(b, &mut spans_b),
        ) else {
            return true;
        };
        let (Ok(command_a), Ok(command_b)) = (table.lookup(&a), table.lookup(&b)) else {
            return true;
        };
        if command_a.is_readonly() && command_b.is_readonly() {
            return false;
        }
        let (mut keys_a, mut keys_b) = (Keys::new(), Keys::new());
        if command_a.keys(&a, &mut keys_a).is_err() || command_b.keys(&b, &mut keys_b).is_err() {
            return true;
        }
        let keys: std::collections::HashSet<&[u8]> =
            keys_a.iter().map(|&k| a.arg(k as usize)).collect();
        keys_b.iter().any(|&k| keys.contains(b.arg(k as usize)))
    }

    fn retry_adrift(&self, state: &mut State) {
        let now = self.context.clock.now();
        for mut adrift in std::mem::take(&mut state.adrift) {
            let ticket = adrift.held.ticket;
            let sent = self.send_adrift(state, &adrift);
            if sent {
                continue;
            }
            if self.is_out_of_patience(&adrift) {
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
        age >= self.unavailable()
    }

    /// Sends a request without a slot to the node it was for (by its part's place among the primaries).
    fn send_adrift(&self, state: &mut State, adrift: &Adrift) -> bool {
        let map = self.context.map().clone();
        let Some(me) = self.myself.upgrade() else {
            return false;
        };
        let ticket = adrift.held.ticket;
        let Some(node) = self.adrift_node(state, &map, ticket) else {
            return false;
        };
        let client = &state.client;
        let lane = self
            .context
            .lanes
            .to_node(&map, node, client.proto(), client.id() as usize);
        let taken = lane.send(&adrift.held.request, false, ticket, me, adrift.held.class);
        if taken.is_ok() {
            self.mark(state, ticket, Some(lane.id()));
        }
        taken.is_ok()
    }

    fn adrift_node(&self, state: &mut State, map: &SlotMap, ticket: Ticket) -> Option<NodeIndex> {
        let primaries = map.primaries();
        match &state.replies.get_mut(ticket.seq)?.stage {
            Stage::Fanout(fanout) => {
                let node = fanout.parts[usize::from(ticket.part)].node.as_ref()?;
                map.find(node)
            }
            _ => primaries
                .get(ticket.seq as usize % primaries.len().max(1))
                .copied(),
        }
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

/// What a client gets whose slot has had no owner for `timeouts.unavailable`.
pub(super) fn no_owner(slot: Slot, map: &SlotMap, status: &TopologyStatus) -> Bytes {
    let text = if map.nodes().is_empty() {
        no_topology(status)
    } else {
        format!("CLUSTERDOWN slotway: no primary serves slot {slot}; see /topology")
    };
    let mut reply = Vec::new();
    encode::error(&mut reply, &text);
    reply.into()
}

/// What a client gets before any node has answered.
pub(super) fn no_topology(status: &TopologyStatus) -> String {
    let why = status
        .last_error
        .as_ref()
        .map_or("no node has answered", |e| &e.error);
    format!("CLUSTERDOWN slotway: no topology yet ({why}); see cluster.nodes and /readyz")
}

/// What a client gets whose slot's primary could not be reached, nor any replica that was promoted.
pub(super) fn primary_unreachable(slot: Slot) -> Bytes {
    let mut reply = Vec::new();
    let text =
        format!("CLUSTERDOWN slotway: the primary of slot {slot} is unreachable; try again later");
    encode::error(&mut reply, &text);
    reply.into()
}

pub(super) fn queue_full() -> Bytes {
    let mut reply = Vec::new();
    encode::error(
        &mut reply,
        "ERR slotway: too many requests in flight for this node (limits.lane_in_flight, limits.lane_in_flight_bytes); \
         try again later",
    );
    reply.into()
}

fn reason(why: &Why) -> RetryReason {
    match why {
        Why::Moved(_) | Why::Ask(_) | Why::Unconfirmed { .. } => RetryReason::Redirected,
        // Never sent again as such.
        Why::UnconfirmedAsk { .. } | Why::Refuted => RetryReason::Redirected,
        Why::TryAgain | Why::Unavailable | Why::Full => RetryReason::Refused,
        Why::NotSent => RetryReason::NotSent,
        Why::LostRead => RetryReason::ReadOnly,
    }
}

fn pause(attempts: u32) -> Duration {
    (FIRST_PAUSE * (1 << attempts.min(8))).min(PAUSE_MAX)
}
