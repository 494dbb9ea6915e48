//! Replies that are too large to be kept, from nodes that send them where none may come, and what a lane of large values
//! learns of those that it has skipped.

mod support;

use slotway::cluster::Slot;
use slotway::upstream::REPLY_TOO_LARGE;
use std::sync::Mutex;
use support::node::{Action, FakeCluster, Gate, Stage};
use support::{Proxy, RawClient, SHOWN_WITHIN, show};

const MEMORY: &str = "limits.memory=32MB";
/// More than a third of that.
const HUGE_BYTES: usize = 12 << 20;
/// The least that takes the way of large values.
const LARGE_BYTES: usize = 4096;
const BLOCK: [&str; 3] = ["MULTI", "INCR a", "EXEC"];

fn bulk(bytes: usize) -> Vec<u8> {
    format!("${bytes}\r\n{}\r\n", "v".repeat(bytes)).into_bytes()
}

fn sends(reply: &[u8]) -> Option<Vec<Action>> {
    Some(vec![Action::Send(reply.to_vec())])
}

/// In front of EXEC's reply there is none that may be large: nobody knows what the node is talking about, on a lane and on
/// a client's own connection.
#[test]
fn in_the_place_of_queued_it_ends_the_connection() {
    for watches in [false, true] {
        let stage = Stage::set(&BLOCK, &["--set", MEMORY]);
        stage
            .cluster
            .on(stage.owner, |call| match call.name().as_str() {
                "WATCH" | "MULTI" => sends(b"+OK\r\n"),
                "INCR" => sends(&bulk(HUGE_BYTES)),
                "EXEC" => sends(b"*1\r\n:1\r\n"),
                "GET" => sends(b"$-1\r\n"),
                _ => None,
            });
        let mut client = stage.proxy.client();
        if watches {
            client.expect("WATCH a", b"+OK\r\n");
        }
        let told = stage.exec(&mut client);
        let unknown = b"-ERR slotway: outcome unknown, connection to ";
        assert!(told.starts_with(unknown), "{watches}: {}", show(&told));
        client.expect("GET a", b"$-1\r\n");
        stage.cluster.finish();
    }
}

/// What the lane asks for itself is small.
#[test]
fn in_the_place_of_pong_it_ends_the_connection() {
    let cluster = FakeCluster::start(1);
    let asked = Mutex::new(false);
    cluster.on(0, move |call| match call.name().as_str() {
        "PING" if !std::mem::replace(&mut *asked.lock().expect("nobody panicked"), true) => {
            sends(&bulk(HUGE_BYTES))
        }
        "GET" => sends(b"$-1\r\n"),
        _ => None,
    });
    let mut args = vec!["--workers", "1", "--set", MEMORY];
    args.extend(["--set", "upstream.heartbeat=100ms"]);
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    client.expect("GET a", b"$-1\r\n");
    let labels = [("reason", "protocol")];
    proxy.wait_for("it is noticed", SHOWN_WITHIN, || {
        match proxy
            .metrics()
            .sum("slotway_upstream_errors_total", &labels)
        {
            1.0 => Ok(()),
            n => Err(format!("{n} times")),
        }
    });
    client.expect("GET a", b"$-1\r\n");
    cluster.finish();
}

/// Of several nodes none has too much to say, but all of them together.
#[test]
fn what_is_too_large_when_it_is_put_together_is_told() {
    // Less than a third of what 64 MB leave, and more than a sixth: two parts are too much.
    too_large_in_parts([9 << 20; 3]);
}

/// One part is too large by itself, and the others are together.
#[test]
fn what_is_too_large_in_part_is_told_once() {
    too_large_in_parts([48 << 20, 12 << 20, 12 << 20]);
}

/// The parts of one reply come one after the other: one client is told so, which is one error.
#[track_caller]
fn too_large_in_parts<const NODES: usize>(parts: [usize; NODES]) {
    let cluster = FakeCluster::start(NODES);
    let gates: Vec<Gate> = parts.iter().map(|_| Gate::default()).collect();
    for (node, (bytes, gate)) in parts.into_iter().zip(gates.iter().cloned()).enumerate() {
        cluster.on(node, move |call| match call.name().as_str() {
            "MGET" => {
                let part = [b"*1\r\n", &bulk(bytes)[..]].concat();
                Some(vec![Action::Wait(gate.clone()), Action::Send(part)])
            }
            "GET" => sends(b"$-1\r\n"),
            _ => None,
        });
    }
    let mut args = vec!["--workers", "1", "--set", "limits.memory=64MB"];
    args.extend(["--set", "timeouts.command=60s"]);
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    let keys = one_key_of_each(&cluster, NODES);
    client.send(format!("MGET {keys}\r\n").as_bytes());
    let sum = |name: &str, labels: &[(&str, &str)]| proxy.metrics().sum(name, labels);
    let wait_in_flight = |count: usize| {
        proxy.wait_for("so many are missing", SHOWN_WITHIN, || {
            match sum("slotway_upstream_in_flight", &[]) as usize {
                n if n == count => Ok(()),
                n => Err(format!("{n}, not {count}")),
            }
        });
    };
    wait_in_flight(NODES);
    for (gate, left) in gates.iter().zip((0..NODES).rev()) {
        gate.open();
        wait_in_flight(left);
    }
    assert_eq!(show(&client.reply()), show(REPLY_TOO_LARGE));
    let hits = sum("slotway_limit_hits_total", &[("limit", "limits.memory")]);
    let errors = |source| sum("slotway_command_errors_total", &[("source", source)]);
    let counted = (hits, errors("proxy"), errors("upstream"));
    assert_eq!(counted, (1.0, 1.0, 0.0));
    client.expect("GET a", b"$-1\r\n");
    cluster.finish();
}

/// A node's error is told, and counted, once, too, however many parts have come to one.
#[test]
fn errors_of_several_parts_are_one() {
    const NODES: usize = 3;
    let cluster = FakeCluster::start(NODES);
    for node in 0..NODES {
        cluster.on(node, |call| {
            (call.name() == "MGET").then(|| vec![Action::Send(b"-OOPS\r\n".to_vec())])
        });
    }
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let mut client = proxy.client();
    let keys = one_key_of_each(&cluster, NODES);
    client.expect(&format!("MGET {keys}"), b"-OOPS\r\n");
    let errors = proxy.metrics().sum("slotway_command_errors_total", &[]);
    assert_eq!(errors, 1.0);
    cluster.finish();
}

/// Keys of all nodes, in one line.
fn one_key_of_each(cluster: &FakeCluster, nodes: usize) -> String {
    let keys = (0..nodes).map(|node| {
        let mut keys = ('a'..='z').map(String::from);
        let its = keys.find(|key| cluster.owner(Slot::of(key.as_bytes()).number()) == node);
        its.expect("one of so many is there")
    });
    Vec::from_iter(keys).join(" ")
}

/// One node with large values, and the replies to `half` and `held` held back in the middle and as a whole.
struct Bulk {
    cluster: FakeCluster,
    proxy: Proxy,
    half: Gate,
    held: Gate,
}

impl Bulk {
    fn start() -> Self {
        let cluster = FakeCluster::start(1);
        let (half, held) = (Gate::default(), Gate::default());
        let gates = (half.clone(), held.clone());
        cluster.on(0, move |call| {
            let large = Action::Send(bulk(LARGE_BYTES));
            Some(match (call.name().as_str(), call.args.get(1)?.as_slice()) {
                ("GET", b"large") => vec![large],
                ("GET", b"huge") => return sends(&bulk(HUGE_BYTES)),
                ("GET", b"half") => {
                    let reply = bulk(HUGE_BYTES / 6);
                    let (begin, end) = reply.split_at(reply.len() / 2);
                    let wait = Action::Wait(gates.0.clone());
                    vec![
                        Action::Send(begin.to_vec()),
                        wait,
                        Action::Send(end.to_vec()),
                    ]
                }
                ("GET", _) => vec![Action::Wait(gates.1.clone()), large],
                _ => return None,
            })
        });
        let from = format!("upstream.bulk_from={LARGE_BYTES}B");
        let mut args = vec!["--workers", "1"];
        for option in [
            MEMORY,
            &from,
            "upstream.bulk_bytes=8MB",
            "timeouts.command=60s",
        ] {
            args.extend(["--set", option]);
        }
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        Self {
            cluster,
            proxy,
            half,
            held,
        }
    }

    /// One that is known to have large values.
    fn reader(&self) -> RawClient {
        let mut reader = self.proxy.client();
        assert_eq!(reader.line("GET large"), bulk(LARGE_BYTES));
        reader
    }

    fn wait_sum(&self, what: &str, name: &str, expected: f64) {
        self.proxy.wait_for(what, SHOWN_WITHIN, || {
            match self.proxy.metrics().sum(name, &[]) {
                n if n == expected => Ok(()),
                n => Err(format!("{n} instead of {expected}")),
            }
        });
    }

    /// Of four large replies so many are on their way at once.
    fn lets_in(&self, expected: usize) {
        let mut readers = [(); 4].map(|()| self.reader());
        let name = "slotway_client_received_bytes_total";
        let line = b"GET held\r\n";
        let all = self.proxy.metrics().sum(name, &[]) + (line.len() * readers.len()) as f64;
        readers.iter_mut().for_each(|reader| reader.send(line));
        self.wait_sum("they are read", name, all);
        let name = "slotway_upstream_in_flight";
        self.wait_sum("they are on their way", name, expected as f64);
        self.held.open();
        for reader in &mut readers {
            assert_eq!(reader.reply(), bulk(LARGE_BYTES));
        }
    }
}

/// Others may be as large, so they come one at a time.
#[test]
fn what_is_skipped_as_too_large_is_a_sign_of_more() {
    let stage = Bulk::start();
    stage.reader().expect("GET huge", REPLY_TOO_LARGE);
    stage.lets_in(1);
    stage.cluster.finish();
}

/// Whose client is gone, it need not be large.
#[test]
fn what_is_skipped_because_nobody_waits_for_it_is_no_sign() {
    let stage = Bulk::start();
    let mut gone = stage.reader();
    gone.send(b"GET half\r\n");
    let in_flight = "slotway_upstream_in_flight";
    stage.wait_sum("it is on its way", in_flight, 1.0);
    gone.reset();
    stage.wait_sum("it is gone", "slotway_client_connections", 0.0);
    stage.half.open();
    stage.wait_sum("the reply is skipped", in_flight, 0.0);
    stage.lets_in(4);
    stage.cluster.finish();
}
