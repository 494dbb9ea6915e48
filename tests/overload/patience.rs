//! `timeouts.queue` bounds the wait for room in a lane, and nothing else: a request that has waited for longer than that
//! for its node to serve it has all of it left when it comes to a full lane; and so has, of `timeouts.command`, one that
//! comes to where large values wait for each other.

use super::refusals::in_flight;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, SHOWN_WITHIN, encode, show};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `timeouts.queue` and `timeouts.command` here: long enough for the test to open the gate within them, on a busy machine,
/// too.
const QUEUE: Duration = Duration::from_secs(5);

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
        format!("timeouts.command={}ms", QUEUE.as_millis()),
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

/// Clients that read large values, which come one at a time.
const READERS: usize = 6;

/// A reply in bytes, and `upstream.bulk_bytes`.
const LARGE_BYTES: usize = 64 * 1024;

#[test]
fn large_values_that_have_waited_for_their_node_still_wait_for_each_other() {
    let cluster = FakeCluster::start(1);
    let loads = Arc::new(AtomicBool::new(false));
    let is_loading = loads.clone();
    let value = format!("${LARGE_BYTES}\r\n{}\r\n", "v".repeat(LARGE_BYTES));
    let (gate, large) = (Gate::default(), Action::Send(value.clone().into_bytes()));
    let held = Action::Wait(gate.clone());
    cluster.on(0, move |call| match call.args.get(1)?.as_slice() {
        b"served" => Some(vec![large.clone()]),
        b"held" => Some(vec![held.clone(), large.clone()]),
        key if key.starts_with(b"reader") && is_loading.load(Ordering::Relaxed) => {
            Some(vec![Action::Send(
                b"-LOADING Redis is loading the dataset in memory\r\n".to_vec(),
            )])
        }
        key if key.starts_with(b"reader") => Some(vec![large.clone()]),
        _ => None,
    });
    let set = [
        "upstream.bulk_from=1KB".into(),
        format!("upstream.bulk_bytes={LARGE_BYTES}B"),
        format!("timeouts.command={}ms", QUEUE.as_millis()),
        "timeouts.unavailable=60s".into(),
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut clients: Vec<_> = (0..READERS).map(|_| proxy.client()).collect();
    let get = |n: usize| encode(&["GET", &format!("reader{n}")]);
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&get(n));
        assert!(client.reply() == value.as_bytes());
    }
    loads.store(true, Ordering::Relaxed);
    let (since, before) = (Instant::now(), cluster.count(0, "GET"));
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&get(n));
    }
    proxy.wait_for("they have waited", SHOWN_WITHIN, || {
        let waited = since.elapsed() > QUEUE && cluster.count(0, "GET") > before + READERS;
        waited.then_some(()).ok_or("not yet".into())
    });
    let mut filler = proxy.client();
    // The second one comes to where the others wait: it tells how large values are.
    for _ in 0..2 {
        assert!(filler.command(&["GET", "served"]) == value.as_bytes());
    }
    filler.send(&encode(&["GET", "held"]));
    proxy.wait_for("they find no room", SHOWN_WITHIN, || in_flight(&proxy, 1.0));
    loads.store(false, Ordering::Relaxed);
    gate.open();
    for client in clients.iter_mut().chain([&mut filler]) {
        let reply = client.reply();
        let text = show(&reply[..reply.len().min(100)]);
        assert!(reply == value.as_bytes(), "{text}");
    }
    cluster.finish();
}
