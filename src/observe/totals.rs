//! Everything that the status page shows of the counters, summed over workers at one moment: two of them make rates.

use super::histogram::HistogramSum;
use super::labels::{ErrorSource, NodeError};
use super::node::Health;
use super::worker::WorkerMetrics;
use crate::cluster::NodeAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Counters since the process started.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Commands that were answered.
    pub commands: u64,
    /// Error replies that clients got.
    pub errors: u64,
    /// Keys and fields that were looked up and existed.
    pub hits: u64,
    /// And that did not.
    pub misses: u64,
    /// Bytes read from clients.
    pub received: u64,
    /// Bytes written to clients.
    pub sent: u64,
    /// Clients that are connected.
    pub clients: u64,
    /// Of all commands but those that are meant to wait.
    pub duration: Durations,
    /// By address.
    pub nodes: BTreeMap<NodeAddr, NodeTotals>,
}

/// What is counted of one node.
#[derive(Clone, Debug, Default)]
pub struct NodeTotals {
    /// Requests put on connections to it.
    pub requests: u64,
    /// Requests that it has not answered yet.
    pub in_flight: u64,
    /// Failures between slotway and it.
    pub errors: u64,
    /// Whether some worker reaches it, if one tried.
    pub up: Option<bool>,
    /// From putting a request on a connection to reading its reply.
    pub duration: Durations,
    pub(super) unmeasured: u64,
}

/// How long things took.
#[derive(Clone, Debug, Default)]
pub struct Durations(HistogramSum);

impl Durations {
    /// The time that a part `q` of what was observed since `before` did not exceed, in seconds: within a bucket as if evenly
    /// spread, as Prometheus' `histogram_quantile` has it. `None` if nothing was.
    pub fn quantile_since(&self, before: &Self, q: f64) -> Option<f64> {
        let counts = self.0.cumulative().zip(before.0.cumulative());
        let all = self.0.count().saturating_sub(before.0.count());
        if all == 0 {
            return None;
        }
        let rank = q * all as f64;
        let (mut below, mut from) = (0, 0.0);
        for ((bound, count), (_, old)) in counts {
            let count = count.saturating_sub(old);
            if count as f64 >= rank && count > below {
                let part = (rank - below as f64) / (count - below) as f64;
                return Some(from + (bound - from) * part.clamp(0.0, 1.0));
            }
            (below, from) = (count, bound);
        }
        Some(from)
    }
}

impl Totals {
    /// `waits` tells by its index whether a command is meant to wait.
    pub(super) fn of(writers: &[Arc<WorkerMetrics>], mut waits: impl FnMut(usize) -> bool) -> Self {
        let mut sum = Self::default();
        for writer in writers {
            sum.add(writer, &mut waits);
        }
        for node in sum.nodes.values_mut() {
            let landed = node.duration.0.count() + node.unmeasured;
            node.in_flight = node.requests.saturating_sub(landed);
        }
        sum
    }

    fn add(&mut self, writer: &WorkerMetrics, waits: &mut impl FnMut(usize) -> bool) {
        for (index, command) in writer.used() {
            let mut duration = HistogramSum::default();
            duration.add(&command.duration);
            self.commands += duration.count() + command.untimed.value();
            if !waits(index) {
                self.duration.0.add(&command.duration);
            }
            for lookups in &command.lookups {
                self.hits += lookups.hits.value();
                self.misses += lookups.misses.value();
            }
        }
        for source in ErrorSource::ALL {
            let errors = writer.errors[source.index()].iter();
            self.errors += errors.map(|count| count.value()).sum::<u64>();
        }
        self.received += writer.received_bytes.value();
        self.sent += writer.sent_bytes.value();
        for listener in &writer.listeners {
            // What is closed here may have been opened by another writer.
            let open = listener
                .opened
                .value()
                .wrapping_sub(listener.closed.value());
            self.clients = self.clients.wrapping_add(open);
        }
        for (addr, node) in writer.nodes().snapshot() {
            let Some(addr) = addr else { continue };
            let of = self.nodes.entry(addr).or_default();
            // What lands is read before what leaves, so that the difference is never negative.
            of.unmeasured += node.unmeasured.value();
            of.duration.0.add(&node.duration);
            of.requests += node.requests.value();
            let failures = NodeError::ALL
                .iter()
                .map(|kind| node.errors[kind.index()].value());
            of.errors += failures.sum::<u64>();
            of.up = match (of.up, node.health()) {
                (Some(true), _) | (_, Health::Up) => Some(true),
                (_, Health::Down) => Some(false),
                (before, Health::Unknown) => before,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_all_workers_are_summed_and_quantiles_are_of_what_came_since() {
        use crate::command::CommandId;
        use crate::observe::KeyGroup;
        let writers = [WorkerMetrics::detached(), WorkerMetrics::detached()];
        writers[0].command(CommandId::OTHER, 40);
        let before = Totals::of(&writers, |_| false);
        for writer in &writers {
            (0..99).for_each(|_| writer.command(CommandId::OTHER, 40));
            writer.command(CommandId::OTHER, 9_000);
            writer.lookup(CommandId::OTHER, KeyGroup::OTHER, 3, 1);
            writer.error(ErrorSource::Proxy, b"-ERR x\r\n");
            let node = writer.node(&NodeAddr::new("a", 1));
            node.sent(3);
            node.answered(70);
            node.set_up();
        }
        writers[0].client_opened(0);
        writers[0].client_opened(0);
        // Accepted by one, closed by another.
        writers[1].client_closed(0);
        let after = Totals::of(&writers, |_| false);
        assert_eq!((before.commands, after.commands), (1, 201));
        assert_eq!(
            (after.hits, after.misses, after.errors, after.clients),
            (6, 2, 2, 1)
        );
        let node = after.nodes.values().next().unwrap();
        assert_eq!((node.requests, node.in_flight, node.up), (6, 4, Some(true)));
        let quantile = |q| after.duration.quantile_since(&before.duration, q).unwrap();
        assert!(
            (quantile(0.5) - 0.000_025).abs() < 0.000_001,
            "{}",
            quantile(0.5)
        );
        assert!(
            (quantile(0.995) - 0.0075).abs() < 0.000_1,
            "{}",
            quantile(0.995)
        );
        assert_eq!(before.duration.quantile_since(&before.duration, 0.5), None);
        let waiting = Totals::of(&writers, |index| index == CommandId::OTHER.index());
        let none = Durations::default();
        assert_eq!(waiting.commands, 201);
        assert_eq!(waiting.duration.quantile_since(&none, 0.5), None);
    }
}
