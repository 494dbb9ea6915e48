//! What a scripted node tells about the cluster, true or not, in the answers to all the questions there are.

use crate::support::node::{Call, FakeCluster};

/// See the module.
#[derive(Clone, Debug)]
pub struct Tale {
    /// `cluster_state`.
    pub state: &'static str,
    /// Whether CLUSTER SHARDS is known.
    pub shards: Shards,
    /// Every node that is named.
    pub nodes: Vec<Told>,
}

/// Whether a node knows CLUSTER SHARDS (7.0) or only CLUSTER SLOTS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shards {
    Known,
    Unknown,
}

/// One node as it is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which of the scripted nodes it is.
    pub node: usize,
    /// Where clients are to find it; `None`: NULL.
    pub host: Option<String>,
    pub port: u16,
    /// Of CLUSTER NODES, without `myself`.
    pub flags: &'static str,
    /// Whose replica it is.
    pub replicates: Option<usize>,
    pub epoch: u64,
    pub slots: Vec<(u16, u16)>,
}

impl Tale {
    /// The truth about the first `count` nodes: they share the slots in even runs.
    pub fn of(cluster: &FakeCluster, count: usize) -> Self {
        let bound = |node: usize| (node * 16_384).div_ceil(count) as u16;
        let told = |node: usize| Told {
            node,
            host: Some(cluster.addr(node).ip().to_string()),
            port: cluster.addr(node).port(),
            flags: "master",
            replicates: None,
            epoch: node as u64 + 1,
            slots: vec![(bound(node), bound(node + 1) - 1)],
        };
        Self {
            state: "ok",
            shards: Shards::Known,
            nodes: (0..count).map(told).collect(),
        }
    }

    /// The answer to a question about the cluster; `None`: it is another command.
    pub fn answer(&self, call: &Call) -> Option<Vec<u8>> {
        let sub = call.args.get(1).map(|arg| arg.to_ascii_uppercase());
        if call.name() != "CLUSTER" {
            return None;
        }
        Some(match sub.as_deref()? {
            b"INFO" => bulk(&format!(
                "cluster_state:{}\r\ncluster_current_epoch:{}\r\n",
                self.state,
                self.nodes.iter().map(|n| n.epoch).max().unwrap_or(0)
            )),
            b"NODES" => bulk(&self.nodes(call.node)),
            b"SHARDS" if self.shards == Shards::Unknown => {
                b"-ERR Unknown subcommand or wrong number of arguments for 'SHARDS'. Try CLUSTER HELP.\r\n".to_vec()
            }
            b"SHARDS" => {
                let primaries = self.nodes.iter().filter(|told| told.replicates.is_none());
                array(primaries.map(|primary| self.shard(primary)))
            }
            b"SLOTS" => array(self.nodes.iter().flat_map(|told| {
                told.slots.iter().map(|&(first, last)| {
                    let at = [host(told), number(told.port), bulk(&id(told.node)), array([])];
                    array([number(first), number(last), array(at)])
                })
            })),
            _ => return None,
        })
    }

    fn shard(&self, primary: &Told) -> Vec<u8> {
        let slots = primary.slots.iter();
        let bounds = slots.flat_map(|&(first, last)| [first, last]);
        let its = |told: &&Told| [Some(told.node), told.replicates].contains(&Some(primary.node));
        let members = self.nodes.iter().filter(its);
        array([
            bulk("slots"),
            array(bounds.map(number)),
            bulk("nodes"),
            array(members.map(member)),
        ])
    }

    fn nodes(&self, asked: usize) -> String {
        let mut text = String::new();
        for told in &self.nodes {
            let myself = if told.node == asked { "myself," } else { "" };
            let (id, port, bus) = (id(told.node), told.port, u32::from(told.port) + 10_000);
            let host = told.host.as_deref().unwrap_or_default();
            let (flags, epoch) = (told.flags, told.epoch);
            let primary = told.replicates.map_or_else(|| "-".to_owned(), self::id);
            text += &format!(
                "{id} {host}:{port}@{bus} {myself}{flags} {primary} 0 0 {epoch} connected"
            );
            for (first, last) in &told.slots {
                text += &format!(" {first}-{last}");
            }
            text.push('\n');
        }
        text
    }
}

fn member(told: &Told) -> Vec<u8> {
    let health = if told.flags.contains("fail") {
        "failed"
    } else {
        "online"
    };
    let role = told.replicates.map_or("master", |_| "replica");
    array([
        bulk("id"),
        bulk(&id(told.node)),
        bulk("port"),
        number(told.port),
        bulk("ip"),
        host(told),
        bulk("endpoint"),
        host(told),
        bulk("role"),
        bulk(role),
        bulk("replication-offset"),
        number(0),
        bulk("health"),
        bulk(health),
    ])
}

/// As `FakeCluster` names its nodes.
fn id(node: usize) -> String {
    format!("{:040x}", 0xfa4e_0000 + node)
}

fn host(told: &Told) -> Vec<u8> {
    told.host
        .as_deref()
        .map_or_else(|| b"$-1\r\n".to_vec(), bulk)
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn number(number: u16) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}

fn array(elements: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let elements: Vec<_> = elements.into_iter().collect();
    [
        format!("*{}\r\n", elements.len()).into_bytes(),
        elements.concat(),
    ]
    .concat()
}
