//! How a client's subscriptions follow the map, and what becomes of those that a node denies.

use super::subscriptions::{Around, Subscriptions};
use crate::cluster::{NodeAddr, Slot, SlotMap};
use crate::modes::pubsub::Item;
use std::time::Instant;

/// Whether the nodes that matter are those of the last time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Places {
    Same,
    Changed,
}

impl Subscriptions {
    /// Brings every subscription to where it belongs by the map. Called when a connection is lost or a pause is over.
    pub(super) fn follow(&mut self, around: &Around<'_>) {
        self.choose_places(around);
        self.bring_all(around);
    }

    /// The map has changed: these slots have moved. Brings what that concerns to where it belongs, and returns how much it
    /// is: every map looking at everything would keep a worker busy while a cluster is resharded.
    pub(super) fn follow_map(&mut self, moved: &[Slot], around: &Around<'_>) -> usize {
        if self.choose_places(around) == Places::Changed {
            self.bring_all(around);
            return self.book.len();
        }
        let items = self.book.in_slots(moved);
        self.reach(&items, around);
        for at in 0..self.connections.len() {
            let gone = self.strays(at, items.iter(), around.map);
            self.end(at, &gone, around.now);
        }
        items.len()
    }

    fn bring_all(&mut self, around: &Around<'_>) {
        let all: Vec<Item> = self.book.iter().cloned().collect();
        self.reach(&all, around);
        self.leave(around);
    }

    /// Which nodes matter, whatever is subscribed there.
    fn choose_places(&mut self, around: &Around<'_>) -> Places {
        let chosen = |s: &Self| (s.home.clone(), s.next_home.clone(), s.connections.len());
        let before = chosen(self);
        let primaries = self.look_at(around.map);
        let is_known = |node: &NodeAddr| around.map.find(node).is_some();
        self.connections.retain(|c| is_known(&c.node));
        self.trouble.retain(is_known);
        self.denials.retain(is_known);
        self.choose_home(around);
        for connection in &self.connections {
            // It was demoted, perhaps because nobody reaches it any more.
            if !self.primaries.1.contains(&connection.node) {
                connection.upstream.probe();
            }
        }
        match before == chosen(self) {
            true => primaries,
            false => Places::Changed,
        }
    }

    pub(super) fn look_at(&mut self, map: &SlotMap) -> Places {
        if self.primaries.0 == map.version() {
            return Places::Same;
        }
        let primaries = map.primaries().into_iter();
        let mut addrs: Vec<_> = primaries.map(|node| map.node(node).addr.clone()).collect();
        addrs.sort_unstable();
        let before = std::mem::replace(&mut self.primaries, (map.version(), addrs));
        match before.1 == self.primaries.1 {
            true => Places::Same,
            false => Places::Changed,
        }
    }

    /// A node does not take these up again. Of several one may be the reason, so each is asked for by itself then. Returns
    /// whether it is the first that this node denies.
    pub(super) fn denied(&mut self, id: u32, items: Vec<Item>, now: Instant) -> bool {
        let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) else {
            return false;
        };
        let several = items.len() > 1;
        let mut is_first = false;
        for item in items {
            if !self.book.has(&item) || connection.link.wants(&item) {
                // The client has ended it meanwhile, or it is asked for again already.
            } else if several {
                connection.subscribe(&[item], now);
            } else {
                is_first = self.denials.add(&connection.node, item, now);
            }
        }
        is_first
    }

    /// Asks again for what was denied some time ago.
    pub(super) fn ask_denied(&mut self, around: &Around<'_>) {
        let due = self.denials.take_due(around.now);
        self.reach(&due, around);
    }
}
