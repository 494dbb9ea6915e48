//! A lane that is full and stays full: every kind of command that needs room in it is refused after `timeouts.queue`,
//! counted, and never sent.

use super::NO_ROOM;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, encode, is_long, show};
use std::time::{Duration, Instant};

/// `timeouts.queue` here.
const QUEUE: Duration = Duration::from_millis(200);

/// How much later than that a refusal may come, on a quiet machine.
const SLACK: Duration = Duration::from_millis(100);

/// Commands of each kind, with how many requests to nodes they are.
const WAITING: &[(&[&str], u32)] = &[
    (&["GET z"], 1),
    (&["MGET a b c"], 3),
    (&["MSET a 1 b 2"], 2),
    (&["MULTI", "SET a 1", "EXEC"], 1),
    (&["MULTI", "PING", "EXEC"], 0),
    (&["EVAL return 0"], 1),
    (&["DBSIZE"], 1),
    (&["FLUSHALL"], 1),
    (&["SCAN 0"], 1),
    (&["BLPOP a b 60"], 1),
];

/// Which lanes the clients take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lanes {
    Usual,
    /// They have large values: those for them.
    Bulk,
}

/// A node that holds back GETs while the gate is closed.
fn cluster(gate: &Gate) -> FakeCluster {
    let cluster = FakeCluster::start(1);
    let gate = gate.clone();
    cluster.on(0, move |call| {
        let reply = Action::Send([b"+", &call.args.last()?[..], b"\r\n"].concat());
        match call.name().as_str() {
            "GET" => Some(vec![Action::Wait(gate.clone()), reply]),
            "SETRANGE" => Some(vec![Action::Send(b":2000\r\n".to_vec())]),
            _ => None,
        }
    });
    cluster
}

/// A client that takes these lanes.
fn client(proxy: &Proxy, lanes: Lanes) -> RawClient {
    let mut client = proxy.client();
    if lanes == Lanes::Bulk {
        let large = "v".repeat(2_000);
        assert_eq!(
            client.command(&["SETRANGE", "s", "0", &large]),
            b":2000\r\n"
        );
    }
    client
}

#[test]
fn what_finds_no_room_is_refused_in_time_and_never_sent() {
    refused_in_time(Lanes::Usual);
}

#[test]
fn what_finds_no_room_among_large_values_is_refused_in_time_and_never_sent() {
    refused_in_time(Lanes::Bulk);
}

fn refused_in_time(lanes: Lanes) {
    let gate = Gate::default();
    let cluster = cluster(&gate);
    let queue = format!("timeouts.queue={}ms", QUEUE.as_millis());
    let set = [
        "limits.lane_in_flight=4",
        "upstream.bulk_from=1KB",
        &queue,
        "timeouts.command=60s",
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let free: Vec<_> = WAITING.iter().map(|_| client(&proxy, lanes)).collect();
    let mut filler = client(&proxy, lanes);
    // The last one is for a slot of which something is in flight: it need not wait for that to be refused.
    for key in ["k", "l", "m", "n", "k"] {
        filler.send(&encode(&["GET", key]));
    }
    proxy.wait_for("the lane is full", SHOWN_WITHIN, || in_flight(&proxy, 4.0));
    let mut clients: Vec<(RawClient, Instant)> = Vec::new();
    for ((lines, _), mut client) in WAITING.iter().zip(free) {
        let (last, first) = lines.split_last().expect("a command");
        first.iter().for_each(|line| {
            client.line(line);
        });
        let words: Vec<&str> = match *last {
            "EVAL return 0" => vec!["EVAL", "return 1", "0"],
            line => line.split(' ').collect(),
        };
        client.send(&encode(&words));
        clients.push((client, Instant::now()));
    }
    for ((client, since), (lines, requests)) in clients.iter_mut().zip(WAITING) {
        let reply = client.reply();
        let after = since.elapsed();
        if *requests == 0 {
            assert_eq!(reply, b"*1\r\n+PONG\r\n", "{lines:?} needs no node");
            continue;
        }
        // A transaction that was not executed says so first.
        let aborted = b"-EXECABORT Transaction discarded because of: ";
        let text = match reply.strip_prefix(aborted) {
            Some(text) => [b"-", text].concat(),
            None => reply,
        };
        assert!(text == NO_ROOM, "{lines:?}: {}", show(&text));
        // They were sent one after the other, and are looked at one after the other.
        let in_time = after >= QUEUE && after < QUEUE + SLACK;
        assert!(in_time || !is_long(), "{lines:?}: after {after:?}");
    }
    // The filler's last one as well.
    let refused = 1 + WAITING.iter().map(|(_, n)| n).sum::<u32>();
    let queue = [("reason", "queue")];
    let counted = || {
        let count = proxy.metrics().sum("slotway_upstream_errors_total", &queue);
        let all = count == f64::from(refused);
        all.then_some(()).ok_or(format!("{count} of {refused}"))
    };
    proxy.wait_for("all refusals are counted", SHOWN_WITHIN, counted);
    in_flight(&proxy, 4.0).expect("all this while nothing has left the lane");
    gate.open();
    for key in ["k", "l", "m", "n"] {
        assert_eq!(filler.reply(), format!("+{key}\r\n").into_bytes());
    }
    assert_eq!(show(&filler.reply()), show(NO_ROOM));
    filler.expect("GET again", b"+again\r\n");
    let unknown = proxy.metrics().sum("slotway_unknown_outcomes_total", &[]);
    assert_eq!(unknown, 0.0, "nobody has to doubt");
    let gets = cluster.count(0, "GET");
    assert_eq!(gets, 5, "those that were refused were never sent");
    for name in [
        "MGET", "MSET", "SET", "EVAL", "DBSIZE", "FLUSHALL", "SCAN", "LPOP",
    ] {
        assert_eq!(cluster.count(0, name), 0, "{name}");
    }
    cluster.finish();
}

pub(super) fn in_flight(proxy: &Proxy, wanted: f64) -> Result<(), String> {
    let there = proxy.metrics().sum("slotway_upstream_in_flight", &[]);
    let enough = there == wanted;
    enough.then_some(()).ok_or(format!("{there} in flight"))
}
