//! What a node of the model says of its cluster: CLUSTER INFO, NODES and SHARDS.

use super::{Cluster, View};
use crate::wire::{array, bulk, integer};

impl Cluster {
    pub(super) fn about(&self, at: usize, what: &[u8]) -> Vec<u8> {
        let view = &*self.nodes[at].view;
        let down = view
            .owner
            .iter()
            .any(|&shard| view.failed[view.primary[shard]]);
        match what {
            b"INFO" => {
                let state = if down { "fail" } else { "ok" };
                let epoch = view.current_epoch;
                bulk(
                    format!("cluster_state:{state}\r\ncluster_current_epoch:{epoch}\r\n")
                        .as_bytes(),
                )
            }
            b"NODES" => {
                let lines: String = (0..self.nodes.len()).map(|n| self.line(at, n)).collect();
                bulk(lines.as_bytes())
            }
            _ => {
                let shards = 0..view.primary.len();
                array(&shards.map(|s| self.shard(at, s)).collect::<Vec<_>>())
            }
        }
    }

    fn ranges(&self, view: &View, shard: usize) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (segment, &(first, last)) in self.segments.iter().enumerate() {
            if view.owner[segment] != shard {
                continue;
            }
            match ranges.last_mut() {
                Some(range) if range.1 + 1 == first => range.1 = last,
                _ => ranges.push((first, last)),
            }
        }
        ranges
    }

    fn line(&self, at: usize, n: usize) -> String {
        let (node, view) = (&self.nodes[n], &*self.nodes[at].view);
        let primary = view.primary[node.shard];
        let mut flags = String::from(if n == at { "myself," } else { "" });
        flags += if n == primary { "master" } else { "slave" };
        flags += if view.failed[n] { ",fail" } else { "" };
        let of = if n == primary {
            "-".into()
        } else {
            id(primary)
        };
        let epoch = view.epoch[node.shard];
        let addr = node.addr;
        let mut line = format!("{} {addr}@17000 {flags} {of} 0 0 {epoch} connected", id(n));
        if n == primary {
            for (first, last) in self.ranges(view, node.shard) {
                line += &format!(" {first}-{last}");
            }
        }
        line + "\n"
    }

    fn shard(&self, at: usize, shard: usize) -> Vec<u8> {
        let view = &*self.nodes[at].view;
        let slots: Vec<Vec<u8>> = self
            .ranges(view, shard)
            .iter()
            .flat_map(|r| [integer(r.0.into()), integer(r.1.into())])
            .collect();
        let nodes: Vec<Vec<u8>> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].shard == shard)
            .map(|n| {
                let node = &self.nodes[n];
                let ip = node.addr.ip().to_string();
                let role = if view.primary[shard] == n {
                    "master"
                } else {
                    "replica"
                };
                let health = if view.failed[n] { "fail" } else { "online" };
                array(&[
                    bulk(b"id"),
                    bulk(id(n).as_bytes()),
                    bulk(b"port"),
                    integer(node.addr.port().into()),
                    bulk(b"ip"),
                    bulk(ip.as_bytes()),
                    bulk(b"endpoint"),
                    bulk(ip.as_bytes()),
                    bulk(b"role"),
                    bulk(role.as_bytes()),
                    bulk(b"replication-offset"),
                    integer(1),
                    bulk(b"health"),
                    bulk(health.as_bytes()),
                ])
            })
            .collect();
        array(&[bulk(b"slots"), array(&slots), bulk(b"nodes"), array(&nodes)])
    }
}

fn id(node: usize) -> String {
    format!("{:040x}", node + 1)
}
