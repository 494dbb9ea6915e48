//! Subscriptions that nodes do not take up, though they or others had before: their ACLs differ. Each node is asked again
//! after a while, at most some thousand names a second, and what it denies meanwhile keeps nothing else waiting.

use crate::cluster::NodeAddr;
use crate::modes::pubsub::{Item, Kind};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Before a node is asked again for so many names.
const PAUSE: Duration = Duration::from_secs(1);
const NAMES_PER_PAUSE: usize = 1000;

/// Memory that one of them takes, in bytes; its name is the book's.
const ITEM_BYTES: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Denials(Vec<Denial>);

/// What one node denies, or has denied.
struct Denial {
    node: NodeAddr,
    items: BTreeSet<Item>,
    /// Those of them that are not sharded.
    common: usize,
    until: Instant,
}

impl Denials {
    /// A node denies it. Returns whether it is the first that this one denies.
    pub(super) fn add(&mut self, node: &NodeAddr, item: Item, now: Instant) -> bool {
        let known = self.0.iter().position(|denial| denial.node == *node);
        let at = known.unwrap_or_else(|| {
            self.0.push(Denial {
                node: node.clone(),
                items: BTreeSet::new(),
                common: 0,
                until: now,
            });
            self.0.len() - 1
        });
        let denial = &mut self.0[at];
        let counts = usize::from(item.kind != Kind::Shard);
        if denial.items.insert(item) {
            denial.common += counts;
        }
        let pauses = denial.items.len().div_ceil(NAMES_PER_PAUSE);
        denial.until = now + PAUSE * u32::try_from(pauses).unwrap_or(u32::MAX);
        known.is_none()
    }

    /// Whether the node denies it, and is not to be asked for it now.
    pub(super) fn has(&self, node: &NodeAddr, item: &Item) -> bool {
        self.of(node)
            .is_some_and(|denial| denial.items.contains(item))
    }

    /// How many channels and patterns the node denies: those that are not sharded.
    pub(super) fn common(&self, node: &NodeAddr) -> usize {
        self.of(node).map_or(0, |denial| denial.common)
    }

    /// What is to be asked for again now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Item> {
        let due = self.0.iter_mut().filter(|denial| denial.until <= now);
        due.flat_map(|denial| {
            denial.common = 0;
            std::mem::take(&mut denial.items)
        })
        .collect()
    }

    /// When that is.
    pub(super) fn due(&self) -> Option<Instant> {
        let some = self.0.iter().filter(|denial| !denial.items.is_empty());
        some.map(|denial| denial.until).min()
    }

    /// The client has ended these subscriptions.
    pub(super) fn forget(&mut self, items: &[Item]) {
        for denial in &mut self.0 {
            let gone = items.iter().filter(|item| denial.items.remove(item));
            denial.common -= gone.filter(|item| item.kind != Kind::Shard).count();
        }
    }

    /// Forgets other nodes.
    pub(super) fn retain(&mut self, keep: impl Fn(&NodeAddr) -> bool) {
        self.0.retain(|denial| keep(&denial.node));
    }

    /// Bytes it keeps.
    pub(super) fn memory(&self) -> usize {
        let items = self.0.iter().map(|denial| denial.items.len());
        items.sum::<usize>() * ITEM_BYTES
    }

    fn of(&self, node: &NodeAddr) -> Option<&Denial> {
        self.0.iter().find(|denial| denial.node == *node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_denied_is_asked_for_again_after_a_while() {
        let (a, b, now) = (NodeAddr::new("a", 1), NodeAddr::new("b", 1), Instant::now());
        let (news, shard) = (
            Item::new(Kind::Channel, "news"),
            Item::new(Kind::Shard, "news"),
        );
        let mut denials = Denials::default();
        assert_eq!(denials.due(), None);
        assert!(denials.add(&a, news.clone(), now));
        assert!(!denials.add(&a, news.clone(), now), "the same");
        assert!(!denials.add(&a, shard.clone(), now));
        assert!(denials.has(&a, &news) && !denials.has(&b, &news));
        assert_eq!((denials.common(&a), denials.common(&b)), (1, 0));
        assert_eq!(denials.due(), Some(now + PAUSE));
        assert!(denials.take_due(now).is_empty());
        assert_eq!(denials.take_due(now + PAUSE), [news.clone(), shard]);
        assert_eq!((denials.due(), denials.memory()), (None, 0));
        assert_eq!(denials.common(&a), 0);
        assert!(!denials.add(&a, news, now), "it is known to deny some");
    }

    #[test]
    fn a_node_is_asked_for_so_many_names_a_second() {
        let (node, now) = (NodeAddr::new("a", 1), Instant::now());
        let mut denials = Denials::default();
        for n in 0..2 * NAMES_PER_PAUSE {
            denials.add(&node, Item::new(Kind::Pattern, n.to_string()), now);
        }
        assert_eq!(denials.due(), Some(now + 2 * PAUSE));
        let all = denials.take_due(now + 2 * PAUSE);
        for item in &all {
            denials.add(&node, item.clone(), now);
        }
        denials.forget(&all[1..]);
        assert_eq!(denials.common(&node), 1);
        denials.retain(|other| *other != node);
        assert_eq!(denials.due(), None);
    }
}
