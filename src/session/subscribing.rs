//! Subscriptions, as the client sees them: its commands and their confirmations, the messages between its replies, what
//! it may not do meanwhile. Which connections that takes is the business of `subscriptions`.
//!
//! A command of the family is a barrier: all before it is answered, and nothing behind it is read until the nodes have
//! confirmed. So a confirmation is never behind a message of its channel, and what comes after it knows its effect.

use super::dispatch::{Batch, Taken};
use super::errors::error_reply;
use super::home::home;
use super::memory::MARK_BYTES;
use super::replies::{About, Stage};
use super::seat::Seat;
use super::subscriptions::{Around, Pending, Subscriptions};
use super::{Session, State};
use crate::cluster::Slot;
use crate::command::Command;
use crate::modes::pubsub::{self, Item, Kind, Push, Verb};
use crate::observe::{ErrorSource, Limit};
use crate::resp::{Proto, Request};
use crate::route::{Plan, RefusedBy};
use crate::upstream::Class;
use std::collections::BTreeSet;
use std::rc::{Rc, Weak};
use std::time::Instant;

/// By so many bytes the messages for one client grow before they are entered in the ledger.
const PUSHED_BYTES: usize = 16 * 1024;

impl Session {
    /// One command of the family.
    pub(super) fn subscription(
        self: &Rc<Self>,
        state: &mut State,
        command: &Command,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let Some((kind, verb)) = pubsub::command(&command.name) else {
            return self.refuse(state, about, &command.refusal("is not supported"));
        };
        // Confirmations are pushes: CLIENT REPLY does not concern them.
        let about = About {
            silent: false,
            ..about
        };
        let taken = match verb {
            Verb::Subscribe => self.subscribe(state, kind, about, request),
            Verb::Unsubscribe => self.unsubscribe(state, kind, about, request),
        };
        self.settle_subscriptions(state);
        taken
    }

    fn subscribe(
        self: &Rc<Self>,
        state: &mut State,
        kind: Kind,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let limits = &self.context.config.limits;
        let has = state.subscriptions.as_ref().map_or(0, |s| s.book.len());
        if has + request.len() - 1 > limits.subscriptions {
            self.context.metrics.limit_hit(Limit::Subscriptions);
            let text = format!(
                "ERR slotway: too many subscriptions of one client (limits.subscriptions = {}); use patterns, fewer \
                 channels, or raise it",
                limits.subscriptions
            );
            return self.refuse(state, about, &text);
        }
        if state.subscriptions.is_none() {
            let Some(seat) = Seat::take(&self.context) else {
                self.context.metrics.limit_hit(Limit::Subscribers);
                let text = format!(
                    "ERR slotway: too many subscribed clients (limits.subscribers = {}); share connections that \
                     subscribe, or raise it",
                    limits.subscribers
                );
                return self.refuse(state, about, &text);
            };
            state.subscriptions = Some(Box::new(Subscriptions::new(seat)));
            self.context.subscribed(state.client.id(), self);
        }
        self.change(state, Verb::Subscribe, kind, about, request)
    }

    fn unsubscribe(
        self: &Rc<Self>,
        state: &mut State,
        kind: Kind,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        if state.subscriptions.is_none() {
            let mut reply = Vec::new();
            let names = request.args().skip(1);
            let mut nothing = pubsub::Book::default();
            nothing.unsubscribe(kind, names, state.client.proto(), &mut reply);
            self.reply_in_turn(state, about, &reply);
            return Taken::Yes;
        }
        self.change(state, Verb::Unsubscribe, kind, about, request)
    }

    /// Has the nodes told; the reply follows when they have confirmed.
    fn change(
        self: &Rc<Self>,
        state: &mut State,
        verb: Verb,
        kind: Kind,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let seq = state.replies.next_seq();
        let proto = state.client.proto();
        let Some(subscriptions) = &mut state.subscriptions else {
            return Taken::Yes;
        };
        let map = self.context.map().clone();
        let around = self.around(&map);
        let names = request.args().skip(1);
        let book = &mut subscriptions.book;
        let mut reply = Vec::new();
        let items = match verb {
            Verb::Subscribe => book.subscribe(kind, names, proto, &mut reply),
            Verb::Unsubscribe => book.unsubscribe(kind, names, proto, &mut reply),
        };
        match verb {
            Verb::Subscribe => subscriptions.reach(&items, &around),
            Verb::Unsubscribe => subscriptions.leave_all(&items, around.now),
        }
        let until = around.now + self.unavailable();
        subscriptions.pending = Some(Pending {
            seq,
            verb,
            items,
            settled: 0,
            reply,
            until,
        });
        state.replies.push(about, Stage::Held);
        state.barrier = true;
        Taken::Yes
    }

    /// In RESP2, what a subscribed client asks for that it may not have, and its PING.
    #[cold]
    pub(super) fn while_subscribed(
        &self,
        state: &mut State,
        command: &Command,
        plan: &Plan,
        about: About,
        request: &Request<'_>,
    ) -> Option<Taken> {
        let by_arguments = matches!(plan, Plan::Refuse(_, RefusedBy::Arguments));
        if state.client.proto() == Proto::Resp3 || by_arguments {
            return None;
        }
        if let Some(text) = pubsub::refusal(command) {
            return Some(self.refuse(state, about, &text));
        }
        if &*command.name == "ping" && request.len() <= 2 {
            self.reply_in_turn(state, about, &pubsub::pong(request.get(1)));
            return Some(Taken::Yes);
        }
        None
    }

    /// To the node where subscribers listen, so that its count of receivers is theirs.
    pub(super) fn send_home(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        class: Class,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let Some(node) = home(&batch.map) else {
            return self.refuse(state, about, &self.no_node());
        };
        self.send_to_node(state, &batch.map, node, class, about, request.bytes())
    }

    /// The map has changed: these slots have moved. Returns whether the client is still subscribed.
    pub(super) fn resubscribe(&self, moved: &[Slot]) -> bool {
        let state = &mut *self.state.borrow_mut();
        let map = self.context.map().clone();
        let around = self.around(&map);
        let Some(subscriptions) = &mut state.subscriptions else {
            return false;
        };
        let looked_at = subscriptions.follow_map(moved, &around);
        if looked_at > 0 {
            let client = state.client.id();
            tracing::debug!(client, looked_at, "a new map concerns subscriptions");
        }
        self.settle_subscriptions(state);
        state.subscriptions.is_some()
    }

    /// A moment that the subscriptions wanted to be looked at has come.
    fn subscriptions_due(&self) {
        let state = &mut *self.state.borrow_mut();
        let map = self.context.map().clone();
        let around = self.around(&map);
        if let Some(subscriptions) = &mut state.subscriptions {
            if subscriptions.is_due(around.now) {
                subscriptions.follow(&around);
            }
            subscriptions.ask_denied(&around);
        }
        self.settle_subscriptions(state);
    }

    /// Answers the pending command once it can be, and tidies up.
    pub(super) fn settle_subscriptions(&self, state: &mut State) {
        let map = self.context.map().clone();
        let around = self.around(&map);
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        let due = subscriptions.pending.as_ref().map(|p| p.until);
        if subscriptions.settled(&map) {
            self.confirm_subscription(state);
        } else if due.is_some_and(|due| around.now >= due) {
            self.give_up_subscribing(state);
        }
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        subscriptions.advance(&around);
        if !subscriptions.owed.is_empty() {
            self.tell_owed(state);
        }
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        if subscriptions.pending.is_none() && subscriptions.book.is_empty() {
            state.subscriptions = None;
            return;
        }
        if let Some(at) = subscriptions.timer_to_start() {
            self.resubscribe_at(at);
        }
    }

    /// The nodes have done what the command asked for.
    fn confirm_subscription(&self, state: &mut State) {
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        let held = subscriptions.take_held();
        if let Some(pending) = subscriptions.pending.take() {
            self.complete(state, pending.seq, &pending.reply);
            self.tell_kept(state, &held);
        }
    }

    /// The time is up.
    fn give_up_subscribing(&self, state: &mut State) {
        let map = self.context.map().clone();
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        let verb = subscriptions.pending.as_ref().map(|p| p.verb);
        match verb {
            Some(Verb::Subscribe) if !subscriptions.has_essentials(&map) => {
                let reply = error_reply(
                    "CLUSTERDOWN slotway: not subscribed, its node has not answered; try again later",
                );
                self.fail_subscribing(state, ErrorSource::Proxy, &reply);
            }
            _ => {
                subscriptions.close_leaving();
                subscriptions.follow(&self.around(&map));
                self.confirm_subscription(state);
            }
        }
    }

    /// The pending command failed: what it began ends, and brings the client nothing.
    pub(super) fn fail_subscribing(&self, state: &mut State, source: ErrorSource, reply: &[u8]) {
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        let Some(pending) = subscriptions.pending.take() else {
            return;
        };
        for item in &pending.items {
            subscriptions.book.remove(item);
        }
        subscriptions.disown_all(&pending.items, self.context.clock.now());
        let mut held = subscriptions.take_held();
        if !held.is_empty() {
            let begun: BTreeSet<Item> = pending.items.into_iter().collect();
            held.retain(|bytes| match Push::read(bytes) {
                Push::Message(message) => !begun.contains(&message.item()),
                _ => false,
            });
        }
        self.context.metrics.error(source, reply);
        self.complete(state, pending.seq, reply);
        self.tell_kept(state, &held);
    }

    /// A message, in two pieces; it may come between any two replies.
    pub(super) fn push(&self, state: &mut State, first: &[u8], rest: &[u8]) {
        state.output.extend(first);
        state.output.extend(rest);
        // Many may listen to what is sent once.
        let kept = state.output.len() + state.replies.kept();
        if kept + MARK_BYTES > state.mark + PUSHED_BYTES {
            self.charge(state);
            self.check_output(state);
        }
        self.list();
    }

    pub(super) fn around<'a>(&'a self, map: &'a crate::cluster::SlotMap) -> Around<'a> {
        let me: Weak<Self> = self.myself.clone();
        Around {
            context: &self.context,
            map,
            listener: me,
            purse: &self.purse,
            now: crate::io::now(),
        }
    }

    /// The task ends by itself; a client that is gone meanwhile is not woken.
    fn resubscribe_at(&self, at: Instant) {
        let me = self.myself.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(session) = me.upgrade() {
                session.context.clock.tick();
                session.subscriptions_due();
            }
        });
    }
}
