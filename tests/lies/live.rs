//! Real clusters that change: nodes that come and go, slots that nobody owns, and how often the servers are asked.

use super::cast::{key_in, topology};
use crate::support::{
    Proxy, RawClient, SHOWN_WITHIN, Scenario, ServerKind, cluster_options, encode, on_each, rounds,
};
use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions, Reply, Server, wait_until};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const NODES: usize = 3;

/// The slot that is moved, taken away and given back; of the first node.
const SLOT: u16 = 100;

/// The rate that operators are promised, and how many refreshes may come at once after a quiet time.
const RATE: f64 = 2.0;
const BURST: f64 = 6.0;

/// For how long scripts lie.
const STORM: Duration = Duration::from_secs(4);

fn boot(kind: &ServerKind) -> Cluster {
    let options = ClusterOptions {
        replicas: 0,
        ..cluster_options(kind)
    };
    Cluster::boot(&options).unwrap_or_else(|error| panic!("{}: {error}", kind.name))
}

fn ok(reply: &Reply) -> bool {
    matches!(reply, Reply::Simple(text) if text == "OK")
}

/// Waits until the node takes the command: it may not know the other node yet.
#[track_caller]
fn until_taken(what: &str, mut ask: impl FnMut() -> std::io::Result<Reply>) {
    wait_until(what, SHOWN_WITHIN, &Default::default(), || match ask() {
        Ok(reply) if ok(&reply) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
}

#[track_caller]
fn wait_nodes(proxy: &Proxy, count: usize) {
    proxy.wait_for("the number of nodes", SHOWN_WITHIN, || {
        let topology = topology(proxy);
        match topology["nodes"].as_array().map(Vec::len) {
            Some(now) if now == count => Ok(()),
            _ => Err(topology["nodes"].to_string()),
        }
    });
}

/// One more INCR in the slot; it must be answered at once or wait, never fail.
#[track_caller]
fn count(client: &mut RawClient, counted: &mut i64) {
    *counted += 1;
    client.expect(
        &format!("INCR {}", key_in(SLOT)),
        format!(":{counted}\r\n").as_bytes(),
    );
}

#[test]
fn nodes_come_and_go() {
    on_each(|kind| {
        let cluster = boot(kind);
        let args = ["--workers", "1", "--set", "cluster.refresh_interval=200ms"];
        let proxy = Proxy::start(&cluster, &args);
        let (mut client, mut counted) = (proxy.client(), 0);
        count(&mut client, &mut counted);
        let settings = [
            ("cluster-enabled", "yes"),
            ("cluster-config-file", "nodes.conf"),
            ("cluster-node-timeout", "2000"),
            ("cluster-allow-replica-migration", "no"),
        ];
        let newcomer = Server::boot(&kind.path, &settings).unwrap();
        let id = newcomer.command(&["CLUSTER", "MYID"]).unwrap().text();
        let port = newcomer.addr().port().to_string();
        for node in 0..NODES {
            cluster
                .ask(node, &["CLUSTER", "MEET", "127.0.0.1", &port])
                .unwrap();
        }
        wait_nodes(&proxy, NODES + 1);
        let slot = SLOT.to_string();
        let first = cluster.id(0);
        // What it imports before it has heard of the owner it never learns the owner of.
        wait_until(
            "it knows the owners",
            SHOWN_WITHIN,
            &Default::default(),
            || {
                let info = newcomer.command(&["CLUSTER", "INFO"]).unwrap().text();
                match info.contains("cluster_slots_assigned:16384") {
                    true => Ok(()),
                    false => Err(info),
                }
            },
        )
        .unwrap();
        until_taken("it imports", || {
            newcomer.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", first])
        });
        until_taken("the first exports", || {
            cluster.command(0, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id])
        });
        count(&mut client, &mut counted);
        let key = key_in(SLOT);
        until_taken("the key moves", || {
            cluster.command(0, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"])
        });
        count(&mut client, &mut counted);
        let take = ["CLUSTER", "SETSLOT", &slot, "NODE", &id];
        until_taken("it owns", || newcomer.command(&take));
        (0..NODES).for_each(|node| until_taken("the others know", || cluster.command(node, &take)));
        count(&mut client, &mut counted);
        assert!(newcomer.command(&["GET", &key]).unwrap().text() == counted.to_string());

        // And back, and away.
        let back = ["CLUSTER", "SETSLOT", &slot, "NODE", first];
        until_taken("the first imports", || {
            cluster.command(0, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id])
        });
        until_taken("it exports", || {
            newcomer.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", first])
        });
        let home = cluster.addr(0).port().to_string();
        until_taken("the key moves", || {
            newcomer.command(&["MIGRATE", "127.0.0.1", &home, &key, "0", "5000"])
        });
        count(&mut client, &mut counted);
        until_taken("the first owns", || cluster.command(0, &back));
        until_taken("it knows", || newcomer.command(&back));
        (1..NODES).for_each(|node| until_taken("the others know", || cluster.command(node, &back)));
        count(&mut client, &mut counted);
        (0..NODES).for_each(|node| {
            until_taken("forgotten", || {
                cluster.command(node, &["CLUSTER", "FORGET", &id])
            })
        });
        until_taken("reset", || newcomer.command(&["CLUSTER", "RESET", "SOFT"]));
        wait_nodes(&proxy, NODES);
        count(&mut client, &mut counted);
    });
}

#[test]
fn a_slot_that_is_deleted_everywhere_is_an_error_for_itself_alone() {
    on_each(|kind| {
        let cluster = boot(kind);
        let args = [
            "cluster.refresh_interval=200ms",
            "timeouts.unavailable=300ms",
        ];
        let args = ["--workers", "1", "--set", args[0], "--set", args[1]];
        let proxy = Proxy::start(&cluster, &args);
        let (mut client, mut counted) = (proxy.client(), 0);
        count(&mut client, &mut counted);
        let slot = SLOT.to_string();
        (0..NODES)
            .for_each(|node| drop(cluster.ask(node, &["CLUSTER", "DELSLOTS", &slot]).unwrap()));
        proxy.wait_for("the slot to be nobody's", SHOWN_WITHIN, || {
            let got = client.line(&format!("INCR {}", key_in(SLOT)));
            match got.starts_with(b"-CLUSTERDOWN slotway: no primary serves slot 100") {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&got).into_owned()),
            }
        });
        for other in [SLOT - 1, SLOT + 1, 6_000, 12_000] {
            client.expect(&format!("INCR {}", key_in(other)), b":1\r\n");
        }
        let owner = usize::from(kind.name == "redis");
        cluster.ask(owner, &["CLUSTER", "ADDSLOTS", &slot]).unwrap();
        proxy.wait_for("the slot to be served", SHOWN_WITHIN, || {
            let got = client.line(&format!("GET {}", key_in(SLOT)));
            match got.starts_with(b"$") {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&got).into_owned()),
            }
        });
    });
}

/// Every forged MOVED wants to be confirmed or refuted by a refresh.
#[test]
fn servers_are_asked_no_more_often_than_promised() {
    (0..rounds()).for_each(|_| on_each(storm));
}

fn storm(kind: &ServerKind) {
    let what = "a storm of forged MOVED: CLUSTER SHARDS, by commandstats";
    let mut scenario = Scenario::begin(0, what, kind.name);
    let cluster = boot(kind);
    let proxy = Proxy::start(
        &cluster,
        &["--workers", "2", "--set", "cluster.refresh_interval=1h"],
    );
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let to = trap.local_addr().unwrap();
    let before: Vec<u64> = (0..NODES).map(|node| asked(&cluster, node)).collect();
    let began = Instant::now();
    let lies: usize = std::thread::scope(|scope| {
        let proxy = &proxy;
        let clients: Vec<_> = (0..16u16)
            .map(|id| scope.spawn(move || lie(proxy, id * 1_000, to, began)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client"))
            .sum()
    });
    let allowed = began.elapsed().as_secs_f64() * RATE + BURST + 2.0;
    let most = (0..NODES)
        .map(|node| asked(&cluster, node) - before[node])
        .max()
        .unwrap();
    assert!(
        most as f64 <= allowed,
        "{}: {most} questions, {allowed} allowed",
        kind.name
    );
    assert!(
        trap.accept().is_err(),
        "an address was dialled that only scripts named"
    );
    scenario.figure("forged MOVED", lies);
    scenario.figure("questions", most);
    scenario.figure("allowed", allowed.floor());
    scenario.passed();
}

/// Has scripts say MOVED as fast as it goes; how many did.
fn lie(proxy: &Proxy, slot: u16, to: std::net::SocketAddr, began: Instant) -> usize {
    let (mut client, mut lies) = (proxy.client(), 0);
    let key = key_in(slot);
    let slot = Slot::of(key.as_bytes()).number();
    let text = format!("MOVED {slot} {to}");
    let request = encode(&[
        "EVAL",
        "return redis.error_reply(ARGV[1])",
        "1",
        &key,
        &text,
    ]);
    while began.elapsed() < STORM {
        client.send(&request.repeat(50));
        for reply in client.replies(50) {
            assert_eq!(reply, format!("-{text}\r\n").as_bytes());
            lies += 1;
        }
    }
    lies
}

/// How often a server was asked for its shards.
fn asked(cluster: &Cluster, node: usize) -> u64 {
    let stats = cluster.ask(node, &["INFO", "commandstats"]).unwrap().text();
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_cluster|shards:calls="));
    let calls = line.and_then(|line| line.split(',').next()).map(str::parse);
    calls.and_then(Result::ok).unwrap_or(0)
}
