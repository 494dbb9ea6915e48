//! The one table of metrics: name, type, labels, help. The scrape, the README's table and the tests of
//! dashboards and rules derive from it. What is counted where is not its business.

use super::labels::{
    CrossSlot, ErrorSource, Exec, Limit, NodeError, Redirection, Rejected, RetryReason,
};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// What is fixed about one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Full name, as scraped.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($variant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)+) => {
        /// A metric, as a row of [`METRICS`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric { $(#[doc = $help] $variant,)+ }

        /// Every metric there is.
        pub const METRICS: &[Definition] = &[$(
            Definition { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help },
        )+];

        #[cfg(test)]
        pub(super) const ALL: &[Metric] = &[$(Metric::$variant,)+];
    };
}

metrics! {
    ClientConnections Gauge "slotway_client_connections" ["listener"]
        "Clients that are connected.";
    ClientConnectionsTotal Counter "slotway_client_connections_total" ["listener"]
        "Clients that were accepted.";
    ClientConnectionsRejected Counter "slotway_client_connections_rejected_total" ["reason"]
        "Clients that were turned away.";
    ClientReceivedBytes Counter "slotway_client_received_bytes_total" []
        "Bytes read from clients.";
    ClientSentBytes Counter "slotway_client_sent_bytes_total" []
        "Bytes written to clients.";
    Commands Counter "slotway_commands_total" ["cmd"]
        "Commands that were answered, whatever the answer.";
    CommandDuration Histogram "slotway_command_duration_seconds" ["cmd"]
        "Time from the last byte of a request to the first write of its reply.";
    CommandErrors Counter "slotway_command_errors_total" ["err", "source"]
        "Error replies that clients got, by first word and by who worded them.";
    Lookups Counter "slotway_lookups_total" ["cmd", "result", "group"]
        "Keys or fields that were looked up, by whether they existed, as far as replies tell; by group of keys where observe.groups names any.";
    SlowCommands Counter "slotway_slow_commands_total" ["cmd"]
        "Commands that took observe.slow or longer, as slotway_command_duration_seconds tells it.";
    BigValues Counter "slotway_big_values_total" ["cmd"]
        "Replies, and requests with an argument, of observe.big_value or more (/bigkeys).";
    UpstreamConnections Gauge "slotway_upstream_connections" ["node"]
        "Established connections to a node.";
    UpstreamRequests Counter "slotway_upstream_requests_total" ["node"]
        "Requests put on connections to a node.";
    UpstreamErrors Counter "slotway_upstream_errors_total" ["node", "reason"]
        "Failures between slotway and a node. Error replies are not counted here.";
    UpstreamDuration Histogram "slotway_upstream_duration_seconds" ["node"]
        "Time from putting a request on a connection to reading its reply.";
    UpstreamInFlight Gauge "slotway_upstream_in_flight" ["node"]
        "Requests a node has not answered yet.";
    UpstreamUp Gauge "slotway_upstream_up" ["node"]
        "1 if some worker reaches the node, 0 if those that tried do not.";
    Redirections Counter "slotway_redirections_total" ["type"]
        "Requests that a node redirected or refused for now.";
    Retries Counter "slotway_retries_total" ["reason"]
        "Requests that were sent again.";
    UnknownOutcomes Counter "slotway_unknown_outcomes_total" []
        "Commands of which nobody knows whether they were executed.";
    PubsubClients Gauge "slotway_pubsub_clients" []
        "Clients with subscriptions.";
    CrossSlots Counter "slotway_cross_slot_total" ["cmd", "outcome"]
        "Commands whose keys were in several slots.";
    TopologyRefreshes Counter "slotway_topology_refreshes_total" ["trigger", "result"]
        "Times the nodes were asked for the topology.";
    TopologyLastSuccess Gauge "slotway_topology_last_success_timestamp_seconds" []
        "When the topology was last learnt, in Unix time.";
    TopologyEpoch Gauge "slotway_topology_epoch" []
        "Highest config epoch in the slot map.";
    SlotsCovered Gauge "slotway_slots_covered" []
        "Hash slots that have an owner in the slot map, reachable or not, of 16384.";
    Nodes Gauge "slotway_nodes" ["role"]
        "Nodes in the slot map.";
    LimitHits Counter "slotway_limit_hits_total" ["limit"]
        "Times a bound of the sections limits and timeouts, or upstream.bulk_bytes, was reached, by the option's name: a client was refused, closed or not read, a request given up, something dropped.";
    Backpressure Counter "slotway_backpressure_seconds_total" []
        "Time during which clients were not read because of limits.client_in_flight, _in_flight_bytes or _output_soft, or because three quarters of limits.memory were used, summed over clients.";
    BlockedClients Gauge "slotway_blocked_clients" []
        "Clients that wait in a blocking command.";
    BlockedPushedBack Counter "slotway_blocked_pushed_back_total" []
        "Elements that were popped for a blocked client that was gone by then, and pushed back to the same end.";
    Transactions Counter "slotway_transactions_total" ["outcome"]
        "Transactions that EXEC ended, by what it answered: an array, nil (a watched key had changed), an error because of which nothing was executed, or that nobody knows.";
    BulkClients Gauge "slotway_bulk_clients" []
        "Clients that take the lanes of large values (upstream.bulk_from).";
    Watchers Gauge "slotway_watchers" []
        "Clients that watch keys (WATCH).";
    WatchesLost Counter "slotway_watches_lost_total" []
        "Transactions that were answered with nil because their watch was lost, with its connection or because its slot moved.";
    Leases Gauge "slotway_leases" []
        "Connections to nodes that one client has to itself (upstream.leases); not those of subscribed clients.";
    Memory Gauge "slotway_memory_bytes" []
        "Memory that limits.memory bounds: what is kept for clients and on its way to nodes.";
    ScriptMemory Gauge "slotway_script_memory_bytes" []
        "Memory of the scripts that are kept for all clients (limits.script_bytes); limits.memory bounds both together.";
    BuildInfo Gauge "slotway_build_info" ["version"]
        "Always 1; the version is in the label.";
    ProcessCpu Counter "process_cpu_seconds_total" []
        "User and system CPU time spent.";
    ProcessResident Gauge "process_resident_memory_bytes" []
        "Resident memory.";
    ProcessVirtual Gauge "process_virtual_memory_bytes" []
        "Virtual memory.";
    ProcessOpenFds Gauge "process_open_fds" []
        "Open file descriptors.";
    ProcessMaxFds Gauge "process_max_fds" []
        "File descriptors the process may open.";
    ProcessThreads Gauge "process_threads" []
        "Threads of the process.";
    ProcessStartTime Gauge "process_start_time_seconds" []
        "When the process started, in Unix time.";
}

impl Metric {
    /// The metric's row.
    pub const fn definition(self) -> &'static Definition {
        &METRICS[self as usize]
    }
}

impl Definition {
    /// The values a label can have, where they are known beforehand; empty where they are not.
    pub fn label_values(&self, label: &str) -> Vec<&'static str> {
        fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
            all.iter().map(|&v| name(v)).collect()
        }
        match (self.name, label) {
            ("slotway_client_connections_rejected_total", "reason") => {
                names(Rejected::ALL, Rejected::label)
            }
            ("slotway_upstream_errors_total", "reason") => names(NodeError::ALL, NodeError::label),
            ("slotway_retries_total", "reason") => names(RetryReason::ALL, RetryReason::label),
            ("slotway_limit_hits_total", "limit") => names(Limit::ALL, Limit::label),
            (_, "source") => names(ErrorSource::ALL, ErrorSource::label),
            (_, "type") => names(Redirection::ALL, Redirection::label),
            ("slotway_transactions_total", "outcome") => names(Exec::ALL, Exec::label),
            (_, "outcome") => names(CrossSlot::ALL, CrossSlot::label),
            ("slotway_lookups_total", "result") => vec!["hit", "miss"],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_follows_the_conventions() {
        let mut names = BTreeSet::new();
        for (i, m) in METRICS.iter().enumerate() {
            assert_eq!(ALL[i].definition(), m);
            assert!(names.insert(m.name), "{} twice", m.name);
            assert!(
                m.name.starts_with("slotway_") || m.name.starts_with("process_"),
                "{}",
                m.name
            );
            assert_eq!(
                m.kind == Kind::Counter,
                m.name.ends_with("_total"),
                "{}",
                m.name
            );
            assert!(
                m.kind != Kind::Histogram || m.name.ends_with("_seconds"),
                "{}",
                m.name
            );
            assert!(
                !["_milliseconds", "_ms", "_us"]
                    .iter()
                    .any(|u| m.name.contains(u)),
                "{}",
                m.name
            );
            assert!(m.help.ends_with('.'), "{}: help is a sentence", m.name);
            assert!(!m.labels.contains(&"le"), "{}", m.name);
        }
    }

    #[test]
    fn labels_with_known_values_name_them() {
        for m in METRICS {
            for label in m.labels {
                let known = !m.label_values(label).is_empty();
                let open = [
                    "listener", "cmd", "err", "node", "trigger", "role", "version", "group",
                ]
                .contains(label)
                    || (m.name == "slotway_topology_refreshes_total" && *label == "result");
                assert!(known != open, "{}{{{label}}}", m.name);
            }
        }
    }
}
