//! Metrics of what clients and nodes do, scraped from a proxy before a real cluster after it was done. What else is counted
//! is in the tests of what it is about.

mod support;

use slotway::demo::Cluster;
use std::time::{SystemTime, UNIX_EPOCH};
use support::{
    Metrics, Proxy, RawClient, SHOWN_WITHIN, boot_cluster, boot_steady_cluster, key_of, redis,
    servers, show,
};

const OK: &[u8] = b"+OK\r\n";
const NIL: &[u8] = b"*-1\r\n";
const TRANSACTIONS: &str = "slotway_transactions_total";

/// Transactions by outcome: executed, nil, aborted, unknown.
fn transactions(proxy: &Proxy) -> [f64; 4] {
    let metrics = proxy.metrics();
    let outcomes = ["executed", "nil", "aborted", "unknown"];
    let counts = outcomes.map(|outcome| metrics.sum(TRANSACTIONS, &[("outcome", outcome)]));
    assert_eq!(counts.iter().sum::<f64>(), metrics.sum(TRANSACTIONS, &[]));
    counts
}

/// MULTI, SET of a key, EXEC: the reply to EXEC.
fn set(client: &mut RawClient, key: &str) -> Vec<u8> {
    client.expect("MULTI", OK);
    client.expect(&format!("SET {key} 1"), b"+QUEUED\r\n");
    client.line("EXEC")
}

#[track_caller]
fn starts(reply: &[u8], start: &str) {
    assert!(reply.starts_with(start.as_bytes()), "{}", show(reply));
}

#[test]
fn transactions_are_counted_by_what_became_of_them() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let [mut client, mut other] = [proxy.client(), proxy.client()];
        assert_eq!(transactions(&proxy), [0.0; 4]);

        assert_eq!(set(&mut client, "a"), b"*1\r\n+OK\r\n");
        client.expect("MULTI", OK);
        client.expect("EXEC", b"*0\r\n");
        client.expect("MULTI", OK);
        client.expect("PING", b"+QUEUED\r\n");
        client.expect("EXEC", b"*1\r\n+PONG\r\n");
        client.expect("WATCH a", OK);
        assert_eq!(set(&mut client, "a"), b"*1\r\n+OK\r\n");
        // An error of a command is not one of its transaction.
        client.expect("MULTI", OK);
        client.expect("LPUSH a x", b"+QUEUED\r\n");
        starts(&client.line("EXEC"), "*1\r\n-WRONGTYPE ");
        assert_eq!(transactions(&proxy), [5.0, 0.0, 0.0, 0.0], "{}", kind.name);

        client.expect("WATCH a", OK);
        other.expect("SET a 2", OK);
        assert_eq!(set(&mut client, "a"), NIL);
        // The connection that watches is lost.
        client.expect("WATCH a", OK);
        let owner = cluster.owner_of(slotway::cluster::Slot::of(b"a").number());
        let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
        let killed = cluster.ask(owner.expect("it has one"), &kill);
        killed.expect("it answers");
        assert_eq!(set(&mut client, "a"), NIL);
        assert_eq!(transactions(&proxy), [5.0, 2.0, 0.0, 0.0], "{}", kind.name);

        client.expect("MULTI", OK);
        starts(&client.line("NOSUCHCOMMAND"), "-ERR unknown command");
        starts(&client.line("EXEC"), "-EXECABORT ");
        client.expect("MULTI", OK);
        starts(&client.line("EXEC now"), "-EXECABORT ");
        assert_eq!(transactions(&proxy), [5.0, 2.0, 2.0, 0.0], "{}", kind.name);

        // Nothing that EXEC ended.
        client.expect("MULTI", OK);
        client.expect("DISCARD", OK);
        client.expect("EXEC", b"-ERR EXEC without MULTI\r\n");
        other.expect("MULTI", OK);
        drop(other);
        assert_eq!(transactions(&proxy), [5.0, 2.0, 2.0, 0.0], "{}", kind.name);
    }
}

/// One transaction of several slots is one, and an answer that does not come in time is none.
#[test]
fn a_split_transaction_is_counted_once_and_one_without_an_answer_as_unknown() {
    let cluster = boot_steady_cluster(&redis());
    let options = [
        "policy.cross_slot_transactions=split",
        "timeouts.command=500ms",
    ];
    let args = options.map(|option| ["--set", option]);
    let proxy = Proxy::start(&cluster, args.as_flattened());
    let [one, two] = [0, 1].map(|primary| key_of(&cluster, primary));
    let mut client = proxy.client();
    client.expect("MULTI", OK);
    client.expect(&format!("SET {one} 1"), b"+QUEUED\r\n");
    client.expect(&format!("SET {two} 1"), b"+QUEUED\r\n");
    client.expect("EXEC", b"*2\r\n+OK\r\n+OK\r\n");
    assert_eq!(transactions(&proxy), [1.0, 0.0, 0.0, 0.0]);

    cluster.pause(0).expect("it runs");
    let mut watching = proxy.client();
    starts(&set(&mut client, &one), "-ERR slotway: no reply in time");
    client.expect("MULTI", OK);
    client.expect(&format!("SET {two} 2"), b"+QUEUED\r\n");
    client.expect("EXEC", b"*1\r\n+OK\r\n");
    assert_eq!(transactions(&proxy), [2.0, 0.0, 0.0, 1.0]);
    cluster.resume(0).expect("it is paused");
    proxy.wait_for("the node serves again", SHOWN_WITHIN, || {
        let reply = watching.line(&format!("GET {one}"));
        let is_there = reply == b"$1\r\n1\r\n";
        is_there.then_some(()).ok_or_else(|| show(&reply))
    });
    watching.expect(&format!("WATCH {one}"), OK);
    cluster.pause(0).expect("it runs");
    let late = set(&mut watching, &one);
    starts(&late, "-ERR slotway: no reply in time");
    assert_eq!(transactions(&proxy), [2.0, 0.0, 0.0, 2.0]);
    cluster.resume(0).expect("it is paused");
}

/// The highest config epoch of a primary that has slots.
fn epoch(cluster: &Cluster) -> f64 {
    let nodes = cluster.nodes_seen_by(0).expect("it answers");
    let primaries = nodes.iter().filter(|node| !node.slots.is_empty());
    let highest = primaries.map(|node| node.epoch).max();
    highest.expect("there are primaries") as f64
}

fn check_topology(metrics: &Metrics, cluster: &Cluster) -> Result<(), String> {
    let figures = [
        ("slotway_nodes", Some(("role", "primary")), 3.0),
        ("slotway_nodes", Some(("role", "replica")), 3.0),
        ("slotway_slots_covered", None, 16384.0),
        ("slotway_topology_epoch", None, epoch(cluster)),
    ];
    for (name, label, expected) in figures {
        let value = metrics.sum(name, label.as_slice());
        if value != expected {
            return Err(format!("{name} {label:?}: {value}, not {expected}"));
        }
    }
    Ok(())
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
}

#[test]
fn the_topology_is_told_as_the_nodes_see_it_before_and_after_a_failover() {
    for kind in servers() {
        let begun = now();
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--set", "cluster.refresh_interval=1s"]);
        let learnt = |metrics: &Metrics| {
            let at = metrics.sum("slotway_topology_last_success_timestamp_seconds", &[]);
            assert!((begun..=now()).contains(&at), "{at}");
            at
        };
        let before = learnt(&proxy.metrics());
        proxy.wait_for("all of it is told", SHOWN_WITHIN, || {
            check_topology(&proxy.metrics(), &cluster)
        });
        let old = epoch(&cluster);
        cluster
            .failover(cluster.replica_of(0).expect("it has one"))
            .expect("it takes over");
        assert!(epoch(&cluster) > old);
        proxy.wait_for("the new primary is told", SHOWN_WITHIN, || {
            check_topology(&proxy.metrics(), &cluster)
        });
        proxy.wait_for("it is learnt again", SHOWN_WITHIN, || {
            let after = learnt(&proxy.metrics());
            (after > before)
                .then_some(())
                .ok_or_else(|| format!("{after}"))
        });
    }
}

#[test]
fn commands_and_the_requests_to_their_nodes_are_counted_and_timed() {
    const READS: usize = 300;
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut client = proxy.client();
        let keys = [0, 1].map(|primary| key_of(&cluster, primary));
        for key in &keys {
            client.expect(&format!("SET {key} 1"), OK);
        }
        let before = proxy.metrics();
        for _ in 0..READS {
            client.expect(&format!("GET {}", keys[0]), b"$1\r\n1\r\n");
        }
        let after = proxy.metrics();
        let more = |name: &str, labels: &[(&str, &str)]| {
            after.sum(name, labels) - before.sum(name, labels)
        };
        let reads = READS as f64;
        let get = [("cmd", "get")];
        assert_eq!(more("slotway_commands_total", &get), reads);
        assert_eq!(more("slotway_command_duration_seconds_count", &get), reads);
        let all = [("cmd", "get"), ("le", "+Inf")];
        assert_eq!(more("slotway_command_duration_seconds_bucket", &all), reads);
        assert!(more("slotway_command_duration_seconds_sum", &get) > 0.0);
        for (primary, key) in keys.iter().enumerate() {
            let addr = cluster.addr(primary).to_string();
            let node = [("node", addr.as_str())];
            let expected = if primary == 0 { reads } else { 0.0 };
            let name = &kind.name;
            for counter in [
                "slotway_upstream_requests_total",
                "slotway_upstream_duration_seconds_count",
            ] {
                assert_eq!(more(counter, &node), expected, "{name}: {counter} {key}");
            }
            let time = more("slotway_upstream_duration_seconds_sum", &node);
            assert_eq!(time > 0.0, primary == 0, "{name}: {time}");
            assert_eq!(after.sum("slotway_upstream_up", &node), 1.0);
        }
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        assert_eq!(after.sum("slotway_build_info", &version), 1.0);
    }
}
