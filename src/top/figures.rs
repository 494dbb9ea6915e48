//! The figures that are shown, made of two scrapes and the topology. Pure.

use super::rates::{Durations, increase, increases};
use super::rows::{CommandRow, NodeRow, ROWS_MAX, by, command_rows, node_rows, share};
use super::scrape::{Sample, Scrape};
use super::topology::Topology;
use crate::command::is_meant_to_wait;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// What one interval came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// The version of the proxy.
    pub version: String,
    /// Commands that were answered.
    pub commands: f64,
    /// How long half of the commands took at most, those that are meant to wait left out; so for `p99`.
    pub p50: Option<f64>,
    /// How long 99 of 100 took at most.
    pub p99: Option<f64>,
    /// The share of keys that existed.
    pub hit_rate: Option<f64>,
    /// Error replies by who worded them and first word; most first.
    pub errors: Vec<(String, f64)>,
    /// Clients that are connected.
    pub clients: f64,
    /// Clients that wait in a blocking command.
    pub blocked: f64,
    /// Clients with subscriptions.
    pub pubsub: f64,
    /// Memory that `limits.memory` bounds.
    pub memory: f64,
    /// Bytes read from clients.
    pub bytes_in: f64,
    /// Bytes written to clients.
    pub bytes_out: f64,
    /// By command.
    pub command_rows: Vec<CommandRow>,
    /// By node.
    pub node_rows: Vec<NodeRow>,
    /// Limits that were reached, and how often.
    pub limits: Vec<(String, f64)>,
    /// The map; its nodes are in `node_rows`.
    pub topology: Topology,
}

/// What a table is sorted by; descending, then by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// How many.
    #[default]
    Rate,
    /// The slowest first.
    P99,
    /// The most errors first. There are none by command: that table is then sorted by rate.
    Errors,
}

impl Figures {
    /// The figures of `seconds` between two scrapes.
    pub fn between(before: &Scrape, now: &Scrape, topology: Topology, seconds: f64) -> Self {
        let total = |name: &str| {
            let now = now.sum(name)?;
            Some(increase(before.sum(name), now))
        };
        let gauge = |name: &str| now.sum(name).unwrap_or_default();
        let waits = |sample: &Sample| is_meant_to_wait(sample.label("cmd"));
        let all = Durations::between(before, now, "slotway_command_duration_seconds", waits);
        let quantile = |q: f64| all.get(&false).and_then(|durations| durations.quantile(q));
        let lookups = increases(before, now, "slotway_lookups_total", by("result"));
        let command_rows = command_rows(before, now);
        let build = now.of("slotway_build_info").next();
        Self {
            seconds: seconds.max(0.001),
            version: build.map_or_else(String::new, |sample| sample.label("version").to_owned()),
            commands: command_rows.iter().map(|row| row.count).sum(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            hit_rate: share(lookups.get("hit"), lookups.get("miss")),
            errors: most_first(increases(
                before,
                now,
                "slotway_command_errors_total",
                |sample| format!("{} {}", sample.label("source"), sample.label("err")),
            )),
            clients: gauge("slotway_client_connections"),
            blocked: gauge("slotway_blocked_clients"),
            pubsub: gauge("slotway_pubsub_clients"),
            memory: gauge("slotway_memory_bytes"),
            bytes_in: total("slotway_client_received_bytes_total").unwrap_or_default(),
            bytes_out: total("slotway_client_sent_bytes_total").unwrap_or_default(),
            command_rows,
            node_rows: node_rows(before, now, &topology),
            limits: most_first(increases(
                before,
                now,
                "slotway_limit_hits_total",
                by("limit"),
            )),
            topology,
        }
    }

    /// A count of the interval as a rate.
    pub fn per_second(&self, count: f64) -> f64 {
        count / self.seconds
    }

    /// Sorts both tables.
    pub fn sort(&mut self, commands: Order, nodes: Order) {
        self.command_rows.sort_by_cached_key(|row| {
            let p99 = if commands == Order::P99 {
                row.p99
            } else {
                None
            };
            (Reverse((key(p99), key(Some(row.count)))), row.name.clone())
        });
        self.node_rows.sort_by_cached_key(|row| {
            let first = match nodes {
                Order::Rate => None,
                Order::P99 => row.p99,
                Order::Errors => Some(row.errors),
            };
            (
                Reverse((key(first), key(Some(row.count)))),
                row.addr.clone(),
            )
        });
    }
}

/// Numbers that are not negative, as what can be ordered; nothing comes before 0.
fn key(number: Option<f64>) -> u64 {
    number.map_or(0, |number| number.max(0.0).to_bits() + 1)
}

/// Those above zero.
fn most_first(counts: BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let mut found: Vec<_> = counts.into_iter().filter(|(_, n)| *n > 0.0).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.truncate(ROWS_MAX);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "slotway_commands_total{cmd=\"get\"} 100\nslotway_commands_total{cmd=\"idle\"} 7\n\
        slotway_lookups_total{result=\"hit\",cmd=\"get\"} 10\nslotway_client_sent_bytes_total 1000\n\
        slotway_upstream_requests_total{node=\"b:1\"} 5\n";
    const NOW: &str = "slotway_commands_total{cmd=\"get\"} 130\nslotway_commands_total{cmd=\"set\"} 40\n\
        slotway_commands_total{cmd=\"idle\"} 7\nslotway_lookups_total{cmd=\"get\",result=\"hit\"} 40\n\
        slotway_lookups_total{cmd=\"get\",result=\"miss\"} 10\nslotway_client_sent_bytes_total 3000\n\
        slotway_command_errors_total{err=\"ERR\",source=\"proxy\"} 2\n\
        slotway_command_duration_seconds_bucket{cmd=\"get\",le=\"1\"} 30\n\
        slotway_command_duration_seconds_bucket{cmd=\"get\",le=\"+Inf\"} 30\n\
        slotway_command_duration_seconds_bucket{cmd=\"blpop\",le=\"1\"} 0\n\
        slotway_command_duration_seconds_bucket{cmd=\"blpop\",le=\"+Inf\"} 90\n\
        slotway_limit_hits_total{limit=\"limits.clients\"} 3\nslotway_upstream_up{node=\"b:1\"} 0\n\
        slotway_upstream_requests_total{node=\"b:1\"} 75\nslotway_upstream_errors_total{node=\"b:1\",reason=\"lost\"} 4\n\
        slotway_client_connections{listener=\"a\"} 1\nslotway_client_connections{listener=\"b\"} 2\n";

    fn figures() -> Figures {
        let node = crate::top::topology::Node {
            addr: "a:1".into(),
            role: "primary".into(),
            ..Default::default()
        };
        let topology = Topology {
            nodes: vec![node],
            ..Topology::default()
        };
        Figures::between(&Scrape::parse(BEFORE), &Scrape::parse(NOW), topology, 2.0)
    }

    #[test]
    fn they_are_those_of_the_interval() {
        let figures = figures();
        assert_eq!((figures.commands, figures.clients), (70.0, 3.0));
        assert_eq!(figures.per_second(figures.bytes_out), 1000.0);
        assert_eq!(figures.hit_rate, Some(0.75));
        assert_eq!(figures.errors, [("proxy ERR".to_owned(), 2.0)]);
        assert_eq!(figures.limits, [("limits.clients".to_owned(), 3.0)]);
        assert_eq!(figures.p50, Some(0.5));
    }

    #[test]
    fn tables_have_what_was_used_in_order() {
        let mut figures = figures();
        let names = |figures: &Figures| -> Vec<String> {
            figures
                .command_rows
                .iter()
                .map(|row| row.name.clone())
                .collect()
        };
        figures.sort(Order::Rate, Order::Rate);
        assert_eq!(names(&figures), ["set", "get"]);
        figures.sort(Order::P99, Order::Errors);
        assert_eq!(names(&figures), ["get", "set"]);
        let nodes: Vec<_> = figures
            .node_rows
            .iter()
            .map(|row| row.addr.as_str())
            .collect();
        assert_eq!(nodes, ["b:1", "a:1"]);
        let (b, a) = (&figures.node_rows[0], &figures.node_rows[1]);
        assert_eq!(
            (b.up, b.count, b.errors, b.role.as_str()),
            (Some(false), 70.0, 4.0, "")
        );
        assert_eq!((a.up, a.count, a.role.as_str()), (None, 0.0, "primary"));
    }

    #[test]
    fn without_any_family_everything_is_zero() {
        let none = Scrape::default();
        let figures = Figures::between(&none, &none, Topology::default(), 0.0);
        assert_eq!(
            (figures.commands, figures.p99, figures.hit_rate),
            (0.0, None, None)
        );
        assert_eq!(figures.per_second(figures.bytes_in), 0.0);
    }
}
