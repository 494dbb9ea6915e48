//! The bounds on clients: how many there may be, and how much may wait for one that does not read. At a bound the
//! client is told or closed, it is counted, and the others go on.

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::node::{Action, FakeCluster};
use support::{Proxy, StopOnDrop, encode, show};

/// How long the proxy may take to show what it has done.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);
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
    let args = [&["--workers", "1"], args].concat();
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
