//! Large values take a connection of their own to each node (`upstream.bulk_from`), so that nobody else waits behind them.
//! Which requests take it, that a client never has requests on both at once (invariant 3), and that its commands are
//! executed in its order however large they are. Those that are part of scenario 12 of `reliability.md` record rows.

mod support;

use std::thread;

use support::node::{Action, Call, FakeCluster, Gate};
use support::{
    Proxy, RawClient, SHOWN_WITHIN, Scenario, ServerKind, boot_cluster, encode, on_each, rounds,
    show,
};

/// The least that is large.
const LARGE_BYTES: usize = 4096;

/// One node; a key that ends with `large` has a large value, and commands for `held` are answered once the gate is open.
struct Stage {
    cluster: FakeCluster,
    proxy: Proxy,
    gate: Gate,
}

impl Stage {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(options: &[&str]) -> Self {
        let cluster = FakeCluster::start(1);
        let gate = Gate::default();
        let held = Action::Wait(gate.clone());
        cluster.on(0, move |call| {
            let word = |n: usize| call.args.get(n).map(Vec::as_slice);
            let ok = Action::Send(b"+OK\r\n".to_vec());
            match (call.name().as_str(), word(1)) {
                ("GET", Some(b"held")) => Some(vec![held.clone(), Action::Send(large())]),
                ("GET", Some(key)) if key.ends_with(b"large") => Some(vec![Action::Send(large())]),
                ("GET", _) => Some(vec![Action::Send(b"$-1\r\n".to_vec())]),
                ("SET", Some(b"held")) => Some(vec![held.clone(), ok]),
                ("SET", Some(key)) if key.ends_with(b"queued") => {
                    Some(vec![Action::Send(b"+QUEUED\r\n".to_vec())])
                }
                ("SET", _) | ("MULTI", _) => Some(vec![ok]),
                ("EXEC", _) => Some(vec![Action::Send(EXECUTED.to_vec())]),
                _ => None,
            }
        });
        let limit = format!("upstream.bulk_from={LARGE_BYTES}B");
        let mut args = vec!["--workers", "1", "--set", &limit];
        args.extend(options.iter().flat_map(|option| ["--set", option]));
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

    /// Until so many requests are on their way to the node.
    fn wait_in_flight(&self, expected: usize) {
        let name = "slotway_upstream_in_flight";
        self.proxy
            .wait_for("they are on their way", SHOWN_WITHIN, || {
                match self.proxy.metrics().sum(name, &[]) as usize {
                    n if n == expected => Ok(()),
                    n => Err(format!("{n} in flight")),
                }
            });
    }

    /// Has clients send these bytes; returns when slotway has read all of them.
    fn send_all(&self, sent: &mut [(&mut RawClient, Vec<u8>)]) {
        let name = "slotway_client_received_bytes_total";
        let read = || self.proxy.metrics().sum(name, &[]) as usize;
        let mut until = read();
        for (client, bytes) in sent {
            client.send(bytes);
            until += bytes.len();
        }
        self.proxy
            .wait_for("they are read", SHOWN_WITHIN, || match read() {
                n if n >= until => Ok(()),
                n => Err(format!("{n} of {until} bytes")),
            });
    }

    /// How often a bound was reached.
    fn hits(&self, option: &str) -> usize {
        let labels = [("limit", option)];
        self.proxy
            .metrics()
            .sum("slotway_limit_hits_total", &labels) as usize
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

/// What the node says to EXEC after two commands.
const EXECUTED: &[u8] = b"*2\r\n+OK\r\n+OK\r\n";

const SMALL: &[&[u8]] = &[b"GET", b"small"];
const LARGE: &[&[u8]] = &[b"GET", b"large"];

#[test]
fn clients_with_large_values_take_another_connection() {
    let stage = Stage::new();
    let proxy = &stage.proxy;
    let [mut reader, mut other, mut writer, mut whole, mut new] =
        std::array::from_fn(|_| proxy.client());
    let usual = stage.way_of(&mut other, SMALL);
    let in_one_piece = [b'v'; LARGE_BYTES];
    let first = stage.way_of(&mut whole, &[b"SET", b"small", &in_one_piece]);
    assert!(first != usual, "its request is large");
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
    drop([reader, other, writer, whole, new]);
    proxy.wait_for("nothing of them is left", SHOWN_WITHIN, || {
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
    stage.proxy.wait_for("it is back", SHOWN_WITHIN, || {
        match stage.way_of(&mut new, SMALL) == usual {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    assert!(stage.way_of(&mut reader, SMALL) != usual, "not that one");
    stage.cluster.finish();
}

#[test]
fn an_idle_client_is_none_of_large_values() {
    let stage = Stage::new();
    let count = || stage.proxy.metrics().sum("slotway_bulk_clients", &[]);
    let mut reader = stage.proxy.client();
    reader.command(LARGE);
    drop(reader);
    let mut new = stage.proxy.client();
    new.command(&[b"GET", "{large}small".as_bytes()]);
    stage
        .proxy
        .wait_for("it is no longer counted", SHOWN_WITHIN, || match count() {
            0.0 => Ok(()),
            n => Err(format!("{n} clients")),
        });
    new.command(SMALL);
    stage.cluster.finish();
}

#[test]
fn guesses_that_are_wrong_end() {
    let stage = Stage::new();
    let mut reader = stage.proxy.client();
    let usual = stage.way_of(&mut reader, LARGE);
    let way_of_new = |key: &str| stage.way_of(&mut stage.proxy.client(), &[b"GET", key.as_bytes()]);
    assert!(way_of_new("{large}small") != usual, "a guess");
    let is = |met: bool| match met {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    };
    let wait = |what: &str, met: &dyn Fn() -> bool| {
        stage.proxy.wait_for(what, SHOWN_WITHIN, || is(met()));
    };
    wait("nothing is guessed", &|| {
        way_of_new("{large}small") == usual
    });
    wait("it is again", &|| way_of_new("large") != usual);
    stage.cluster.finish();
}

/// Clients that have just had a large value each, the first one `small` ones since; a large value is on its way to one
/// more, and no other has room.
fn crowded<const N: usize>(stage: &Stage, small: usize) -> [RawClient; N] {
    let mut clients = std::array::from_fn(|_| stage.proxy.client());
    for client in &mut clients {
        client.command(LARGE);
    }
    (0..small).for_each(|_| drop(clients[0].command(SMALL)));
    clients[N - 1].send(&encode(&["GET", "held"]));
    stage.wait_in_flight(1);
    clients
}

/// SETs or GETs of so many keys.
fn pipeline(n: usize, command: impl Fn(usize) -> Vec<String>) -> Vec<u8> {
    (0..n).flat_map(|n| encode(&command(n))).collect()
}

const ONE_AT_A_TIME: &str = "upstream.bulk_bytes=64KB";

#[test]
fn small_values_do_not_wait_for_large_ones() {
    let mut row = Scenario::begin(12, "small values of clients with large ones", "-");
    let stage = Stage::with(&[ONE_AT_A_TIME]);
    let [mut small, mut waits, mut reader] = crowded(&stage, 5);
    let sets = pipeline(1000, |n| vec!["SET".into(), format!("key:{n}"), "v".into()]);
    stage.send_all(&mut [(&mut waits, encode(LARGE)), (&mut small, sets)]);
    stage.wait_in_flight(1001);
    stage.gate.open();
    assert_eq!(small.replies(1000).concat(), b"+OK\r\n".repeat(1000));
    assert!(reader.reply() == large() && waits.reply() == large());
    let came = stage.came();
    assert_eq!(came[came.len() - 1].0, "GET large", "it has had its turn");
    row.figure("sent before a large one that waits", 1000);
    stage.cluster.finish();
    row.passed();
}

#[test]
fn small_values_that_wait_need_few_turns() {
    let stage = Stage::with(&[ONE_AT_A_TIME]);
    let [mut small, mut waits, mut reader] = crowded(&stage, 0);
    let sets = pipeline(50, |n| vec!["SET".into(), format!("key:{n}"), "v".into()]);
    let gets = pipeline(50, |n| vec!["GET".into(), format!("{n}:large")]);
    stage.send_all(&mut [(&mut small, sets), (&mut waits, gets)]);
    stage.wait_in_flight(1);
    stage.gate.open();
    assert_eq!(small.replies(50).concat(), b"+OK\r\n".repeat(50));
    assert!(waits.replies(50).concat() == large().repeat(50));
    assert!(reader.reply() == large());
    let came = stage.came();
    let last = came
        .iter()
        .rposition(|(command, _)| command.starts_with("SET"));
    let before = came[..last.expect("it came")].iter();
    let others = before
        .filter(|(command, _)| command.ends_with(":large"))
        .count();
    assert!(
        (3..=6).contains(&others),
        "{others} before the last one: {came:?}"
    );
    stage.cluster.finish();
}

#[test]
fn a_client_with_large_values_is_told_what_it_waited_for() {
    let row = Scenario::begin(12, "a large value that has no room for too long", "-");
    let stage = Stage::with(&[ONE_AT_A_TIME, "timeouts.command=3s", "timeouts.queue=100ms"]);
    let [mut waits, mut reader] = crowded(&stage, 0);
    let reply = waits.command(LARGE);
    let text = String::from_utf8_lossy(&reply);
    assert!(
        text.starts_with("-ERR slotway: not sent, no room among the large values"),
        "{text}"
    );
    assert!(
        text.contains("timeouts.command (upstream.bulk_bytes"),
        "{text}"
    );
    assert_eq!(stage.hits("upstream.bulk_bytes"), 1);
    assert_eq!(stage.hits("timeouts.queue"), 0);
    assert!(
        reader
            .reply()
            .starts_with(b"-ERR slotway: no reply in time")
    );
    stage.gate.open();
    assert!(waits.command(LARGE) == large(), "there is room again");
    stage.cluster.finish();
    row.passed();
}

#[test]
fn a_client_has_nothing_in_flight_on_two_connections() {
    let stage = Stage::new();
    let [mut client, mut other] = std::array::from_fn(|_| stage.proxy.client());
    let usual = stage.way_of(&mut client, SMALL);
    client.send(&[encode(LARGE), encode(&["SET", "held", "1"])].concat());
    assert!(client.reply() == large());
    stage.proxy.wait_for("it is in flight", SHOWN_WITHIN, || {
        match stage.came().last() {
            Some((command, _)) if command == "SET held" => Ok(()),
            last => Err(format!("{last:?}")),
        }
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

/// MULTI, two SETs and EXEC, and the replies.
fn transaction(value_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let value = "v".repeat(value_bytes);
    let set = |key: &str| encode(&["SET", key, &value]);
    let sets = [set("{a}1:queued"), set("{a}2:queued")].concat();
    let sent = [encode(&["MULTI"]), sets, encode(&["EXEC"])].concat();
    let replies = [b"+OK\r\n+QUEUED\r\n+QUEUED\r\n", EXECUTED].concat();
    (sent, replies)
}

/// No command of it need be large.
#[test]
fn a_large_transaction_takes_another_connection() {
    let stage = Stage::new();
    let [mut client, mut other, mut third] = std::array::from_fn(|_| stage.proxy.client());
    let usual = stage.way_of(&mut client, SMALL);
    for (bytes, is_large) in [(1, false), (LARGE_BYTES / 2, true)] {
        let (sent, replies) = transaction(bytes);
        client.send(&sent);
        assert_eq!(client.replies(4).concat(), replies);
        let way = stage.came().last().expect("it came").1;
        assert_eq!(way != usual, is_large, "two values of {bytes} bytes");
    }
    // What the client has in flight is answered first.
    let (sent, replies) = transaction(LARGE_BYTES / 2);
    let before = stage.came().len();
    stage.send_all(&mut [(&mut other, [encode(&["SET", "held", "1"]), sent].concat())]);
    stage.wait_in_flight(1);
    let bulk = stage.way_of(&mut client, SMALL);
    let came = [
        ("SET held".to_owned(), usual),
        ("GET small".to_owned(), bulk),
    ];
    assert!(bulk != usual);
    assert_eq!(stage.came()[before..], came);
    stage.gate.open();
    assert_eq!(
        other.replies(5).concat(),
        [b"+OK\r\n", &replies[..]].concat()
    );
    let way = stage.came().last().expect("it came").1;
    assert_eq!(way, bulk);
    assert_eq!(stage.way_of(&mut third, SMALL), usual);
    stage.cluster.finish();
}

/// Commands of each client, and how many are sent at once at most.
const COMMANDS: usize = 600;
const BATCH_MAX: usize = 16;

/// An element of a list says its place in it; every fourth or so is large.
fn element(n: usize) -> String {
    let fill = match (n + 10) * 7 % 25 {
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
    on_each(|kind| {
        for _ in 0..rounds() {
            order_is_kept(kind);
        }
    });
}

fn order_is_kept(kind: &ServerKind) {
    const CLIENTS: usize = 6;
    let mut row = Scenario::begin(12, "clients with small and large values", kind.name);
    let cluster = boot_cluster(kind);
    let limit = format!("upstream.bulk_from={LARGE_BYTES}B");
    let proxy = Proxy::start(&cluster, &["--workers", "2", "--set", &limit]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let proxy = &proxy;
            scope.spawn(move || write_list(proxy, &format!("list:{client}")));
        }
    });
    row.figure("commands", 2 * CLIENTS * COMMANDS);
    let connections = proxy.metrics().sum("slotway_upstream_connections", &[]);
    let usual = 2.0 * 3.0;
    assert!(connections > usual, "{}: {connections}", kind.name);
    proxy.wait_for("nothing of them is left", SHOWN_WITHIN, || {
        proxy.metrics().nothing_of_clients()
    });
    row.passed();
}
