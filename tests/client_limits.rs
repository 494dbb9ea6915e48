//! The bounds on clients: how many there may be, and how much may wait for one that does not read. At a bound the
//! client is told or closed, it is counted, and the others go on.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use slotway::cluster::Slot;
use support::node::{Action, FakeCluster, Gate};
use support::{Proxy, SHOWN_WITHIN, StopOnDrop, encode, show};

/// Size of each value that a slow reader asks for, in bytes.
const VALUE_BYTES: usize = 1 << 20;
/// How many of them: more than sockets and limits hold together.
const VALUES: usize = 200;
/// What the proxy may grow by meanwhile: the limit, what is on its way when it is reached, and a wide margin; much
/// less than all values together.
const GROWTH_BYTES_MAX: u64 = 120 << 20;

/// A node that answers GET with a large value, and GETRANGE with the nonce in the place of the start.
fn start(args: &[&str]) -> (FakeCluster, Proxy) {
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| {
        let reply = match call.name().as_str() {
            "GET" => format!("${VALUE_BYTES}\r\n{}\r\n", "v".repeat(VALUE_BYTES)).into_bytes(),
            "GETRANGE" => [b"+", call.args[2].as_slice(), b"\r\n"].concat(),
            _ => return None,
        };
        Some(vec![Action::Send(reply)])
    });
    let usual = ["--workers", "1", "--set", "timeouts.command=60s"];
    let args = [&usual, args].concat();
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    (cluster, proxy)
}

fn rejected(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metrics().sum(
        "slotway_client_connections_rejected_total",
        &[("reason", reason)],
    )
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    let limits = [
        "--set",
        "limits.client_output_hard=8MB",
        "--set",
        "limits.client_output_soft=4MB",
    ];
    let (cluster, proxy) = start(&limits);
    let before = proxy.rss();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop_others = StopOnDrop(&stop);
        let other = scope.spawn(|| {
            let mut client = proxy.client();
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let nonce = format!("n{round}");
                client.send(&encode(&["GETRANGE", "k", &nonce, "0"]));
                assert_eq!(client.reply(), format!("+{nonce}\r\n").as_bytes());
                round += 1;
            }
            round
        });
        let mut slow = proxy.client();
        slow.send(&encode(&["GET", "big"]).repeat(VALUES));
        let mut most = 0;
        proxy.wait_for("the slow reader is closed", SHOWN_WITHIN, || {
            most = most.max(proxy.rss());
            if rejected(&proxy, "output") == 1.0 {
                Ok(())
            } else {
                Err("not yet".into())
            }
        });
        let got = slow.rest();
        assert!(got.len() < VALUES * VALUE_BYTES, "it got everything");
        assert!(got.starts_with(b"$1048576\r\nvvv"), "{}", show(&got));
        let grown = most.saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "the proxy grew by {grown} bytes");
        drop(stop_others);
        assert!(other.join().expect("a bystander was disturbed") > 0);
    });
    cluster.finish();
}

/// Above the soft limit for too long, below the hard one.
#[test]
fn a_client_that_reads_too_slowly_for_too_long_is_closed() {
    let limits = [
        "--set",
        "limits.client_output_soft=1MB",
        "--set",
        "limits.client_output_soft_time=1s",
    ];
    let (cluster, proxy) = start(&limits);
    let mut slow = proxy.client();
    slow.send(&encode(&["GET", "big"]).repeat(VALUES / 4));
    proxy.wait_for("the slow reader is closed", SHOWN_WITHIN, || {
        if rejected(&proxy, "output") == 1.0 {
            Ok(())
        } else {
            Err("not yet".into())
        }
    });
    assert!(
        slow.rest().len() < VALUES / 4 * VALUE_BYTES,
        "it got everything"
    );
    cluster.finish();
}

/// A client that reads gets everything, however much that is.
#[test]
fn a_client_that_reads_is_not_closed() {
    let limits = [
        "--set",
        "limits.client_output_hard=512KB",
        "--set",
        "limits.client_output_soft=256KB",
    ];
    let (cluster, proxy) = start(&limits);
    let mut client = proxy.client();
    for _ in 0..20 {
        // One value is more than the hard limit: the reply in progress does not count.
        let got = client.line("GET big");
        assert_eq!(got.len(), VALUE_BYTES + b"$1048576\r\n\r\n".len());
    }
    assert_eq!(rejected(&proxy, "output"), 0.0);
    cluster.finish();
}

/// Nodes can deliver more than the limits in one tick: only what the client's socket does not take counts.
#[test]
fn a_client_is_not_closed_before_it_was_offered_anything() {
    const REPLIES: usize = 24;
    const REPLY_BYTES: usize = 8 << 10;
    let limits = [
        "--workers",
        "1",
        "--set",
        "limits.client_output_hard=40KB",
        "--set",
        "limits.client_output_soft=20KB",
    ];
    let cluster = FakeCluster::start(1);
    let asked = AtomicUsize::new(0);
    cluster.on(0, move |call| {
        if call.name() != "GET" {
            return None;
        }
        // All replies at once, when the last is asked for.
        if asked.fetch_add(1, Ordering::Relaxed) + 1 < REPLIES {
            return Some(vec![]);
        }
        let reply = format!("${REPLY_BYTES}\r\n{}\r\n", "v".repeat(REPLY_BYTES));
        Some(vec![Action::Send(reply.repeat(REPLIES).into_bytes())])
    });
    let proxy = Proxy::start_with(&cluster.addrs(), &limits);
    let mut client = proxy.client();
    client.send(&encode(&["GET", "k"]).repeat(REPLIES));
    for _ in 0..REPLIES {
        assert_eq!(client.reply().len(), REPLY_BYTES + b"$8192\r\n\r\n".len());
    }
    assert_eq!(rejected(&proxy, "output"), 0.0);
    cluster.finish();
}

/// One node answers, another does not: what the first one said waits in the proxy for its turn, and counts.
#[test]
fn replies_before_their_turn_count_for_the_limit() {
    let cluster = FakeCluster::start(2);
    let gate = Gate::default();
    let slow = Slot::of(b"slow").number();
    let big = (0..)
        .map(|n| format!("big{n}"))
        .find(|key| cluster.owner(Slot::of(key.as_bytes()).number()) != cluster.owner(slow))
        .expect("endless");
    for node in 0..2 {
        let held = gate.clone();
        cluster.on(node, move |call| {
            let value = format!("${VALUE_BYTES}\r\n{}\r\n", "v".repeat(VALUE_BYTES));
            match (call.name().as_str(), call.args.get(1)?.as_slice()) {
                ("GET", b"slow") => Some(vec![Action::Wait(held.clone())]),
                ("GET", _) => Some(vec![Action::Send(value.into_bytes())]),
                _ => None,
            }
        });
    }
    let limits = [
        "--workers",
        "1",
        "--set",
        "timeouts.command=60s",
        "--set",
        "limits.client_output_hard=8MB",
        "--set",
        "limits.client_output_soft=4MB",
    ];
    let proxy = Proxy::start_with(&cluster.addrs(), &limits);
    let before = proxy.rss();
    let mut client = proxy.client();
    // In one write, so that all of it is asked for before anything is answered.
    let asked = encode(&["GET", &big]).repeat(VALUES);
    client.send(&[encode(&["GET", "slow"]), asked].concat());
    let mut most = 0;
    proxy.wait_for("the client is closed", SHOWN_WITHIN, || {
        most = most.max(proxy.rss());
        match rejected(&proxy, "output") {
            1.0 => Ok(()),
            n => Err(format!("{n} closed")),
        }
    });
    // It was never its turn.
    client.expect_close();
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "the proxy grew by {grown} bytes");
    gate.open();
    cluster.finish();
}

/// A client that is not read because of a limit is seen in a metric while that lasts. One that waits for its HELLO's
/// turn is not: that is no limit.
#[test]
fn the_time_at_a_limit_is_counted() {
    const IN_FLIGHT_MAX: usize = 10;
    let cluster = FakeCluster::start(1);
    let gates = [Gate::default(), Gate::default()];
    let held = gates.clone();
    cluster.on(0, move |call| {
        let gate = match (call.name().as_str(), call.args.get(1)?.as_slice()) {
            ("GET", b"first") => &held[0],
            ("GET", _) => &held[1],
            _ => return None,
        };
        let reply = Action::Send(b"$-1\r\n".to_vec());
        Some(vec![Action::Wait(gate.clone()), reply])
    });
    let limits = [
        "--workers",
        "1",
        "--set",
        "timeouts.command=60s",
        "--set",
        "limits.client_in_flight=10",
    ];
    let proxy = Proxy::start_with(&cluster.addrs(), &limits);
    let seconds = || {
        let metrics = proxy.metrics();
        metrics.sum("slotway_backpressure_seconds_total", &[])
    };
    let wait_in_flight = |count: usize| {
        proxy.wait_for("they are in flight", SHOWN_WITHIN, || {
            match proxy.metrics().sum("slotway_upstream_in_flight", &[]) {
                now if now == count as f64 => Ok(()),
                now => Err(format!("{now} are")),
            }
        });
    };
    let mut client = proxy.client();
    client.send(&[encode(&["GET", "first"]), encode(&["HELLO", "2"])].concat());
    wait_in_flight(1);
    gates[0].open();
    assert_eq!(client.reply(), b"$-1\r\n");
    assert!(client.reply().starts_with(b"*"), "HELLO is answered");
    assert_eq!(seconds(), 0.0);

    client.send(&encode(&["GET", "second"]).repeat(2 * IN_FLIGHT_MAX));
    wait_in_flight(IN_FLIGHT_MAX);
    for _ in 0..2 {
        let before = seconds();
        proxy.wait_for(
            "it is counted while it lasts",
            SHOWN_WITHIN,
            || match seconds() {
                now if now > before => Ok(()),
                now => Err(format!("{now} s")),
            },
        );
    }
    gates[1].open();
    client.replies(2 * IN_FLIGHT_MAX);
    // It is read again once it is answered: replies can come before the proxy has seen that the limit is not reached.
    assert_eq!(client.line("PING"), b"+PONG\r\n");
    let then = seconds();
    let idle = ["PING", "PING", "PING"].map(|line| client.line(line));
    assert_eq!(idle, [b"+PONG\r\n"; 3]);
    assert_eq!(seconds(), then, "it is over");
    cluster.finish();
}

#[test]
fn there_are_no_more_clients_than_allowed() {
    const CLIENTS: usize = 20;
    let (cluster, proxy) = start(&["--set", "limits.clients=20"]);
    // The harness has looked whether the proxy listens: that client must be gone.
    proxy.wait_for("nobody is connected", SHOWN_WITHIN, || {
        let now = proxy.metrics().sum("slotway_client_connections", &[]);
        if now == 0.0 {
            Ok(())
        } else {
            Err(format!("{now} are"))
        }
    });
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.expect("PING", b"+PONG\r\n");
    }
    for turned_away in 1..=5 {
        let got = proxy.client().rest();
        assert_eq!(got, b"-ERR max number of clients reached\r\n");
        assert_eq!(rejected(&proxy, "clients"), f64::from(turned_away));
    }
    // Those that are in stay in, and there is room again when one leaves.
    for client in &mut clients {
        client.expect("PING", b"+PONG\r\n");
    }
    clients.pop();
    proxy.wait_for("one more gets in", SHOWN_WITHIN, || {
        let mut client = proxy.client();
        client.send(&encode(&["PING"]));
        client.half_close();
        match client.rest().as_slice() {
            b"+PONG\r\n" => Ok(()),
            other => Err(show(other)),
        }
    });
    cluster.finish();
}
