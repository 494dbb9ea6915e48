//! Commands that become several requests: split by slot, or sent to several nodes; and those that any node may
//! answer.

use super::dispatch::{Batch, Taken, class};
use super::recent::Question;
use super::replies::{About, Duty, Fanout, MergedSize, Part, Stage};
use super::{Session, State};
use crate::cluster::{NodeIndex, Slot, SlotMap};
use crate::command::{Command, Gather, Lookup, Merge, Over, SCRIPT_WITHOUT_KEYS, Split, Targets};
use crate::config::KeylessScripts;
use crate::resp::Request;
use crate::route::{Gathering, limit, split};
use crate::upstream::{Class, Ticket};
use bytes::Bytes;
use std::rc::Rc;

/// The question that goes with RANDOMKEY, so that the choice among the shards can follow their sizes.
const DBSIZE: &[u8] = b"*1\r\n$6\r\nDBSIZE\r\n";

/// One part of a command, on its way to the owner of its slot.
pub(super) struct ToSend<'a> {
    pub(super) slot: Slot,
    pub(super) request: &'a [u8],
    /// See `Ticket::of_block`.
    pub(super) inner: u32,
    pub(super) keys: u32,
}

/// The slots of `parts`, if the session is redirecting.
pub(super) fn closed_slots(state: &State, parts: &[Part]) -> Vec<Slot> {
    match &state.fences {
        Some(_) => parts.iter().filter_map(|p| p.slot).collect(),
        None => Vec::new(),
    }
}

impl Session {
    /// One sub-command per slot, all handed to their lanes at once.
    pub(super) fn split(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        kind: Split,
        class: Class,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let plan = match split(kind, request) {
            Ok(plan) => plan,
            Err(e) => return self.refuse(state, about, &e.to_string()),
        };
        let to_send = (0..plan.len()).map(|part| ToSend {
            slot: plan.slot(part),
            request: plan.command(part),
            inner: 0,
            keys: if about.lookup == Lookup::None {
                0
            } else {
                plan.positions(part).len() as u32
            },
        });
        let parts = self.send_parts(state, batch, class, to_send);
        let closed = closed_slots(state, &parts);
        self.push_fanout(state, about, Gathering::of_split(plan), parts, None);
        for slot in closed {
            self.advance_if_closed(state, slot);
        }
        Taken::Yes
    }

    /// Sends the parts of the next command, each to its slot. They are to be pushed among the replies, and what waits
    /// for the slots that are closed then is to be advanced.
    pub(super) fn send_parts<'a>(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        class: Class,
        to_send: impl ExactSizeIterator<Item = ToSend<'a>>,
    ) -> Vec<Part> {
        let seq = state.replies.next_seq();
        let mut parts = Vec::with_capacity(to_send.len());
        // Parts that left before the session began to redirect because of a later one.
        let mut unfenced = 0;
        for (part, one) in to_send.enumerate() {
            let slot = one.slot;
            let ticket = Ticket::new(seq, part as u16, Some(slot)).of_block(one.inner);
            let lane = self.send(state, &batch.map, class, ticket, slot, one.request);
            unfenced += usize::from(state.fences.is_none());
            parts.push(Part {
                slot: Some(slot),
                lane,
                node: None,
                keys: one.keys,
                duty: Duty::Required,
            });
        }
        if let Some(fences) = &mut state.fences {
            let sent = parts[..unfenced]
                .iter()
                .filter_map(|p| Some((p.slot?, p.lane?)));
            sent.for_each(|(slot, lane)| fences.sent(slot, lane));
        }
        parts
    }

    /// The whole command to several nodes.
    pub(super) fn gather(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        gather: Gather,
        class: Class,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        if gather.over == Over::OwnConnections {
            return self.gather_past_scripts(state, batch, gather, about, request);
        }
        let map = &batch.map;
        if gather.merge == Merge::AllOk {
            self.note_script_command(request);
            let now = self.context.clock.now();
            self.context.recent.borrow_mut().outdate(now);
        }
        let nodes = self.targets(state, map, gather.to);
        if nodes.is_empty() {
            return self.refuse(state, about, &self.no_node());
        }
        let question = match gather.merge {
            Merge::Info => self.question(state, request),
            _ => None,
        };
        if let Some(question) = &question
            && let Some(reply) = self.recent(question)
        {
            self.reply_in_turn(state, about, &reply);
            return Taken::Yes;
        }
        let mut gathering = match gather.merge {
            Merge::ScriptExists => {
                Gathering::of_script_exists(nodes.len(), self.known_scripts(request))
            }
            merge => {
                let limit = limit(merge, request);
                let own = self.own_log(request, limit);
                let targets = nodes.len() + usize::from(own.is_some());
                let mut gathering = Gathering::of_fan_out(merge, targets, limit);
                if let Some(own) = own {
                    gathering.put(nodes.len(), &own);
                }
                gathering
            }
        };
        let mut requests = vec![request.bytes()];
        if gather.merge == Merge::RandomKey {
            requests.insert(0, DBSIZE);
        }
        let seq = state.replies.next_seq();
        let mut parts = Vec::new();
        let mut failed = Vec::new();
        for &(node, duty) in &nodes {
            let lane = self.lane_to(state, map, node);
            for bytes in &requests {
                let ticket = Ticket::new(seq, parts.len() as u16, None);
                let taken = lane.send(bytes, false, ticket, self.clone(), class);
                match &taken {
                    Err(_) if duty == Duty::Optional => {
                        gathering.skip(parts.len());
                    }
                    Err(not_taken) => failed.push((ticket, *bytes, not_taken.clone())),
                    Ok(()) => {}
                }
                parts.push(Part {
                    slot: None,
                    lane: taken.is_ok().then(|| lane.id()),
                    node: Some(map.node(node).addr.clone()),
                    keys: 0,
                    duty,
                });
            }
        }
        self.push_fanout(state, about, gathering, parts, question);
        for (ticket, bytes, not_taken) in failed {
            self.not_taken_adrift(state, ticket, bytes, class, &not_taken);
        }
        Taken::Yes
    }

    /// A script or function without keys: to the client's own primary, unless `policy.keyless_scripts` refuses it.
    pub(super) fn keyless_script(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        command: &Command,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        match self.refuses_keyless(command) {
            Some(text) => self.refuse(state, about, &text),
            None => self.send_anywhere(state, batch, class(command), about, request),
        }
    }

    /// `policy.keyless_scripts = "error"`
    pub(super) fn refuses_keyless(&self, command: &Command) -> Option<String> {
        let refused = self.context.config.policy.keyless_scripts == KeylessScripts::Error;
        refused.then(|| command.refusal(SCRIPT_WITHOUT_KEYS))
    }

    /// The whole command to one primary, always the same for a session while the map stays.
    pub(super) fn send_anywhere(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        class: Class,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let Some(node) = self.home(state, &batch.map) else {
            return self.refuse(state, about, &self.no_node());
        };
        self.send_to_node(state, &batch.map, node, class, about, request.bytes())
    }

    pub(super) fn send_to_node(
        self: &Rc<Self>,
        state: &mut State,
        map: &SlotMap,
        node: NodeIndex,
        class: Class,
        about: About,
        request: &[u8],
    ) -> Taken {
        let ticket = Ticket::new(state.replies.next_seq(), 0, None);
        let lane = self.lane_to(state, map, node);
        if class == Class::Slow {
            self.script_ahead(&lane, request);
        }
        match lane.send(request, false, ticket, self.clone(), class) {
            Ok(()) => state.replies.push(about, Stage::Sent(None, lane.id())),
            Err(not_taken) => {
                state.replies.push(about, Stage::Held);
                self.not_taken_adrift(state, ticket, request, class, &not_taken);
            }
        }
        if about.writes {
            self.note_write(state);
        }
        Taken::Yes
    }

    /// What a reply that may be given again depends on.
    fn question(&self, state: &State, request: &Request<'_>) -> Option<Question> {
        let port = self.facts(state).port;
        Question::new(request.bytes(), state.client.proto(), port)
    }

    fn recent(&self, question: &Question) -> Option<Bytes> {
        let now = self.context.clock.now();
        self.context.recent.borrow_mut().get(question, now)
    }

    pub(super) fn push_fanout(
        &self,
        state: &mut State,
        about: About,
        gathering: Gathering,
        parts: Vec<Part>,
        question: Option<Question>,
    ) {
        let fanout = Box::new(Fanout {
            gathering,
            parts: parts.into_boxed_slice(),
            size: MergedSize::Fits,
            blame: None,
            again: question.map(|question| (question, self.context.clock.now())),
        });
        state.replies.push(about, Stage::Fanout(fanout));
        if about.writes {
            self.note_write(state);
        }
    }

    /// The nodes that a command goes to, primaries first, and whether each of them has to answer.
    pub(super) fn targets(
        &self,
        state: &State,
        map: &SlotMap,
        targets: Targets,
    ) -> Vec<(NodeIndex, Duty)> {
        let required = |nodes: Vec<NodeIndex>| nodes.into_iter().map(|n| (n, Duty::Required));
        let replicas = |duty| {
            let primaries = map.primaries();
            let all = primaries.into_iter().flat_map(|p| map.replicas(p));
            all.map(move |node| (node, duty)).collect::<Vec<_>>()
        };
        let primaries = required(map.primaries());
        match targets {
            Targets::Primaries => primaries.collect(),
            Targets::AllNodes => primaries.chain(replicas(Duty::Required)).collect(),
            Targets::ReachableNodes => primaries.chain(replicas(Duty::Optional)).collect(),
            Targets::One => required(self.home(state, map).into_iter().collect()).collect(),
        }
    }

    /// The primary that answers what any may answer: the owner of a slot drawn from the client's number.
    pub(super) fn home(&self, state: &State, map: &SlotMap) -> Option<NodeIndex> {
        let drawn = state.client.id().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50;
        let slot = Slot::new(drawn as u16)?;
        map.owner(slot).or_else(|| map.primaries().first().copied())
    }

    pub(super) fn no_node(&self) -> String {
        let status = self.context.shared.status.load();
        super::errors::no_topology(&status)
    }
}
