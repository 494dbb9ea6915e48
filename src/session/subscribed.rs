//! What nodes tell a subscribed client: messages, which go out between its replies; confirmations; refusals; the loss of
//! a connection, which is made good without a word to the client.

use super::{Life, Session, State};
use crate::cluster::NodeAddr;
use crate::modes::pubsub::{Heard, Item, Message, Push};
use crate::observe::{ErrorSource, Limit, Rejected, RetryReason};
use crate::topology::{Report, Trigger};
use crate::upstream::{Fault, FaultKind, Listener, Refusal, classify};
use std::time::{Duration, Instant};

/// After a node refused a subscription for now.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// After a node that runs a slow script refused one.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

impl Listener for Session {
    fn heard(&self, link: u32, reply: &[u8]) {
        let state = &mut *self.state.borrow_mut();
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        if state.life == Life::Dead {
            return;
        }
        let Some(connection) = subscriptions.connection(link) else {
            return;
        };
        let node = connection.node.clone();
        let now = self.context.clock.now();
        let asked = connection.link.asked_at().unwrap_or(now);
        match connection.link.hear(reply) {
            Heard::Message(message) => {
                let kept = self.context.config.limits.client_output_hard;
                if subscriptions.accepts(&node, &message, now, kept) {
                    self.tell(state, &message);
                }
                return;
            }
            Heard::Stray => return,
            Heard::Settled => subscriptions.works(link),
            Heard::Ended(item) => self.subscription_ended(state, &item),
            Heard::Refused(items, reply) => {
                self.subscription_refused(state, link, (&node, asked), items, reply);
            }
            Heard::Odd => {
                let kind = FaultKind::Protocol("what no subscriber is sent");
                let fault = Fault { node, kind };
                tracing::warn!(%fault, "closing a subscriber's connection");
                self.lose(state, link, &fault);
            }
        }
        self.settle_subscriptions(state);
    }

    fn lost(&self, link: u32, fault: &Fault) {
        let state = &mut *self.state.borrow_mut();
        self.lose(state, link, fault);
        self.settle_subscriptions(state);
    }
}

impl Session {
    /// The client gets a message, behind the confirmations of what it is about to subscribe to.
    fn tell(&self, state: &mut State, message: &Message<'_>) {
        let (first, rest) = message.pieces(state.client.proto());
        let Some(subscriptions) = state.subscriptions.as_mut().filter(|s| s.holds()) else {
            return self.push(state, first, rest);
        };
        subscriptions.held.push(message.bytes.into());
        subscriptions.held_bytes += message.bytes.len();
        if subscriptions.held_bytes > self.context.config.limits.client_output_hard {
            let metrics = &self.context.metrics;
            metrics.client_rejected(Rejected::Output);
            metrics.limit_hit(Limit::ClientOutputHard);
            self.die(state);
        }
    }

    /// What it would have missed because of a handover.
    pub(super) fn tell_owed(&self, state: &mut State) {
        let owed = state
            .subscriptions
            .as_mut()
            .map(|s| std::mem::take(&mut s.owed));
        self.tell_kept(state, &owed.unwrap_or_default());
    }

    /// What was kept for it.
    pub(super) fn tell_kept(&self, state: &mut State, kept: &[Box<[u8]>]) {
        for bytes in kept {
            if let Push::Message(message) = Push::read(bytes)
                && state.life != Life::Dead
            {
                self.tell(state, &message);
            }
        }
    }

    /// What was subscribed there is subscribed again, where it belongs by now.
    fn lose(&self, state: &mut State, link: u32, fault: &Fault) {
        let map = self.context.map().clone();
        let around = self.around(&map);
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        if subscriptions.lost(link, fault, around.now) {
            self.context.metrics.retry(RetryReason::Resubscribed);
        }
        subscriptions.follow(&around);
    }

    fn subscription_refused(
        &self,
        state: &mut State,
        link: u32,
        (from, asked): (&NodeAddr, Instant),
        items: Vec<Item>,
        reply: &[u8],
    ) {
        let Some(subscriptions) = &mut state.subscriptions else {
            return;
        };
        let now = crate::io::now();
        match classify(reply) {
            Some(Refusal::Moved(slot, target)) => {
                let to = self.reached(&target, from);
                self.context.moved(slot, &to, from, asked);
                subscriptions.wake(now + REFUSED_PAUSE);
            }
            Some(_) => {
                let (node, why) = (from.clone(), Trigger::ClusterDown);
                self.context.report(Report::Suspect { node, why });
                subscriptions.wake(now + REFUSED_PAUSE);
            }
            None => {
                let pending = subscriptions.pending.as_ref();
                if pending.is_some_and(|p| items.iter().any(|item| p.items.contains(item))) {
                    return self.fail_subscribing(state, ErrorSource::Upstream, reply);
                }
                if reply.starts_with(b"-BUSY ") {
                    return subscriptions.wake(now + BUSY_PAUSE);
                }
                if subscriptions.denied(link, items, now) {
                    tracing::warn!(
                        client = state.client.id(),
                        node = %from,
                        reply = %reply.escape_ascii(),
                        "a node does not take up a subscription again (what it says of others is not logged): the nodes' \
                         ACLs differ; it is asked again each second"
                    );
                }
            }
        }
    }

    /// The node ended a subscription by itself: its slot has moved.
    fn subscription_ended(&self, state: &mut State, item: &Item) {
        self.context.metrics.retry(RetryReason::Resubscribed);
        self.context.report(Report::Refresh(Trigger::Moved));
        let map = self.context.map().clone();
        if let Some(subscriptions) = &mut state.subscriptions
            && subscriptions.book.has(item)
        {
            subscriptions.reach(std::slice::from_ref(item), &self.around(&map));
        }
    }
}
