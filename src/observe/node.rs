//! What one worker counts per node, and the bounded table of those counters. Lanes write; the collector sums
//! over workers. It does not know whether a node is part of the cluster: `forget` is told so.

use super::cell::Cell64;
use super::histogram::{Histogram, HistogramSum};
use super::labels::NodeError;
use crate::cluster::NodeAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How many nodes get a label of their own (a cluster is recommended to have at most 1,000).
pub const NODES_MAX: usize = 1024;

/// One worker's counters for one node. Written by that worker's thread only.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    pub(super) opened: Cell64,
    pub(super) closed: Cell64,
    pub(super) requests: Cell64,
    pub(super) duration: Histogram,
    /// Requests that left the lane without a duration.
    pub(super) unmeasured: Cell64,
    pub(super) errors: [Cell64; NodeError::COUNT],
    up: Cell64,
}

/// What a worker last knew about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Nobody tried.
    Unknown,
    /// The last attempt to connect failed.
    Down,
    /// A connection is established, or the last one was closed for lack of use.
    Up,
}

impl NodeMetrics {
    /// A connection was established; the node is up.
    pub fn connected(&self) {
        self.opened.add(1);
        self.set_up();
    }

    /// A connection that was counted by [`connected`](Self::connected) is gone, for whatever reason.
    pub fn disconnected(&self) {
        self.closed.add(1);
    }

    /// So many requests were put on a lane to the node; they are in flight from here on.
    #[inline]
    pub fn sent(&self, requests: u64) {
        self.requests.add(requests);
    }

    /// One request in flight was answered after `micros`.
    #[inline]
    pub fn answered(&self, micros: u32) {
        self.duration.observe(micros);
    }

    /// So many requests in flight were answered and not timed, or will never be answered.
    #[inline]
    pub fn released(&self, requests: u64) {
        self.unmeasured.add(requests);
    }

    /// Something went wrong.
    pub fn error(&self, kind: NodeError) {
        self.errors[kind.index()].add(1);
    }

    /// The node answers.
    pub fn set_up(&self) {
        self.up.set(Health::Up as u64);
    }

    /// The node cannot be reached, or does not answer.
    pub fn set_down(&self) {
        self.up.set(Health::Down as u64);
    }

    /// Whether a connection is open or a request is in flight.
    fn is_in_use(&self) -> bool {
        let mut answered = HistogramSum::default();
        answered.add(&self.duration);
        let landed = answered.count() + self.unmeasured.value();
        self.opened.value() > self.closed.value() || self.requests.value() > landed
    }

    pub(super) fn health(&self) -> Health {
        match self.up.value() {
            v if v == Health::Up as u64 => Health::Up,
            v if v == Health::Down as u64 => Health::Down,
            _ => Health::Unknown,
        }
    }
}

/// One worker's nodes. The lock is taken when a lane opens and when somebody scrapes, never per request.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    nodes: Mutex<Vec<Entry>>,
    /// What all nodes beyond [`NODES_MAX`] share.
    overflow: OnceLock<Arc<NodeMetrics>>,
}

#[derive(Debug)]
struct Entry {
    addr: NodeAddr,
    metrics: Arc<NodeMetrics>,
    /// A forgotten one goes as soon as nothing is open or in flight, so that nothing counted is missing from a scrape. A
    /// session may hold a lane of former times for as long as its client stays.
    keep: Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Wanted,
    Forgotten,
}

impl NodeTable {
    pub(super) fn resolve(&self, addr: &NodeAddr) -> Arc<NodeMetrics> {
        let mut nodes = self.purged();
        if let Some(known) = nodes.iter_mut().find(|entry| entry.addr == *addr) {
            known.keep = Keep::Wanted;
            return Arc::clone(&known.metrics);
        }
        if nodes.len() >= NODES_MAX {
            return Arc::clone(self.overflow.get_or_init(Arc::default));
        }
        let metrics = Arc::<NodeMetrics>::default();
        nodes.push(Entry {
            addr: addr.clone(),
            metrics: Arc::clone(&metrics),
            keep: Keep::Wanted,
        });
        metrics
    }

    /// Lets go of a node's counters, at the latest when the last connection to it is gone. To be asked
    /// for again is to be wanted again.
    pub(super) fn forget(&self, addr: &NodeAddr) {
        let mut nodes = self.purged();
        if let Some(known) = nodes.iter_mut().find(|entry| entry.addr == *addr) {
            known.keep = Keep::Forgotten;
        }
    }

    /// Every node with its counters; `None` stands for those that have no label of their own.
    pub(super) fn snapshot(&self) -> Vec<(Option<NodeAddr>, Arc<NodeMetrics>)> {
        let nodes = self.purged();
        let named = nodes
            .iter()
            .map(|e| (Some(e.addr.clone()), Arc::clone(&e.metrics)));
        let overflow = self.overflow.get().map(|m| (None, Arc::clone(m)));
        named.chain(overflow).collect()
    }

    fn purged(&self) -> MutexGuard<'_, Vec<Entry>> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|e| e.keep == Keep::Wanted || e.metrics.is_in_use());
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: usize) -> NodeAddr {
        NodeAddr::new(format!("node-{n}"), 6379)
    }

    #[test]
    fn a_node_is_resolved_to_the_same_counters_every_time() {
        let table = NodeTable::default();
        table.resolve(&addr(1)).sent(2);
        table.resolve(&addr(1)).sent(3);
        assert_eq!(table.resolve(&addr(1)).requests.value(), 5);
        assert_eq!(table.snapshot().len(), 1);
    }

    #[test]
    fn nodes_are_bounded() {
        let table = NodeTable::default();
        let all: Vec<_> = (0..NODES_MAX + 10)
            .map(|n| table.resolve(&addr(n)))
            .collect();
        assert!(Arc::ptr_eq(&all[NODES_MAX], &all[NODES_MAX + 9]));
        assert!(!Arc::ptr_eq(&all[0], &all[NODES_MAX]));
        let snapshot = table.snapshot();
        assert_eq!(snapshot.len(), NODES_MAX + 1);
        assert_eq!(snapshot.last().unwrap().0, None);
    }

    #[test]
    fn a_forgotten_node_goes_when_nothing_is_open_or_in_flight() {
        let table = NodeTable::default();
        let lane = table.resolve(&addr(1));
        drop(table.resolve(&addr(2)));
        lane.connected();
        lane.sent(1);
        table.forget(&addr(1));
        lane.disconnected();
        assert_eq!(table.snapshot().len(), 2, "a lane still counts");
        lane.released(1);
        let left = table.snapshot();
        assert_eq!((left.len(), &left[0].0), (1, &Some(addr(2))));
    }

    #[test]
    fn a_node_that_comes_back_is_kept() {
        let table = NodeTable::default();
        let lane = table.resolve(&addr(1));
        lane.connected();
        table.forget(&addr(1));
        assert!(Arc::ptr_eq(&lane, &table.resolve(&addr(1))));
        lane.disconnected();
        assert_eq!(table.snapshot().len(), 1);
    }

    #[test]
    fn health_starts_unknown() {
        let node = NodeMetrics::default();
        assert_eq!(node.health(), Health::Unknown);
        node.set_down();
        assert_eq!(node.health(), Health::Down);
        node.connected();
        assert_eq!(node.health(), Health::Up);
    }
}
