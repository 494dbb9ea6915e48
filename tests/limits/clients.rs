//! How many clients there may be, and how much may wait for one of them.

use super::{SHOWN_WITHIN, hits, others_are_served, served, start, wait_hit};
use crate::support::{Proxy, RawClient, encode};

#[test]
fn one_client_too_many_is_turned_away() {
    let (cluster, proxy, _gate) = start(&["limits.clients=2"]);
    let mut clients = [proxy.client(), proxy.client()];
    clients.iter_mut().for_each(served);
    let got = proxy.client().rest();
    assert_eq!(got, b"-ERR max number of clients reached\r\n");
    assert_eq!(hits(&proxy, "limits.clients"), 1.0);
    clients.iter_mut().for_each(served);
    cluster.finish();
}

#[test]
fn a_client_with_too_much_in_flight_is_not_read() {
    for (option, setting) in [
        ("limits.client_in_flight", "limits.client_in_flight=3"),
        (
            "limits.client_in_flight_bytes",
            "limits.client_in_flight_bytes=1KB",
        ),
    ] {
        let (cluster, proxy, gate) =
            start(&[setting, "timeouts.command=60s", "timeouts.slow_command=60s"]);
        let mut client = proxy.client();
        client.send(&encode(&["GET", &"k".repeat(400)]).repeat(10));
        wait_hit(&proxy, option);
        let in_flight = || proxy.metrics().sum("slotway_upstream_in_flight", &[]);
        proxy.wait_for("they are in flight", SHOWN_WITHIN, || match in_flight() {
            3.0 => Ok(()),
            n => Err(format!("{n} are")),
        });
        gate.open();
        assert_eq!(client.replies(10).concat(), b"$-1\r\n".repeat(10));
        others_are_served(&proxy);
        cluster.finish();
    }
}

fn rejected(proxy: &Proxy) -> f64 {
    let output = [("reason", "output")];
    proxy
        .metrics()
        .sum("slotway_client_connections_rejected_total", &output)
}

/// A client that asks for 100 MB and reads nothing.
fn slow_reader(proxy: &Proxy) -> RawClient {
    let mut slow = proxy.client();
    slow.send(&encode(&["GET", "big"]).repeat(100));
    slow
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    let (cluster, proxy, _gate) = start(&[
        "limits.client_output_hard=8MB",
        "limits.client_output_soft=4MB",
        "timeouts.command=60s",
    ]);
    let mut slow = slow_reader(&proxy);
    wait_hit(&proxy, "limits.client_output_hard");
    assert!(slow.rest().len() < 100 << 20, "it got everything");
    assert_eq!(rejected(&proxy), 1.0);
    others_are_served(&proxy);
    cluster.finish();
}

#[test]
fn a_client_that_does_not_read_for_a_while_is_closed() {
    let (cluster, proxy, _gate) = start(&[
        "limits.client_output_soft=4MB",
        "limits.client_output_soft_time=1s",
        "timeouts.command=60s",
    ]);
    let mut slow = slow_reader(&proxy);
    wait_hit(&proxy, "limits.client_output_soft_time");
    assert_eq!(hits(&proxy, "limits.client_output_soft"), 1.0);
    assert_eq!(hits(&proxy, "limits.client_output_hard"), 0.0);
    assert!(slow.rest().len() < 100 << 20, "it got everything");
    assert_eq!(rejected(&proxy), 1.0);
    others_are_served(&proxy);
    cluster.finish();
}
