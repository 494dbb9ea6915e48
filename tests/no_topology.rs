//! Without a cluster: no seed node can be reached when the proxy starts, or all nodes go down later. The proxy keeps
//! trying and says so (log, /readyz), answers what it answers itself, tells the other clients after
//! `timeouts.unavailable` what is wrong, and serves as soon as the cluster is there, on connections that have waited.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use slotway::demo::{Cluster, ClusterOptions};
use support::node::{Action, FakeCluster, Gate};
use support::{
    Proxy, RawClient, SHOWN_WITHIN, ServerKind, cluster_options, encode, redis, show, valkey,
};

/// How long commands wait here for a node that serves them.
const UNAVAILABLE: &str = "timeouts.unavailable=300ms";

#[test]
fn a_proxy_started_before_redis_serves_later() {
    start_first(&redis());
}

#[test]
fn a_proxy_started_before_valkey_serves_later() {
    start_first(&valkey());
}

#[test]
fn all_nodes_down_and_back() {
    let mut cluster = boot(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1", "--set", UNAVAILABLE]);
    let mut client = proxy.client();
    client.expect("SET a 1", b"+OK\r\n");
    for round in 0..2 {
        kill_all(&mut cluster);
        for command in ["GET a", "SET a 1", "DBSIZE", "MGET a b c", "SCAN 0"] {
            let got = client.line(command);
            // A connection that was lost with a write on it would say that its outcome is unknown: none was.
            assert!(
                got.starts_with(b"-CLUSTERDOWN slotway: "),
                "{round}: {command}: {}",
                show(&got)
            );
        }
        client.expect("PING", b"+PONG\r\n");
        restart_all(&mut cluster);
        wait_serving(&proxy, &mut client);
    }
    let unknown = proxy.metrics().sum("slotway_unknown_outcomes_total", &[]);
    assert_eq!(unknown, 0.0);
}

/// The first that is asked for its commands goes away: nobody has listed them yet, and those of modules are unknown.
#[test]
fn a_node_that_goes_when_it_is_asked_for_its_commands_makes_nobody_ready() {
    let nodes = FakeCluster::start(2);
    let gate = Gate::default();
    let asked = Arc::new(AtomicUsize::new(0));
    for node in 0..2 {
        let (asked, gate) = (asked.clone(), gate.clone());
        nodes.on(node, move |call| {
            let refused = b"-NOPERM not you\r\n".to_vec();
            let first = call.name() == "COMMAND" && asked.fetch_add(1, Ordering::Relaxed) == 0;
            match (call.name() == "COMMAND", first) {
                (false, _) => None,
                (true, true) => Some(vec![Action::Close]),
                (true, false) => Some(vec![Action::Wait(gate.clone()), Action::Send(refused)]),
            }
        });
    }
    let proxy = Proxy::spawn(&nodes.addrs(), &["--set", "cluster.refresh_interval=200ms"]);
    // Whoever asks again knows of the loss.
    proxy.wait_for("asked again", SHOWN_WITHIN, || {
        match asked.load(Ordering::Relaxed) {
            2.. => Ok(()),
            n => Err(format!("asked {n} times")),
        }
    });
    let (status, said) = proxy.get("/readyz").expect("an answer");
    assert_eq!(
        (status, said.trim()),
        (503, "not ready: no node has listed its commands yet")
    );
    gate.open();
    proxy.wait_ready();
}

/// A client that comes before the first map is known, with a slot and without one: what it sends is sent once.
#[test]
fn what_has_waited_for_the_first_map_is_sent_once() {
    let cluster = FakeCluster::start(1);
    let is_there = Arc::new(AtomicBool::new(false));
    let there = Arc::clone(&is_there);
    cluster.on(0, move |call| match call.name().as_str() {
        "CLUSTER" if !there.load(Ordering::Relaxed) => Some(vec![Action::Close]),
        "SET" => Some(vec![Action::Send(b"+OK\r\n".to_vec())]),
        "DBSIZE" => Some(vec![Action::Send(b":7\r\n".to_vec())]),
        _ => None,
    });
    let patient = ["--workers", "1", "--set", "timeouts.unavailable=60s"];
    let proxy = Proxy::spawn(&cluster.addrs(), &patient);
    let requests = [encode(&["SET", "k", "1"]), encode(&["DBSIZE"])];
    let [mut first, mut second] = [(); 2].map(|()| proxy.client());
    first.send(&requests[0]);
    second.send(&requests[1]);
    let sent = requests.iter().map(Vec::len).sum::<usize>() as f64;
    proxy.wait_for("both wait", SHOWN_WITHIN, || {
        let received = "slotway_client_received_bytes_total";
        match proxy.metrics().sum(received, &[]) {
            n if n == sent => Ok(()),
            n => Err(format!("{n} of {sent} bytes")),
        }
    });
    is_there.store(true, Ordering::Relaxed);
    first.wait_at_most(SHOWN_WITHIN);
    second.wait_at_most(SHOWN_WITHIN);
    assert_eq!(show(&first.reply()), show(b"+OK\r\n"));
    assert_eq!(show(&second.reply()), show(b":7\r\n"));
    let retries = proxy.metrics().sum("slotway_retries_total", &[]);
    assert_eq!(retries, 0.0);
    cluster.finish();
}

/// What they can do besides is unknown then, and all else is served.
#[test]
fn nodes_that_always_go_when_they_are_asked_for_their_commands_are_served() {
    let nodes = FakeCluster::start(2);
    for node in 0..2 {
        nodes.on(node, |call| {
            (call.name() == "COMMAND").then(|| vec![Action::Reset])
        });
    }
    // They are asked again for the loss itself.
    let proxy = Proxy::spawn(&nodes.addrs(), &["--set", "cluster.refresh_interval=10m"]);
    proxy.wait_ready();
    // In the first round each of the two was lost once at most: the third loss was in one that the losses asked for.
    let asked_again = [("trigger", "connection_lost")];
    proxy.wait_for("a refresh for losses", SHOWN_WITHIN, || {
        let metrics = proxy.metrics();
        match metrics.sum("slotway_topology_refreshes_total", &asked_again) {
            1.0.. => Ok(()),
            n => Err(format!("{n}")),
        }
    });
}

/// A script runs for too long when slotway starts: what the servers can do is learned when it is over.
#[test]
fn a_node_that_is_busy_when_it_is_asked_for_its_commands_is_asked_again() {
    // The refusal itself has them asked again.
    learns(
        b"-BUSY Redis is busy running a script.\r\n",
        2,
        "cluster.refresh_interval=10m",
    );
}

/// The log tells the operator to allow it, who does.
#[test]
fn a_node_that_refuses_to_list_its_commands_is_asked_again_in_time() {
    learns(
        b"-NOPERM this user has no permissions to run the 'command' command\r\n",
        1,
        "cluster.refresh_interval=200ms",
    );
}

/// Nodes refuse so often to list their commands, and then list one that nobody else has.
fn learns(refusal: &'static [u8], times: usize, interval: &str) {
    const LIST: &[u8] = b"*1\r\n*6\r\n$7\r\nmod.cmd\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n";
    let nodes = FakeCluster::start(2);
    let asked = Arc::new(AtomicUsize::new(0));
    for node in 0..2 {
        let asked = asked.clone();
        nodes.on(node, move |call| match call.name().as_str() {
            "COMMAND" if asked.fetch_add(1, Ordering::Relaxed) < times => {
                Some(vec![Action::Send(refusal.to_vec())])
            }
            "COMMAND" => Some(vec![Action::Send(LIST.to_vec())]),
            "MOD.CMD" => Some(vec![Action::Send(b"+here\r\n".to_vec())]),
            _ => None,
        });
    }
    let proxy = Proxy::spawn(&nodes.addrs(), &["--set", interval]);
    proxy.wait_ready();
    let mut client = proxy.client();
    proxy.wait_for("the command is known", SHOWN_WITHIN, || {
        match &client.line("MOD.CMD a")[..] {
            b"+here\r\n" => Ok(()),
            other => Err(show(other)),
        }
    });
}

fn start_first(kind: &ServerKind) {
    let mut cluster = boot(kind);
    kill_all(&mut cluster);
    let proxy = Proxy::spawn(&cluster.addrs(), &["--workers", "2", "--set", UNAVAILABLE]);
    let mut waiting = proxy.client();
    let mut modern = proxy.client();

    // What needs no node is answered.
    waiting.expect("PING", b"+PONG\r\n");
    waiting.expect("ECHO x", b"$1\r\nx\r\n");
    waiting.expect("CLIENT SETNAME me", b"+OK\r\n");
    assert!(modern.line("HELLO 3").starts_with(b"%"));
    // Everything else says what is missing and where to look.
    let commands = [
        "GET a",
        "SET a 1",
        "MGET a b c",
        "MSET a 1 b 2",
        "DEL a b",
        "DBSIZE",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "FLUSHALL",
        "INFO",
        "CONFIG GET maxmemory",
        "COMMAND COUNT",
        "EVAL return 1 a",
        "PUBLISH c m",
        "SCRIPT FLUSH",
    ];
    for command in commands {
        let line: Vec<&str> = match command {
            "EVAL return 1 a" => vec!["EVAL", "return 1", "1", "a"],
            other => other.split(' ').collect(),
        };
        for client in [&mut waiting, &mut modern] {
            let got = client.command(&line);
            let expected = b"-CLUSTERDOWN slotway: no topology yet (";
            assert!(got.starts_with(expected), "{command}: {}", show(&got));
        }
    }
    // In order, too: nothing overtakes what waits.
    waiting.send(
        &[
            encode(&["GET", "a"]),
            encode(&["PING"]),
            encode(&["DBSIZE"]),
            encode(&["PING"]),
        ]
        .concat(),
    );
    let kinds: Vec<u8> = waiting.replies(4).iter().map(|reply| reply[0]).collect();
    assert_eq!(kinds, b"-+-+");
    // The operator sees it.
    let seed = cluster.addr(0).ip().to_string();
    proxy.wait_for(
        "it says why it is not ready",
        SHOWN_WITHIN,
        || match proxy.get("/readyz") {
            Some((503, body)) if body.contains("no topology") && body.contains(&seed) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    assert_eq!(proxy.get("/livez").map(|(status, _)| status), Some(200));
    proxy.wait_for("it says so in the log", SHOWN_WITHIN, || {
        let log = proxy.log().join("\n");
        let said = log.contains("WARN") && log.contains("onnect");
        if said { Ok(()) } else { Err(log) }
    });
    let tries = proxy.metrics().sum("slotway_topology_refreshes_total", &[]);

    // Commands that are waiting when the cluster comes are served, if they may wait so long; these may not.
    restart_all(&mut cluster);
    proxy.wait_ready();
    wait_serving(&proxy, &mut waiting);
    wait_serving(&proxy, &mut modern);
    assert!(proxy.metrics().sum("slotway_topology_refreshes_total", &[]) > tries);
}

fn boot(kind: &ServerKind) -> Cluster {
    let options = ClusterOptions {
        replicas: 0,
        ..cluster_options(kind)
    };
    Cluster::boot(&options).unwrap_or_else(|error| panic!("{}: {error}", kind.name))
}

fn kill_all(cluster: &mut Cluster) {
    for node in 0..cluster.len() {
        cluster.kill(node);
    }
}

fn restart_all(cluster: &mut Cluster) {
    for node in 0..cluster.len() {
        cluster.restart(node).expect("the server starts again");
    }
}

/// Waits until every shard takes writes of this client.
fn wait_serving(proxy: &Proxy, client: &mut RawClient) {
    proxy.wait_for("every shard serves", SHOWN_WITHIN, || {
        let got = client.line("MSET a 1 b 2 c 3 d 4 e 5 f 6");
        let sizes = client.line("DBSIZE");
        if got == b"+OK\r\n" && sizes == b":6\r\n" {
            Ok(())
        } else {
            Err(format!("{} {}", show(&got), show(&sizes)))
        }
    });
    client.expect("MGET a f", b"*2\r\n$1\r\n1\r\n$1\r\n6\r\n");
}
