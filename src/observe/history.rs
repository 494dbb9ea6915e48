//! The last minutes of the counters, a sample each second: what the status page draws.

use super::totals::{NodeTotals, Totals};
use crate::cluster::NodeAddr;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two samples.
pub const SAMPLED_EVERY: Duration = Duration::from_secs(1);

/// So many are kept.
pub const SAMPLES_MAX: usize = 121;

/// What "now" is: rates and quantiles of the page are of so many samples.
const NOW_SAMPLES: usize = 5;

/// The samples. Written by one task, read by whoever draws.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<(Instant, Totals)>>);

/// What went on between two samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Commands per second.
    pub commands: f64,
    /// Errors per second.
    pub errors: f64,
    /// Bytes from clients per second.
    pub received: f64,
    /// Bytes to clients per second.
    pub sent: f64,
    /// Clients at the end.
    pub clients: u64,
    /// Seconds that half of the commands, and 99 of 100, did not exceed; `None` if there were none.
    pub p50: Option<f64>,
    /// See `p50`.
    pub p99: Option<f64>,
    /// Part of the lookups that found something; `None` if there were none.
    pub hit_rate: Option<f64>,
}

/// The same of one node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeFigures {
    /// Requests per second.
    pub requests: f64,
    /// Not answered at the end.
    pub in_flight: u64,
    /// Failures per second.
    pub errors: f64,
    /// Whether some worker reaches it.
    pub up: Option<bool>,
    /// Seconds that 99 of 100 requests did not exceed.
    pub p99: Option<f64>,
}

impl History {
    /// One more sample; the oldest goes.
    pub fn push(&self, at: Instant, totals: Totals) {
        let mut samples = self.samples();
        if samples.len() == SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back((at, totals));
    }

    /// From sample to sample, the newest last.
    pub fn course(&self) -> Vec<Figures> {
        let samples = self.samples();
        let pairs = samples.iter().zip(samples.iter().skip(1));
        pairs.map(|(a, b)| between(a, b)).collect()
    }

    /// Over the last few samples, and of each node.
    pub fn now(&self) -> (Figures, Vec<(NodeAddr, NodeFigures)>) {
        let samples = self.samples();
        let (Some(last), Some(first)) = (
            samples.back(),
            samples.get(samples.len().saturating_sub(NOW_SAMPLES + 1)),
        ) else {
            return Default::default();
        };
        let seconds = seconds(first.0, last.0);
        let none = NodeTotals::default();
        let nodes = last.1.nodes.iter().map(|(addr, now)| {
            let before = first.1.nodes.get(addr).unwrap_or(&none);
            let figures = NodeFigures {
                requests: now.requests.saturating_sub(before.requests) as f64 / seconds,
                in_flight: now.in_flight,
                errors: now.errors.saturating_sub(before.errors) as f64 / seconds,
                up: now.up,
                p99: now.duration.quantile_since(&before.duration, 0.99),
            };
            (addr.clone(), figures)
        });
        (between(first, last), nodes.collect())
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<(Instant, Totals)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn between((from, before): &(Instant, Totals), (to, after): &(Instant, Totals)) -> Figures {
    let seconds = seconds(*from, *to);
    let rate = |of: fn(&Totals) -> u64| of(after).saturating_sub(of(before)) as f64 / seconds;
    let hits = after.hits.saturating_sub(before.hits);
    let lookups = hits + after.misses.saturating_sub(before.misses);
    let quantile = |q| after.duration.quantile_since(&before.duration, q);
    Figures {
        commands: rate(|t| t.commands),
        errors: rate(|t| t.errors),
        received: rate(|t| t.received),
        sent: rate(|t| t.sent),
        clients: after.clients,
        p50: quantile(0.5),
        p99: quantile(0.99),
        hit_rate: (lookups > 0).then(|| hits as f64 / lookups as f64),
    }
}

fn seconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64().max(1e-3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_samples_and_old_ones_go() {
        let history = History::default();
        assert_eq!(
            (history.course(), history.now()),
            (Vec::new(), Default::default())
        );
        let start = Instant::now();
        let node = NodeAddr::new("a", 1);
        for second in 0..200_u64 {
            let mut totals = Totals {
                commands: second * second,
                hits: second * 3,
                misses: second,
                clients: second,
                ..Totals::default()
            };
            let requests = second * 10;
            totals.nodes.insert(
                node.clone(),
                NodeTotals {
                    requests,
                    ..NodeTotals::default()
                },
            );
            history.push(start + Duration::from_secs(second), totals);
        }
        let course = history.course();
        assert_eq!(course.len(), SAMPLES_MAX - 1);
        let last = course.last().unwrap();
        assert_eq!(
            (last.commands, last.hit_rate),
            ((199 * 199 - 198 * 198) as f64, Some(0.75))
        );
        let (now, nodes) = history.now();
        assert_eq!(now.commands, (199 * 199 - 194 * 194) as f64 / 5.0);
        assert_eq!((now.clients, now.p99), (199, None));
        assert_eq!((nodes[0].0.clone(), nodes[0].1.requests), (node, 10.0));
    }
}
