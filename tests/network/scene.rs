//! A stage in a network of its own: a cluster under load, one primary of which a fault hits.

use crate::rig::load::PATIENCE;
use crate::rig::stage::{CLUSTER_MAX, Stage, slot_of, tags_in};
use crate::support::netns::Net;
use crate::support::{RawClient, ServerKind, cluster_options, encode, rounds};
use slotway::demo::Cluster;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The primary that the fault hits. Not node 0: the harness asks that one.
pub const VICTIM: usize = 1;

/// How soon a fault is to be noticed, and then no more.
pub const NOTICED_MAX: Duration = Duration::from_secs(5);

/// How long a client waits for a reply here.
const REPLY_MAX: Duration = Duration::from_secs(60);

/// See the module.
pub struct Scene<'a> {
    pub net: &'a Net,
    pub stage: Stage,
    /// Two on the victim, one on each of the others.
    pub tags: Vec<String>,
}

impl<'a> Scene<'a> {
    /// Boots all of it.
    pub fn set(net: &'a Net, kind: &ServerKind) -> Self {
        let options = net.options(cluster_options(kind));
        let cluster = Cluster::boot(&options).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
        let patience = format!("timeouts.command={}s", PATIENCE.as_secs());
        let stage = Stage::of(kind, cluster, &["--set", &patience]);
        let (first, last) = stage.cluster.booted_slots(VICTIM);
        let tags = [
            tags_in(2, |slot| (first..=last).contains(&slot)),
            tags_in(1, |slot| slot < first),
            tags_in(1, |slot| slot > last),
        ]
        .concat();
        Self { net, stage, tags }
    }

    /// Who serves the victim's slots now.
    pub fn victim(&self) -> usize {
        let owner = self.stage.cluster.owner_of(slot_of(&self.tags[0]));
        owner.expect("it is served")
    }

    /// Local ports of the connections that clients have to a node, the proxy's among them.
    pub fn connections(&self, node: usize) -> Vec<u16> {
        let mut asking = self.stage.cluster.connect(node).unwrap();
        let id = asking.command(&["CLIENT", "ID"]).unwrap().integer();
        let own = format!("id={} ", id.unwrap());
        let list = asking.command(&["CLIENT", "LIST"]).unwrap().text();
        let clients = list.lines().filter(|line| !line.starts_with(&own));
        let port = |line: &str| {
            let (_, rest) = line.split_once(" addr=127.0.0.1:")?;
            rest.split(' ').next()?.parse().ok()
        };
        clients.filter_map(port).collect()
    }

    /// Waits until no worker of the proxy that uses the node takes it for reachable.
    pub fn noticed(&self, node: SocketAddr, since: Instant) -> Duration {
        let node = node.to_string();
        self.stage
            .proxy
            .wait_for("the fault is noticed", REPLY_MAX, || {
                let metrics = self.stage.proxy.metrics();
                match metrics.sum("slotway_upstream_up", &[("node", &node)]) {
                    0.0 => Ok(()),
                    up => Err(format!("{node} is up: {up}")),
                }
            });
        since.elapsed()
    }

    /// Sends a command that the fault catches, and says how long its client waits for what becomes of it.
    pub fn notice(&self, since: Instant) -> JoinHandle<(Duration, String)> {
        let mut client = self.stage.proxy.client();
        client.wait_at_most(REPLY_MAX);
        client.send(&encode(&["INCR", &format!("{}:noticed", self.tags[0])]));
        std::thread::spawn(move || {
            let reply = client.reply();
            (
                since.elapsed(),
                String::from_utf8_lossy(&reply).into_owned(),
            )
        })
    }

    /// Waits until the proxy knows who serves the victim's slots now.
    pub fn follows(&self, heir: usize) {
        let heir = self.stage.cluster.addr(heir).to_string();
        let slot = slot_of(&self.tags[0]);
        let proxy = &self.stage.proxy;
        proxy.wait_for("the map names the heir", REPLY_MAX, || {
            match proxy.owner_of(slot) {
                Some(owner) if owner == heir => Ok(()),
                owner => Err(format!("{owner:?}, not {heir}")),
            }
        });
    }

    /// Writes to the victim's slots through the proxy until that works.
    pub fn serves(&self, since: Instant) -> JoinHandle<Duration> {
        let key = format!("{}:proxied", self.tags[0]);
        observe(self.stage.proxy.addr(), key, since)
    }
}

/// A scene, and what happens in it as often as it is to be repeated.
pub fn again(net: &Net, kind: &ServerKind, act: impl Fn(&Scene<'_>, usize)) {
    let scene = Scene::set(net, kind);
    (0..rounds()).for_each(|round| act(&scene, round));
}

/// Waits for the next write there that works.
pub fn observe(addr: SocketAddr, key: String, since: Instant) -> JoinHandle<Duration> {
    std::thread::spawn(move || {
        let mut client = RawClient::connect(addr);
        client.wait_at_most(REPLY_MAX);
        while since.elapsed() < CLUSTER_MAX {
            if client.command(&["SET", &key, "1"]) == b"+OK\r\n" {
                return since.elapsed();
            }
        }
        panic!("no write was ever taken");
    })
}

/// As a figure of a scenario.
pub fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
