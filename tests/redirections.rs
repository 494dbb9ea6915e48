//! What a redirection may do, against scripted nodes that are strict: only addresses that topology has named are
//! dialled, a redirection for another slot than the request's is no redirection, a loop of them ends, and ASKING
//! is right in front of the command that it is for.

mod support;

/// The modules of this test are in `tests/redirections/`.
#[allow(
    clippy::unwrap_used,
    reason = "a test's own modules; to fail is to panic"
)]
mod redirections {
    mod lying_scripts;
    mod old_commands;
}

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use slotway::cluster::Slot;
use support::node::{Action, Call, FakeCluster, Gate, Step};
use support::{Proxy, SHOWN_WITHIN, Scenario, StopOnDrop, encode, is_long, rounds, show};

/// Enough for refreshes to come and go, short enough to wait for.
const COMMAND_TIMEOUT: &str = "timeouts.command=2s";

/// For tests in which no command's time may be up, however slow the machine is.
const NO_COMMAND_TIMEOUT: &str = "timeouts.command=60s";

fn start(cluster: &FakeCluster, command_timeout: &str) -> Proxy {
    Proxy::start_with(
        &cluster.addrs(),
        &["--workers", "1", "--set", command_timeout],
    )
}

#[test]
fn an_address_that_topology_has_not_named_is_not_dialled() {
    let cluster = FakeCluster::start(2);
    let proxy = start(&cluster, COMMAND_TIMEOUT);
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let to = trap.local_addr().unwrap();
    let slot = Slot::of(b"a").number();
    let owner = cluster.owner(slot);
    let mut client = proxy.client();
    for word in ["MOVED", "ASK"] {
        let error = format!("-{word} {slot} {to}\r\n");
        cluster.script(owner, [Step::expect("SET a 1").send(error.as_bytes())]);
        // The deadline passes, topology does not confirm the address, the client is told in words that it understands.
        let told = format!(
            "-CLUSTERDOWN slotway: not executed, its slot was on the move for longer than timeouts.command \
             (last {word} {slot} {to}); try again later\r\n"
        );
        client.expect("SET a 1", told.as_bytes());
        // And the slot is where it was.
        cluster.script(
            owner,
            [Step::expect("GET a").asking(false).send(b"$1\r\n0\r\n")],
        );
        client.expect("GET a", b"$1\r\n0\r\n");
    }
    let dialled = trap.accept().map(|(_, peer)| peer);
    assert!(dialled.is_err(), "{dialled:?} dialled an unknown address");
    cluster.finish();
}

/// A node says `?` or no port where it does not know itself where another is: its client could do nothing with that.
#[test]
fn a_redirection_that_leads_nowhere_is_told_in_words_that_its_client_understands() {
    let cluster = FakeCluster::start(1);
    let args = ["--workers", "1", "--set", "timeouts.unavailable=1s"];
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let slot = Slot::of(b"a").number();
    let ask = format!("-ASK {slot} ?:7000\r\n").into_bytes();
    cluster.on(0, move |call| {
        ["SET", "BLPOP", "EVAL", "EXISTS"]
            .contains(&call.name().as_str())
            .then(|| vec![Action::Send(ask.clone())])
    });
    for command in ["SET a 1", "BLPOP a 0", "EVAL return1 1 a"] {
        let told = format!(
            "-CLUSTERDOWN slotway: not executed, its slot was on the move for longer than timeouts.unavailable (last ASK \
             {slot} ?:7000); try again later\r\n"
        );
        proxy.client().expect(command, told.as_bytes());
    }
    cluster.finish();
}

/// A node whose name the old owner does not know takes a slot over: others know it.
#[test]
fn a_redirection_that_leads_nowhere_is_followed_when_another_node_knows_where() {
    for nowhere in ["?:7000", "?:0", ":0"] {
        let cluster = FakeCluster::start(2);
        let proxy = start(&cluster, NO_COMMAND_TIMEOUT);
        let slot = Slot::of(b"a").number();
        let owner = cluster.owner(slot);
        let moved = format!("-MOVED {slot} {nowhere}\r\n").into_bytes();
        cluster.on(owner, move |call| {
            (call.name() == "SET").then(|| vec![Action::Send(moved.clone())])
        });
        cluster.script(1 - owner, [Step::expect("SET a 1").send(b"+OK\r\n")]);
        cluster.give_slot(slot, 1 - owner);
        proxy.client().expect("SET a 1", b"+OK\r\n");
        cluster.finish();
    }
}

#[test]
fn a_redirection_for_another_slot_is_an_error() {
    let cluster = FakeCluster::start(2);
    let proxy = start(&cluster, NO_COMMAND_TIMEOUT);
    let slot = Slot::of(b"a").number();
    let owner = cluster.owner(slot);
    let other = cluster.addr(1 - owner);
    let mut client = proxy.client();
    for word in ["MOVED", "ASK"] {
        let error = format!("-{word} {} {other}\r\n", slot ^ 1);
        cluster.script(
            owner,
            [
                Step::expect("SET a 1").send(error.as_bytes()),
                Step::expect("GET a").asking(false).send(b"$1\r\n0\r\n"),
            ],
        );
        client.send(&[encode(&["SET", "a", "1"]), encode(&["GET", "a"])].concat());
        let got = client.replies(2).concat();
        let expected = [error.as_bytes(), b"$1\r\n0\r\n"].concat();
        assert!(got == expected, "{}", show(&got));
    }
    let moved = proxy.metrics().sum("slotway_redirections_total", &[]);
    assert_eq!(moved, 0.0, "counted as redirections");
    cluster.finish();
}

#[test]
fn two_nodes_that_send_each_other_a_client_do_not_loop() {
    for (word, what) in [
        ("MOVED", "MOVED from each to the other"),
        ("ASK", "ASK from each to the other"),
    ] {
        for _ in 0..rounds() {
            let mut scenario = Scenario::begin(7, what, "-");
            let (hops, slowest) = loop_with(word);
            scenario.figure("hops", format!("{hops} of 5"));
            scenario.figure("error after", format!("{} ms", slowest.as_millis()));
            if is_long() {
                let deadline = Duration::from_millis(2_500);
                assert!(slowest <= deadline, "the error came after {slowest:?}");
            }
            scenario.passed();
        }
    }
}

/// Four clients in one slot that two nodes send back and forth; a fifth at work beside them. The most hops that a
/// command made, and the longest that a client waited for its error.
fn loop_with(word: &str) -> (usize, Duration) {
    const CLIENTS: usize = 4;
    const HOPS_MAX: usize = 5;
    let cluster = FakeCluster::start(2);
    let proxy = start(&cluster, COMMAND_TIMEOUT);
    let slot = Slot::of(b"{a}").number();
    for node in 0..2 {
        let error = format!("-{word} {slot} {}\r\n", cluster.addr(1 - node)).into_bytes();
        cluster.on(node, move |call| match call.name().as_str() {
            "SET" => Some(vec![Action::Send(error.clone())]),
            "GETRANGE" => Some(vec![Action::Send(
                [b"+", call.args[2].as_slice(), b"\r\n"].concat(),
            )]),
            _ => None,
        });
    }
    let stop = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        let stop_other = StopOnDrop(&stop);
        let (proxy, stop, word) = (&proxy, &stop, &word);
        let bystander = scope.spawn(move || {
            let mut client = proxy.client();
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                let key = format!("bystander{round}");
                let expected = format!("+{round}\r\n");
                client.expect(&format!("GETRANGE {key} {round} 0"), expected.as_bytes());
            }
            round
        });
        let victims: Vec<_> = (0..CLIENTS)
            .map(|id| {
                scope.spawn(move || {
                    let mut client = proxy.client();
                    let began = Instant::now();
                    let got = client.line(&format!("SET {{a}}{id} 1"));
                    let got = String::from_utf8_lossy(&got).into_owned();
                    let last = format!("limits.redirections times (last {word} {slot} ");
                    let own = got.starts_with("-CLUSTERDOWN slotway: not executed, ");
                    assert!(own && got.contains(&last), "{got}");
                    let took = began.elapsed();
                    // The session has come out of it, in another slot and in this one.
                    client.expect("GETRANGE b 7 0", b"+7\r\n");
                    client.expect("GETRANGE {a} 8 0", b"+8\r\n");
                    took
                })
            })
            .collect();
        let slowest = victims
            .into_iter()
            .map(|victim| victim.join().expect("a victim"));
        let slowest = slowest.max().expect("several");
        drop(stop_other);
        assert!(
            bystander.join().expect("a bystander") > 0,
            "a bystander did nothing"
        );
        slowest
    });
    let calls = [cluster.calls(0), cluster.calls(1)].concat();
    let hops = (0..CLIENTS).map(|id| {
        let key = format!("{{a}}{id}");
        let its = |call: &&Call| call.name() == "SET" && call.args[1] == key.as_bytes();
        let sent = calls.iter().filter(its);
        let unasked = sent.clone().filter(|call| !call.asking).count();
        assert!(word != "ASK" || unasked == 1, "ASK followed without ASKING");
        sent.count() - 1
    });
    let hops = hops.max().expect("several");
    assert!((1..=HOPS_MAX).contains(&hops), "{hops} hops of one command");
    cluster.finish();
    (hops, slowest)
}

/// A node that ASK names and that is away for a while: the client hears nothing of it.
#[test]
fn an_ask_to_a_node_that_is_away_is_no_hop() {
    /// More than `limits.redirections`.
    const ASKED: usize = 10;
    let cluster = FakeCluster::start(2);
    let (from, to) = cluster.ask_for(Slot::of(b"a").number(), "SET");
    let away = Arc::new(AtomicBool::new(true));
    let is_away = away.clone();
    cluster.on(to, move |call| match call.name().as_str() {
        _ if is_away.load(Ordering::Relaxed) => Some(vec![Action::Close]),
        "SET" if call.asking => Some(vec![Action::Send(b"+OK\r\n".to_vec())]),
        _ => None,
    });
    let set = [NO_COMMAND_TIMEOUT, "timeouts.unavailable=60s"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    client.send(&encode(&["SET", "a", "1"]));
    proxy.wait_for(
        "it is asked again and again",
        SHOWN_WITHIN,
        || match cluster.count(from, "SET") {
            n if n > ASKED => Ok(()),
            n => Err(format!("{n} times")),
        },
    );
    away.store(false, Ordering::Relaxed);
    assert_eq!(client.reply(), b"+OK\r\n");
    assert_eq!(cluster.count(to, "SET"), 1);
    cluster.finish();
}

/// A refusal is no loss: a read may be repeated once after it was lost, however often it was refused before.
#[test]
fn a_read_that_was_moved_and_then_lost_is_repeated() {
    let cluster = FakeCluster::start(2);
    let proxy = start(&cluster, NO_COMMAND_TIMEOUT);
    let slot = Slot::of(b"a").number();
    let from = cluster.owner(slot);
    cluster.give_slot(slot, 1 - from);
    let lost = Step::expect("GET a").then(Action::Close);
    let found = Step::expect("GET a").send(b"$1\r\n0\r\n");
    cluster.script(1 - from, [lost.clone(), found]);
    let mut client = proxy.client();
    client.expect("GET a", b"$1\r\n0\r\n");
    // Not more often than once.
    cluster.script(1 - from, [lost.clone(), lost]);
    let got = client.line("GET a");
    let unknown = b"-ERR slotway: outcome unknown";
    assert!(got.starts_with(unknown), "{}", show(&got));
    cluster.finish();
}

/// It was said before its node got the slot, and comes late: its own request follows it, and nobody else.
#[test]
fn a_moved_that_is_older_than_the_map_changes_nothing() {
    let cluster = FakeCluster::start(2);
    let slot = Slot::of(b"{a}").number();
    let owner = cluster.owner(slot);
    let (late, back) = (Gate::default(), Gate::default());
    for (node, gate) in [(owner, late.clone()), (1 - owner, back.clone())] {
        let moved = format!("-MOVED {slot} {}\r\n", cluster.addr(1 - node)).into_bytes();
        let asked = AtomicBool::new(false);
        cluster.on(node, move |call| {
            let first = call.name() == "GETRANGE" && !asked.swap(true, Ordering::Relaxed);
            match call.name().as_str() {
                "GETRANGE" if first => Some(vec![
                    Action::Wait(gate.clone()),
                    Action::Send(moved.clone()),
                ]),
                "GETRANGE" => Some(vec![Action::Send(b"$4\r\nhere\r\n".to_vec())]),
                _ => None,
            }
        });
    }
    let set = [NO_COMMAND_TIMEOUT, "cluster.refresh_interval=100ms"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut first = proxy.client();
    first.send(&encode(&["GETRANGE", "{a}1", "0", "9"]));
    let asked = |node: usize| match cluster.count(node, "GETRANGE") {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    };
    proxy.wait_for("it is asked", SHOWN_WITHIN, || asked(owner));
    // It gets the slot, under a higher epoch.
    cluster.give_slot(slot, owner);
    let refreshes = || proxy.metrics().sum("slotway_topology_refreshes_total", &[]);
    let enough = refreshes() + 2.0;
    proxy.wait_for(
        "a refresh that began later",
        SHOWN_WITHIN,
        || match refreshes() {
            n if n >= enough => Ok(()),
            n => Err(format!("{n} of {enough}")),
        },
    );
    late.open();
    proxy.wait_for("it follows", SHOWN_WITHIN, || asked(1 - owner));
    let mut second = proxy.client();
    second.expect("GETRANGE {a}2 0 9", b"$4\r\nhere\r\n");
    assert_eq!(
        cluster.count(1 - owner, "GETRANGE"),
        1,
        "the map was patched"
    );
    back.open();
    assert_eq!(first.reply(), b"$4\r\nhere\r\n");
    cluster.finish();
}

/// A refresh asks few of many nodes, but the one that has told something.
#[test]
fn who_sends_a_script_on_is_asked_what_it_knows() {
    const NODES: usize = 12;
    let cluster = FakeCluster::start(NODES);
    let proxy = start(&cluster, NO_COMMAND_TIMEOUT);
    let mut client = proxy.client();
    for node in 0..NODES {
        let its = |key: &String| cluster.owner(Slot::of(key.as_bytes()).number()) == node;
        let key = (0..).map(|n| format!("key{n}")).find(its).unwrap();
        let (slot, to) = (Slot::of(key.as_bytes()), cluster.addr((node + 1) % NODES));
        let moved = format!("-MOVED {} {to}\r\n", slot.number());
        let error = moved.clone().into_bytes();
        cluster.on(node, move |call| match call.name().as_str() {
            "EVAL" => Some(vec![Action::Send(error.clone())]),
            "EXISTS" => Some(vec![Action::Send(b":1\r\n".to_vec())]),
            _ => None,
        });
        let before = cluster.count(node, "CLUSTER");
        // A script can word any error; no node confirms this one, and its own node sends no plain command on.
        client.expect(
            &format!("EVAL return{{err=ARGV[1]}} 1 {key} x"),
            moved.as_bytes(),
        );
        assert!(cluster.count(node, "CLUSTER") > before, "node {node}");
        assert_eq!(cluster.count(node, "EXISTS"), 1, "node {node}");
    }
    cluster.finish();
}

/// Nobody says so in a refresh, but the node sends plain commands on as well.
#[test]
fn a_script_follows_what_its_node_says_of_plain_commands_too() {
    let cluster = FakeCluster::start(2);
    let proxy = start(&cluster, NO_COMMAND_TIMEOUT);
    let slot = Slot::of(b"a").number();
    let from = cluster.owner(slot);
    let moved = format!("-MOVED {slot} {}\r\n", cluster.addr(1 - from)).into_bytes();
    cluster.on(from, move |call| {
        let sent_on = ["EVAL", "EXISTS"].contains(&call.name().as_str());
        sent_on.then(|| vec![Action::Send(moved.clone())])
    });
    cluster.on(1 - from, |call| {
        (call.name() == "EVAL").then(|| vec![Action::Send(b":7\r\n".to_vec())])
    });
    proxy.client().expect("EVAL return(7) 1 a", b":7\r\n");
    cluster.finish();
}

#[test]
fn asking_is_right_in_front_of_its_command() {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 50;
    let cluster = FakeCluster::start(2);
    let proxy = start(&cluster, NO_COMMAND_TIMEOUT);
    let slot = Slot::of(b"{moving}").number();
    let from = cluster.owner(slot);
    let to = 1 - from;
    let other_key = (0..)
        .map(|i| format!("stays{i}"))
        .find(|key| cluster.owner(Slot::of(key.as_bytes()).number()) == to);
    let other_key = other_key.unwrap();
    cluster.begin_migration(slot, to);
    let ask = format!("-ASK {slot} {}\r\n", cluster.addr(to)).into_bytes();
    cluster.on(from, move |call| {
        (call.name() == "ECHO" || call.name() == "GETRANGE")
            .then(|| vec![Action::Send(ask.clone())])
    });
    // Answers with what it was asked for, if the slot's keys come with ASKING; without, it refuses them strictly.
    cluster.on(to, move |call| {
        let arg = |i: usize| call.args[i].clone();
        let served =
            call.name() == "GETRANGE" && (call.asking || !call.args[1].starts_with(b"{moving}"));
        served.then(|| {
            vec![Action::Send(
                [b"+".to_vec(), arg(2), b"\r\n".to_vec()].concat(),
            )]
        })
    });
    std::thread::scope(|scope| {
        for id in 0..CLIENTS {
            let (proxy, other_key) = (&proxy, &other_key);
            scope.spawn(move || {
                let mut client = proxy.client();
                for round in 0..ROUNDS {
                    let nonce = (id * ROUNDS + round).to_string();
                    let moving = format!("{{moving}}{id}");
                    let keys = [other_key, &moving, other_key];
                    let batch: Vec<u8> = keys
                        .iter()
                        .flat_map(|key| encode(&["GETRANGE", key, &nonce, "0"]))
                        .collect();
                    client.send(&batch);
                    let got = client.replies(3).concat();
                    let expected = format!("+{nonce}\r\n").repeat(3);
                    assert!(got == expected.as_bytes(), "client {id}: {}", show(&got));
                }
            });
        }
    });
    let calls = cluster.calls(to);
    let asked = calls.iter().filter(|call| call.name() == "ASKING").count();
    assert_eq!(
        asked,
        CLIENTS * ROUNDS,
        "ASK is for one command: the map does not change"
    );
    for (at, call) in calls
        .iter()
        .enumerate()
        .filter(|(_, call)| call.name() == "ASKING")
    {
        let next = calls[at + 1..]
            .iter()
            .find(|next| next.connection == call.connection);
        let next = next.expect("a command follows");
        assert!(
            next.args[1].starts_with(b"{moving}"),
            "ASKING is followed by {next:?}"
        );
    }
    assert_eq!(cluster.refusals(), [], "came without ASKING");
    cluster.finish();
}
