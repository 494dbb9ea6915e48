//! The connections behind one client's subscriptions: which node each subscription belongs to, and how they follow the
//! map. `subscribing` carries out the client's commands with it.
//!
//! - Ordinary channels and patterns are at one node, their home: the one that PUBLISH goes to as well, so that order and
//!   counts are those of one server. Messages of other connections are dropped. When PUBLISH goes elsewhere they are
//!   subscribed there too, and the home follows: nobody hears anything twice, or misses it, because of that (`handover`).
//! - What can carry a node's own events (`__keyspace@*`, `__keyevent@*`) is at every primary; events of replicas are
//!   dropped, their primary has sent them already.
//! - Sharded channels are at their slot's owner.

use super::SessionContext;
use super::denials::Denials;
use super::handover::Handover;
use super::seat::Seat;
use super::troubles::Troubles;
use crate::cluster::{NodeAddr, Slot, SlotMap};
use crate::io::Purse;
use crate::modes::pubsub::{Book, Item, Kind, Link, Verb};
use crate::route::events;
use crate::upstream::{Fault, Listener, Subscriber};
use smallvec::SmallVec;
use std::rc::{Rc, Weak};
use std::time::Instant;

/// See the module. There is one for each client with subscriptions, from its first to its last.
pub(super) struct Subscriptions {
    pub(super) book: Book,
    /// The command that waits for the nodes; nothing behind it is read.
    pub(super) pending: Option<Pending>,
    /// Messages that came while a command that subscribes waits: they follow its confirmations.
    pub(super) held: Vec<Box<[u8]>>,
    /// Their bytes.
    pub(super) held_bytes: usize,
    pub(super) connections: Vec<Connection>,
    pub(super) home: Option<NodeAddr>,
    /// Becomes the home at the end of the handover.
    pub(super) next_home: Option<NodeAddr>,
    pub(super) handover: Option<Box<Handover>>,
    /// Messages that the client is to be told now: it would have missed them because of a handover.
    pub(super) owed: Vec<Box<[u8]>>,
    /// Primaries of the map with that version, in the order of their addresses.
    pub(super) primaries: (u64, Vec<NodeAddr>),
    pub(super) trouble: Troubles,
    pub(super) denials: Denials,
    /// When it wants to be looked at again.
    wake_at: Option<Instant>,
    /// When the timer that runs will look.
    timer: Option<Instant>,
    next_link: u32,
    _seat: Seat,
}

/// A command of the client that waits for nodes.
pub(super) struct Pending {
    pub(super) seq: u64,
    pub(super) verb: Verb,
    /// What begins or ends with it.
    pub(super) items: Vec<Item>,
    /// How many of them are known to be settled.
    pub(super) settled: usize,
    pub(super) reply: Vec<u8>,
    pub(super) until: Instant,
}

/// One connection.
pub(super) struct Connection {
    pub(super) id: u32,
    pub(super) node: NodeAddr,
    pub(super) link: Link,
    pub(super) upstream: Subscriber,
}

impl Connection {
    /// Asks its node for these.
    pub(super) fn subscribe(&mut self, items: &[Item], now: Instant) {
        let mut commands = Vec::new();
        self.link.subscribe(items, now, &mut commands);
        self.upstream.send(&commands);
    }

    /// Asks it to end these.
    fn unsubscribe(&mut self, items: &[Item], now: Instant) {
        let mut commands = Vec::new();
        self.link.unsubscribe(items, now, &mut commands);
        self.upstream.send(&commands);
    }
}

/// What is needed of the surroundings.
pub(super) struct Around<'a> {
    pub(super) context: &'a SessionContext,
    pub(super) map: &'a SlotMap,
    pub(super) listener: Weak<dyn Listener>,
    pub(super) purse: &'a Rc<Purse>,
    pub(super) now: Instant,
}

impl Subscriptions {
    pub(super) fn new(seat: Seat) -> Self {
        Self {
            book: Book::default(),
            pending: None,
            held: Vec::new(),
            held_bytes: 0,
            connections: Vec::new(),
            home: None,
            next_home: None,
            handover: None,
            owed: Vec::new(),
            primaries: (0, Vec::new()),
            trouble: Troubles::default(),
            denials: Denials::default(),
            wake_at: None,
            timer: None,
            next_link: 0,
            _seat: seat,
        }
    }

    /// Bytes it keeps.
    pub(super) fn memory(&self) -> usize {
        let kept = self.handover.as_ref().map_or(0, |h| h.memory()) + self.denials.memory();
        let held = self.held_bytes + self.held.capacity() * size_of::<Box<[u8]>>();
        self.book.memory() * (1 + self.connections.len()) + held + kept
    }

    /// The connection with that number, unless it was closed meanwhile.
    pub(super) fn connection(&mut self, id: u32) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    /// Whether messages wait for the confirmations of a command.
    pub(super) fn holds(&self) -> bool {
        matches!(&self.pending, Some(pending) if pending.verb == Verb::Subscribe)
    }

    /// Takes what it has held.
    pub(super) fn take_held(&mut self) -> Vec<Box<[u8]>> {
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// A connection is lost. Returns whether subscriptions were lost with it.
    pub(super) fn lost(&mut self, id: u32, fault: &Fault, now: Instant) -> bool {
        let Some(at) = self.connections.iter().position(|c| c.id == id) else {
            return false;
        };
        let lost = self.connections.swap_remove(at);
        let had_some = lost.link.wanted().any(|item| lost.link.has(item));
        self.trouble.add(&fault.node, now);
        had_some
    }

    /// A node confirmed something: it works.
    pub(super) fn works(&mut self, id: u32) {
        if let Some(connection) = self.connections.iter().find(|c| c.id == id) {
            self.trouble.retain(|node| *node != connection.node);
        }
    }

    /// Where a subscription belongs; where it is essential comes first.
    fn targets(&self, item: &Item, map: &SlotMap) -> SmallVec<[NodeAddr; 4]> {
        let mut targets = SmallVec::new();
        let carries_events = match item.kind {
            Kind::Shard => {
                let owner = map.owner(Slot::of(&item.name));
                targets.extend(owner.map(|node| map.node(node).addr.clone()));
                return targets;
            }
            Kind::Channel => events::is_event(&item.name),
            Kind::Pattern => events::can_match(&item.name),
        };
        targets.extend(self.home.clone());
        targets.extend(self.next_home.clone());
        if carries_events {
            for primary in &self.primaries.1 {
                if !targets.contains(primary) {
                    targets.push(primary.clone());
                }
            }
        }
        targets
    }

    /// Asks for the subscriptions wherever they belong and are not asked for yet.
    pub(super) fn reach(&mut self, items: &[Item], around: &Around<'_>) {
        if self.primaries.0 == 0 {
            // A map that comes later is followed as a whole.
            self.look_at(around.map);
        }
        if self.home.is_none() {
            self.choose_home(around);
        }
        let mut wanted: Vec<Vec<Item>> = Vec::new();
        for item in items {
            for node in self.targets(item, around.map) {
                if self.denials.has(&node, item) {
                    continue;
                }
                let Some(at) = self.connect(node, around) else {
                    continue;
                };
                wanted.resize_with(self.connections.len(), Vec::new);
                if !self.connections[at].link.wants(item) {
                    wanted[at].push(item.clone());
                }
            }
        }
        for (connection, items) in self.connections.iter_mut().zip(wanted) {
            if !items.is_empty() {
                connection.subscribe(&items, around.now);
            }
        }
    }

    /// Ends subscriptions wherever they do not belong, or no longer.
    pub(super) fn leave(&mut self, around: &Around<'_>) {
        for at in 0..self.connections.len() {
            let gone = self.strays(at, self.connections[at].link.wanted(), around.map);
            self.end(at, &gone, around.now);
        }
        self.connections.retain(|c| !c.link.is_empty());
    }

    /// Which of these are subscribed there and do not belong there.
    pub(super) fn strays<'a>(
        &self,
        at: usize,
        items: impl Iterator<Item = &'a Item>,
        map: &SlotMap,
    ) -> Vec<Item> {
        let Connection { link, node, .. } = &self.connections[at];
        let belongs = |item: &Item| self.book.has(item) && self.targets(item, map).contains(node);
        let strays = items.filter(|item| link.wants(item) && !belongs(item));
        strays.cloned().collect()
    }

    /// Ends these subscriptions wherever they are.
    pub(super) fn leave_all(&mut self, items: &[Item], now: Instant) {
        self.forget_ended();
        self.denials.forget(items);
        for at in 0..self.connections.len() {
            let link = &self.connections[at].link;
            let here: Vec<Item> = items.iter().filter(|i| link.wants(i)).cloned().collect();
            self.end(at, &here, now);
        }
    }

    /// The same, and what they bring until then is not for the client, which is told that it has not subscribed.
    pub(super) fn disown_all(&mut self, items: &[Item], now: Instant) {
        self.leave_all(items, now);
        for connection in &mut self.connections {
            connection.link.disown(items);
        }
    }

    pub(super) fn end(&mut self, at: usize, items: &[Item], now: Instant) {
        if !items.is_empty() {
            self.connections[at].unsubscribe(items, now);
        }
    }

    /// The connection to a node, which is opened if need be; `None` while the node rests.
    fn connect(&mut self, node: NodeAddr, around: &Around<'_>) -> Option<usize> {
        if let Some(at) = self.connections.iter().position(|c| c.node == node) {
            return Some(at);
        }
        if let Some(until) = self.trouble.rests(&node, around.now) {
            self.wake(until);
            return None;
        }
        let id = self.next_link;
        self.next_link = self.next_link.wrapping_add(1);
        let upstream = around.context.lanes.context().clone();
        let listener = around.listener.clone();
        let purse = around.purse.clone();
        self.connections.push(Connection {
            id,
            link: Link::default(),
            upstream: Subscriber::open(upstream, node.clone(), id, listener, purse),
            node,
        });
        Some(self.connections.len() - 1)
    }

    /// Whether every node that matters has done what the pending command asks for. A node that is down does not hold up
    /// the rest, unless the subscription belongs to it alone.
    pub(super) fn settled(&mut self, map: &SlotMap) -> bool {
        let Some(mut pending) = self.pending.take() else {
            return false;
        };
        while let Some(item) = pending.items.get(pending.settled) {
            let done = match pending.verb {
                Verb::Subscribe => self.is_subscribed(item, map),
                Verb::Unsubscribe => self.connections.iter().all(|c| c.link.lacks(item)),
            };
            if !done {
                break;
            }
            pending.settled += 1;
        }
        let settled = pending.settled == pending.items.len();
        self.pending = Some(pending);
        settled
    }

    fn is_subscribed(&self, item: &Item, map: &SlotMap) -> bool {
        let targets = self.targets(item, map);
        let at = |node: &NodeAddr| self.connections.iter().find(|c| c.node == *node);
        let Some((first, others)) = targets.split_first() else {
            return false;
        };
        at(first).is_some_and(|c| c.link.has(item))
            && others
                .iter()
                .all(|node| at(node).is_none_or(|c| c.link.has(item)))
    }

    /// Whether all of the pending command that has one place is there: the rest follows by itself.
    pub(super) fn has_essentials(&self, map: &SlotMap) -> bool {
        let Some(pending) = &self.pending else {
            return true;
        };
        pending.items[pending.settled..].iter().all(|item| {
            let targets = self.targets(item, map);
            let mut at = self.connections.iter();
            targets
                .first()
                .is_some_and(|node| at.any(|c| c.node == *node && c.link.has(item)))
        })
    }

    /// Closes every connection that has not confirmed the end of a subscription.
    pub(super) fn close_leaving(&mut self) {
        self.connections
            .retain(|c| c.link.wanted().count() == c.link.len());
    }

    /// Has it looked at again at that moment, or before.
    pub(super) fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// When a timer is to be started for, if the one that runs is too late.
    pub(super) fn timer_to_start(&mut self) -> Option<Instant> {
        if let Some(pending) = &self.pending {
            self.wake(pending.until);
        }
        let at = self.wake_at.into_iter().chain(self.denials.due()).min()?;
        if self.timer.is_some_and(|timer| timer <= at) {
            return None;
        }
        self.timer = Some(at);
        self.timer
    }

    /// A timer has run out. Returns whether it is time to look.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if self.timer.is_some_and(|timer| timer <= now) {
            self.timer = None;
        }
        let due = self.wake_at.is_some_and(|at| at <= now);
        if due {
            self.wake_at = None;
        }
        due
    }
}
