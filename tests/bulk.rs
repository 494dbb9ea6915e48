//! Large values take a connection of their own to each node (`upstream.bulk_from`), so that nobody else waits behind them.
//! Which requests take it, that a client never has requests on both at once (invariant 3), and that its commands are
//! executed in its order however large they are.

mod support;

use std::thread;
use std::time::Duration;

use support::node::{Action, Call, FakeCluster, Gate};
use support::{Proxy, RawClient, boot_cluster, encode, servers, show};

/// How long news may take to arrive.
const NEWS_MAX: Duration = Duration::from_secs(30);
/// The least that is large.
const LARGE_BYTES: usize = 4096;

/// One node; `large` has a large value, and SET of `held` is answered once the gate is open.
struct Stage {
    cluster: FakeCluster,
    proxy: Proxy,
    gate: Gate,
}

impl Stage {
    fn new() -> Self {
        let cluster = FakeCluster::start(1);
        let gate = Gate::default();
        let held = Action::Wait(gate.clone());
        cluster.on(0, move |call| {
            let word = |n: usize| call.args.get(n).map(Vec::as_slice);
            let ok = Action::Send(b"+OK\r\n".to_vec());
            match (call.name().as_str(), word(1)) {
                ("GET", Some(b"large")) => Some(vec![Action::Send(large())]),
                ("GET", _) => Some(vec![Action::Send(b"$-1\r\n".to_vec())]),
                ("SET", Some(b"held")) => Some(vec![held.clone(), ok]),
                ("SET", _) => Some(vec![ok]),
                _ => None,
            }
        });
        let limit = format!("upstream.bulk_from={LARGE_BYTES}B");
        let args = ["--workers", "1", "--set", &limit];
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        Self {
            cluster,
            proxy,
            gate,
        }
    }

    /// What came of a client's commands, in order: name, key, connection.
    fn came(&self) -> Vec<(String, usize)> {
        let is_data = |call: &&Call| ["GET", "SET"].contains(&call.name().as_str());
        let calls = self.cluster.calls(0);
        let seen = calls.iter().filter(is_data).map(|call| {
            let key = String::from_utf8_lossy(&call.args[1]);
            (format!("{} {key}", call.name()), call.connection)
        });
        seen.collect()
    }

    /// The connection that this command of a client goes over.
    fn way_of(&self, client: &mut RawClient, command: &[&[u8]]) -> usize {
        client.command(command);
        self.came().last().expect("it came").1
    }
}

fn large() -> Vec<u8> {
    let end = format!("${LARGE_BYTES}\r\n{}\r\n", "v".repeat(LARGE_BYTES));
    end.into_bytes()
}

const SMALL: &[&[u8]] = &[b"GET", b"small"];
const LARGE: &[&[u8]] = &[b"GET", b"large"];

#[test]
fn clients_with_large_values_take_another_connection() {
    let stage = Stage::new();
    let proxy = &stage.proxy;
    let [mut reader, mut other, mut writer, mut new] = std::array::from_fn(|_| proxy.client());
    let usual = stage.way_of(&mut other, SMALL);
    assert_eq!(stage.way_of(&mut reader, LARGE), usual, "nobody knows yet");
    let bulk = stage.way_of(&mut reader, SMALL);
    assert!(bulk != usual, "it has had a large reply");
    assert_eq!(stage.way_of(&mut reader, LARGE), bulk);
    assert_eq!(stage.way_of(&mut other, SMALL), usual);
    let value = vec![b'v'; 40 * LARGE_BYTES];
    let set = |client| stage.way_of(client, &[b"SET", b"small", &value]);
    assert_eq!(set(&mut writer), bulk, "its request is large");
    assert_eq!(stage.way_of(&mut writer, SMALL), bulk);
    assert_eq!(stage.way_of(&mut new, LARGE), bulk, "others got large ones");
    assert_eq!(stage.way_of(&mut other, SMALL), usual);
    drop([reader, other, writer, new]);
    proxy.wait_for("nothing of them is left", NEWS_MAX, || {
        proxy.metrics().nothing_of_clients()
    });
    stage.cluster.finish();
}

#[test]
fn a_client_comes_back() {
    let stage = Stage::new();
    let [mut reader, mut new] = std::array::from_fn(|_| stage.proxy.client());
    let usual = stage.way_of(&mut reader, LARGE);
    // Its slot has large values, this one is small: it is taken for one with large values for a moment.
    let key = "{large}small".as_bytes();
    assert!(stage.way_of(&mut new, &[b"GET", key]) != usual);
    stage.proxy.wait_for("it is back", NEWS_MAX, || {
        match stage.way_of(&mut new, SMALL) == usual {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    assert!(stage.way_of(&mut reader, SMALL) != usual, "not that one");
    stage.cluster.finish();
}

#[test]
fn a_client_has_nothing_in_flight_on_two_connections() {
    let stage = Stage::new();
    let [mut client, mut other] = std::array::from_fn(|_| stage.proxy.client());
    let usual = stage.way_of(&mut client, SMALL);
    client.send(&[encode(LARGE), encode(&["SET", "held", "1"])].concat());
    assert!(client.reply() == large());
    stage
        .proxy
        .wait_for("it is in flight", NEWS_MAX, || match stage.came().last() {
            Some((command, _)) if command == "SET held" => Ok(()),
            last => Err(format!("{last:?}")),
        });
    client.send(&encode(&["SET", "free", "2"]));
    // On the other connection; had the second SET been sent, it would be there before.
    other.command(LARGE);
    let bulk = stage.came().last().expect("it came").1;
    let before = |command: &str| (command.to_owned(), usual);
    let came = [
        before("GET small"),
        before("GET large"),
        before("SET held"),
        ("GET large".to_owned(), bulk),
    ];
    assert!(bulk != usual);
    assert_eq!(stage.came(), came, "one client, two connections");
    stage.gate.open();
    let replies = client.replies(2).concat();
    assert!(replies == b"+OK\r\n+OK\r\n", "{}", show(&replies));
    assert_eq!(stage.came()[4..], [("SET free".to_owned(), bulk)]);
    stage.cluster.finish();
}

/// Commands of each client, and how many are sent at once at most.
const COMMANDS: usize = 600;
const BATCH_MAX: usize = 16;

/// An element of a list says its place in it; every fourth or so is large.
fn element(n: usize) -> String {
    let fill = match n * 7 % 25 {
        0..6 => LARGE_BYTES * (1 + n % 5),
        _ => 0,
    };
    format!("{n}:{}", "v".repeat(fill))
}

/// Writes a list, reads its end and both ends' lengths all the time, in pipelines.
fn write_list(proxy: &Proxy, list: &str) {
    let mut client = proxy.client();
    let mut n = 0;
    while n < COMMANDS {
        let batch = n..COMMANDS.min(n + 1 + n * 13 % BATCH_MAX);
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for n in batch.clone() {
            let element = element(n);
            requests.extend(encode(&["RPUSH", list, &element]));
            requests.extend(encode(&["LINDEX", list, "-1"]));
            expected.extend(format!(":{}\r\n", n + 1).into_bytes());
            expected.extend(format!("${}\r\n{element}\r\n", element.len()).into_bytes());
        }
        client.send(&requests);
        let replies = client.replies(2 * batch.len()).concat();
        assert!(replies == expected, "{list}: {}", show(&replies));
        n = batch.end;
    }
}

#[test]
fn order_is_kept_with_small_and_large_values() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let limit = format!("upstream.bulk_from={LARGE_BYTES}B");
        let proxy = Proxy::start(&cluster, &["--workers", "2", "--set", &limit]);
        thread::scope(|scope| {
            for client in 0..6 {
                let proxy = &proxy;
                scope.spawn(move || write_list(proxy, &format!("list:{client}")));
            }
        });
        let connections = proxy.metrics().sum("slotway_upstream_connections", &[]);
        let usual = 2.0 * 3.0;
        assert!(connections > usual, "{}: {connections}", kind.name);
        proxy.wait_for("nothing of them is left", NEWS_MAX, || {
            proxy.metrics().nothing_of_clients()
        });
    }
}
