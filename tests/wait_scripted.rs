//! What WAIT and WAITAOF ask the nodes, call by call: doubts about several nodes are told together, and clients that wait
//! together ask together.

mod support;

use rustix::process::Signal;
use slotway::cluster::Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use support::node::{Action, Call, FakeCluster, Gate};
use support::{Proxy, SHOWN_WITHIN, encode, show};

fn send(bytes: impl Into<Vec<u8>>) -> Option<Vec<Action>> {
    Some(vec![Action::Send(bytes.into())])
}

/// How far a primary is, and its only replica.
fn primary(offset: u64, replica: u64) -> Vec<u8> {
    let text = format!(
        "# Replication\r\nrole:master\r\nslave0:ip=::1,port=1,state=online,offset={replica},lag=0\r\n\
         master_repl_offset:{offset}\r\n"
    );
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn replica() -> Vec<u8> {
    let text = "# Replication\r\nrole:slave\r\n";
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn asks_how_far(call: &Call) -> bool {
    call.name() == "INFO" && call.args.get(1).is_some_and(|what| what == b"replication")
}

/// How often a node was asked how far it is.
fn asked(cluster: &FakeCluster, node: usize) -> usize {
    let calls = cluster.calls(node);
    calls.iter().filter(|call| asks_how_far(call)).count()
}

/// Some key of each of two nodes.
fn keys(cluster: &FakeCluster) -> [String; 2] {
    [0, 1].map(|node| {
        let mut keys = (0..).map(|n| format!("key{n}"));
        let is_its = |key: &String| cluster.owner(Slot::of(key.as_bytes()).number()) == node;
        keys.find(is_its).expect("there is one")
    })
}

/// Two primaries that have been demoted, which the map does not say yet.
#[test]
fn doubts_about_two_nodes_are_told_together() {
    let cluster = FakeCluster::start(2);
    let gate = Gate::default();
    for node in [0, 1] {
        let gate = gate.clone();
        cluster.on(node, move |call| match call.name().as_str() {
            "SET" => send("+OK\r\n"),
            // The second one answers first.
            _ if asks_how_far(call) && node == 0 => {
                Some(vec![Action::Wait(gate.clone()), Action::Send(replica())])
            }
            _ if asks_how_far(call) => send(replica()),
            _ => None,
        });
    }
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let mut client = proxy.client();
    for key in keys(&cluster) {
        client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    }
    client.send(&encode(&["WAIT", "1", "0"]));
    let asked = || [0, 1].map(|node| asked(&cluster, node));
    proxy.wait_for("the second one has answered", SHOWN_WITHIN, || {
        let in_flight = proxy.metrics().sum("slotway_upstream_in_flight", &[]);
        match (asked(), in_flight) {
            ([1, 1], 1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    gate.open();
    assert_eq!(client.reply(), b":0\r\n");
    // Now it has written nothing, and waits for all of them.
    client.expect("WAIT 1 0", b":0\r\n");
    proxy.wait_for("both are asked again", SHOWN_WITHIN, || match asked() {
        [2, 2] => Ok(()),
        other => Err(format!("{other:?}")),
    });
    cluster.finish();
}

/// One has been demoted, and the connection to the other is lost, before the first one says so.
#[test]
fn disks_of_two_nodes_are_in_doubt_together() {
    const COUNTED: &[u8] = b"*1\r\n*2\r\n:1\r\n:1\r\n";
    const DEMOTED: &[u8] =
        b"-ERR WAITAOF cannot be used with replica instances. Please also note that writes are lost\r\n";
    let cluster = FakeCluster::start(2);
    let (gate, again) = (Gate::default(), Arc::new(AtomicBool::new(false)));
    for node in [0, 1] {
        let (gate, again) = (gate.clone(), again.clone());
        cluster.on(node, move |call| match call.name().as_str() {
            "SET" => send("+OK\r\n"),
            "INCR" => Some(vec![Action::Close]),
            "FUNCTION" => send("+OK\r\n"),
            "WAITAOF" => send("+QUEUED\r\n"),
            "EXEC" if node == 1 || again.load(Ordering::Relaxed) => send(COUNTED),
            "EXEC" => Some(vec![
                Action::Wait(gate.clone()),
                Action::Send([b"*1\r\n", DEMOTED].concat()),
            ]),
            "MULTI" => send("+OK\r\n"),
            _ if asks_how_far(call) => send(primary(1, 1)),
            _ => None,
        });
    }
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let keys = keys(&cluster);
    for key in &keys {
        client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    }
    client.send(&encode(&["WAITAOF", "0", "9", "0"]));
    proxy.wait_for("the first one is asked", SHOWN_WITHIN, || {
        match cluster.count(0, "WAITAOF") {
            0 => Err("not yet".into()),
            _ => Ok(()),
        }
    });
    let told = other.command(&["INCR", &keys[1]]);
    assert!(told.starts_with(b"-"), "{}", show(&told));
    again.store(true, Ordering::Relaxed);
    gate.open();
    assert_eq!(show(&client.reply()), show(b"*2\r\n:0\r\n:0\r\n"));
    // Now it has written nothing, and waits for all of them.
    let counted = client.line("WAITAOF 1 1 0");
    assert_eq!(show(&counted), show(b"*2\r\n:1\r\n:1\r\n"));
    cluster.finish();
}

/// It has been asked how far its disk is, and is silent when it is to write.
#[test]
fn a_disk_that_is_lost_meanwhile_is_in_doubt() {
    let cluster = FakeCluster::start(1);
    let gate = Gate::default();
    let held = gate.clone();
    cluster.on(0, move |call| match call.name().as_str() {
        "SET" | "MULTI" => send("+OK\r\n"),
        "INCR" => Some(vec![Action::Close]),
        "FUNCTION" => Some(vec![Action::Wait(held.clone())]),
        "WAITAOF" => send("+QUEUED\r\n"),
        "EXEC" => send("*1\r\n*2\r\n:1\r\n:1\r\n"),
        _ => None,
    });
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    client.expect("SET k 1", b"+OK\r\n");
    client.send(&encode(&["WAITAOF", "1", "1", "0"]));
    proxy.wait_for("it is to write", SHOWN_WITHIN, || {
        match cluster.count(0, "FUNCTION") {
            0 => Err("not yet".into()),
            _ => Ok(()),
        }
    });
    let told = other.line("INCR k");
    assert!(told.starts_with(b"-"), "{}", show(&told));
    assert_eq!(show(&client.reply()), show(b"*2\r\n:0\r\n:0\r\n"));
    gate.open();
    cluster.finish();
}

/// The connection that the writes went over is lost, and the node says right then that it would not do the write that is to
/// go behind them: what it says is worth nothing.
#[test]
fn an_error_that_comes_with_a_doubt_is_not_told() {
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| match call.name().as_str() {
        "SET" | "MULTI" => send("+OK\r\n"),
        "FUNCTION" => Some(Vec::new()),
        "WAITAOF" => send("+QUEUED\r\n"),
        "EXEC" => send("*1\r\n*2\r\n:1\r\n:1\r\n"),
        _ => None,
    });
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let mut client = proxy.client();
    client.expect("SET k 1", b"+OK\r\n");
    client.send(&encode(&["WAITAOF", "1", "1", "0"]));
    let connection_of = |name: &str| {
        let calls = cluster.calls(0);
        let its = calls.iter().find(|call| call.name() == name);
        its.map(|call| call.connection).ok_or("not yet")
    };
    proxy.wait_for("it is to write", SHOWN_WITHIN, || {
        Ok(connection_of("FUNCTION").map(drop)?)
    });
    // Nobody is looked at before both have come.
    proxy.stop();
    let surplus = b"+surplus\r\n";
    cluster.inject(connection_of("SET").expect("it came"), surplus);
    let refusal = b"-NOPERM no functions\r\n";
    cluster.inject(connection_of("FUNCTION").expect("it came"), refusal);
    proxy.signal(Signal::CONT);
    assert_eq!(show(&client.reply()), show(b"*2\r\n:0\r\n:0\r\n"));
    cluster.finish();
}

/// Clients that wait for one and the same replica.
#[test]
fn clients_that_wait_together_ask_together() {
    const CLIENTS: usize = 100;
    let cluster = FakeCluster::start(1);
    let [first, second, woken] = [Gate::default(), Gate::default(), Gate::default()];
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let gates = [first.clone(), second.clone(), woken.clone()];
    let (questions, replica) = (AtomicUsize::new(0), acknowledged.clone());
    cluster.on(0, move |call| {
        let [first, second, woken] = &gates;
        match call.name().as_str() {
            "SET" | "WATCH" => send("+OK\r\n"),
            "WAIT" => Some(vec![
                Action::Wait(woken.clone()),
                Action::Send(b":0\r\n".to_vec()),
            ]),
            _ if asks_how_far(call) => {
                let gate = match questions.fetch_add(1, Ordering::Relaxed) {
                    0 => first,
                    _ => second,
                };
                let reply = primary(10, replica.load(Ordering::Relaxed) as u64);
                Some(vec![Action::Wait(gate.clone()), Action::Send(reply)])
            }
            _ => None,
        }
    });
    let set = [
        "--workers",
        "1",
        "--set",
        "timeouts.command=60s",
        "--set",
        "upstream.leases=2",
    ];
    let proxy = Proxy::start_with(&cluster.addrs(), &set);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.expect("SET k 1", b"+OK\r\n");
    }
    for client in &mut clients {
        client.send(&encode(&["WAIT", "1", "0"]));
    }
    proxy.wait_for("all of them wait", SHOWN_WITHIN, || {
        let wait = proxy.metrics().sum("slotway_blocked_clients", &[]);
        match (wait as usize, asked(&cluster, 0)) {
            (CLIENTS, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let in_flight = || proxy.metrics().sum("slotway_upstream_in_flight", &[]);
    assert_eq!(in_flight(), 1.0);
    first.open();
    proxy.wait_for("all others ask", SHOWN_WITHIN, || {
        match asked(&cluster, 0) {
            1 => Err("not yet".into()),
            _ => Ok(()),
        }
    });
    assert_eq!(asked(&cluster, 0), 2);
    // That, and what asks the replicas.
    assert!(in_flight() <= 2.0, "{}", in_flight());
    second.open();
    proxy.wait_for("its replicas are asked", SHOWN_WITHIN, || {
        match cluster.count(0, "WAIT") {
            0 => Err("not yet".into()),
            _ => Ok(()),
        }
    });
    // Nobody else is refused a connection meanwhile.
    let mut other = proxy.client();
    other.expect("WATCH k", b"+OK\r\n");
    assert_eq!(cluster.count(0, "WAIT"), 1);
    woken.open();
    acknowledged.store(10, Ordering::Relaxed);
    for client in &mut clients {
        client.wait_at_most(Duration::from_secs(20));
        assert_eq!(client.reply(), b":1\r\n");
    }
    cluster.finish();
}
