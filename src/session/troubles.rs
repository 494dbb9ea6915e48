//! The nodes that a client's subscriptions could not reach, and how long each is left alone.

use crate::cluster::NodeAddr;
use std::time::{Duration, Instant};

/// Pauses before a node that failed is dialled again: doubling from the first to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Default)]
pub(super) struct Troubles(Vec<Trouble>);

struct Trouble {
    node: NodeAddr,
    failures: u32,
    until: Instant,
}

impl Troubles {
    /// A connection to it failed.
    pub(super) fn add(&mut self, node: &NodeAddr, now: Instant) {
        let known = self.0.iter().position(|trouble| trouble.node == *node);
        let at = known.unwrap_or_else(|| {
            self.0.push(Trouble {
                node: node.clone(),
                failures: 0,
                until: now,
            });
            self.0.len() - 1
        });
        let trouble = &mut self.0[at];
        let pause = (PAUSE_FIRST * (1 << trouble.failures.min(8))).min(PAUSE_MAX);
        trouble.failures += 1;
        trouble.until = now + pause;
    }

    /// Forgets the others.
    pub(super) fn retain(&mut self, keep: impl Fn(&NodeAddr) -> bool) {
        self.0.retain(|trouble| keep(&trouble.node));
    }

    /// Until when a node is left alone.
    pub(super) fn rests(&self, node: &NodeAddr, now: Instant) -> Option<Instant> {
        let trouble = self.0.iter().find(|trouble| trouble.node == *node)?;
        (trouble.until > now).then_some(trouble.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_second_and_end_with_success() {
        let (node, now) = (NodeAddr::new("a", 1), Instant::now());
        let mut troubles = Troubles::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            troubles.add(&node, now);
            pauses.push((troubles.rests(&node, now).unwrap() - now).as_millis());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(troubles.rests(&node, now + PAUSE_MAX), None);
        troubles.retain(|other| *other != node);
        assert_eq!(troubles.rests(&node, now), None);
    }
}
