//! When a local cluster is healthy: every running node agrees that all slots are served, nobody is suspected,
//! and every replica has its primary's data stream.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::SLOTS;

use super::cluster::Cluster;
use super::wait::{Stop, wait_until};
use super::{Error, Reply};

/// One line of CLUSTER NODES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLine {
    /// The node's id.
    pub id: String,
    /// Its client port.
    pub port: u16,
    /// Its flags: `myself`, `master`, `slave`, `fail?` …
    pub flags: Vec<String>,
    /// The id of its primary, if it is a replica.
    pub primary: Option<String>,
    /// Its config epoch.
    pub epoch: u64,
    /// Whether the node that answered has a link to it.
    pub connected: bool,
    /// Slots it serves, as inclusive ranges.
    pub slots: Vec<(u16, u16)>,
}

impl NodeLine {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let id = fields.next()?.to_owned();
        let addr = fields.next()?.split(['@', ',']).next()?;
        let port = addr.rsplit_once(':')?.1.parse().ok()?;
        let flags = fields.next()?.split(',').map(str::to_owned).collect();
        let primary = Some(fields.next()?)
            .filter(|id| *id != "-")
            .map(str::to_owned);
        let epoch = fields.nth(2)?.parse().ok()?;
        let connected = fields.next()? == "connected";
        let slots = fields.filter_map(parse_range).collect();
        Some(Self {
            id,
            port,
            flags,
            primary,
            epoch,
            connected,
            slots,
        })
    }

    /// Whether it has this flag.
    pub fn is(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// Whether it serves this slot.
    pub fn serves(&self, slot: u16) -> bool {
        self.slots
            .iter()
            .any(|&(first, last)| (first..=last).contains(&slot))
    }
}

/// `5` or `5-9`; a slot that is being moved (`[5->-…]`) is no range.
fn parse_range(field: &str) -> Option<(u16, u16)> {
    let (first, last) = field.split_once('-').unwrap_or((field, field));
    Some((first.parse().ok()?, last.parse().ok()?))
}

impl Cluster {
    /// What a node thinks of all nodes (CLUSTER NODES).
    pub fn nodes_seen_by(&self, node: usize) -> Result<Vec<NodeLine>, Error> {
        let args = ["CLUSTER", "NODES"];
        let reply = self.ask(node, &args)?;
        let lines: Option<Vec<_>> = reply.text().lines().map(NodeLine::parse).collect();
        lines.ok_or_else(|| self.refused(node, &args, &reply))
    }

    /// The value of a field of a `name:value` reply (CLUSTER INFO, INFO).
    pub fn field(&self, node: usize, question: &[&str], field: &str) -> Result<String, Error> {
        let text = self.ask(node, question)?.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.unwrap_or_default().to_owned())
    }

    /// Waits until [`Cluster::check_healthy`] is fine.
    pub fn wait_healthy(&self, at_most: Duration) -> Result<(), Error> {
        wait_until("the cluster is healthy", at_most, &Stop::default(), || {
            self.check_healthy()
        })
    }

    /// Whether every running node calls the cluster healthy, knows who serves what, and every replica is in step
    /// with a primary. The error says what is missing.
    pub fn check_healthy(&self) -> Result<(), String> {
        let running: Vec<usize> = (0..self.len())
            .filter(|&node| self.node(node).is_running())
            .collect();
        let mut owners_by_node = BTreeSet::new();
        for &node in &running {
            let text = |error: Error| error.to_string();
            let info = ["CLUSTER", "INFO"];
            let state = self.field(node, &info, "cluster_state").map_err(text)?;
            let slots_ok = self.field(node, &info, "cluster_slots_ok").map_err(text)?;
            if state != "ok" || slots_ok != SLOTS.to_string() {
                return Err(format!("node {node}: state {state}, {slots_ok} slots ok"));
            }
            let lines = self.nodes_seen_by(node).map_err(text)?;
            owners_by_node.insert(self.check_lines(node, &running, &lines)?);
            self.check_replication(node)?;
        }
        if owners_by_node.len() > 1 {
            return Err(format!(
                "the nodes disagree on the owners: {owners_by_node:?}"
            ));
        }
        Ok(())
    }

    /// Every running node is known, reachable and not suspected. Gives who serves what.
    fn check_lines(
        &self,
        node: usize,
        running: &[usize],
        lines: &[NodeLine],
    ) -> Result<Vec<(u16, u16, String)>, String> {
        for &other in running {
            let id = self.id(other);
            let line = lines
                .iter()
                .find(|line| line.id == id)
                .ok_or_else(|| format!("node {node} does not know node {other}"))?;
            let doubtful = ["handshake", "fail", "fail?", "noaddr"]
                .iter()
                .any(|f| line.is(f));
            if doubtful || !line.connected && !line.is("myself") {
                return Err(format!("node {node} sees node {other} as {line:?}"));
            }
        }
        let mut owners: Vec<_> = lines
            .iter()
            .flat_map(|line| line.slots.iter().map(|&(a, b)| (a, b, line.id.clone())))
            .collect();
        owners.sort_unstable();
        Ok(owners)
    }

    /// A replica has its stream, and a primary has one for each replica that says it is its.
    fn check_replication(&self, node: usize) -> Result<(), String> {
        let reply = self
            .ask(node, &["ROLE"])
            .map_err(|error| error.to_string())?;
        let role = reply.elements();
        match role.first().map(Reply::text).as_deref() {
            Some("slave") => match role.get(3).map(Reply::text).as_deref() {
                Some("connected") => Ok(()),
                state => Err(format!("node {node}: replication {state:?}")),
            },
            Some("master") => {
                let question = ["INFO", "replication"];
                let text = self
                    .ask(node, &question)
                    .map_err(|error| error.to_string())?
                    .text();
                match text
                    .lines()
                    .find(|l| l.contains("state=") && !l.contains("state=online"))
                {
                    Some(line) => Err(format!("node {node}: {line}")),
                    None => self.check_replicas_of(node),
                }
            }
            _ => Err(format!("node {node}: ROLE says {reply:?}")),
        }
    }

    fn check_replicas_of(&self, node: usize) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        let lines = self.nodes_seen_by(node).map_err(text)?;
        let expected = (0..self.len())
            .filter(|&other| self.node(other).is_running())
            .filter(|&other| {
                let mut its = lines.iter().filter(|line| line.id == self.id(other));
                its.any(|line| line.primary.as_deref() == Some(self.id(node)))
            })
            .count();
        let have = self
            .field(node, &["INFO", "replication"], "connected_slaves")
            .map_err(text)?;
        // Right after a restart every node of a shard may call itself a primary.
        let shards = lines
            .iter()
            .filter(|line| line.is("master") && !line.slots.is_empty());
        if shards.count() != self.primaries() {
            return Err(format!(
                "node {node} does not see {} shards",
                self.primaries()
            ));
        }
        if have != expected.to_string() {
            return Err(format!("node {node}: {have} of {expected} replicas"));
        }
        Ok(())
    }
}
