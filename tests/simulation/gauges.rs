//! What must be nothing again once all clients have left: everything that is counted while it is held.

/// Names of gauges, as scraped.
const HELD: &[&str] = &[
    "slotway_client_connections",
    "slotway_leases",
    "slotway_blocked_clients",
    "slotway_watchers",
    "slotway_bulk_clients",
    "slotway_pubsub_clients",
    "slotway_upstream_in_flight",
];

/// Read by those who go on only: a worker that ends does not look at its memory once more.
const MEMORY: &str = "slotway_memory_bytes";

/// Nothing only once all workers have ended: before, connections wait for the next client.
const CONNECTIONS: &str = "slotway_upstream_connections";

/// Clients that were refused or closed, by reason.
const REJECTED: &str = "slotway_client_connections_rejected_total";

/// Whether the proxy goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    Runs,
    HasEnded,
}

/// The first sample that is not zero.
pub fn left_over(scrape: &str, proxy: Proxy) -> Option<&str> {
    scrape.lines().find(|line| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let value = line.rsplit(' ').next().unwrap_or_default();
        let is_held = match proxy {
            _ if HELD.contains(&name) => true,
            Proxy::Runs => name == MEMORY,
            Proxy::HasEnded => name == CONNECTIONS,
        };
        is_held && value != "0"
    })
}

/// What clients and nodes take, in bytes.
pub fn memory(scrape: &str) -> usize {
    sum(scrape, |line| line.starts_with(MEMORY))
}

/// How many clients were closed for their memory.
pub fn shed(scrape: &str) -> usize {
    let is_shed = |line: &str| line.starts_with(REJECTED) && line.contains("reason=\"memory\"");
    sum(scrape, is_shed)
}

fn sum(scrape: &str, is_meant: impl Fn(&str) -> bool) -> usize {
    let samples = scrape.lines().filter(|line| is_meant(line));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    values.sum()
}
