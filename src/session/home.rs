//! The home of ordinary channels: where everybody publishes and what is published is heard, and when a client's
//! subscriptions move to a new one.

use super::subscriptions::{Around, Subscriptions};
use crate::cluster::{NodeIndex, Slot, SlotMap};
use crate::modes::pubsub::{Item, Kind};
use std::time::Duration;

/// The owner of this slot is where everybody publishes and subscribes. Any slot would do, as long as it is always the same.
const HOME_SLOT: u16 = 8191;

/// Nodes pass on to each other what is published within far less. After so long a silence nothing is under way between them.
const SILENCE: Duration = Duration::from_secs(1);

/// Where PUBLISH goes and what is published is heard.
pub(super) fn home(map: &SlotMap) -> Option<NodeIndex> {
    let owner = Slot::new(HOME_SLOT).and_then(|slot| map.owner(slot));
    owner.or_else(|| map.primaries().first().copied())
}

impl Subscriptions {
    /// After a confirmation or a silence: a new home may be ready, a connection no longer needed.
    pub(super) fn advance(&mut self, around: &Around<'_>) {
        if let Some(next) = &self.next_home
            && let Some(at) = self.connections.iter().position(|c| c.node == *next)
        {
            let link = &self.connections[at].link;
            let has = |item: &Item| item.kind == Kind::Shard || link.has(item);
            let silent_at = self.heard + SILENCE;
            let is_ready = self.book.iter().all(has);
            if is_ready && around.now >= silent_at {
                self.home = self.next_home.take();
                self.leave(around);
            } else if is_ready {
                self.wake(silent_at);
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
        let current = self.home.take();
        let works = current.filter(|home| self.connections.iter().any(|c| c.node == *home));
        self.next_home = None;
        match (works, rests) {
            (Some(home), None) => {
                self.next_home = best.filter(|best| *best != home);
                self.home = Some(home);
            }
            (None, None) => self.home = best,
            (works, Some(until)) => {
                let mut others = self.primaries.1.iter();
                let other = others.find(|p| self.trouble.rests(p, around.now).is_none());
                self.home = works.or_else(|| other.cloned());
                self.wake(until);
            }
        }
    }
}
