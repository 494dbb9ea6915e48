//! What the control thread tells about topology: refreshes by trigger and result, when the last one succeeded, and
//! what the map looks like. Written by the topology task, read by the collector at a scrape.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// What made the proxy ask the nodes. One list: the metric's `trigger` label, logs and `/topology` use these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The first question after the start, until somebody answers.
    Start,
    /// A node answered MOVED.
    Moved,
    /// A node answered ASK.
    Ask,
    /// A node answered CLUSTERDOWN, MASTERDOWN or READONLY.
    ClusterDown,
    /// A connection was lost or refused.
    ConnectionLost,
    /// A node accepts and does not answer.
    Silent,
    /// `cluster.refresh_interval` has passed.
    Periodic,
    /// The last answers left something open: uncovered slots, answers that differ, a suspect node, a patch.
    Unconfirmed,
    /// A SCAN came to the end of a shard.
    Scanned,
}

impl Trigger {
    /// Every trigger, in the order of [`Trigger::index`].
    pub const ALL: [Self; 9] = [
        Self::Start,
        Self::Moved,
        Self::Ask,
        Self::ClusterDown,
        Self::ConnectionLost,
        Self::Silent,
        Self::Periodic,
        Self::Unconfirmed,
        Self::Scanned,
    ];

    /// Its place in [`Trigger::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Moved => "moved",
            Self::Ask => "ask",
            Self::ClusterDown => "clusterdown",
            Self::ConnectionLost => "connection_lost",
            Self::Silent => "silent",
            Self::Periodic => "periodic",
            Self::Unconfirmed => "unconfirmed",
            Self::Scanned => "scanned",
        }
    }
}

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshResult {
    /// Everybody who answered agrees with the map as it was.
    Unchanged,
    /// There is a new map.
    Changed,
    /// Nobody gave a usable answer.
    Failed,
}

impl RefreshResult {
    /// Every result, in the order of the counters.
    pub const ALL: [Self; 3] = [Self::Unchanged, Self::Changed, Self::Failed];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Changed => "changed",
            Self::Failed => "failed",
        }
    }
}

/// The numbers. All relaxed: each stands for itself.
#[derive(Debug, Default)]
pub struct TopologyMetrics {
    refreshes: [[AtomicU64; RefreshResult::ALL.len()]; Trigger::ALL.len()],
    last_success_unix_ms: AtomicU64,
    epoch: AtomicU64,
    slots_covered: AtomicU64,
    primaries: AtomicU64,
    replicas: AtomicU64,
}

impl TopologyMetrics {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// A refresh ended.
    pub fn refreshed(&self, trigger: Trigger, result: RefreshResult) {
        self.refreshes[trigger.index()][result as usize].fetch_add(1, Relaxed);
        if result != RefreshResult::Failed {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            self.last_success_unix_ms
                .store(now.as_millis() as u64, Relaxed);
        }
    }

    /// What the map looks like now.
    pub fn map(&self, epoch: u64, slots_covered: usize, primaries: usize, replicas: usize) {
        self.epoch.store(epoch, Relaxed);
        self.slots_covered.store(slots_covered as u64, Relaxed);
        self.primaries.store(primaries as u64, Relaxed);
        self.replicas.store(replicas as u64, Relaxed);
    }

    /// `topology_refreshes_total`.
    pub fn refreshes(&self, trigger: Trigger, result: RefreshResult) -> u64 {
        self.refreshes[trigger.index()][result as usize].load(Relaxed)
    }

    /// `topology_last_success_timestamp_seconds`; 0 before the first success.
    pub fn last_success_seconds(&self) -> f64 {
        self.last_success_unix_ms.load(Relaxed) as f64 / 1000.0
    }

    /// `topology_epoch`: the highest config epoch of an owner of slots.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Relaxed)
    }

    /// `slots_covered`: slots with an owner.
    pub fn slots_covered(&self) -> u64 {
        self.slots_covered.load(Relaxed)
    }

    /// `nodes{role="primary"}`.
    pub fn primaries(&self) -> u64 {
        self.primaries.load(Relaxed)
    }

    /// `nodes{role="replica"}`.
    pub fn replicas(&self) -> u64 {
        self.replicas.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_counters_are_in_one_order() {
        let metrics = TopologyMetrics::new();
        for (i, trigger) in Trigger::ALL.into_iter().enumerate() {
            assert_eq!(trigger.index(), i);
            for (j, result) in RefreshResult::ALL.into_iter().enumerate() {
                assert_eq!(result as usize, j);
                metrics.refreshed(trigger, result);
                assert_eq!(metrics.refreshes(trigger, result), 1);
            }
        }
        assert!(metrics.last_success_seconds() > 0.0);
    }
}
