//! WAIT answers for all primaries that the client has written to, ends on time, and holds up nobody else.

mod support;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use slotway::cluster::Slot;
use slotway::demo::Cluster;
use support::{
    Proxy, RawClient, ServerKind, a_lost_connection_proves_nothing, boot_cluster, encode, key_of,
    lose_connections, redis, show, valkey,
};

/// How long what must come may take.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn wait_on_redis() {
    all(&redis());
}

#[test]
fn wait_on_valkey() {
    all(&valkey());
}

fn all(kind: &ServerKind) {
    let mut cluster = boot_cluster(kind);
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    replicas_are_there(&proxy);
    mistakes_are_told_as_the_server_does(&cluster, &proxy);
    writes_are_waited_for(&proxy);
    a_replica_that_is_late_is_missed(&cluster, &proxy);
    what_was_popped_is_waited_for(&cluster, &proxy);
    let (unknown, known) = (("WAIT 1 0", &b":0\r\n"[..]), ("WAIT 1 0", &b":1\r\n"[..]));
    a_lost_connection_proves_nothing(&cluster, &proxy, [unknown, known]);
    of_two_lost_nodes_is_told_once(&cluster, &proxy);
    what_is_written_after_a_loss_is_waited_for(&cluster, &proxy);
    an_idle_connection_that_was_closed_was_not_lost(&cluster);
    a_primary_that_hands_over_is_forgotten(&cluster, &proxy);
    a_primary_that_leaves_is_forgotten(&mut cluster);
}

/// Replicas connect after the cluster is up.
fn replicas_are_there(proxy: &Proxy) {
    proxy.wait_for("a replica of each primary", SOON, || {
        // A client that has written nothing waits for nothing.
        match &proxy.client().line("WAIT 0 0")[..] {
            b":1\r\n" => Ok(()),
            other => Err(show(other)),
        }
    });
}

fn mistakes_are_told_as_the_server_does(cluster: &Cluster, proxy: &Proxy) {
    let mut server = RawClient::connect(cluster.addr(0));
    let mut client = proxy.client();
    for line in [
        "WAIT x 1",
        "WAIT 1 x",
        "WAIT 1 -1",
        "WAIT x -1",
        "WAIT 1",
        "WAIT 99999999999999999999 1",
        "WAIT 1 99999999999999999999",
        "WAIT 0 9223372036854775807",
        "WAIT 0 9223370000000000000",
    ] {
        client.expect(line, &server.line(line));
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
        pipeline.extend(encode(&["WAIT", "1", "20000"]));
        pipeline.extend(encode(&["MGET", "a", "b"]));
        pipeline.extend(encode(&["WAIT", "0", "0"]));
        client.send(&pipeline);
        let got = client.replies(7).concat();
        let expected = b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n:1\r\n*2\r\n$1\r\n1\r\n$1\r\n1\r\n:1\r\n";
        assert_eq!(show(&got), show(expected), "{hello}");
        client.expect("MSET a 2 b 2 c 2", b"+OK\r\n");
        client.expect("WAIT 1 0", b":1\r\n");
    }
}

fn a_replica_that_is_late_is_missed(cluster: &Cluster, proxy: &Proxy) {
    const TIMEOUT: Duration = Duration::from_millis(300);
    let late = key_of(cluster, 0);
    let other = key_of(cluster, 1);
    let replica = cluster.replica_of(0).expect("it has one");
    cluster.pause(replica).expect("it runs");

    let mut both = proxy.client();
    both.expect(&format!("SET {late} 1"), b"+OK\r\n");
    both.expect(&format!("SET {other} 1"), b"+OK\r\n");
    let started = Instant::now();
    both.expect(&format!("WAIT 1 {}", TIMEOUT.as_millis()), b":0\r\n");
    assert!(started.elapsed() >= TIMEOUT, "{:?}", started.elapsed());
    // What it wrote is as late as before.
    both.expect("WAIT 0 0", b":0\r\n");

    // Another shard's replica is not late, and who reads from the late shard has written nothing to it.
    let mut one = proxy.client();
    one.line(&format!("GET {late}"));
    one.expect(&format!("SET {other} 2"), b"+OK\r\n");
    one.expect("WAIT 1 0", b":1\r\n");

    // Who waits for ever holds up nobody.
    let mut patient = proxy.client();
    patient.send(&[encode(&["SET", &late, "3"]), encode(&["WAIT", "1", "0"])].concat());
    assert_eq!(patient.reply(), b"+OK\r\n");
    let mut bystander = proxy.client();
    for i in 0..200 {
        bystander.expect(&format!("SET {late} {i}"), b"+OK\r\n");
        bystander.expect(
            &format!("STRLEN {late}"),
            format!(":{}\r\n", i.to_string().len()).as_bytes(),
        );
    }
    patient.wait_at_most(Duration::from_millis(1));
    assert!(
        patient.try_replies(1).is_empty(),
        "nothing was acknowledged"
    );
    // Who hangs up waits no more.
    let clients = || proxy.metrics().sum("slotway_client_connections", &[]);
    let mut gone = proxy.client();
    gone.send(&[encode(&["SET", &late, "4"]), encode(&["WAIT", "1", "0"])].concat());
    assert_eq!(gone.reply(), b"+OK\r\n");
    let before = clients();
    drop(gone);
    proxy.wait_for("the client is forgotten", SOON, || match clients() {
        now if now < before => Ok(()),
        now => Err(format!("{now} of {before} clients")),
    });

    cluster.resume(replica).expect("it runs");
    patient.wait_at_most(SOON);
    assert_eq!(patient.reply(), b":1\r\n");
    both.expect("WAIT 1 0", b":1\r\n");
}

/// Pops that wait write too, at a node on a connection of their own, and over several slots.
fn what_was_popped_is_waited_for(cluster: &Cluster, proxy: &Proxy) {
    let late = format!("{{{}}}", key_of(cluster, 0));
    let other = format!("{{{}}}", key_of(cluster, 1));
    let replica = cluster.replica_of(0).expect("it has one");
    for (pop, waits) in [
        (format!("BLPOP {late}l 0"), true),
        (format!("BRPOP {other} {late}l 0"), true),
        (format!("BLMPOP 0 2 {other} {late}l LEFT"), true),
        (format!("BLPOP {late}m 0.01"), false),
        (format!("XREAD BLOCK 0 STREAMS {late}s 0"), false),
    ] {
        let mut pusher = proxy.client();
        pusher.line(&format!("RPUSH {late}l x"));
        pusher.line(&format!("XADD {late}s * f v"));
        cluster.pause(replica).expect("it runs");
        let mut client = proxy.client();
        client.expect(&format!("SET {other}o 1"), b"+OK\r\n");
        client.line(&pop);
        let (wait, expected) = match waits {
            true => ("WAIT 1 300", b":0\r\n"),
            false => ("WAIT 1 20000", b":1\r\n"),
        };
        let got = client.line(wait);
        assert_eq!(show(&got), show(expected), "{pop}");
        cluster.resume(replica).expect("it runs");
        client.expect("WAIT 1 0", b":1\r\n");
    }
}

/// Connections that nobody uses are closed in order: nothing that went over them is in doubt.
fn an_idle_connection_that_was_closed_was_not_lost(cluster: &Cluster) {
    let args = ["--workers", "1", "--set", "upstream.idle_close=1s"];
    let proxy = Proxy::start(cluster, &args);
    replicas_are_there(&proxy);
    let mut client = proxy.client();
    client.expect(&format!("SET {} 1", key_of(cluster, 0)), b"+OK\r\n");
    let open = || proxy.metrics().sum("slotway_upstream_connections", &[]);
    proxy.wait_for("no connection to a node", SOON, || match open() {
        0.0 => Ok(()),
        n => Err(format!("{n} connections")),
    });
    client.expect("WAIT 1 0", b":1\r\n");
}

/// A client whose write went over a connection that is lost; the node is reached again.
fn writes_before_a_loss(cluster: &Cluster, proxy: &Proxy, key: &str) -> RawClient {
    let mut client = proxy.client();
    client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    lose_connections(cluster, proxy, &[0]);
    client
}

/// Before anybody has asked about what was lost. That is in doubt, and told once; the write after it is not, and stays
/// what is waited for.
fn what_is_written_after_a_loss_is_waited_for(cluster: &Cluster, proxy: &Proxy) {
    let key = key_of(cluster, 0);
    let replica = cluster.replica_of(0).expect("it has one");
    let mut client = writes_before_a_loss(cluster, proxy, &key);
    cluster.pause(replica).expect("it runs");
    client.expect(&format!("SET {key} 2"), b"+OK\r\n");
    for _ in 0..2 {
        client.expect("WAIT 1 300", b":0\r\n");
    }
    cluster.resume(replica).expect("it runs");
    client.expect("WAIT 1 0", b":1\r\n");
}

/// A client that had written to two primaries when the connections to both were lost: before it said WAIT, and while it
/// waited.
fn of_two_lost_nodes_is_told_once(cluster: &Cluster, proxy: &Proxy) {
    let keys = [0, 1].map(|primary| key_of(cluster, primary));
    let mut client = proxy.client();
    for key in &keys {
        client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    }
    let mut waiting = waits_for_ever(proxy, &keys.each_ref().map(|key| &**key));
    lose_connections(cluster, proxy, &[0, 1]);
    assert_eq!(waiting.reply(), b":0\r\n");
    // It may have looked when only one of them was lost.
    if waiting.line("WAIT 1 0") != b":1\r\n" {
        waiting.expect("WAIT 1 0", b":1\r\n");
    }
    client.expect("WAIT 1 0", b":0\r\n");
    client.expect("WAIT 1 0", b":1\r\n");
}

/// A client that waits, for more replicas than there are, for what it has written under those keys.
fn waits_for_ever(proxy: &Proxy, keys: &[&str]) -> RawClient {
    let mut client = proxy.client();
    for key in keys {
        client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    }
    client.send(&encode(&["WAIT", "9", "0"]));
    client
}

/// What a client wrote to a primary that is gone it is told once to be in doubt, and no more.
fn is_told_once(client: &mut RawClient, key: &str) {
    client.expect("WAIT 1 0", b":0\r\n");
    client.expect("WAIT 1 0", b":1\r\n");
    client.expect(&format!("SET {key} 3"), b"+OK\r\n");
    client.expect("WAIT 1 0", b":1\r\n");
}

fn a_primary_that_hands_over_is_forgotten(cluster: &Cluster, proxy: &Proxy) {
    let key = key_of(cluster, 0);
    let mut waiting = waits_for_ever(proxy, &[&key]);
    let mut client = proxy.client();
    client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    let heir = cluster.replica_of(0).expect("it has one");
    cluster.failover(heir).expect("it takes over");
    assert_eq!(waiting.reply(), b":0\r\n");
    client.expect(&format!("SET {key} 2"), b"+OK\r\n");
    replicas_are_there(proxy);
    is_told_once(&mut client, &key);
    // It has been told.
    waiting.expect(&format!("SET {key} 4"), b"+OK\r\n");
    waiting.expect("WAIT 1 0", b":1\r\n");
}

/// All slots of the second primary go to the third one; then it is forgotten, with its replica, and shut down.
fn a_primary_that_leaves_is_forgotten(cluster: &mut Cluster) {
    const LEAVES: usize = 1;
    const STAYS: usize = 2;
    let key = key_of(cluster, LEAVES);
    let leaving = [LEAVES, cluster.replica_of(LEAVES).expect("it has one")];
    let all = 0..cluster.len();
    let others: Vec<usize> = all.filter(|n| !leaving.contains(n)).collect();
    let seeds: Vec<_> = others.iter().map(|&node| cluster.addr(node)).collect();
    let proxy = Proxy::start_with(&seeds, &["--workers", "1"]);
    proxy.client().expect("FLUSHALL", b"+OK\r\n");
    for node in leaving {
        // It stays what it is without a slot.
        let stay = ["CONFIG", "SET", "cluster-allow-replica-migration", "no"];
        cluster.ask(node, &stay).expect("it answers");
    }
    let mut waiting = waits_for_ever(&proxy, &[&key]);
    let mut client = proxy.client();
    client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    give_slots(cluster, &proxy, &key, LEAVES, STAYS);
    for (node, gone) in others.iter().flat_map(|n| leaving.map(|gone| (*n, gone))) {
        let forget = ["CLUSTER", "FORGET", cluster.id(gone)];
        cluster.ask(node, &forget).expect("it answers");
    }
    for node in leaving {
        let reset = ["CLUSTER", "RESET", "SOFT"];
        cluster.ask(node, &reset).expect("it answers");
    }
    assert_eq!(waiting.reply(), b":0\r\n");
    let addr = cluster.addr(LEAVES);
    proxy.wait_for("its connections are closed in order", SOON, || {
        let page = proxy.get("/metrics").ok_or("no answer")?.1;
        match page.contains(&addr.to_string()) {
            true => Err("it is in the metrics".into()),
            false => Ok(()),
        }
    });
    leaving.iter().for_each(|&node| cluster.kill(node));
    let trap = TcpListener::bind(addr).expect("it is free");
    trap.set_nonblocking(true).expect("possible");
    replicas_are_there(&proxy);
    is_told_once(&mut client, &key);
    waiting.expect("WAIT 1 0", b":1\r\n");
    let dialled = trap.accept().map(|(_, peer)| peer);
    assert!(dialled.is_err(), "{dialled:?} dialled a node that has left");
}

/// Moves the key's slot, the only one with anything in it; the others' new owner only claims them, and has the higher
/// epoch.
fn give_slots(cluster: &Cluster, proxy: &Proxy, key: &str, from: usize, to: usize) {
    let kept = Slot::of(key.as_bytes()).number();
    cluster.migrate_slot(kept, from, to).expect("it moves");
    let (first, last) = cluster.booted_slots(from);
    for (first, last) in [(first, kept - 1), (kept + 1, last)] {
        for verb in ["DELSLOTSRANGE", "ADDSLOTSRANGE"] {
            let claim = ["CLUSTER", verb, &first.to_string(), &last.to_string()];
            let reply = cluster.ask(to, &claim).expect("it answers");
            assert!(!reply.is_error(), "{claim:?}: {reply:?}");
        }
    }
    proxy.wait_for("it has no slot", SOON, || match cluster.is_primary(from) {
        Ok(false) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
