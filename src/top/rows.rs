//! The rows of the two tables, made of two scrapes and the topology. Pure.

use super::rates::{Durations, increases};
use super::scrape::{Sample, Scrape};
use super::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};

/// Commands, nodes and kinds of errors that are kept: the first so many of what a page names.
pub(super) const ROWS_MAX: usize = 2000;

/// One command.
#[derive(Clone, Debug, Default)]
pub struct CommandRow {
    /// Its name.
    pub name: String,
    /// How many were answered.
    pub count: f64,
    /// How long half of them took at most.
    pub p50: Option<f64>,
    /// How long 99 of 100 took at most.
    pub p99: Option<f64>,
    /// The share of keys that existed.
    pub hit_rate: Option<f64>,
}

/// One node.
#[derive(Clone, Debug, Default)]
pub struct NodeRow {
    /// Where it is reached.
    pub addr: String,
    /// `primary`, `replica`, or nothing: the map does not name it.
    pub role: String,
    /// Slots it owns.
    pub slots: u64,
    /// What the nodes think of it.
    pub health: String,
    /// Whether some worker reaches it; `None` if none tried.
    pub up: Option<bool>,
    /// Requests sent to it.
    pub count: f64,
    /// How long 99 of 100 took at most.
    pub p99: Option<f64>,
    /// Requests that it has not answered.
    pub in_flight: f64,
    /// Failures between slotway and it.
    pub errors: f64,
}

/// The commands that were used in the interval.
pub(super) fn command_rows(before: &Scrape, now: &Scrape) -> Vec<CommandRow> {
    let durations = Durations::between(before, now, "slotway_command_duration_seconds", by("cmd"));
    let lookups = increases(before, now, "slotway_lookups_total", |sample| {
        let [cmd, result] = ["cmd", "result"].map(|label| sample.label(label).to_owned());
        (cmd, result)
    });
    let counts = increases(before, now, "slotway_commands_total", by("cmd"));
    let used = counts.into_iter().filter(|(_, count)| *count > 0.0);
    let rows = used.take(ROWS_MAX).map(|(name, count)| {
        let quantile = |q: f64| durations.get(&name).and_then(|found| found.quantile(q));
        let looked_up = |result: &str| lookups.get(&(name.clone(), result.to_owned()));
        CommandRow {
            count,
            p50: quantile(0.5),
            p99: quantile(0.99),
            hit_rate: share(looked_up("hit"), looked_up("miss")),
            name,
        }
    });
    rows.collect()
}

/// The nodes of the map, and those that only the metrics name.
pub(super) fn node_rows(before: &Scrape, now: &Scrape, topology: &Topology) -> Vec<NodeRow> {
    let durations =
        Durations::between(before, now, "slotway_upstream_duration_seconds", by("node"));
    let counts = increases(before, now, "slotway_upstream_requests_total", by("node"));
    let errors = increases(before, now, "slotway_upstream_errors_total", by("node"));
    let gauge = |name: &str| -> BTreeMap<String, f64> {
        let samples = now.of(name);
        samples
            .map(|s| (s.label("node").to_owned(), s.value))
            .collect()
    };
    let (up, in_flight) = (
        gauge("slotway_upstream_up"),
        gauge("slotway_upstream_in_flight"),
    );
    let known: BTreeMap<&str, _> = topology
        .nodes
        .iter()
        .map(|n| (n.addr.as_str(), n))
        .collect();
    let mut addrs: BTreeSet<&str> = known.keys().copied().collect();
    addrs.extend(counts.keys().chain(up.keys()).map(String::as_str));
    let rows = addrs.into_iter().take(ROWS_MAX).map(|addr| {
        let node = known.get(addr);
        let number = |of: &BTreeMap<String, f64>| of.get(addr).copied().unwrap_or_default();
        NodeRow {
            addr: addr.to_owned(),
            role: node.map_or_else(String::new, |node| node.role.clone()),
            slots: node.map_or(0, |node| node.slots),
            health: node.map_or_else(String::new, |node| node.health.clone()),
            up: up.get(addr).map(|up| *up > 0.0),
            count: number(&counts),
            p99: durations.get(addr).and_then(|found| found.quantile(0.99)),
            in_flight: number(&in_flight),
            errors: number(&errors),
        }
    });
    rows.collect()
}

/// The label that a family is added up by.
pub(super) fn by(label: &'static str) -> impl Fn(&Sample) -> String {
    move |sample| sample.label(label).to_owned()
}

/// The share of hits; `None` if nothing was looked up.
pub(super) fn share(hits: Option<&f64>, misses: Option<&f64>) -> Option<f64> {
    let hits = hits.copied().unwrap_or_default();
    let all = hits + misses.copied().unwrap_or_default();
    (all > 0.0).then(|| hits / all)
}
