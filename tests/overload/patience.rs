//! `timeouts.queue` bounds the wait for room in a lane, and nothing else: a request that has waited for longer than that
//! for its node to serve it has all of it left when it comes to a full lane.

use super::refusals::in_flight;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, encode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// `timeouts.queue` here: long enough for the test to open the gate within it, on a busy machine, too.
const QUEUE: Duration = Duration::from_secs(3);

/// `limits.lane_in_flight` here.
const ROOM: usize = 4;

#[test]
fn a_request_that_has_waited_for_its_node_still_waits_for_room() {
    let cluster = FakeCluster::start(1);
    let (gate, loaded) = (Gate::default(), Arc::new(AtomicBool::new(false)));
    let (held, serves) = (gate.clone(), loaded.clone());
    cluster.on(0, move |call| match call.name().as_str() {
        "GET" => Some(vec![
            Action::Wait(held.clone()),
            Action::Send(b"$-1\r\n".to_vec()),
        ]),
        "SET" if serves.load(Ordering::Relaxed) => Some(vec![Action::Send(b"+OK\r\n".to_vec())]),
        "SET" => Some(vec![Action::Send(
            b"-LOADING Redis is loading the dataset in memory\r\n".to_vec(),
        )]),
        _ => None,
    });
    let set = [
        format!("limits.lane_in_flight={ROOM}"),
        format!("timeouts.queue={}ms", QUEUE.as_millis()),
        "timeouts.command=60s".into(),
        "timeouts.unavailable=60s".into(),
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let (mut client, since) = (proxy.client(), Instant::now());
    client.send(&encode(&["SET", "a", "1"]));
    proxy.wait_for("it has waited", SHOWN_WITHIN, || {
        let waited = since.elapsed() > QUEUE && cluster.count(0, "SET") > 1;
        waited.then_some(()).ok_or("not yet".into())
    });
    let mut filler = proxy.client();
    let gets: Vec<u8> = ["k", "l", "m", "n"]
        .iter()
        .flat_map(|key| encode(&["GET", key]))
        .collect();
    filler.send(&gets);
    let full = [("limit", "limits.lane_in_flight")];
    proxy.wait_for("it finds no room", SHOWN_WITHIN, || {
        match proxy.metrics().sum("slotway_limit_hits_total", &full) {
            0.0 => Err("not yet".into()),
            _ => in_flight(&proxy, ROOM as f64),
        }
    });
    loaded.store(true, Ordering::Relaxed);
    gate.open();
    assert_eq!(client.reply(), b"+OK\r\n");
    (0..ROOM).for_each(|_| assert_eq!(filler.reply(), b"$-1\r\n"));
    cluster.finish();
}
