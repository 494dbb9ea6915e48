//! What is left when the last client is gone: nothing of any of them, in slotway and at the nodes.

use super::{Proxy, SHOWN_WITHIN};
use slotway::demo::Cluster;

/// How the connections to the nodes are called there.
const LANE: &str = "slotway";
const LEASE: &str = "slotway-lease";
const TOPOLOGY: &str = "slotway-topology";

/// What slotway keeps without any client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Resident memory in bytes.
    pub memory: u64,
    /// File descriptors besides the connections to nodes.
    pub files: usize,
}

/// Waits until all is as without clients.
#[track_caller]
pub fn wait_empty(proxy: &Proxy, cluster: &Cluster) -> Kept {
    let mut kept = None;
    proxy.wait_for("all is as without clients", SHOWN_WITHIN, || {
        let metrics = proxy.metrics();
        metrics.nothing_of_clients()?;
        let (at_nodes, questions) = connections(cluster)?;
        let ours = metrics.sum("slotway_upstream_connections", &[]) as usize;
        if at_nodes != ours {
            return Err(format!("{ours} connections, the nodes see {at_nodes}"));
        }
        kept = Some(Kept {
            memory: proxy.rss(),
            files: metrics.sum("process_open_fds", &[]) as usize - ours - questions,
        });
        Ok(())
    });
    kept.unwrap()
}

/// How many connections of slotway the nodes see, and how many of its topology besides. All of them must be lanes
/// and idle leases, and be as they were when they were made.
fn connections(cluster: &Cluster) -> Result<(usize, usize), String> {
    let (mut connections, mut questions) = (0, 0);
    for node in 0..cluster.len() {
        let list = cluster.command(node, &["CLIENT", "LIST"]);
        for line in list.expect("the node runs").text().lines() {
            let field = |name: &str| {
                let fields = line.split(' ').filter_map(|field| field.split_once('='));
                let mut values = fields.filter(|(n, _)| *n == name).map(|(_, value)| value);
                values.next()
            };
            match field("name") {
                Some(TOPOLOGY) => {
                    questions += 1;
                    continue;
                }
                Some(name) if name.starts_with("slotway") => connections += 1,
                _ => continue,
            }
            let clean = matches!(field("name"), Some(LANE | LEASE))
                // In no MULTI, not blocked, not subscribed, and with no watch whose key has changed: servers that
                // do not tell of `watch` show one that is left since FLUSHALL.
                && field("flags") == Some("N")
                && ["sub", "psub", "ssub", "watch"]
                    .iter()
                    .all(|name| matches!(field(name), None | Some("0")));
            if !clean {
                return Err(format!("node {node} still has: {line}"));
            }
        }
    }
    Ok((connections, questions))
}
