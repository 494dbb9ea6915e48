//! One decoded command: look it up, plan it, send it or answer it.

use super::admission::unauthenticated;
use super::replies::{About, Stage};
use super::{Session, State};
use crate::cluster::{NodeIndex, Slot, SlotMap};
use crate::command::{Command, CommandTable, Local, Lookup, Mode, Over};
use crate::local::{self, Access, Effect, Replies};
use crate::observe::{CrossSlot, ErrorSource, Limit};
use crate::resp::Request;
use crate::route::{Plan, RefusedBy, plan};
use crate::upstream::{Class, Lane, LaneId, Ticket};
use std::cell::Ref;
use std::rc::Rc;
use std::sync::Arc;

/// What a client gets whose request is too large for what memory is left.
pub(super) const SCARCE: &str =
    "OOM slotway: limits.memory is nearly reached, no large request is taken now; try again later";

/// What all commands of one read have in common: one look at the map and the table.
pub(super) struct Batch<'a> {
    pub(super) map: Ref<'a, Arc<SlotMap>>,
    pub(super) table: Ref<'a, Arc<CommandTable>>,
    /// Somebody has said MONITOR.
    pub(super) monitored: bool,
    /// More is looked at than usual: somebody has said MONITOR, or whether its values are large is not known.
    curious: bool,
}

/// Whether a command was taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It has its place among the replies.
    Yes,
    /// It must come again when everything before it is answered.
    NotYet,
}

impl Session {
    /// Looks at the map once for the commands to come, of so many bytes together. If it has changed since the last batch,
    /// what is in flight may be on lanes that it no longer points to: the session is redirecting until that is answered.
    pub(super) fn begin_batch(&self, bytes: usize) -> Batch<'_> {
        let state = &mut *self.state.borrow_mut();
        if state.way.is_unsettled() {
            self.settle(state);
        }
        let monitored = self.context.shared.monitors.watched();
        let batch = Batch {
            map: self.context.map(),
            table: self.context.table(),
            monitored,
            curious: monitored || self.is_guessed_at(state) || bytes >= self.context.bulk_from,
        };
        if state.map_version != batch.map.version() {
            state.map_version = batch.map.version();
            if !state.replies.is_empty() {
                self.redirect(state);
            }
        }
        batch
    }

    /// Takes one command.
    #[inline(always)] // every request passes here; left to itself the compiler keeps it out of line, now and then
    pub(super) fn dispatch(self: &Rc<Self>, batch: &Batch<'_>, request: Request<'_>) -> Taken {
        let state = &mut *self.state.borrow_mut();
        let config = &*self.context.config;
        let mut about = About {
            started: self.context.clock.micros(),
            bytes: request.bytes().len() as u32,
            timed: config.observe.latency,
            ..About::default()
        };
        let command = match batch.table.lookup(&request) {
            Ok(command) => command,
            Err(unknown) => return self.refuse_unknown(state, about, &unknown),
        };
        about.command = command.metric;
        about.writes = command.is_write();
        state.last_command = command.metric;
        if (state.transaction.is_some() | state.watch.is_some())
            && let Some(taken) = self.before_exec(state, batch, command, about, &request)
        {
            return taken;
        }
        let plan = plan(command, &request, config.policy.split_writes);
        if must_wait(state, &plan) {
            state.barrier = true;
            return Taken::NotYet;
        }
        if self.lacks_map(state, batch, &plan) {
            return Taken::NotYet;
        }
        about.silent = state.client.begin_command() != Replies::On;
        if state.client.access() == Access::Asked && !self.allowed_before_auth(command, &plan) {
            return self.refuse(state, about, unauthenticated(command));
        }
        if state.subscriptions.is_some()
            && let Some(taken) = self.while_subscribed(state, command, &plan, about, &request)
        {
            return taken;
        }
        if self.context.memory.refuses(request.bytes().len()) && self.lacks_memory(&plan) {
            return self.refuse(state, about, SCARCE);
        }
        if batch.curious {
            if batch.monitored
                && let Some(text) = self.monitored(state, command, &plan, &request)
            {
                return self.refuse(state, about, text);
            }
            self.look_at_size(state, &plan, request.bytes().len());
        }
        self.look_at_keys(command, &request);
        match plan {
            Plan::Slot(slot) => {
                self.observe_lookup(&mut about, command, &request);
                self.send_to_slot(state, batch, class(command), about, &request, slot)
            }
            Plan::Local(local) => self.answer_local(state, local, about, &request),
            Plan::Split(kind) => {
                self.context
                    .metrics
                    .cross_slot(command.metric, CrossSlot::Split);
                self.observe_lookup(&mut about, command, &request);
                self.split(state, batch, kind, class(command), about, &request)
            }
            Plan::Gather(gather) => {
                self.gather(state, batch, gather, class(command), about, &request)
            }
            Plan::AnyNode => self.send_anywhere(state, batch, class(command), about, &request),
            Plan::KeylessScript => self.keyless_script(state, batch, command, about, &request),
            Plan::Home => self.send_home(state, batch, class(command), about, &request),
            Plan::Scan => self.scan(state, batch, class(command), about, &request),
            Plan::Mode(mode) => self.mode(state, batch, mode, command, about, &request),
            Plan::Refuse(text, by) => {
                if by == RefusedBy::CrossSlot {
                    self.context
                        .metrics
                        .cross_slot(command.metric, CrossSlot::Refused);
                }
                self.refuse(state, about, &text)
            }
        }
    }

    /// Whether a command is refused because there is too little memory for it. Not those that make a transaction, as by the
    /// servers: what comes behind would be executed without the protection it counts on, or with what was to end.
    #[cold]
    fn lacks_memory(&self, plan: &Plan) -> bool {
        let Plan::Mode(mode) = plan else {
            return self.context.refused_for_memory();
        };
        let transacts = matches!(
            mode,
            Mode::Multi | Mode::Exec | Mode::Discard | Mode::Watch | Mode::Unwatch
        );
        !transacts && self.context.refused_for_memory()
    }

    #[inline]
    fn send_to_slot(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        class: Class,
        about: About,
        request: &Request<'_>,
        slot: Slot,
    ) -> Taken {
        let ticket = Ticket::new(state.replies.next_seq(), 0, Some(slot));
        let stage = match self.send(state, &batch.map, class, ticket, slot, request.bytes()) {
            Some(lane) => Stage::Sent(Some(slot), lane),
            None => Stage::Held,
        };
        state.replies.push(about, stage);
        if about.writes {
            self.note_write(state);
        }
        self.advance_if_closed(state, slot);
        Taken::Yes
    }

    /// Sends a request to its slot's owner, or puts it behind the slot's fence (`None`).
    #[inline]
    pub(super) fn send(
        self: &Rc<Self>,
        state: &mut State,
        map: &SlotMap,
        class: Class,
        ticket: Ticket,
        slot: Slot,
        request: &[u8],
    ) -> Option<LaneId> {
        let Some(owner) = map.owner(slot) else {
            self.hold_new_unowned(state, class, ticket, slot, request);
            return None;
        };
        let lane = self.lane_to(state, map, owner);
        if let Some(fences) = &mut state.fences
            && !fences.admits(slot, lane.id())
        {
            fences.hold(slot, lane.id(), super::retry::held(ticket, request, class));
            return None;
        }
        if class == Class::Slow {
            self.script_ahead(&lane, request);
        }
        match lane.send(request, false, ticket, self.clone(), class) {
            Ok(()) => {
                if let Some(fences) = &mut state.fences {
                    fences.sent(slot, lane.id());
                }
                Some(lane.id())
            }
            Err(not_taken) => {
                let held = super::retry::held(ticket, request, class);
                self.hold_not_taken(state, held, slot, &lane, &not_taken);
                None
            }
        }
    }

    /// The lane that leads this session to a node of `map`: always the same while anything is in flight, so that its order
    /// holds.
    #[inline]
    pub(super) fn lane_to(&self, state: &State, map: &SlotMap, node: NodeIndex) -> Rc<Lane> {
        let client = &state.client;
        self.context
            .lanes
            .to_node(map, node, client.proto(), state.way.stripe())
    }

    /// Whether a command for any or all nodes has to wait because no node has answered yet: at most
    /// `timeouts.unavailable`.
    #[inline]
    fn lacks_map(&self, state: &mut State, batch: &Batch<'_>, plan: &Plan) -> bool {
        let for_nodes = matches!(
            plan,
            Plan::AnyNode | Plan::Home | Plan::KeylessScript | Plan::Gather(_) | Plan::Scan
        );
        if !for_nodes || state.client.access() == Access::Asked {
            return false;
        }
        if !batch.map.nodes().is_empty() {
            state.no_map_until = None;
            return false;
        }
        let now = self.context.clock.now();
        let until = *state
            .no_map_until
            .get_or_insert_with(|| now + self.unavailable());
        if now < until {
            self.schedule(until);
        } else {
            state.no_map_until = None;
            self.context.metrics.limit_hit(Limit::UnavailableTimeout);
        }
        now < until
    }

    /// What is read from its reply for the hit rate (`observe.hit_rate`), and for which group of keys.
    #[inline]
    pub(super) fn observe_lookup(
        &self,
        about: &mut About,
        command: &Command,
        request: &Request<'_>,
    ) {
        about.keys = request.len() as u32 - 1;
        if self.context.config.observe.hit_rate {
            about.lookup = command.lookup;
            let metrics = &self.context.metrics;
            if metrics.has_key_groups() && command.lookup != Lookup::None {
                about.group = self.group_of(command, request);
            }
        }
    }

    fn answer_local(
        self: &Rc<Self>,
        state: &mut State,
        local: Local,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        if concerns_clients(local) {
            return self.about_clients(state, local, about, request);
        }
        let mut reply = Vec::new();
        let server = self.context.shared.server.load();
        let env = self.context.env(&server);
        if local == Local::Reset {
            state.transaction = None;
            self.unwatch(state);
            state.monitor = None;
            state.subscriptions = None;
        }
        let effect = local::answer(local, request, &mut state.client, &env, &mut reply);
        if reply.first() == Some(&b'-') {
            self.count_error_of(state, ErrorSource::Proxy, &reply, about.command);
        }
        let about = About {
            silent: match effect {
                Effect::Reply | Effect::Close => about.silent,
                Effect::ReplyAlways => false,
                Effect::Silent => true,
            },
            ..about
        };
        self.reply_in_turn(state, about, &reply);
        if effect == Effect::Close {
            state.life = super::Life::Finishing;
            self.wake();
        }
        Taken::Yes
    }

    /// Answers a command with an error of ours; `text` comes without the leading `-`.
    pub(super) fn refuse(&self, state: &mut State, about: About, text: &str) -> Taken {
        self.refuse_with(state, about, text.as_bytes())
    }

    /// As [`Self::refuse`], for a text that quotes the client's bytes.
    #[cold]
    pub(super) fn refuse_with(&self, state: &mut State, about: About, text: &[u8]) -> Taken {
        let reply = [b"-", text, b"\r\n"].concat();
        self.count_error_of(state, ErrorSource::Proxy, &reply, about.command);
        self.reply_in_turn(state, about, &reply);
        Taken::Yes
    }

    /// Gives a command its place and its reply at once.
    pub(super) fn reply_in_turn(&self, state: &mut State, about: About, reply: &[u8]) {
        let seq = state.replies.next_seq();
        state.replies.push(about, Stage::Held);
        self.complete(state, seq, reply);
    }

    /// As [`Self::reply_in_turn`], for what is no command (a protocol error).
    pub(super) fn reply_now(&self, reply: &[u8]) {
        let state = &mut *self.state.borrow_mut();
        self.context.metrics.error(ErrorSource::Proxy, reply);
        let about = About {
            started: self.context.clock.micros(),
            ..About::default()
        };
        self.reply_in_turn(state, about, reply);
    }
}

/// The time class of a command.
#[inline]
pub(super) fn class(command: &Command) -> Class {
    if command.is_slow() {
        Class::Slow
    } else {
        Class::Normal
    }
}

/// Whether a command has to wait until everything before it is answered: it changes the connection, or it
/// concerns every slot while some slot is fenced.
fn must_wait(state: &State, plan: &Plan) -> bool {
    let concerned = match plan {
        Plan::Local(local) => changes_connection(*local),
        Plan::Gather(gather) if gather.over == Over::OwnConnections => true,
        Plan::Gather(_) | Plan::Scan => state.fences.is_some(),
        Plan::Mode(mode) => super::modal::waits_its_turn(*mode),
        _ => false,
    };
    concerned && !state.replies.is_empty()
}

/// Whether a local command changes what the commands behind it mean, or a task carries it out, so that all before it
/// must be answered.
fn changes_connection(local: Local) -> bool {
    matches!(
        local,
        Local::Hello
            | Local::Auth
            | Local::Reset
            | Local::ClientReply
            | Local::ClientList
            | Local::ClientKill
            | Local::ClientUnblock
    )
}

/// Whether a local command needs more than its client's own state.
fn concerns_clients(local: Local) -> bool {
    matches!(
        local,
        Local::ClientInfo | Local::ClientList | Local::ClientKill | Local::ClientUnblock
    )
}
