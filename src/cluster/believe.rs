//! Which of several answers to believe (invariant 7: the map only gets better). Pure: views in, [`SlotMap`] out;
//! time is passed in. `topology` owns the one [`Belief`] of the process.
//!
//! Per slot the owner with the highest config epoch wins, and what is already believed takes part with the
//! epoch it was believed under. Around that:
//! - a node that calls the cluster failed is not heard while another does not;
//! - what a node says about its own slots refutes what others say about them under no higher epoch;
//! - a failed node never wins over another claimant;
//! - a slot is not given up because one node does not list it: that takes a majority of those asked;
//! - a slot patched by MOVED stays patched until a later answer confirms it or has a higher epoch;
//! - a node that nobody names is forgotten after [`FORGET_AFTER`].

mod weighed;

use super::view::{ClusterState, Health, Role, View};
use super::{Node, NodeAddr, NodeIndex, SLOTS, Shard, Slot, SlotMap, SlotMapBuilder};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weighed::{Weighed, trusted};

/// A node that no answer has named for this long is forgotten, with the slots it was believed to own.
pub const FORGET_AFTER: Duration = Duration::from_secs(30);

const NOBODY: u16 = u16::MAX;

/// When a request was sent is known to a microsecond: what was sent right when its redirection had been heard may seem to
/// have been sent before.
const RESOLUTION: Duration = Duration::from_micros(1);

/// Everything believed about the cluster. One writer: the topology task.
#[derive(Default)]
pub struct Belief {
    known: Vec<KnownNode>,
    /// Per slot; empty until the first answer.
    owners: Vec<Option<Owner>>,
}

/// A node that was named, working or not.
#[derive(Clone, Debug)]
pub struct KnownNode {
    /// Its node id.
    pub id: Arc<str>,
    /// Where it is reached.
    pub addr: NodeAddr,
    /// Its part in its shard.
    pub role: Role,
    /// Its config epoch.
    pub epoch: u64,
    /// What the majority thinks of it.
    pub health: Health,
    /// When an answer last named it.
    pub named_at: Instant,
}

/// Who is believed to own a slot, and why.
#[derive(Clone, Copy)]
struct Owner {
    node: u16,
    /// A different owner has to come with a higher one.
    epoch: u64,
    told: Told,
    /// A MOVED that may have been said before is older than this.
    since: Instant,
}

#[derive(Clone, Copy)]
enum Told {
    /// By an answer.
    Answer,
    /// By a MOVED, not confirmed by an answer yet: when, and by whom, the owner until then.
    Moved { at: Instant, by: u16 },
}

/// When a MOVED was said: nobody knows more exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its request had been sent by then, or later.
    pub after: Instant,
    /// It was heard then.
    pub before: Instant,
}

/// What became of a MOVED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patched {
    /// The slot has a new owner.
    Applied,
    /// The slot has that owner already.
    Known,
    /// Said by a node that is not believed to own the slot, or perhaps before it was known to: older than what is
    /// believed.
    Stale,
    /// It names an address that topology did not name: never dialled because of a MOVED.
    UnknownNode,
}

/// What one round of questions came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Answers that were heard.
    pub trusted: usize,
    /// Slots with an owner now.
    pub covered: usize,
    /// Slots on which an answer differs from what is believed now.
    pub differing: usize,
    /// Answers that were not heard, because they call the cluster failed and others do not.
    pub unheard: usize,
    /// Whether those that were heard call the cluster failed.
    pub failing: bool,
    /// Whether the owner of a slot is failed or suspected.
    pub owner_down: bool,
}

impl Belief {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every node known, in no order.
    pub fn nodes(&self) -> &[KnownNode] {
        &self.known
    }

    /// Takes in the answers of a round that began at `began` and in which `asked` nodes were asked.
    pub fn believe(&mut self, views: &[View], asked: usize, began: Instant, now: Instant) -> Round {
        self.owners.resize(SLOTS, None);
        let trusted = trusted(views);
        let weighed = Weighed::new(&mut self.known, &trusted, asked, began, now);
        let mut differing = 0;
        for slot in 0..SLOTS {
            let owner = weighed.decide(slot, self.owners[slot], &self.known);
            self.owners[slot] = owner;
            let node = owner.map_or(NOBODY, |o| o.node);
            differing += usize::from(weighed.claims.iter().any(|c| c.owners[slot] != node));
        }
        self.forget(&weighed, now);
        let owners = || self.owners.iter().flatten();
        Round {
            trusted: trusted.len(),
            covered: owners().count(),
            differing,
            unheard: views.len() - trusted.len(),
            failing: trusted.iter().any(|v| v.state == ClusterState::Fail),
            owner_down: owners().any(|o| self.known[o.node as usize].health >= Health::Suspected),
        }
    }

    /// `from` answered a request for `slot` with `MOVED slot to`. What it may have said before it got the slot does not
    /// count: a request that is sent now will tell.
    pub fn patch(
        &mut self,
        slot: Slot,
        from: &NodeAddr,
        to: &NodeAddr,
        said: Said,
        now: Instant,
    ) -> Patched {
        let usable = |n: &&KnownNode| n.addr == *to && n.health != Health::Failed;
        let Some(node) = self.known.iter().position(|n| usable(&n)) else {
            return Patched::UnknownNode;
        };
        let before = self.owners[slot.index()];
        let mut epoch = self.known[node].epoch;
        if let Some(owner) = before {
            let addr = &self.known[owner.node as usize].addr;
            if addr == to {
                return Patched::Known;
            }
            if addr != from || said.after + RESOLUTION <= owner.since {
                return Patched::Stale;
            }
            epoch = epoch.max(owner.epoch);
        }
        self.owners[slot.index()] = Some(Owner {
            node: node as u16,
            epoch,
            told: Told::Moved {
                at: now,
                by: before.map_or(NOBODY, |o| o.node),
            },
            since: said.before,
        });
        Patched::Applied
    }

    /// How many slots were patched by MOVED and not confirmed yet.
    pub fn unconfirmed(&self) -> usize {
        let moved = |o: &&Owner| matches!(o.told, Told::Moved { .. });
        self.owners.iter().flatten().filter(moved).count()
    }

    /// The map to publish: every node that works or owns a slot, in the order of their ids.
    pub fn map(&self, version: u64) -> SlotMap {
        let mut owns = vec![false; self.known.len()];
        for owner in self.owners.iter().flatten() {
            owns[owner.node as usize] = true;
        }
        let mut order: Vec<usize> = (0..self.known.len())
            .filter(|&i| owns[i] || self.known[i].health != Health::Failed)
            .collect();
        order.sort_by(|&a, &b| self.known[a].id.cmp(&self.known[b].id));
        let mut builder = SlotMapBuilder::new();
        let mut index: Vec<Option<NodeIndex>> = vec![None; self.known.len()];
        for &at in &order {
            let node = &self.known[at];
            index[at] = builder.add(Node {
                addr: node.addr.clone(),
                id: Arc::clone(&node.id),
                shard: Shard::Primary,
                epoch: node.epoch,
            });
        }
        let by_id: HashMap<&str, usize> = order.iter().map(|&i| (&*self.known[i].id, i)).collect();
        for &at in order.iter().filter(|&&at| !owns[at]) {
            if let (Some(this), Role::ReplicaOf(primary)) = (index[at], &self.known[at].role) {
                let primary = primary.as_ref().and_then(|id| index[*by_id.get(&**id)?]);
                builder.set_shard(this, Shard::ReplicaOf(primary));
            }
        }
        for (slot, owner) in Slot::all().zip(&self.owners) {
            if let Some(owner) = owner.and_then(|o| index[o.node as usize]) {
                builder.assign(slot, owner);
            }
        }
        builder.build(version)
    }

    /// Lets go of nodes that nobody names, and renumbers the rest.
    fn forget(&mut self, weighed: &Weighed, now: Instant) {
        let mut owns = vec![false; self.known.len()];
        for owner in self.owners.iter().flatten() {
            owns[owner.node as usize] = true;
        }
        let mut at = vec![NOBODY; self.known.len()];
        let mut kept = Vec::with_capacity(self.known.len());
        for (i, node) in self.known.drain(..).enumerate() {
            let recent = now.saturating_duration_since(node.named_at) < FORGET_AFTER;
            if weighed.named[i] || (recent && (owns[i] || !weighed.majority)) {
                at[i] = kept.len() as u16;
                kept.push(node);
            }
        }
        self.known = kept;
        for owner in &mut self.owners {
            *owner = owner.and_then(|mut o| {
                o.node = at[o.node as usize];
                if let Told::Moved { by, .. } = &mut o.told {
                    *by = at.get(usize::from(*by)).copied().unwrap_or(NOBODY);
                }
                (o.node != NOBODY).then_some(o)
            });
        }
    }
}

#[cfg(test)]
mod tests;
