//! What may be on its way to a node, how deep its replies are, how often it is asked elsewhere.

use super::{SHOWN_WITHIN, hits, others_are_served, slot, start, wait_hit};
use crate::support::node::{Action, FakeCluster};
use crate::support::{Proxy, encode, show};

#[test]
fn requests_wait_for_room_in_a_lane() {
    let commands = ("limits.lane_in_flight", "limits.lane_in_flight=3");
    let bytes = (
        "limits.lane_in_flight_bytes",
        "limits.lane_in_flight_bytes=5KB",
    );
    // The lanes of large values have the same bounds.
    for ((option, setting), large) in [
        (commands, "64KB"),
        (bytes, "64KB"),
        (commands, "1KB"),
        (bytes, "1KB"),
    ] {
        let (cluster, proxy, gate) = start(&[
            setting,
            &format!("upstream.bulk_from={large}"),
            "timeouts.queue=60s",
            "timeouts.command=60s",
            "timeouts.slow_command=60s",
        ]);
        let get = encode(&["GET", &"k".repeat(2_000)]);
        let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send(&get);
        }
        wait_hit(&proxy, option);
        // As many as may be are in flight, and no more.
        let in_flight = || proxy.metrics().sum("slotway_upstream_in_flight", &[]);
        proxy.wait_for("they are in flight", SHOWN_WITHIN, || match in_flight() {
            3.0 => Ok(()),
            n => Err(format!("{n} are")),
        });
        gate.open();
        for client in &mut clients {
            assert_eq!(client.reply(), b"$-1\r\n", "{option}");
        }
        for other in ["timeouts.queue", "upstream.bulk_bytes"] {
            assert_eq!(hits(&proxy, other), 0.0, "{other}");
        }
        others_are_served(&proxy);
        cluster.finish();
    }
}

/// With a slot and without one: it was never anywhere before.
#[test]
fn what_has_waited_for_room_is_sent_once() {
    let (cluster, proxy, gate) = start(&[
        "limits.lane_in_flight=1",
        "timeouts.queue=60s",
        "timeouts.command=60s",
    ]);
    let [mut first, mut second, mut third] = [(); 3].map(|()| proxy.client());
    let in_flight = || proxy.metrics().sum("slotway_upstream_in_flight", &[]);
    first.send(&encode(&["GET", "k"]));
    proxy.wait_for("it is in flight", SHOWN_WITHIN, || match in_flight() {
        1.0 => Ok(()),
        n => Err(format!("{n} are")),
    });
    second.send(&encode(&["GET", "l"]));
    third.send(&encode(&["DBSIZE"]));
    proxy.wait_for("both wait", SHOWN_WITHIN, || {
        match hits(&proxy, "limits.lane_in_flight") {
            2.0 => Ok(()),
            n => Err(format!("{n} hits")),
        }
    });
    gate.open();
    for (client, reply) in [
        (&mut first, "$-1\r\n"),
        (&mut second, "$-1\r\n"),
        (&mut third, ":7\r\n"),
    ] {
        assert_eq!(show(&client.reply()), show(reply.as_bytes()));
    }
    let retries = proxy.metrics().sum("slotway_retries_total", &[]);
    assert_eq!(retries, 0.0);
    cluster.finish();
}

#[test]
fn a_request_does_not_wait_for_ever_for_a_full_lane() {
    let (cluster, proxy, gate) = start(&[
        "limits.lane_in_flight=1",
        "timeouts.queue=200ms",
        "timeouts.command=60s",
        "timeouts.slow_command=60s",
    ]);
    let mut first = proxy.client();
    first.send(&encode(&["GET", "first"]));
    proxy.wait_for("it is in flight", SHOWN_WITHIN, || {
        match cluster.count(0, "GET") {
            1 => Ok(()),
            n => Err(format!("{n} GET")),
        }
    });
    // With a slot and without one.
    for (n, line) in [(1.0, "GET second"), (2.0, "DBSIZE")] {
        let got = proxy.client().line(line);
        assert!(
            got.starts_with(
                b"-ERR slotway: not sent, too many requests in flight for this node for longer than timeouts.queue"
            ),
            "{line}: {}",
            show(&got)
        );
        assert_eq!(hits(&proxy, "timeouts.queue"), n, "{line}");
        // However often it was tried.
        assert_eq!(hits(&proxy, "limits.lane_in_flight"), n, "{line}");
    }
    let queue = [("reason", "queue")];
    let counted = proxy.metrics().sum("slotway_upstream_errors_total", &queue);
    assert_eq!(counted, 2.0);
    gate.open();
    assert_eq!(first.reply(), b"$-1\r\n");
    others_are_served(&proxy);
    cluster.finish();
}

#[test]
fn a_reply_that_is_nested_too_deeply_ends_its_connection() {
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| {
        let depth = match (call.name().as_str(), call.args.get(1)?.as_slice()) {
            ("GET", b"deep") => 9,
            ("GET", _) => 8,
            ("GETRANGE", _) => return Some(vec![Action::Send(b"+nonce\r\n".to_vec())]),
            _ => return None,
        };
        let reply = format!("{}:1\r\n", "*1\r\n".repeat(depth));
        Some(vec![Action::Send(reply.into_bytes())])
    });
    let args = super::set(&["limits.reply_depth=8"]);
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    let fits = client.line("GET fits");
    assert_eq!(fits, format!("{}:1\r\n", "*1\r\n".repeat(8)).into_bytes());
    assert_eq!(hits(&proxy, "limits.reply_depth"), 0.0);
    let got = client.line("GET deep");
    assert!(
        show(&got).contains("nested deeper than limits.reply_depth"),
        "{}",
        show(&got)
    );
    // A read is repeated once.
    assert_eq!(hits(&proxy, "limits.reply_depth"), 2.0);
    others_are_served(&proxy);
    cluster.finish();
}

#[test]
fn redirections_are_followed_so_often_and_no_more() {
    const HOPS: usize = 2;
    let cluster = FakeCluster::start(2);
    let slot = slot("a");
    for node in 0..2 {
        let moved = format!("-MOVED {slot} {}\r\n", cluster.addr(1 - node));
        cluster.on(node, move |call| {
            let asked = call.name() == "SET";
            asked.then(|| vec![Action::Send(moved.clone().into_bytes())])
        });
    }
    let options = [
        "limits.redirections=2",
        "timeouts.command=60s",
        "timeouts.slow_command=60s",
    ];
    let proxy = Proxy::start_with(&cluster.addrs(), &super::set(&options));
    let got = proxy.client().line("SET a 1");
    assert!(show(&got).contains("limits.redirections"), "{}", show(&got));
    let asked = cluster.count(0, "SET") + cluster.count(1, "SET");
    assert_eq!(asked, HOPS + 1);
    assert_eq!(hits(&proxy, "limits.redirections"), 1.0);
    cluster.finish();
}
