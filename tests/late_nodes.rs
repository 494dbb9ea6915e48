//! Nodes that are late, against scripted ones: busy with one long command, not asked yet when a client's command comes,
//! or refusing one part of a command for all of them. What has to wait waits, in its order, and is answered.

mod support;

/// The modules of this test are in `tests/late_nodes/`.
mod late_nodes {
    mod tasks;
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use slotway::cluster::Slot;
use support::node::{Action, FakeCluster, Gate};
use support::{Proxy, RawClient, SHOWN_WITHIN, encode, show};

/// Commands wait here for as long as it takes.
const PATIENT: &str = "timeouts.unavailable=60s";
/// What a node says that is not there yet.
const LOADING: &[u8] = b"-LOADING Redis is loading the dataset in memory\r\n";

fn send(bytes: &[u8]) -> Option<Vec<Action>> {
    Some(vec![Action::Send(bytes.to_vec())])
}

/// A node that answers nothing on one connection, because of a KEYS or a GET that takes long, and PING on every other one.
struct Busy {
    cluster: FakeCluster,
    proxy: Proxy,
    gate: Gate,
    /// Whether PING is answered.
    alive: Arc<AtomicBool>,
}

impl Busy {
    /// A command that is silent for `timeouts.command`, but for no more than 2 s, has the node probed.
    fn start(command: &'static [&'static str], patience: &str) -> (Self, RawClient) {
        let cluster = FakeCluster::start(1);
        let (gate, alive) = (Gate::default(), Arc::new(AtomicBool::new(true)));
        let (held, answers) = (gate.clone(), alive.clone());
        cluster.on(0, move |call| match call.name().as_str() {
            name if name == command[0] => Some(vec![
                Action::Wait(held.clone()),
                Action::Send(b"*1\r\n$1\r\nk\r\n".to_vec()),
            ]),
            "PING" if !answers.load(Ordering::Relaxed) => Some(vec![]),
            _ => None,
        });
        let args = ["--workers", "1", "--set", PATIENT, "--set", patience];
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        let mut client = proxy.client();
        client.send(&encode(command));
        let busy = Self {
            cluster,
            proxy,
            gate,
            alive,
        };
        busy.wait_count(command[0], 1);
        (busy, client)
    }

    fn wait_count(&self, name: &str, at_least: usize) {
        let what = format!("{at_least} {name}");
        self.proxy
            .wait_for(&what, SHOWN_WITHIN, || match self.cluster.count(0, name) {
                n if n >= at_least => Ok(()),
                n => Err(format!("{n} {name}")),
            });
    }

    fn lost(&self) -> f64 {
        let labels = [("reason", "timeout")];
        let metrics = self.proxy.metrics();
        metrics.sum("slotway_upstream_errors_total", &labels)
    }
}

#[test]
fn a_node_that_is_busy_with_a_long_command_is_not_dead() {
    let (busy, mut client) = Busy::start(&["KEYS", "*"], "timeouts.command=300ms");
    // Probed again and again, and still waited for.
    let probed = busy.cluster.count(0, "PING");
    busy.wait_count("PING", probed + 3);
    assert_eq!(busy.lost(), 0.0);
    busy.gate.open();
    assert_eq!(client.reply(), b"*1\r\n$1\r\nk\r\n");
    assert_eq!(busy.cluster.count(0, "KEYS"), 1, "sent again");
    busy.cluster.finish();
}

/// The counterpart: the probe can fail, and nothing that may take long explains it.
#[test]
fn a_node_that_answers_no_probe_either_is_dead() {
    let (busy, mut client) = Busy::start(&["GET", "a"], "timeouts.command=60s");
    busy.alive.store(false, Ordering::Relaxed);
    busy.proxy
        .wait_for("it is given up", SHOWN_WITHIN, || match busy.lost() {
            n if n >= 1.0 => Ok(()),
            _ => Err("not yet".into()),
        });
    // A read, so it is sent once more, on a new connection.
    busy.wait_count("GET", 2);
    busy.gate.open();
    assert_eq!(client.reply(), b"*1\r\n$1\r\nk\r\n");
    busy.cluster.finish();
}

/// A probe that fails says that one connection is dead, and nothing of the next, which is being made meanwhile.
#[test]
fn a_probe_of_a_connection_that_is_lost_does_not_end_the_next() {
    let cluster = FakeCluster::start(1);
    let [lose, greet] = [Gate::default(), Gate::default()];
    let (losing, greeting) = (lose.clone(), greet.clone());
    let (reads, is_lost) = (AtomicUsize::new(0), Arc::new(AtomicBool::new(false)));
    let held = is_lost.clone();
    cluster.on(0, move |call| match call.name().as_str() {
        "GET" if reads.fetch_add(1, Ordering::Relaxed) == 0 => {
            Some(vec![Action::Wait(losing.clone()), Action::Close])
        }
        "GET" => send(b"$1\r\n1\r\n"),
        "PING" => Some(vec![]),
        "CLIENT" if held.load(Ordering::Relaxed) => Some(vec![
            Action::Wait(greeting.clone()),
            Action::Send(b"+OK\r\n".to_vec()),
        ]),
        _ => None,
    });
    let set = [PATIENT, "timeouts.command=60s", "timeouts.connect=60s"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let (mut reader, mut other) = (proxy.client(), proxy.client());
    let wait_count = |name: &str, at_least: usize| {
        proxy.wait_for(name, SHOWN_WITHIN, || match cluster.count(0, name) {
            n if n >= at_least => Ok(()),
            n => Err(format!("{n}")),
        });
    };
    reader.send(&encode(&["GET", "a"]));
    wait_count("PING", 1);
    let calls = cluster.calls(0);
    let probe = calls.iter().find(|call| call.name() == "PING");
    let probe = probe.expect("it came").connection;
    is_lost.store(true, Ordering::Relaxed);
    let greeted = cluster.count(0, "CLIENT");
    lose.open();
    wait_count("CLIENT", greeted + 1);
    cluster.inject(probe, b":1\r\n");
    // Behind the first reply the worker has read what the probe was told, behind the second it has acted on it.
    (0..2).for_each(|_| other.expect("ECHO 1", b"$1\r\n1\r\n"));
    greet.open();
    assert_eq!(show(&reader.reply()), show(b"$1\r\n1\r\n"));
    let late = [("reason", "timeout")];
    let metrics = proxy.metrics();
    assert_eq!(metrics.sum("slotway_upstream_errors_total", &late), 0.0);
    cluster.finish();
}

/// A node that says MOVED to itself is left for a new connection once all is answered. A command that takes long does not
/// keep the others from it until then.
#[test]
fn a_connection_that_is_to_be_left_takes_requests_again() {
    let cluster = FakeCluster::start(1);
    let (first, last) = (Gate::default(), Gate::default());
    let (moves, lists) = (first.clone(), last.clone());
    let moved = format!("-MOVED {} {}\r\n", Slot::of(b"a").number(), cluster.addr(0));
    let times = AtomicUsize::new(0);
    cluster.on(0, move |call| match call.name().as_str() {
        "GET" if times.fetch_add(1, Ordering::Relaxed) == 0 => Some(vec![
            Action::Wait(moves.clone()),
            Action::Send(moved.clone().into_bytes()),
        ]),
        "GET" => send(b"$-1\r\n"),
        "SET" => send(b"+OK\r\n"),
        "KEYS" => Some(vec![
            Action::Wait(lists.clone()),
            Action::Send(b"*0\r\n".to_vec()),
        ]),
        _ => None,
    });
    let set = [PATIENT, "timeouts.command=60s", "timeouts.queue=100ms"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let wait_in_flight = |wanted: f64| {
        let what = format!("{wanted} in flight");
        proxy.wait_for(&what, SHOWN_WITHIN, || {
            match proxy.metrics().sum("slotway_upstream_in_flight", &[]) {
                n if n == wanted => Ok(()),
                n => Err(format!("{n}")),
            }
        });
    };
    let [mut reader, mut lister, mut writer] = [proxy.client(), proxy.client(), proxy.client()];
    reader.send(&encode(&["GET", "a"]));
    wait_in_flight(1.0);
    lister.send(&encode(&["KEYS", "*"]));
    wait_in_flight(2.0);
    first.open();
    proxy.wait_for("it is moved", SHOWN_WITHIN, || {
        let moved = [("type", "moved")];
        match proxy.metrics().sum("slotway_redirections_total", &moved) {
            0.0 => Err("not yet".into()),
            _ => Ok(()),
        }
    });
    writer.send(&encode(&["SET", "b", "1"]));
    // What was moved comes back as well.
    wait_in_flight(3.0);
    last.open();
    assert_eq!(lister.reply(), b"*0\r\n");
    assert_eq!(reader.reply(), b"$-1\r\n");
    assert_eq!(writer.reply(), b"+OK\r\n");
    cluster.finish();
}

#[test]
fn commands_without_a_slot_wait_for_the_first_map() {
    let cluster = FakeCluster::start(1);
    let ready = Arc::new(AtomicBool::new(false));
    let is_ready = ready.clone();
    cluster.on(0, move |call| match call.name().as_str() {
        "CLUSTER" if !is_ready.load(Ordering::Relaxed) => send(LOADING),
        "DBSIZE" => send(b":3\r\n"),
        "KEYS" => send(b"*1\r\n$1\r\nk\r\n"),
        "SCAN" => send(b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n"),
        _ => None,
    });
    let proxy = Proxy::spawn(&cluster.addrs(), &["--workers", "1", "--set", PATIENT]);
    let commands: [(&str, &[u8]); 3] = [
        ("DBSIZE", b":3\r\n"),
        ("KEYS *", b"*1\r\n$1\r\nk\r\n"),
        ("SCAN 0", b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n"),
    ];
    let mut sent = 0;
    let mut clients: Vec<RawClient> = commands
        .iter()
        .map(|(line, _)| {
            let mut client = proxy.client();
            // What follows does not overtake it.
            let words: Vec<&str> = line.split(' ').collect();
            let bytes = [encode(&words), encode(&["ECHO", "behind"])].concat();
            client.send(&bytes);
            sent += bytes.len();
            client
        })
        .collect();
    proxy.wait_for("all of it has come", SHOWN_WITHIN, || {
        let metrics = proxy.metrics();
        match metrics.sum("slotway_client_received_bytes_total", &[]) {
            n if n >= sent as f64 => Ok(()),
            n => Err(format!("{n} of {sent} bytes")),
        }
    });
    ready.store(true, Ordering::Relaxed);
    for (client, (line, reply)) in clients.iter_mut().zip(commands) {
        let got = client.replies(2).concat();
        let expected = [reply, b"$6\r\nbehind\r\n"].concat();
        assert!(got == expected, "{line}: {}", show(&got));
    }
    cluster.finish();
}

/// Two nodes, of which the second one refuses FLUSHALL for as long as the test wants.
struct Refusing {
    cluster: FakeCluster,
    proxy: Proxy,
    ready: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    /// A key of the second node's.
    key: String,
}

impl Refusing {
    fn start() -> Self {
        let cluster = FakeCluster::start(2);
        let (ready, refused) = (Arc::new(AtomicBool::new(false)), Arc::default());
        for node in 0..2 {
            let (ready, refused): (_, Arc<AtomicUsize>) = (ready.clone(), Arc::clone(&refused));
            cluster.on(node, move |call| match call.name().as_str() {
                "FLUSHALL" if node == 1 && !ready.load(Ordering::Relaxed) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                    send(LOADING)
                }
                "FLUSHALL" | "SET" => send(b"+OK\r\n"),
                _ => None,
            });
        }
        let key = (0..).map(|n| format!("key{n}"));
        let mut of_second = key.filter(|key| cluster.owner(Slot::of(key.as_bytes()).number()) == 1);
        let key = of_second.next().expect("endless");
        let args = ["--workers", "1", "--set", PATIENT];
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        Self {
            cluster,
            proxy,
            ready,
            refused,
            key,
        }
    }

    fn set(&self, value: &str) -> Vec<u8> {
        encode(&["SET", &self.key, value])
    }

    /// What the second node was asked to write, in its order.
    fn writes(&self) -> Vec<String> {
        let calls = self.cluster.calls(1);
        let names = calls.iter().map(support::node::Call::name);
        names
            .filter(|name| name == "FLUSHALL" || name == "SET")
            .collect()
    }

    fn wait_refused(&self, at_least: usize) {
        self.proxy
            .wait_for("FLUSHALL is refused", SHOWN_WITHIN, || {
                match self.refused.load(Ordering::Relaxed) {
                    n if n >= at_least => Ok(()),
                    n => Err(format!("{n} times")),
                }
            });
    }
}

/// FLUSHALL was refused in part, and the client sends on: nothing overtakes it.
#[test]
fn writes_behind_a_refused_flush_wait_for_it() {
    let scene = Refusing::start();
    let mut client = scene.proxy.client();
    client.send(&encode(&["FLUSHALL"]));
    scene.wait_refused(1);
    client.send(&[scene.set("1"), scene.set("2")].concat());
    scene.wait_refused(4);
    // Those of others go on.
    let mut other = scene.proxy.client();
    other.send(&scene.set("other"));
    assert_eq!(other.reply(), b"+OK\r\n");
    scene.ready.store(true, Ordering::Relaxed);
    assert_eq!(client.replies(3).concat(), b"+OK\r\n".repeat(3));
    let writes = scene.writes();
    let sets = writes.iter().filter(|name| *name == "SET").count();
    assert_eq!(sets, 3, "{writes:?}");
    let end = ["FLUSHALL", "SET", "SET"].map(str::to_owned);
    assert!(writes.ends_with(&end), "{writes:?}");
    assert_eq!(scene.cluster.count(0, "FLUSHALL"), 1, "flushed twice");
    // Sent again as often as it was refused.
    let refused = scene.refused.load(Ordering::Relaxed) as f64;
    let labels = [("reason", "refused")];
    let metrics = scene.proxy.metrics();
    assert_eq!(metrics.sum("slotway_retries_total", &labels), refused);
    scene.cluster.finish();
}

/// The SETs were on their way already, and execute: a FLUSHALL that came again would undo them.
#[test]
fn a_refused_flush_is_not_repeated_behind_writes() {
    let scene = Refusing::start();
    let mut client = scene.proxy.client();
    client.send(&[encode(&["FLUSHALL"]), scene.set("1"), scene.set("2")].concat());
    let got = client.replies(3);
    // The node's own words, and how far it has come.
    let told = show(&got[0]);
    let own = LOADING.strip_suffix(b"\r\n").unwrap();
    assert!(got[0].starts_with(own), "{told}");
    assert!(told.contains("1 node has done it"), "{told}");
    assert_eq!(got[1..].concat(), b"+OK\r\n".repeat(2));
    scene.ready.store(true, Ordering::Relaxed);
    assert_eq!(scene.writes(), ["FLUSHALL", "SET", "SET"]);
    client.send(&encode(&["FLUSHALL"]));
    assert_eq!(client.reply(), b"+OK\r\n");
    scene.cluster.finish();
}

/// A command gets a timeout error because of one node. What of it was for another and had to wait is not sent any more.
#[test]
fn what_is_left_of_a_command_that_took_too_long_is_not_sent() {
    let cluster = FakeCluster::start(2);
    let (late, other) = ("{a}", "{b}");
    let node_of = |key: &str| cluster.owner(Slot::of(key.as_bytes()).number());
    let (silent, down) = (node_of(late), node_of(other));
    assert_ne!(silent, down);
    let (gate, is_down) = (Gate::default(), Arc::new(AtomicBool::new(true)));
    let (held, no_slot) = (gate.clone(), is_down.clone());
    cluster.on(silent, move |call| match call.name().as_str() {
        "MSET" => Some(vec![
            Action::Wait(held.clone()),
            Action::Send(b"+OK\r\n".to_vec()),
        ]),
        _ => None,
    });
    cluster.on(down, move |call| match call.name().as_str() {
        "SET" if no_slot.load(Ordering::Relaxed) => send(b"-CLUSTERDOWN Hash slot not served\r\n"),
        "SET" | "MSET" => send(b"+OK\r\n"),
        "GET" => send(b"$1\r\n0\r\n"),
        _ => None,
    });
    let set = ["timeouts.unavailable=60s", "timeouts.command=2s"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    client.send(&encode(&["SET", "{b}1", "x"]));
    proxy.wait_for(
        "it is refused and sent again",
        SHOWN_WITHIN,
        || match cluster.count(down, "SET") {
            0 | 1 => Err("not yet".to_owned()),
            _ => Ok(()),
        },
    );
    client.send(&encode(&["MSET", "{a}0", "v", "{b}1", "w"]));
    proxy.wait_for("its time is up", SHOWN_WITHIN, || {
        match proxy.metrics().sum("slotway_unknown_outcomes_total", &[]) {
            n if n >= 1.0 => Ok(()),
            _ => Err("not yet".to_owned()),
        }
    });
    is_down.store(false, Ordering::Relaxed);
    assert_eq!(client.reply(), b"+OK\r\n");
    let got = client.reply();
    let no_reply = b"-ERR slotway: no reply in time";
    assert!(got.starts_with(no_reply), "{}", show(&got));
    client.expect("GET {b}1", b"$1\r\n0\r\n");
    assert_eq!(cluster.count(down, "MSET"), 0, "sent after all");
    gate.open();
    cluster.finish();
}

/// A task's request is still at a node when its client has been told that no reply came: what follows in its slot waits for
/// it, also where the client has a connection of another protocol to the node by then.
#[test]
fn what_follows_a_late_step_of_a_blocking_command_does_not_overtake_it() {
    let cluster = FakeCluster::start(2);
    let node_of = |key: &str| cluster.owner(Slot::of(key.as_bytes()).number());
    let (silent, other) = (node_of("{a}"), node_of("{b}"));
    assert_ne!(silent, other);
    let gate = Gate::default();
    let held = gate.clone();
    cluster.on(silent, move |call| match call.name().as_str() {
        "LPOP" => Some(vec![
            Action::Wait(held.clone()),
            Action::Send(b"$-1\r\n".to_vec()),
        ]),
        "GET" => send(b"$1\r\n0\r\n"),
        _ => None,
    });
    cluster.on(other, move |call| match call.name().as_str() {
        "LPOP" => send(b"$-1\r\n"),
        "GET" => send(b"$1\r\n0\r\n"),
        _ => None,
    });
    let args = ["--workers", "1", "--set", "timeouts.command=2s"];
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    client.send(&encode(&["BLPOP", "{a}1", "{b}1", "0"]));
    let got = client.reply();
    let no_reply = b"-ERR slotway: no reply in time";
    assert!(got.starts_with(no_reply), "{}", show(&got));
    client.send(&encode(&["HELLO", "3"]));
    assert_eq!(client.reply()[0], b'%');
    client.send(&encode(&["GET", "{a}1"]));
    for count in 1..=2 {
        client.send(&encode(&["GET", "{b}1"]));
        proxy.wait_for("the other node is asked", SHOWN_WITHIN, || {
            match cluster.count(other, "GET") {
                n if n >= count => Ok(()),
                n => Err(format!("{n} times")),
            }
        });
    }
    assert_eq!(cluster.count(silent, "GET"), 0, "overtaken");
    gate.open();
    for _ in 0..3 {
        assert_eq!(client.reply(), b"$1\r\n0\r\n");
    }
    cluster.finish();
}
