//! Real servers whose addresses are not what they seem: behind NAT, with host names that change, with no endpoint at
//! all, on IPv6. Clients are served all the time, slots that move are followed, and what is announced but leads
//! nowhere is never dialled.

use super::cast::{key_in, topology};
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, ServerKind, cluster_options, on_each};
use slotway::demo::{Cluster, ClusterOptions, wait_until};
use std::net::TcpListener;

const NODES: usize = 3;

/// Three primaries, with more settings.
fn boot(kind: &ServerKind, settings: &[(&str, &str)]) -> Cluster {
    let mut options = ClusterOptions {
        replicas: 0,
        ..cluster_options(kind)
    };
    let settings = settings.iter();
    options
        .settings
        .extend(settings.map(|&(name, value)| (name.into(), value.into())));
    Cluster::boot(&options).unwrap_or_else(|error| panic!("{}: {error}", kind.name))
}

fn set(cluster: &Cluster, node: usize, name: &str, value: &str) {
    cluster.ask(node, &["CONFIG", "SET", name, value]).unwrap();
}

/// Waits until every node's answer to CLUSTER NODES has this of `node`.
#[track_caller]
fn wait_announced(cluster: &Cluster, node: usize, text: &str) {
    let what = format!("{text} is known of node {node}");
    wait_until(&what, SHOWN_WITHIN, &Default::default(), || {
        for asked in 0..NODES {
            let nodes = cluster.ask(asked, &["CLUSTER", "NODES"]).unwrap().text();
            let line = nodes
                .lines()
                .find(|line| line.starts_with(cluster.id(node)));
            if !line.is_some_and(|line| line.contains(text)) {
                return Err(nodes);
            }
        }
        Ok(())
    })
    .unwrap();
}

/// The client counts in one slot of each node.
#[track_caller]
fn count_everywhere(client: &mut RawClient, expected: i64) {
    for slot in [100, 6_000, 12_000] {
        let reply = format!(":{expected}\r\n");
        client.expect(&format!("INCR {}", key_in(slot)), reply.as_bytes());
    }
}

/// Moves slot 100 from the first to the second node, key by key, with a client that counts in it all the time.
#[track_caller]
fn move_under(cluster: &Cluster, client: &mut RawClient, counted: i64) -> i64 {
    let mut next = counted;
    let mut step = || {
        next += 1;
        client.expect(
            &format!("INCR {}", key_in(100)),
            format!(":{next}\r\n").as_bytes(),
        );
    };
    step();
    cluster.begin_migration(100, 0, 1).unwrap();
    step();
    cluster.move_all_keys(100, 0, 1).unwrap();
    step();
    cluster.finish_migration(100, 0, 1).unwrap();
    step();
    step();
    next
}

/// Where `/topology` says that nodes are.
fn addresses(proxy: &Proxy) -> Vec<String> {
    let topology = topology(proxy);
    let nodes = topology["nodes"].as_array().cloned().unwrap_or_default();
    let mut addrs: Vec<_> = nodes
        .iter()
        .map(|n| n["addr"].as_str().unwrap_or("?").to_owned())
        .collect();
    addrs.sort();
    addrs
}

#[test]
fn behind_nat_the_address_map_is_followed() {
    on_each(|kind| {
        let cluster = boot(kind, &[]);
        // What nodes announce would answer, but is somebody else.
        let traps: Vec<TcpListener> = (0..NODES)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let mut pairs = Vec::new();
        for (node, trap) in traps.iter().enumerate() {
            trap.set_nonblocking(true).unwrap();
            let announced = trap.local_addr().unwrap();
            set(
                &cluster,
                node,
                "cluster-announce-port",
                &announced.port().to_string(),
            );
            pairs.push(format!("\"{announced}={}\"", cluster.addr(node)));
        }
        for (node, trap) in traps.iter().enumerate() {
            let announced = trap.local_addr().unwrap();
            wait_announced(&cluster, node, &format!("{announced}@"));
        }
        let map = format!("cluster.address_map=[{}]", pairs.join(","));
        let proxy = Proxy::start(&cluster, &["--workers", "1", "--set", &map]);
        let mut client = proxy.client();
        count_everywhere(&mut client, 1);
        move_under(&cluster, &mut client, 1);
        let mut reached: Vec<_> = cluster.addrs().iter().map(ToString::to_string).collect();
        reached.sort();
        assert_eq!(addresses(&proxy), reached, "{}", kind.name);
        for trap in &traps {
            assert!(
                trap.accept().is_err(),
                "{}: an announced address was dialled",
                kind.name
            );
        }
    });
}

#[test]
fn host_names_are_followed_when_they_change() {
    on_each(|kind| {
        let cluster = boot(kind, &[("cluster-preferred-endpoint-type", "hostname")]);
        for node in 0..NODES {
            set(&cluster, node, "cluster-announce-hostname", "localhost");
        }
        (0..NODES).for_each(|node| wait_announced(&cluster, node, "localhost"));
        let proxy = Proxy::start(
            &cluster,
            &["--workers", "1", "--set", "cluster.refresh_interval=100ms"],
        );
        let mut client = proxy.client();
        count_everywhere(&mut client, 1);
        assert!(
            addresses(&proxy)
                .iter()
                .all(|addr| addr.starts_with("localhost:")),
            "{:?}",
            addresses(&proxy)
        );
        let counted = move_under(&cluster, &mut client, 1);
        // Another name of the same host.
        set(&cluster, 1, "cluster-announce-hostname", "127.1");
        wait_announced(&cluster, 1, "127.1");
        let renamed = format!("127.1:{}", cluster.addr(1).port());
        proxy.wait_for("the new name", SHOWN_WITHIN, || match addresses(&proxy) {
            addrs if addrs.contains(&renamed) && addrs.len() == NODES => Ok(()),
            addrs => Err(format!("{addrs:?}")),
        });
        client.expect(
            &format!("INCR {}", key_in(100)),
            format!(":{}\r\n", counted + 1).as_bytes(),
        );
        client.expect(&format!("INCR {}", key_in(6_000)), b":2\r\n");
        let unknown = proxy.metrics().sum("slotway_unknown_outcomes_total", &[]);
        assert_eq!(unknown, 0.0, "{}", kind.name);
    });
}

/// Then the host is the one that was asked: all are on one here.
#[test]
fn nodes_may_keep_their_endpoints_to_themselves() {
    on_each(|kind| {
        let cluster = boot(
            kind,
            &[("cluster-preferred-endpoint-type", "unknown-endpoint")],
        );
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        count_everywhere(&mut client, 1);
        move_under(&cluster, &mut client, 1);
    });
}

#[test]
fn nodes_may_be_on_ipv6() {
    on_each(|kind| {
        let cluster = boot(
            kind,
            &[("bind", "127.0.0.1 ::1"), ("cluster-announce-ip", "::1")],
        );
        (0..NODES).for_each(|node| wait_announced(&cluster, node, " ::1:"));
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        count_everywhere(&mut client, 1);
        move_under(&cluster, &mut client, 1);
        let addrs = addresses(&proxy);
        assert!(
            addrs.iter().all(|addr| addr.contains("::1")),
            "{}: {addrs:?}",
            kind.name
        );
    });
}
