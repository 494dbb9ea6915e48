//! The model of a cluster: nodes that know the truth sooner or later, slots that move key by key, and what is stored
//! where.

mod about;
mod commands;

use crate::peer::Words;
use slotway::cluster::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

/// What is stored under a key.
#[derive(Clone, Debug)]
pub enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
}

/// What there is to know of the cluster, at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub number: u64,
    /// The shard of each segment.
    pub owner: Vec<usize>,
    /// The primary of each shard.
    pub primary: Vec<usize>,
    /// Of each shard.
    pub epoch: Vec<u64>,
    pub failed: Vec<bool>,
    pub current_epoch: u64,
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Loading,
    /// Accepts, and does nothing.
    Stopped,
    Dead,
}

pub struct Node {
    pub addr: SocketAddr,
    pub shard: usize,
    pub state: State,
    pub view: Rc<View>,
}

/// What a node has done.
pub struct Executed {
    pub words: Words,
    pub reply: Vec<u8>,
    pub segment: usize,
}

pub struct Cluster {
    pub segments: Vec<(u16, u16)>,
    pub nodes: Vec<Node>,
    pub truth: View,
    /// Where a segment is moving to.
    pub moving: Vec<Option<usize>>,
    /// Of each shard.
    pub stores: Vec<BTreeMap<Vec<u8>, Value>>,
    /// How often a key was changed: what WATCH goes by.
    versions: BTreeMap<Vec<u8>, u64>,
    /// The last command was carried out; drained by the world.
    pub executed: Vec<Executed>,
    /// Commands that published; drained by the world.
    pub published: Vec<Words>,
    /// Commands that were answered MOVED or ASK; drained by the world.
    pub sent_on: Vec<Words>,
    /// Shards that each segment has ever been of: a map can name no other.
    had: Vec<BTreeSet<usize>>,
    /// By segment: the shards that gave it away, and to whom each did last.
    given: Vec<BTreeMap<usize, usize>>,
    /// Segments, and shards to which somebody was sent with ASK for them.
    pub asks: BTreeSet<(usize, usize)>,
    /// A segment is of a shard again that had given it away.
    pub came_back: bool,
    /// What no node should have been asked for.
    pub odd: Option<String>,
}

impl Cluster {
    /// `hot` are the slots in use: each is a segment of its own.
    pub fn new(shards: usize, replicas: usize, hot: &[u16]) -> Self {
        let mut cuts: Vec<u16> = (0..shards).map(|s| (s * 16384 / shards) as u16).collect();
        for slot in hot {
            cuts.extend([*slot, slot + 1]);
        }
        cuts.sort();
        cuts.dedup();
        cuts.retain(|c| *c < 16384);
        let ends = cuts.iter().skip(1).map(|next| next - 1).chain([16383]);
        let segments: Vec<(u16, u16)> = cuts.iter().copied().zip(ends).collect();
        let home = |slot: u16| {
            (0..shards)
                .rev()
                .find(|s| slot as usize >= s * 16384 / shards)
        };
        let truth = View {
            number: 1,
            owner: segments.iter().filter_map(|s| home(s.0)).collect(),
            primary: (0..shards).map(|s| s * (replicas + 1)).collect(),
            epoch: (1..=shards as u64).collect(),
            failed: vec![false; shards * (replicas + 1)],
            current_epoch: shards as u64,
        };
        let view = Rc::new(truth.clone());
        let node = |i: usize| Node {
            addr: SocketAddr::from(([10, 0, 0, 1 + i as u8], 7000)),
            shard: i / (replicas + 1),
            state: State::Running,
            view: view.clone(),
        };
        Self {
            nodes: (0..shards * (replicas + 1)).map(node).collect(),
            moving: vec![None; segments.len()],
            stores: vec![BTreeMap::new(); shards],
            versions: BTreeMap::new(),
            executed: Vec::new(),
            published: Vec::new(),
            sent_on: Vec::new(),
            had: truth.owner.iter().map(|&o| BTreeSet::from([o])).collect(),
            given: vec![BTreeMap::new(); segments.len()],
            asks: BTreeSet::new(),
            came_back: false,
            odd: None,
            segments,
            truth,
        }
    }

    pub fn segment(&self, key: &[u8]) -> usize {
        let slot = Slot::of(key).number();
        self.segments.partition_point(|s| s.0 <= slot) - 1
    }

    /// The truth has changed: what is to be known of it.
    pub fn publish(&mut self) -> Rc<View> {
        self.truth.number += 1;
        Rc::new(self.truth.clone())
    }

    pub fn learn(&mut self, node: usize, view: &Rc<View>) {
        if self.nodes[node].view.number < view.number {
            self.nodes[node].view = view.clone();
        }
    }

    pub fn move_key(&mut self, segment: usize, pick: usize) {
        let Some(to) = self.moving[segment] else {
            return;
        };
        let from = self.truth.owner[segment];
        let keys: Vec<Vec<u8>> = self.keys_of(from, segment);
        if let Some(key) = keys.get(pick % keys.len().max(1))
            && let Some(value) = self.stores[from].remove(key)
        {
            self.stores[to].insert(key.clone(), value);
            // It is deleted where it was.
            self.touch(key);
        }
    }

    fn keys_of(&self, shard: usize, segment: usize) -> Vec<Vec<u8>> {
        let keys = self.stores[shard].keys();
        keys.filter(|k| self.segment(k) == segment)
            .cloned()
            .collect()
    }

    /// The move is over: all keys are there, and the target knows that it owns them.
    pub fn end_move(&mut self, segment: usize) -> Option<(usize, usize)> {
        while self.moving[segment].is_some()
            && !self.keys_of(self.truth.owner[segment], segment).is_empty()
        {
            self.move_key(segment, 0);
        }
        let to = self.moving[segment].take()?;
        let from = std::mem::replace(&mut self.truth.owner[segment], to);
        self.truth.current_epoch += 1;
        self.truth.epoch[to] = self.truth.current_epoch;
        self.given[segment].insert(from, to);
        self.came_back |= !self.had[segment].insert(to);
        Some((from, to))
    }

    fn touch(&mut self, key: &[u8]) {
        *self.versions.entry(key.to_vec()).or_default() += 1;
    }

    fn version(&self, key: &[u8]) -> u64 {
        self.versions.get(key).copied().unwrap_or_default()
    }
}
