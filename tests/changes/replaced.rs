//! Scenario 11: a node comes back under a new address with what it knew, or another node takes its place and it is
//! forgotten. The old address is forgotten by the proxy as well, seed though it is: it is in no map and no metric, and
//! nobody dials it.

use super::serving::{Serving, options, tags};
use crate::rig::stage::{CLUSTER_MAX, ms};
use crate::support::{
    Proxy, RawClient, Scenario, ServerKind, is_long, one_or_all, redis, rounds, valkey,
};
use slotway::demo::{Cluster, ClusterOptions};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// How long an address may be remembered, in the long form.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(30);

/// Refreshes after which somebody who still dials would have done so.
const REFRESHES: f64 = 3.0;

#[test]
fn a_node_may_get_another_address() {
    one_or_all(valkey())
        .iter()
        .for_each(a_node_gets_another_address);
}

fn a_node_gets_another_address(kind: &ServerKind) {
    let mut cluster = Cluster::boot(&options(kind)).unwrap();
    let proxy = start(&cluster);
    for _ in 0..rounds() {
        let mut row = Scenario::begin(11, "a node with a new address", kind.name);
        let _clients = use_all(&cluster, &proxy);
        let old = cluster.addr(0);
        let since = Instant::now();
        let reserved = cluster.restart_elsewhere(0).unwrap();
        let served = Serving::observe(&cluster, proxy.addr()).served();
        row.figure("served by the cluster after", ms(served.cluster));
        row.figure("through the proxy", ms(served.proxy));
        assert_forgotten(&mut row, &proxy, old, since);
        cluster.wait_healthy(CLUSTER_MAX).unwrap();
        row.passed();
        drop(reserved);
    }
}

#[test]
fn a_node_is_replaced_by_another() {
    one_or_all(redis()).iter().for_each(a_node_is_replaced);
}

fn a_node_is_replaced(kind: &ServerKind) {
    for _ in 0..rounds() {
        let mut row = Scenario::begin(11, "another node in its place", kind.name);
        let options = ClusterOptions {
            replicas: 1,
            ..options(kind)
        };
        let mut cluster = Cluster::boot(&options).unwrap();
        let proxy = start(&cluster);
        let _clients = use_all(&cluster, &proxy);
        let heir = cluster.replica_of(0).unwrap();
        let (old, id) = (cluster.addr(0), cluster.id(0).to_owned());
        cluster.kill(0);
        cluster.wait_promoted(heir, CLUSTER_MAX).unwrap();
        for node in 1..cluster.len() {
            cluster.ask(node, &["CLUSTER", "FORGET", &id]).unwrap();
        }
        assert_forgotten(&mut row, &proxy, old, Instant::now());
        row.passed();
    }
}

fn start(cluster: &Cluster) -> Proxy {
    Proxy::start(cluster, &["--workers", "2"])
}

/// Every node gets a lane of each kind, by clients that stay.
fn use_all(cluster: &Cluster, proxy: &Proxy) -> [RawClient; 2] {
    let (mut client, mut modern) = (proxy.client(), proxy.client());
    modern.line("HELLO 3");
    for tag in tags(cluster) {
        client.expect(&format!("SET {tag} 1"), b"+OK\r\n");
        modern.expect(&format!("SET {tag} 1"), b"+OK\r\n");
    }
    [client, modern]
}

fn assert_forgotten(row: &mut Scenario, proxy: &Proxy, old: SocketAddr, since: Instant) {
    proxy.wait_for("it is forgotten", CLUSTER_MAX, || remembered(proxy, old));
    let after = since.elapsed();
    // Whoever dials it now is heard.
    let trap = TcpListener::bind(old).unwrap();
    trap.set_nonblocking(true).unwrap();
    let refreshes = || {
        let metrics = proxy.metrics();
        metrics.sum("slotway_topology_refreshes_total", &[])
    };
    let before = refreshes();
    let mut client = proxy.client();
    proxy.wait_for("it asks again", CLUSTER_MAX, || {
        // DBSIZE goes to every primary. SCAN has the nodes asked who they are.
        let size = client.line("DBSIZE");
        assert!(size.starts_with(b":"), "{size:?}");
        client.line("SCAN 0");
        match refreshes() - before {
            n if n >= REFRESHES => Ok(()),
            n => Err(format!("{n} refreshes")),
        }
    });
    let dialled = trap.accept().map(|(_, peer)| peer);
    assert!(dialled.is_err(), "{dialled:?} dialled the old address");
    remembered(proxy, old).unwrap();
    row.figure("forgotten after", ms(after));
    row.figure("RSS", format!("{} MB", proxy.rss() >> 20));
    if is_long() {
        assert!(after <= FORGOTTEN_WITHIN, "{after:?}");
    }
}

/// Where the address is still named.
fn remembered(proxy: &Proxy, old: SocketAddr) -> Result<(), String> {
    let old = old.to_string();
    for path in ["/topology", "/metrics"] {
        let (_, page) = proxy.get(path).ok_or("no answer")?;
        if let Some(line) = page.lines().find(|line| line.contains(&old)) {
            let at = line.find(&old).unwrap_or_default();
            let from = at.saturating_sub(80);
            return Err(format!("{path}: {}", line.get(from..).unwrap_or(line)));
        }
    }
    Ok(())
}
