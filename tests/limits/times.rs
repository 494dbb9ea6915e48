//! How long things may take.

use super::{Gate, SHOWN_WITHIN, hits, others_are_served, start};
use crate::support::node::{Action, FakeCluster};
use crate::support::{Proxy, encode, show};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_node_that_does_not_shake_hands() {
    let cluster = FakeCluster::start(1);
    let (silent, gate) = (Arc::new(AtomicBool::new(false)), Gate::default());
    let (is_silent, held) = (silent.clone(), gate.clone());
    cluster.on(0, move |call| {
        let handshake = call.name() == "CLIENT" && is_silent.load(Ordering::Relaxed);
        handshake.then(|| vec![Action::Wait(held.clone())])
    });
    let options = [
        "timeouts.connect=100ms",
        "timeouts.unavailable=500ms",
        "cluster.refresh_interval=1h",
    ];
    let proxy = Proxy::start_with(&cluster.addrs(), &super::set(&options));
    silent.store(true, Ordering::Relaxed);
    let got = proxy.client().line("GET a");
    assert!(got.starts_with(b"-CLUSTERDOWN slotway: "), "{}", show(&got));
    assert!(hits(&proxy, "timeouts.connect") >= 1.0);
    assert_eq!(hits(&proxy, "timeouts.unavailable"), 1.0);
    let late = [("reason", "connect_timeout")];
    let counted = proxy.metrics().sum("slotway_upstream_errors_total", &late);
    assert!(counted >= 1.0, "{counted}");
    proxy.client().expect("PING", b"+PONG\r\n");
    gate.open();
    cluster.finish();
}

#[test]
fn a_node_that_does_not_answer() {
    let options = ["timeouts.command=2s", "timeouts.slow_command=3s"];
    for (option, request) in [
        ("timeouts.command", encode(&["GET", "a"])),
        (
            "timeouts.slow_command",
            encode(&["EVAL", "return 1", "1", "a"]),
        ),
    ] {
        let (cluster, proxy, gate) = start(&options);
        let mut client = proxy.client();
        client.send(&request);
        let got = client.reply();
        assert!(
            got.starts_with(b"-ERR slotway: no reply in time"),
            "{}",
            show(&got)
        );
        assert_eq!(hits(&proxy, option), 1.0, "{option}");
        gate.open();
        // What comes late crosses nothing.
        others_are_served(&proxy);
        cluster.finish();
    }
}

/// The process ends, so the log is where it is seen.
#[test]
fn a_drain_that_takes_too_long_is_ended() {
    let (cluster, mut proxy, gate) = start(&[
        "timeouts.drain=200ms",
        "timeouts.command=60s",
        "timeouts.slow_command=60s",
    ]);
    let mut client = proxy.client();
    client.send(&encode(&["GET", "a"]));
    proxy.wait_for("it is in flight", SHOWN_WITHIN, || {
        match cluster.count(0, "GET") {
            1 => Ok(()),
            n => Err(format!("{n} GET")),
        }
    });
    proxy.signal(Signal::TERM);
    client.expect_close();
    assert!(proxy.wait_exit().success());
    let log = proxy.log().join("\n");
    assert!(log.contains("timeouts.drain is over"), "{log}");
    gate.open();
    cluster.finish();
}

#[test]
fn an_idle_client_is_closed() {
    let (cluster, proxy, _gate) = start(&["timeouts.idle=2s"]);
    let mut client = proxy.client();
    others_are_served(&proxy);
    client.expect_close();
    assert!(hits(&proxy, "timeouts.idle") >= 1.0);
    others_are_served(&proxy);
    cluster.finish();
}
