//! `/slowlog`: which commands took long, and where their time went. How long each part takes is decided here, by scripted nodes
//! that wait for the test; real servers are kept busy by scripts.

mod support;

use serde_json::Value;
use slotway::cluster::Slot;
use std::time::Duration;
use support::node::{Action, FakeCluster, Gate};
use support::{Proxy, RawClient, SHOWN_WITHIN, boot_cluster, encode, servers};

/// What each part of a slow command takes at least, here.
const LONG: Duration = Duration::from_millis(50);

const ALONE: [&str; 4] = ["--workers", "1", "--set", "upstream.connections=1"];

fn slow(proxy: &Proxy) -> Vec<Value> {
    let log = proxy.json("/slowlog");
    log["commands"].as_array().expect("a list").clone()
}

/// The entry of a command for this key, the last one; it is listed once its reply is written.
#[track_caller]
fn of_key(proxy: &Proxy, key: &str) -> Value {
    let mut found = Value::Null;
    proxy.wait_for("it is listed", SHOWN_WITHIN, || {
        let all = slow(proxy);
        let of = all.iter().find(|e| e["args"].to_string().contains(key));
        found = of.ok_or_else(|| format!("{key}: {all:#?}"))?.clone();
        Ok(())
    });
    found
}

#[track_caller]
fn is_long(entry: &Value, part: &str) {
    let micros = entry[part].as_u64().expect("a number");
    assert!(
        u128::from(micros) >= LONG.as_micros(),
        "{part} of {entry:#}"
    );
}

/// A key of each node.
fn keys(cluster: &FakeCluster) -> [String; 2] {
    [0, 1].map(|node| {
        let of = |key: &String| cluster.owner(Slot::of(key.as_bytes()).number()) == node;
        (0..)
            .map(|n| format!("key:{n}"))
            .find(of)
            .expect("there are enough")
    })
}

/// What a node has been asked for and has not answered, as slotway sees it.
#[track_caller]
fn wait_in_flight(proxy: &Proxy, n: usize) {
    proxy.wait_for("they are in flight", SHOWN_WITHIN, || {
        let now = proxy.metrics().sum("slotway_upstream_in_flight", &[]);
        match now == n as f64 {
            true => Ok(()),
            false => Err(format!("{now}")),
        }
    });
}

/// Has a node answer GET of this key with `reply` once the gate is open, and of any other key with nil.
fn hold(cluster: &FakeCluster, node: usize, held: &[(&str, &Gate)], reply: &[u8]) {
    let held: Vec<_> = held
        .iter()
        .map(|(key, gate)| ((*key).to_owned(), (*gate).clone()))
        .collect();
    let reply = reply.to_vec();
    cluster.on(node, move |call| {
        if call.name() != "GET" {
            return None;
        }
        let gate = held.iter().find(|(key, _)| key.as_bytes() == call.args[1]);
        Some(match gate {
            Some((_, gate)) => vec![Action::Wait(gate.clone()), Action::Send(reply.clone())],
            None => vec![Action::Send(NIL.into())],
        })
    });
}

const NIL: &[u8] = b"$-1\r\n";

/// Before a fake cluster, with its connections made: a key of each node is asked for.
fn connected(cluster: &FakeCluster, keys: &[&str]) -> Proxy {
    let proxy = Proxy::start_with(&cluster.addrs(), &ALONE);
    for key in keys {
        proxy.client().expect(&format!("GET {{{key}}}"), NIL);
    }
    proxy
}

#[test]
fn who_waited_for_another_is_told_from_who_kept_the_node_busy() {
    let cluster = FakeCluster::start(1);
    let (first, second) = (Gate::default(), Gate::default());
    hold(&cluster, 0, &[("busy", &first), ("waits", &second)], NIL);
    let proxy = connected(&cluster, &["warm"]);
    let (mut one, mut other) = (proxy.client(), proxy.client());
    one.send(&encode(&["GET", "busy"]));
    wait_in_flight(&proxy, 1);
    other.send(&encode(&["GET", "waits"]));
    wait_in_flight(&proxy, 2);
    std::thread::sleep(LONG);
    first.open();
    one.reply();
    second.open();
    other.reply();
    is_long(&of_key(&proxy, "busy"), "upstream_micros");
    is_long(&of_key(&proxy, "waits"), "queued_micros");
    cluster.finish();
}

#[test]
fn a_reply_that_waits_for_its_turn_is_told() {
    let cluster = FakeCluster::start(2);
    let [late, early] = keys(&cluster);
    let (last, first) = (Gate::default(), Gate::default());
    hold(&cluster, 0, &[(&late, &last)], NIL);
    hold(&cluster, 1, &[(&early, &first)], NIL);
    let proxy = connected(&cluster, &[&late, &early]);
    let mut client = proxy.client();
    client.send(&[encode(&["GET", &late]), encode(&["GET", &early])].concat());
    wait_in_flight(&proxy, 2);
    std::thread::sleep(LONG);
    first.open();
    wait_in_flight(&proxy, 1);
    std::thread::sleep(LONG);
    last.open();
    client.replies(2);
    let entry = of_key(&proxy, &early);
    is_long(&entry, "upstream_micros");
    is_long(&entry, "order_micros");
    assert_eq!(of_key(&proxy, &late)["order_micros"], 0);
    cluster.finish();
}

/// More than the sockets' buffers take.
const MUCH: usize = 24 << 20;

#[test]
fn a_reply_that_its_client_does_not_take_is_told_and_so_is_one_whose_client_is_gone() {
    let cluster = FakeCluster::start(1);
    let gates = [Gate::default(), Gate::default()];
    let mut reply = format!("${MUCH}\r\n").into_bytes();
    reply.resize(reply.len() + MUCH, b'x');
    reply.extend(b"\r\n");
    hold(
        &cluster,
        0,
        &[("large", &gates[0]), ("gone", &gates[1])],
        &reply,
    );
    let proxy = connected(&cluster, &["warm"]);
    for (key, gate) in ["large", "gone"].into_iter().zip(gates) {
        let mut client = proxy.client();
        let before = proxy.metrics().sum("slotway_client_sent_bytes_total", &[]);
        client.send(&encode(&["GET", key]));
        wait_in_flight(&proxy, 1);
        std::thread::sleep(LONG);
        gate.open();
        proxy.wait_for("it is being written", SHOWN_WITHIN, || {
            let sent = proxy.metrics().sum("slotway_client_sent_bytes_total", &[]);
            match sent > before {
                true => Ok(()),
                false => Err(format!("{sent}")),
            }
        });
        std::thread::sleep(LONG);
        match key {
            "large" => drop(client.reply()),
            _ => client.reset(),
        }
        let entry = of_key(&proxy, key);
        is_long(&entry, "upstream_micros");
        is_long(&entry, "writing_micros");
    }
    cluster.finish();
}

/// Keeps its node busy for several times as long: a hundred million turns a second are few for Lua.
const SPIN: &str = "for i = 1, 30000000 do end return KEYS[1]";

#[test]
fn the_script_that_keeps_a_server_busy_is_found_among_its_victims() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &ALONE);
        let mut clients: Vec<_> = (0..20).map(|_| proxy.client()).collect();
        let mut client = proxy.client();
        client.expect("CLIENT SETNAME <b>worker</b>", b"+OK\r\n");
        let mut sent = encode(&["EVAL", SPIN, "1", "{a}culprit", "secret value"]);
        sent.extend(encode(&["EVAL", "return 1", "1", "{a}innocent"]));
        client.send(&sent);
        for victim in &mut clients {
            let gets: Vec<u8> = (0..100)
                .flat_map(|_| encode(&["GET", "{a}victim"]))
                .collect();
            victim.send(&gets);
        }
        assert_eq!(client.replies(2)[0], b"$10\r\n{a}culprit\r\n");
        for victim in &mut clients {
            victim.replies(100);
        }
        let entry = of_key(&proxy, "culprit");
        is_long(&entry, "upstream_micros");
        assert_eq!(entry["args"][0], "EVAL");
        assert_eq!(entry["args"][1], format!("({} bytes)", SPIN.len()));
        assert_eq!(entry["args"][4], "(12 bytes)");
        assert_eq!(entry["name"], "<b>worker</b>");
        let owner = proxy.owner_of(Slot::of(b"{a}").number());
        assert_eq!(entry["node"].as_str(), owner.as_deref());
        let (_, page) = proxy.get("/slowlog").expect("it answers");
        assert!(
            !page.contains("secret") && !page.contains("for i ="),
            "{page}"
        );
        let victims = slow(&proxy);
        let victims = victims
            .iter()
            .filter(|e| e["args"].to_string().contains("victim"));
        assert!(
            victims.count() < 100,
            "{}: most are only counted",
            kind.name
        );
        let counted = proxy.metrics();
        let of = |cmd| counted.sum("slotway_slow_commands_total", &[("cmd", cmd)]);
        assert!(of("eval") >= 1.0, "{}: {}", kind.name, of("eval"));
    }
}

#[test]
fn a_transaction_is_listed_with_its_commands_and_long_ones_are_cut() {
    let cluster = boot_cluster(&support::redis());
    let proxy = Proxy::start(&cluster, &ALONE);
    let mut client = proxy.client();
    let long = "k".repeat(1_000);
    let mut sent = vec![
        encode(&["MULTI"]),
        encode(&["SET", "{t}a", "secret"]),
        encode(&["EVAL", SPIN, "1", "{t}b"]),
    ];
    sent.extend((0..100).map(|n| encode(&["GET", &format!("{{t}}{n}")])));
    sent.push(encode(&["EXEC"]));
    client.send(&sent.concat());
    client.replies(sent.len());
    let entry = of_key(&proxy, "{t}a");
    is_long(&entry, "upstream_micros");
    let args = entry["args"].as_array().expect("a list");
    assert_eq!(
        (&args[0], &args[1]),
        (&"MULTI".into(), &"SET {t}a (6 bytes)".into())
    );
    assert_eq!(args.len(), 32);
    assert_eq!(args[31], "... (73 more arguments)");
    let mut sent = vec![
        "EVAL".to_owned(),
        SPIN.to_owned(),
        "1".to_owned(),
        long.clone(),
    ];
    sent.extend((0..1_000).map(|n| n.to_string()));
    client.send(&encode(&sent));
    client.reply();
    let entry = of_key(&proxy, &long[..128]);
    let args = entry["args"].as_array().expect("a list");
    assert_eq!(args[3], format!("{}... (872 more bytes)", &long[..128]));
    assert_eq!(args.len(), 32);
    assert_eq!(args[31], "... (973 more arguments)");
}

#[test]
fn nothing_is_listed_where_that_is_wished() {
    let cluster = boot_cluster(&support::redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1", "--set", "observe.slow=off"]);
    let mut client = proxy.client();
    client.command(&["EVAL", SPIN, "1", "k"]);
    assert!(slow(&proxy).is_empty());
    assert_eq!(proxy.json("/slowlog")["from_micros"], Value::Null);
    assert_eq!(proxy.metrics().sum("slotway_slow_commands_total", &[]), 0.0);
}

/// What a client reads with SLOWLOG is slotway's log and those of the nodes, as one.
#[test]
fn slowlog_tells_it_too() {
    for server in servers() {
        let cluster = boot_cluster(&server);
        let proxy = Proxy::start(&cluster, &["--set", "observe.slow=5ms"]);
        let nodes = cluster.addrs();
        for addr in &nodes {
            let mut node = RawClient::connect(*addr);
            node.expect("CONFIG SET slowlog-log-slower-than -1", b"+OK\r\n");
            node.expect("SLOWLOG RESET", b"+OK\r\n");
        }
        let mut client = proxy.client();
        client.expect("CLIENT SETNAME shop", b"+OK\r\n");
        client.command(&["EVAL", SPIN, "1", "k"]);
        of_key(&proxy, "EVAL");
        // Another client may be another worker's.
        let mut other = proxy.client();
        other.expect("SLOWLOG LEN", b":1\r\n");
        other.expect("SLOWLOG GET 0", b"*0\r\n");
        let told = other.command(&["SLOWLOG", "GET"]);
        let told = String::from_utf8_lossy(&told).into_owned();
        for part in ["*1\r\n*6\r\n", "EVAL", "[slotway's own: queued ", "shop"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        // The nodes' entries are there as well: each node adds what it is asked for.
        let mut node = RawClient::connect(nodes[0]);
        node.expect("CONFIG SET slowlog-log-slower-than 0", b"+OK\r\n");
        node.expect("ECHO of-the-node", b"$11\r\nof-the-node\r\n");
        node.expect("CONFIG SET slowlog-log-slower-than -1", b"+OK\r\n");
        let told = other.command(&["SLOWLOG", "GET", "-1"]);
        let told = String::from_utf8_lossy(&told).into_owned();
        for part in ["of-the-node", "[slotway's own: queued "] {
            assert!(told.contains(part), "{part}: {told}");
        }
        other.expect("SLOWLOG RESET", b"+OK\r\n");
        other.expect("SLOWLOG LEN", b":0\r\n");
        assert!(slow(&proxy).is_empty());
        let refused = other.command(&["SLOWLOG", "GET", "x"]);
        assert!(refused.starts_with(b"-ERR"), "{refused:?}");
    }
}
