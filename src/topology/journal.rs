//! The log lines about topology: one per change worth an operator's attention, none per refresh.

use super::TopologyStatus;
use crate::cluster::{Health, NodeIndex, SLOTS, SlotMap};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Least time between two lines about slots that changed hands: a resharding moves thousands one by one.
const SLOTS_LINE_GAP: Duration = Duration::from_secs(5);

/// What was last told.
#[derive(Default)]
pub(super) struct Journal {
    map: Option<Arc<SlotMap>>,
    slots_at: Option<Instant>,
    covered: usize,
    failing: bool,
    nodes: HashMap<String, Health>,
}

impl Journal {
    /// Tells what is new in `map` and `status`.
    pub(super) fn write(&mut self, map: &Arc<SlotMap>, status: &TopologyStatus) {
        self.answers(status);
        if map.version() == 0 {
            return;
        }
        self.nodes(status);
        self.slots(map);
        self.coverage(status.slots_covered);
    }

    fn answers(&mut self, status: &TopologyStatus) {
        match &status.last_error {
            Some(e) if !self.failing => {
                tracing::warn!(error = %e.error, hint = e.hint, "no node answers questions about the cluster");
            }
            None if self.failing => {
                tracing::info!(sources = ?status.sources, "nodes answer questions about the cluster again");
            }
            _ => {}
        }
        self.failing = status.last_error.is_some();
    }

    fn nodes(&mut self, status: &TopologyStatus) {
        let first = self.map.is_none();
        for node in &status.nodes {
            let before = self.nodes.insert(node.id.clone(), node.health);
            let (addr, role, id) = (&node.addr, node.role, &node.id);
            match (before, node.health) {
                (None, _) if first => {}
                (None, _) => tracing::info!(%addr, role, %id, "a node joined"),
                (Some(Health::Failed), Health::Failed) => {}
                (_, Health::Failed) => {
                    tracing::warn!(%addr, role, %id, "the cluster calls a node failed")
                }
                (Some(Health::Failed), _) => tracing::info!(%addr, role, %id, "a node is back"),
                _ => {}
            }
        }
        self.nodes.retain(|id, _| {
            let stays = status.nodes.iter().any(|n| n.id == *id);
            if !stays {
                tracing::info!(%id, "a node was forgotten");
            }
            stays
        });
    }

    fn slots(&mut self, map: &Arc<SlotMap>) {
        let Some(before) = &self.map else {
            let (slots, nodes, primaries) =
                (map.covered(), map.nodes().len(), map.primaries().len());
            tracing::info!(slots, nodes, primaries, "found the cluster");
            self.map = Some(Arc::clone(map));
            return;
        };
        if self
            .slots_at
            .is_some_and(|at| at.elapsed() < SLOTS_LINE_GAP)
        {
            return;
        }
        if before.version() == map.version() {
            return;
        }
        let mut moved: BTreeMap<_, usize> = BTreeMap::new();
        for slot in map.moved_since(before) {
            let hands = (before.owner(slot), map.owner(slot));
            *moved.entry(hands).or_default() += 1;
        }
        let addr = |map: &SlotMap, node: Option<NodeIndex>| match node {
            Some(node) => map.node(node).addr.to_string(),
            None => "nobody".to_owned(),
        };
        for ((from, to), slots) in &moved {
            let (from, to) = (addr(before, *from), addr(map, *to));
            tracing::info!(slots, from, to, "slots changed hands");
        }
        if !moved.is_empty() {
            self.slots_at = Some(Instant::now());
        }
        self.map = Some(Arc::clone(map));
    }

    fn coverage(&mut self, covered: usize) {
        if covered == SLOTS && self.covered != SLOTS && self.covered != 0 {
            tracing::info!("every slot has an owner again");
        }
        if covered < SLOTS && covered != self.covered {
            let uncovered = SLOTS - covered;
            tracing::error!(
                uncovered,
                "slots without an owner: commands for them fail until they are assigned"
            );
        }
        self.covered = covered;
    }
}
