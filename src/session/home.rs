//! The home of ordinary channels: where everybody publishes and what is published is heard, and when a client's
//! subscriptions move to a new one.

use super::handover::Handover;
use super::subscriptions::{Around, Connection, Subscriptions};
use crate::cluster::{NodeAddr, NodeIndex, Slot, SlotMap};
use crate::modes::pubsub::{Kind, Message, Push};
use crate::route::events;
use std::time::Instant;

/// The owner of this slot is where everybody publishes and subscribes. Any slot would do, as long as it is always the same.
const HOME_SLOT: u16 = 8191;

/// Where PUBLISH goes and what is published is heard.
pub(super) fn home(map: &SlotMap) -> Option<NodeIndex> {
    let owner = Slot::new(HOME_SLOT).and_then(|slot| map.owner(slot));
    owner.or_else(|| map.primaries().first().copied())
}

/// How many ordinary channels and patterns a node has confirmed.
fn confirmed(connections: &[Connection], node: &NodeAddr) -> usize {
    let connection = connections.iter().find(|c| c.node == *node);
    connection.map_or(0, |c| c.link.common())
}

impl Subscriptions {
    /// Whether the client is told a message that came from `node`; `kept_max`: bytes of others that may be kept for it.
    pub(super) fn accepts(
        &mut self,
        node: &NodeAddr,
        message: &Message<'_>,
        now: Instant,
        kept_max: usize,
    ) -> bool {
        match message.kind {
            Kind::Shard => return true,
            _ if events::is_event(message.channel) => return self.primaries.1.contains(node),
            Kind::Channel | Kind::Pattern => {}
        }
        let is_home = self.home.as_ref() == Some(node);
        let Some(handover) = &mut self.handover else {
            return is_home;
        };
        let is_new = match (is_home, handover.is_moved()) {
            (true, false) => {
                handover.old_said(message.bytes, now);
                true
            }
            (true, true) => !handover.was_said(message.bytes, now),
            (false, false) if handover.is_to(node) => {
                handover.new_said(message.bytes, now, kept_max);
                false
            }
            (false, _) => false,
        };
        if handover.is_over() {
            self.handover = None;
        }
        is_new
    }

    /// After a confirmation, a refusal or a while: a new home may be ready, a connection no longer needed.
    pub(super) fn advance(&mut self, around: &Around<'_>) {
        if let (Some(next), Some(handover)) = (&self.next_home, &mut self.handover)
            && confirmed(&self.connections, next) + self.denials.common(next) == self.book.common()
        {
            let due = handover.due(around.now);
            if around.now >= due {
                self.owed.extend(handover.moved());
                self.home = self.next_home.take();
                self.leave(around);
            } else {
                self.wake(due);
            }
        }
        self.connections.retain(|c| !c.link.is_empty());
    }

    /// Takes the home that all use, unless it is in trouble; a home that works is kept until the next one can take over.
    pub(super) fn choose_home(&mut self, around: &Around<'_>) {
        let map = around.map;
        let best = home(map).map(|node| map.node(node).addr.clone());
        let rests = best
            .as_ref()
            .and_then(|b| self.trouble.rests(b, around.now));
        let before = self.home.take();
        let works = |node: &NodeAddr| self.connections.iter().any(|c| c.node == *node);
        let current = before.clone().filter(works);
        let current = current.or_else(|| self.next_home.take().filter(works));
        self.next_home = None;
        match (current, rests) {
            (Some(home), None) => {
                self.next_home = best.filter(|best| *best != home);
                self.home = Some(home);
            }
            (None, None) => self.home = best,
            (current, Some(until)) => {
                let mut others = self.primaries.1.iter();
                let other = others.find(|p| self.trouble.rests(p, around.now).is_none());
                self.home = current.or_else(|| other.cloned());
                self.wake(until);
            }
        }
        self.hand_over(before, around.now);
    }

    /// The homes are chosen; the one before may be lost. Begins a handover, or ends one.
    fn hand_over(&mut self, before: Option<NodeAddr>, now: Instant) {
        let stays = before == self.home;
        let (home, next) = (self.home.as_ref(), self.next_home.as_ref());
        let goes_on = match &mut self.handover {
            None => false,
            Some(handover) if handover.is_moved() => stays && next.is_none(),
            Some(handover) if stays => next.is_some_and(|next| handover.is_to(next)),
            Some(handover) if home.is_some_and(|home| handover.is_to(home)) => {
                self.owed.extend(handover.moved());
                next.is_none()
            }
            Some(_) => false,
        };
        if !goes_on {
            self.handover = next.map(|next| Box::new(Handover::new(next.clone(), now)));
        }
    }

    /// Subscriptions have ended: nothing of them may be told later.
    pub(super) fn forget_ended(&mut self) {
        let book = &self.book;
        let has = |bytes: &[u8]| matches!(Push::read(bytes), Push::Message(message) if book.has(&message.item()));
        if let Some(handover) = &mut self.handover {
            handover.retain(has);
        }
        self.owed.retain(|bytes| has(bytes));
    }
}
