//! WAITAOF answers for the disks of all primaries that the client has written to, and of their replicas, and changes
//! nothing there.

mod support;

use std::time::Duration;

use slotway::demo::{Cluster, Server};
use support::{
    Proxy, RawClient, a_lost_connection_proves_nothing, boot_cluster, boot_steady_cluster,
    cluster_options, encode, key_of, redis, show, valkey,
};

/// How long what must come may take.
const SOON: Duration = Duration::from_secs(20);

const LIBRARY: &str =
    "#!lua name=mine\nredis.register_function('mine', function() return 'kept' end)";

#[test]
fn an_older_server_says_that_it_has_no_such_command() {
    let mut options = cluster_options(&redis());
    // A primary pings its replicas, which counts as written.
    let never = ("repl-ping-replica-period".into(), "3600".into());
    options.settings.push(never);
    let cluster = Cluster::boot(&options).expect("a cluster");
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let before = offset(&cluster, 0);
    let line = "WAITAOF 0 1 20000";
    let plain = RawClient::connect(cluster.addr(0)).line(line);
    assert!(plain.starts_with(b"-ERR unknown command"));
    let mut client = proxy.client();
    client.expect(&format!("SET {} 1", key_of(&cluster, 1)), b"+OK\r\n");
    client.expect(line, &plain);
    assert_eq!(offset(&cluster, 0), before, "nothing was written");
}

#[test]
fn what_is_on_disks_is_told() {
    let kind = valkey();
    let cluster = boot_cluster(&kind);
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let plain = Server::boot(&kind.path, &[]).expect("a server");
    mistakes_are_told_as_the_server_does(&proxy, plain.addr());
    on_all(&cluster, &["CONFIG", "SET", "appendonly", "yes"]);
    proxy.client().command(&["FUNCTION", "LOAD", LIBRARY]);
    proxy.wait_for("a file at every node", SOON, || {
        match &proxy.client().line("WAITAOF 1 1 1000")[..] {
            b"*2\r\n:1\r\n:1\r\n" => Ok(()),
            other => Err(show(other)),
        }
    });
    writes_are_waited_for(&proxy);
    a_disk_that_is_late_is_missed(&cluster, &proxy);
    let unknown = ("WAITAOF 0 0 0", &b"*2\r\n:0\r\n:0\r\n"[..]);
    let known = ("WAITAOF 1 1 0", &b"*2\r\n:1\r\n:1\r\n"[..]);
    a_lost_connection_proves_nothing(&cluster, &proxy, [unknown, known]);
    // All that was done on the way changed nothing.
    for node in 0..3 {
        let mut direct = RawClient::connect(cluster.addr(node));
        direct.expect("FCALL mine 0", b"$4\r\nkept\r\n");
    }
}

/// More than the test takes: nothing else ends it while the node is silent.
const SILENCE: [&str; 4] = ["--workers", "1", "--set", "timeouts.connect=10m"];

#[test]
fn a_silent_node_holds_up_neither_the_timeout_nor_unblock() {
    let cluster = boot_steady_cluster(&valkey());
    let proxy = Proxy::start(&cluster, &SILENCE);
    let (mut late, mut patient, mut other) = (proxy.client(), proxy.client(), proxy.client());
    let id = String::from_utf8(patient.line("CLIENT ID")).expect("a number");
    let id = id.trim_matches([':', '\r', '\n']);
    cluster.pause(0).expect("it runs");
    late.expect("WAITAOF 0 0 200", b"*2\r\n:0\r\n:0\r\n");
    for (how, reply) in [
        ("TIMEOUT", &b"*2\r\n:0\r\n:0\r\n"[..]),
        (
            "ERROR",
            b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n",
        ),
    ] {
        patient.send(&encode(&["WAITAOF", "0", "0", "0"]));
        proxy.wait_for("it is blocked", SOON, || {
            let line = show(&other.line(&format!("CLIENT LIST ID {id}")));
            line.contains(" flags=b ").then_some(()).ok_or(line)
        });
        other.expect(&format!("CLIENT UNBLOCK {id} {how}"), b":1\r\n");
        assert_eq!(show(&patient.reply()), show(reply));
    }
    cluster.resume(0).expect("it runs");
}

#[test]
fn a_primary_that_hands_over_proves_nothing() {
    let cluster = boot_cluster(&valkey());
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let mut client = proxy.client();
    client.expect(&format!("SET {} 1", key_of(&cluster, 0)), b"+OK\r\n");
    // More than there are.
    client.send(&encode(&["WAITAOF", "0", "9", "0"]));
    let replica = cluster.replica_of(0).expect("it has one");
    proxy.wait_for("it is told to take over", SOON, || {
        match cluster.ask(replica, &["CLUSTER", "FAILOVER"]) {
            Ok(reply) if !reply.is_error() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(show(&client.reply()), show(b"*2\r\n:0\r\n:0\r\n"));
}

/// The connection that it looks over was there before, and the process at its other end is stopped.
#[test]
fn a_silent_node_that_is_replaced_proves_nothing() {
    let cluster = boot_cluster(&valkey());
    let proxy = Proxy::start(&cluster, &SILENCE);
    let key = key_of(&cluster, 0);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    other.expect(&format!("WATCH {key}"), b"+OK\r\n");
    client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    other.expect("UNWATCH", b"+OK\r\n");
    proxy.wait_for("its connection is free", SOON, || {
        match proxy.metrics().sum("slotway_leases", &[]) {
            0.0 => Ok(()),
            n => Err(format!("{n} are in use")),
        }
    });
    let replica = cluster.replica_of(0).expect("it has one");
    cluster.pause(0).expect("it runs");
    client.send(&encode(&["WAITAOF", "1", "0", "0"]));
    let taken_over = cluster.ask(replica, &["CLUSTER", "FAILOVER", "TAKEOVER"]);
    assert!(taken_over.is_ok_and(|reply| !reply.is_error()));
    client.wait_at_most(SOON);
    assert_eq!(show(&client.reply()), show(b"*2\r\n:0\r\n:0\r\n"));
    cluster.resume(0).expect("it runs");
}

/// That is slotway's own limit, and counted as such.
#[test]
fn a_want_of_connections_is_told() {
    let cluster = boot_cluster(&valkey());
    let args = ["--workers", "1", "--set", "upstream.leases=1"];
    let proxy = Proxy::start(&cluster, &args);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    other.expect("WATCH k", b"+OK\r\n");
    client.expect("SET k 1", b"+OK\r\n");
    let told = client.line("WAITAOF 0 1 0");
    assert!(show(&told).contains("upstream.leases"), "{}", show(&told));
    let metrics = proxy.metrics();
    let limit = [("limit", "upstream.leases")];
    let hits = metrics.sum("slotway_limit_hits_total", &limit);
    let errors = |source| metrics.sum("slotway_command_errors_total", &[("source", source)]);
    let counted = (hits, errors("proxy"), errors("upstream"));
    assert_eq!(counted, (1.0, 1.0, 0.0));
}

/// WAITAOF looks from within a transaction, and would block without it.
#[test]
fn a_user_without_transactions_is_told() {
    let cluster = boot_cluster(&valkey());
    on_all(&cluster, &["ACL", "SETUSER", "default", "-multi"]);
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let mut client = proxy.client();
    client.expect(&format!("SET {} 1", key_of(&cluster, 0)), b"+OK\r\n");
    client.send(&encode(&["WAITAOF", "0", "9", "0"]));
    client.wait_at_most(SOON);
    let told = client.reply();
    assert!(told.starts_with(b"-NOPERM "), "{}", show(&told));
}

/// Some key of each primary, by the primary's number.
fn offset(cluster: &Cluster, node: usize) -> String {
    let info = cluster.ask(node, &["INFO", "replication"]);
    let info = info.expect("it answers").text();
    let line = info.lines().find(|l| l.starts_with("master_repl_offset:"));
    line.expect("an offset").to_owned()
}

fn on_all(cluster: &Cluster, command: &[&str]) {
    for node in 0..cluster.len() {
        cluster.ask(node, command).expect("it answers");
    }
}

fn mistakes_are_told_as_the_server_does(proxy: &Proxy, plain: std::net::SocketAddr) {
    let (mut client, mut server) = (proxy.client(), RawClient::connect(plain));
    for line in [
        "WAITAOF x 0 1",
        "WAITAOF 2 0 1",
        "WAITAOF -1 0 1",
        "WAITAOF 0 x 1",
        "WAITAOF 0 -1 1",
        "WAITAOF 0 0 x",
        "WAITAOF 0 0 -1",
        "WAITAOF 0 0 1.5",
        "WAITAOF 0 0 9223372036854775807",
        "WAITAOF 0 0",
        // No file is written.
        "WAITAOF 1 0 20000",
    ] {
        client.expect(line, &server.line(line));
        client.line("SET a 1");
        server.line("SET a 1");
    }
}

fn writes_are_waited_for(proxy: &Proxy) {
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut client = proxy.client();
        client.line(hello);
        let mut pipeline = Vec::new();
        for key in ["a", "b", "c", "d"] {
            pipeline.extend(encode(&["SET", key, "1"]));
        }
        pipeline.extend(encode(&["WAITAOF", "1", "1", "20000"]));
        pipeline.extend(encode(&["GET", "a"]));
        client.send(&pipeline);
        let got = client.replies(6).concat();
        let expected = b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n*2\r\n:1\r\n:1\r\n$1\r\n1\r\n";
        assert_eq!(show(&got), show(expected), "{hello}");
    }
}

fn a_disk_that_is_late_is_missed(cluster: &Cluster, proxy: &Proxy) {
    let (late, other) = (key_of(cluster, 0), key_of(cluster, 1));
    let set = |node: usize, when: &str| {
        cluster
            .ask(node, &["CONFIG", "SET", "appendfsync", when])
            .expect("it answers");
    };
    let replica = cluster.replica_of(0).expect("it has one");
    for (node, missed) in [(0, b"*2\r\n:0\r\n:1\r\n"), (replica, b"*2\r\n:1\r\n:0\r\n")] {
        set(node, "no");
        let mut client = proxy.client();
        client.expect(&format!("SET {other} 1"), b"+OK\r\n");
        client.expect(&format!("SET {late} 1"), b"+OK\r\n");
        proxy.wait_for("all that is not late", SOON, || {
            match client.line("WAITAOF 1 1 100") {
                told if told == missed => Ok(()),
                told => Err(show(&told)),
            }
        });
        client.expect("WAITAOF 1 1 3000", missed);
        // Who has written elsewhere does not wait for it.
        let mut elsewhere = proxy.client();
        elsewhere.expect(&format!("SET {other} 2"), b"+OK\r\n");
        elsewhere.expect("WAITAOF 1 1 0", b"*2\r\n:1\r\n:1\r\n");
        set(node, "everysec");
        client.expect("WAITAOF 1 1 0", b"*2\r\n:1\r\n:1\r\n");
    }
}
