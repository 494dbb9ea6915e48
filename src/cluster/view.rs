//! What one node says about the cluster: its answer as values, before anybody decides whether to believe it.
//! `parse` makes views, `believe` weighs several of them.

use super::{NodeAddr, Slot};
use serde::Serialize;
use std::sync::Arc;

/// One node's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The node that was asked, by the address it was asked at.
    pub source: NodeAddr,
    /// What it thinks of the cluster as a whole.
    pub state: ClusterState,
    /// The highest epoch it has heard of. It tells a node that it has forgotten from one that it has not heard of.
    pub current_epoch: u64,
    /// Index in `nodes` of the node that answered, when its answer says so.
    pub myself: Option<usize>,
    /// Every node it names that can be dialled.
    pub nodes: Vec<ViewNode>,
    /// The ids of those it names without an address.
    pub unaddressed: Vec<Arc<str>>,
    /// Slots it is handing over or taking in right now.
    pub migrating: Vec<Migration>,
}

impl View {
    /// The id of the node that answered, when its answer says so.
    pub fn own_id(&self) -> Option<&str> {
        self.myself.map(|at| &*self.nodes[at].id)
    }

    /// Whether it names the node with that id.
    pub fn names(&self, id: &str) -> bool {
        let known = self.nodes.iter().map(|node| &node.id);
        known.chain(&self.unaddressed).any(|known| **known == *id)
    }
}

/// What a node says about the cluster in `CLUSTER INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// It serves.
    Ok,
    /// It refuses commands: slots uncovered, or it cannot see a majority.
    Fail,
    /// It did not say.
    Unknown,
}

/// One node in a [`View`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewNode {
    /// Its node id; what answers are joined by.
    pub id: Arc<str>,
    /// Where it is reached, after `cluster.address_map`.
    pub addr: NodeAddr,
    /// Its part in its shard.
    pub role: Role,
    /// Its config epoch (a replica's is its primary's); 0 if the answer carried none.
    pub epoch: u64,
    /// Whether it is thought to work.
    pub health: Health,
    /// The slots it owns, in ascending runs.
    pub slots: Vec<SlotRange>,
}

/// A node's part in its shard, as one view tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Owns slots, or could.
    Primary,
    /// Copies the primary with this id, if the view says which.
    ReplicaOf(Option<Arc<str>>),
}

/// Whether a node is thought to work, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is wrong with it.
    Online,
    /// It answers, but does not have its data yet.
    Loading,
    /// One node alone cannot reach it (`fail?`).
    Suspected,
    /// A majority of primaries agreed that it is gone (`fail`).
    Failed,
}

/// A run of neighbouring slots, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRange {
    first: Slot,
    last: Slot,
}

impl SlotRange {
    /// The run from `first` to `last`; `None` if it is empty or leaves the slot space.
    pub fn new(first: i64, last: i64) -> Option<Self> {
        let first = Slot::new(u16::try_from(first).ok()?)?;
        let last = Slot::new(u16::try_from(last).ok()?)?;
        (first <= last).then_some(Self { first, last })
    }

    /// Its slots as indexes.
    pub fn indexes(self) -> std::ops::RangeInclusive<usize> {
        self.first.index()..=self.last.index()
    }
}

/// A slot between two nodes, as the node that answered tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// The slot.
    pub slot: Slot,
    /// Which way it goes, seen from the node that answered.
    pub direction: Direction,
    /// The other node's id.
    pub peer: Arc<str>,
}

/// Which way a slot goes, seen from the node that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// `[93->-id]`
    Leaving,
    /// `[93-<-id]`
    Arriving,
}
