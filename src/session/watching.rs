//! WATCH, from the first watched key to EXEC, DISCARD, UNWATCH, RESET or the end of the client. A node keeps a watch with
//! the connection that it came over, so the client has one of its own meanwhile, a lease to the node of the keys' slot.
//! What it asks of that slot goes over the lease too, and EXEC (`optimistic`): what it decides on and what is watched
//! come from one place. What it asks of other slots goes the usual way, and so do scripts, which may have to be sent
//! with their calls.
//!
//! A watch that is lost (its connection, or its slot) is not told of at once: EXEC answers nil, as it does when
//! somebody else has changed a key, and the client tries again.

use super::dispatch::{Batch, SCARCE, Taken};
use super::on_lease::{Held, OK, OnLease};
use super::replies::About;
use super::seat::{Among, Place};
use super::{Session, State};
use crate::cluster::Slot;
use crate::command::{Command, Keys, Mode, Policy};
use crate::local::{Access, Replies};
use crate::modes::{Queue, inside};
use crate::observe::{CrossSlot, Limit};
use crate::resp::{Request, Span, parse_request};
use crate::route::{Plan, RefusedBy, cross_slot, plan};
use crate::upstream::Class;
use std::collections::HashSet;
use std::convert::identity;
use std::rc::Rc;
use std::time::Duration;

const TOO_MANY: &str = "ERR slotway: too many clients that watch keys (limits.watchers); raise it, or let fewer clients \
                        watch at the same time";

const TOO_MUCH: &str = "ERR slotway: the names of all watched keys are longer than limits.transaction_bytes; watch fewer \
                        keys, or raise it";

/// What a client watches; kept in its state, boxed.
pub(super) struct Watch {
    slot: Slot,
    hold: Hold,
    keys: HashSet<Box<[u8]>>,
    /// The key that was named first, for messages.
    first: Box<[u8]>,
    /// Length of all keys.
    bytes: usize,
    _place: Place,
}

/// The connection that a watch belongs to.
pub(super) enum Hold {
    Lease(Held),
    /// A task has it (`driven`), and gives it back.
    Lent,
    /// Gone, or of no more use: EXEC will answer nil.
    Lost,
}

impl Session {
    /// `WATCH key …`; all before it has been answered.
    pub(super) fn watch(
        self: &Rc<Self>,
        state: &mut State,
        command: &Command,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let first = state.watch.as_ref().map(|watch| &watch.first[..]);
        let first = first.unwrap_or_else(|| request.arg(1));
        let slot = Slot::of(first);
        let mut keys = request.args().skip(1);
        if let Some(other) = keys.find(|key| Slot::of(key) != slot) {
            let text = cross_slot(first, other, inside::WATCH_TOGETHER);
            let metrics = &self.context.metrics;
            metrics.cross_slot(command.metric, CrossSlot::Refused);
            return self.refuse(state, about, &text);
        }
        let bytes: usize = request.args().skip(1).map(<[u8]>::len).sum();
        let held = state.watch.as_ref().map_or(0, |watch| watch.bytes);
        if held + bytes > self.context.config.limits.transaction_bytes {
            self.context.metrics.limit_hit(Limit::TransactionBytes);
            return self.refuse(state, about, TOO_MUCH);
        }
        let keys: Vec<Box<[u8]>> = request.args().skip(1).map(Into::into).collect();
        let errand = OnLease::new(self, slot, command, request);
        if state.watch.is_some() {
            if !self.is_served(state, command, request)
                && let Some(watch) = &mut state.watch
            {
                // Perhaps at the old place still: it cannot be watched together with the first ones.
                watch.lose(self.context.config.timeouts.command);
            }
            let Some(held) = self.borrow_lease(state) else {
                // EXEC will answer nil whatever is watched.
                self.reply_in_turn(state, about, OK);
                return Taken::Yes;
            };
            return self.drive_in_turn(state, about, slot, identity, errand.watch_more(held, keys));
        }
        let Some(place) = Place::take(&self.context, Among::Watchers) else {
            return self.refuse(state, about, TOO_MANY);
        };
        state.watch = Some(Box::new(Watch::new(slot, request.arg(1), place)));
        let proto = state.client.proto();
        self.drive(state, about, errand.watch(proto, keys))
    }

    /// Forgets the watch: EXEC, DISCARD, UNWATCH, RESET. Its connection is used again once the node has forgotten too.
    pub(super) fn unwatch(&self, state: &mut State) {
        let Some(mut watch) = state.watch.take() else {
            return;
        };
        watch.lose(self.context.config.timeouts.command);
    }

    /// A command of a client that watches, outside of MULTI. `None`: it goes the usual way.
    pub(super) fn while_watching(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        command: &Command,
        mut about: About,
        request: &Request<'_>,
    ) -> Option<Taken> {
        let watched = state.watch.as_ref()?.slot;
        let plan = plan(command, request, true);
        match plan {
            // The servers forget the watch even then.
            Plan::Refuse(_, RefusedBy::Arguments) if command.policy == Policy::Mode(Mode::Exec) => {
                self.unwatch(state);
                return None;
            }
            Plan::Slot(slot)
                if slot == watched
                    && !command.is_script()
                    && self.is_served(state, command, request) => {}
            _ => return None,
        }
        if state.client.access() == Access::Asked || !self.is_held(state) {
            return None;
        }
        if !state.replies.is_empty() {
            state.barrier = true;
            return Some(Taken::NotYet);
        }
        about.silent = state.client.begin_command() != Replies::On;
        if state.subscriptions.is_some()
            && let Some(taken) = self.while_subscribed(state, command, &plan, about, request)
        {
            return Some(taken);
        }
        if self.context.is_too_large_now(request.bytes().len()) {
            return Some(self.refuse(state, about, SCARCE));
        }
        if batch.monitored
            && let Some(text) = self.monitored(state, command, &plan, request)
        {
            return Some(self.refuse(state, about, text));
        }
        self.observe_lookup(&mut about, command, request);
        let held = self.borrow_lease(state)?;
        let errand = OnLease::new(self, watched, command, request);
        Some(self.drive_in_turn(state, about, watched, identity, errand.carry_out(held)))
    }

    /// Whether the node of the lease is the one to ask about these keys.
    fn is_served(&self, state: &State, command: &Command, request: &Request<'_>) -> bool {
        let Some(watch) = state.watch.as_ref().filter(|watch| watch.is_asking()) else {
            return true;
        };
        let mut named = Keys::new();
        let is_watched = |&at: &u32| watch.keys.contains(request.arg(at as usize));
        command.keys(request, &mut named).is_ok() && named.iter().all(is_watched)
    }

    /// As [`Self::is_served`], of all that is queued.
    fn are_served(&self, state: &State, queue: &Queue) -> bool {
        if !state.watch.as_ref().is_some_and(|watch| watch.is_asking()) {
            return true;
        }
        let table = self.context.table();
        queue.commands().all(|command| {
            let mut spans: Vec<Span> = Vec::new();
            parse_request(command, &mut spans).is_some_and(|request| {
                let command = table.lookup(&request);
                command.is_ok_and(|command| self.is_served(state, command, &request))
            })
        })
    }

    /// Whether the watch still has its connection.
    fn is_held(&self, state: &mut State) -> bool {
        let proto = state.client.proto();
        let Some(watch) = &mut state.watch else {
            return false;
        };
        // After HELLO the client reads other replies than this connection gives.
        let held = matches!(&mut watch.hold, Hold::Lease(held)
            if held.proto() == proto && held.is_quiet());
        if !held {
            watch.hold = Hold::Lost;
        }
        held
    }

    /// The lease, for a task that gives it back with [`Self::hold`].
    fn borrow_lease(&self, state: &mut State) -> Option<Held> {
        if !self.is_held(state) {
            return None;
        }
        let watch = state.watch.as_mut()?;
        match std::mem::replace(&mut watch.hold, Hold::Lent) {
            Hold::Lease(held) => Some(held),
            Hold::Lent | Hold::Lost => None,
        }
    }

    /// A task is done with the lease; with `keys` if it has watched those.
    pub(super) fn hold(&self, hold: Hold, keys: Vec<Box<[u8]>>) {
        if let Some(watch) = &mut self.state.borrow_mut().watch {
            watch.hold = hold;
            watch.add(keys);
        }
    }

    /// EXEC: the watch ends, whatever comes of it. `None`: it was lost.
    pub(super) fn end_watch(&self, state: &mut State, queue: &Queue) -> Option<(Slot, Held)> {
        if !self.are_served(state, queue) {
            self.unwatch(state);
            return None;
        }
        let held = self.borrow_lease(state);
        let watch = state.watch.take()?;
        Some((watch.slot, held?))
    }

    /// How long the reply to a command may take.
    pub(super) fn within(&self, class: Class) -> Duration {
        let timeouts = &self.context.config.timeouts;
        match class {
            Class::Normal => timeouts.command,
            Class::Slow => timeouts.slow_command,
        }
    }
}

impl State {
    /// How many keys the client watches.
    pub(super) fn watched(&self) -> usize {
        self.watch.as_ref().map_or(0, |watch| watch.keys.len())
    }
}

impl Watch {
    fn new(slot: Slot, first: &[u8], place: Place) -> Self {
        Self {
            slot,
            hold: Hold::Lent,
            keys: HashSet::new(),
            first: first.into(),
            bytes: 0,
            _place: place,
        }
    }

    /// Whether its connection may be used for watched keys only.
    fn is_asking(&self) -> bool {
        matches!(&self.hold, Hold::Lease(held) if held.is_asking())
    }

    /// EXEC will answer nil. The connection is used again once the node has forgotten the watch.
    fn lose(&mut self, within: Duration) {
        if let Hold::Lease(held) = std::mem::replace(&mut self.hold, Hold::Lost) {
            tokio::task::spawn_local(held.forget(within));
        }
    }

    fn add(&mut self, keys: Vec<Box<[u8]>>) {
        for key in keys {
            let len = key.len();
            if self.keys.insert(key) {
                self.bytes += len;
            }
        }
    }

    /// Bytes of memory it holds.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.keys.capacity() * size_of::<Box<[u8]>>()
    }

    /// Why a command with that key cannot be queued, if it belongs to another slot.
    pub(super) fn refusal<'a>(
        &self,
        slot: Slot,
        key: impl FnOnce() -> Option<&'a [u8]>,
    ) -> Option<String> {
        (slot != self.slot)
            .then(|| cross_slot(&self.first, key().unwrap_or_default(), inside::BEHIND_WATCH))
    }
}
