//! Which of several answers to believe (invariant 7: the map only gets better). Pure: views in, [`SlotMap`] out;
//! time is passed in. `topology` owns the one [`Belief`] of the process.
//!
//! Per slot the owner with the highest config epoch wins, and what is already believed takes part with the
//! epoch it was believed under. Around that:
//! - an answer that names no node that is known is another cluster's, and not heard unless ours has not served for a while:
//!   then that takes its place, as a whole, until ours is back;
//! - a node that calls the cluster failed is not heard while another does not;
//! - what a node says about its own slots refutes what others say about them under no higher epoch;
//! - a failed node never wins over another claimant, nor does one that most of those asked do not name: it was forgotten,
//!   and may not know that;
//! - a slot is not given up because one node does not list it: that takes a majority of those asked;
//! - a slot patched by MOVED stays patched until its new owner confirms that itself, later, or an answer has a higher epoch;
//! - a node that nobody names is forgotten after [`FORGET_AFTER`].

mod claims;
mod kin;
mod runs;
mod weighed;

use super::view::{ClusterState, Health, Role, View};
use super::{Node, NodeAddr, NodeIndex, Shard, Slot, SlotMap, SlotMapBuilder};
use claims::{cuts, trusted};
use kin::Kin;
use runs::Runs;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use weighed::Weighed;

/// A node that no answer has named for this long is forgotten, with the slots it was believed to own.
pub const FORGET_AFTER: Duration = Duration::from_secs(30);

const NOBODY: u16 = u16::MAX;

/// When a request was sent is known to a microsecond: what was sent right when its redirection had been heard may seem to
/// have been sent before.
const RESOLUTION: Duration = Duration::from_micros(1);

/// Everything believed about the cluster. One writer: the topology task.
pub struct Belief {
    known: Vec<KnownNode>,
    owners: Runs<Option<Owner>>,
    kin: Kin,
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
#[derive(Clone, Copy, PartialEq)]
struct Owner {
    node: u16,
    /// A different owner has to come with a higher one.
    epoch: u64,
    told: Told,
    /// A MOVED that may have been said before is older than this.
    since: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// By an answer.
    Answer,
    /// By a MOVED, not confirmed yet: when, and by whom, the owner until then.
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
    /// Answers that were not heard, because they call the cluster failed and others do not, or are another cluster's.
    pub unheard: usize,
    /// Whether those that were heard call the cluster failed, or nobody was heard.
    pub failing: bool,
    /// Whether the owner of a slot is failed or suspected.
    pub owner_down: bool,
    /// Whether those that were heard are of another cluster than the one that was known.
    pub others: bool,
}

impl Default for Belief {
    fn default() -> Self {
        Self::new()
    }
}

impl Belief {
    /// Nothing is known.
    pub fn new() -> Self {
        Self {
            known: Vec::new(),
            owners: Runs::new(None),
            kin: Kin::new(),
        }
    }

    /// The nodes of the cluster whose place another one has taken: it is to be looked for.
    pub fn former(&self) -> &[KnownNode] {
        self.kin.former()
    }

    /// Every node known, in no order.
    pub fn nodes(&self) -> &[KnownNode] {
        &self.known
    }

    /// Takes in the answers of a round that began at `began` and in which `asked` nodes were asked. One that has answered
    /// under two names counts as two there, as its answers do.
    pub fn believe(&mut self, views: &[View], asked: usize, began: Instant, now: Instant) -> Round {
        let heard = self.kin.among(&self.known, views, now);
        if heard.others {
            self.known.clear();
            self.owners = Runs::new(None);
        }
        let trusted = trusted(&heard.views);
        let unheard = views.len() - trusted.len();
        let voices = self.voices(trusted.iter().copied());
        let asked = asked - (trusted.len() - voices.len());
        let weighed = Weighed::new(&mut self.known, &voices, asked, began, now);
        let mut differing = 0;
        let mut decided = Vec::new();
        for (run, standing) in cuts(&self.owners, &voices) {
            let owner = weighed.decide(run.start, standing, &self.known);
            let node = owner.map_or(NOBODY, |o| o.node);
            if weighed.claims.iter().any(|c| c.owners[run.start] != node) {
                differing += run.len();
            }
            decided.push((run.start, owner));
        }
        self.owners = decided.into_iter().collect();
        self.forget(&weighed, now);
        let is_down = |o: Owner| self.known[o.node as usize].health >= Health::Suspected;
        Round {
            trusted: voices.len(),
            covered: self.owned().map(|(run, _)| run.len()).sum(),
            differing,
            unheard,
            failing: voices.is_empty() || voices.iter().any(|v| v.state == ClusterState::Fail),
            owner_down: self.owned().any(|(_, owner)| is_down(owner)),
            others: heard.others,
        }
    }

    /// Runs of slots that have an owner.
    fn owned(&self) -> impl Iterator<Item = (Range<usize>, Owner)> {
        let runs = self.owners.iter();
        runs.filter_map(|(run, owner)| Some((run, (*owner)?)))
    }

    /// One answer of each node: one that was asked under two names, as a seed and as a node, has one voice. Heard is what it
    /// says under the address that is known.
    pub fn voices<'a>(&self, views: impl IntoIterator<Item = &'a View>) -> Vec<&'a View> {
        let mut voices: Vec<&View> = Vec::new();
        for view in views {
            let id = view.own_id();
            let twin = voices.iter().position(|v| id.is_some() && v.own_id() == id);
            match twin {
                None => voices.push(view),
                Some(at) if self.known.iter().any(|n| n.addr == view.source) => voices[at] = view,
                Some(_) => {}
            }
        }
        voices
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
        let before = self.owners.get(slot.index()).copied().flatten();
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
        let owner = Owner {
            node: node as u16,
            epoch,
            told: Told::Moved {
                at: now,
                by: before.map_or(NOBODY, |o| o.node),
            },
            since: said.before,
        };
        self.owners.set(slot.index(), Some(owner));
        Patched::Applied
    }

    /// How many slots were patched by MOVED and not confirmed yet.
    pub fn unconfirmed(&self) -> usize {
        let moved = self
            .owned()
            .filter(|(_, owner)| matches!(owner.told, Told::Moved { .. }));
        moved.map(|(run, _)| run.len()).sum()
    }

    /// The nodes that can confirm them.
    pub fn patched(&self) -> impl Iterator<Item = &KnownNode> {
        let nodes: BTreeSet<u16> = (self.owned())
            .filter(|(_, owner)| matches!(owner.told, Told::Moved { .. }))
            .map(|(_, owner)| owner.node)
            .collect();
        nodes.into_iter().map(|at| &self.known[usize::from(at)])
    }

    /// The map to publish: every node that works or owns a slot, in the order of their ids.
    pub fn map(&self, version: u64) -> SlotMap {
        let owns = self.owns();
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
        for (run, owner) in self.owned() {
            if let Some(owner) = index[owner.node as usize] {
                builder.assign_run(run, owner);
            }
        }
        builder.build(version)
    }

    /// Per node known: whether it owns a slot.
    fn owns(&self) -> Vec<bool> {
        let mut owns = vec![false; self.known.len()];
        for (_, owner) in self.owned() {
            owns[owner.node as usize] = true;
        }
        owns
    }

    /// Lets go of nodes that nobody names, and renumbers the rest.
    fn forget(&mut self, weighed: &Weighed, now: Instant) {
        let owns = self.owns();
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
        for owner in self.owners.values_mut() {
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
