//! When every shard takes writes: by the nodes themselves, and through the proxy.

use crate::rig::stage::{CLUSTER_MAX, slot_of, tags_in};
use crate::support::{RawClient, ServerKind, cluster_options, encode};
use slotway::demo::{Client, Cluster, ClusterOptions};
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two questions to a node.
const ASK_EVERY: Duration = Duration::from_millis(2);

/// Three primaries without replicas.
pub fn options(kind: &ServerKind) -> ClusterOptions {
    ClusterOptions {
        replicas: 0,
        ..cluster_options(kind)
    }
}

/// One tag for each of the primaries.
pub fn tags(cluster: &Cluster) -> Vec<String> {
    (0..cluster.primaries())
        .flat_map(|primary| {
            let (first, last) = cluster.booted_slots(primary);
            tags_in(1, |slot| (first..=last).contains(&slot))
        })
        .collect()
}

/// Two observers, from now on.
pub struct Serving {
    cluster: JoinHandle<Duration>,
    proxy: JoinHandle<Duration>,
}

/// How long it took until each served all shards.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    pub cluster: Duration,
    pub proxy: Duration,
}

impl Serving {
    pub fn observe(cluster: &Cluster, proxy: SocketAddr) -> Self {
        let since = Instant::now();
        let tags = tags(cluster);
        let nodes: Vec<_> = tags
            .iter()
            .map(|tag| (cluster.addr(shard(cluster, tag)), write(tag)))
            .collect();
        let writes: Vec<_> = tags.iter().map(|tag| write(tag)).collect();
        Self {
            cluster: std::thread::spawn(move || {
                for (addr, [set, key]) in nodes {
                    until(since, || node_takes(addr, &set, &key));
                }
                since.elapsed()
            }),
            proxy: std::thread::spawn(move || {
                let mut client = RawClient::connect(proxy);
                for [set, key] in writes {
                    until(since, || {
                        client.send(&encode(&[&set, &key, "1"]));
                        client.reply() == b"+OK\r\n"
                    });
                }
                since.elapsed()
            }),
        }
    }

    /// When both have seen it.
    pub fn served(self) -> Served {
        Served {
            cluster: self.cluster.join().expect("the observer of the nodes"),
            proxy: self.proxy.join().expect("the observer at the proxy"),
        }
    }
}

impl Served {
    /// What the proxy took longer.
    pub fn added(&self) -> Duration {
        self.proxy.saturating_sub(self.cluster)
    }
}

fn shard(cluster: &Cluster, tag: &str) -> usize {
    let serves = |primary: &usize| {
        let (first, last) = cluster.booted_slots(*primary);
        (first..=last).contains(&slot_of(tag))
    };
    let mut primaries = 0..cluster.primaries();
    primaries.find(serves).expect("all slots are dealt out")
}

fn write(tag: &str) -> [String; 2] {
    ["SET".to_owned(), format!("{tag}:serving")]
}

fn until(since: Instant, mut written: impl FnMut() -> bool) {
    while !written() {
        assert!(since.elapsed() < CLUSTER_MAX, "no write for so long");
        std::thread::sleep(ASK_EVERY);
    }
}

/// A node that does not listen yet takes nothing.
fn node_takes(addr: SocketAddr, set: &str, key: &str) -> bool {
    let reply = Client::connect(addr, None).and_then(|mut node| node.command(&[set, key, "1"]));
    reply.is_ok_and(|reply| !reply.is_error())
}
