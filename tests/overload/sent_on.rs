//! A pipeline for a slot that has moved: its requests go one by one to the new owner, whose lane is full each time. They wait
//! for room one after the other, but not altogether for longer than one request would.

use super::refusals::in_flight;
use crate::support::node::{Action, FakeCluster};
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, encode, show};
use slotway::cluster::Slot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Requests of the pipeline: at one in a `TURN` they would take five times as long as they may.
const REQUESTS: usize = 100;

/// So long the new owner takes for a request of the client that keeps it busy.
const TURN: Duration = Duration::from_millis(100);

/// `timeouts.queue` and `timeouts.command` here.
const PATIENCE: &str = "2s";

/// More than `limits.lane_in_flight_bytes` here.
const LARGE_BYTES: usize = 70_000;

const LATE: &[u8] = b"-CLUSTERDOWN slotway: not executed, its slot was on the move for longer than timeouts.command (last \
    MOVED ";

#[test]
fn what_was_sent_on_to_a_full_lane_waits_within_one_time() {
    let cluster = FakeCluster::start(2);
    let slot = Slot::of(b"{moving}").number();
    let to = 1 - cluster.owner(slot);
    let of_the_target = |key: &String| cluster.owner(Slot::of(key.as_bytes()).number()) == to;
    let busy = (0..).map(|n| format!("k{n}")).find(of_the_target);
    let busy = busy.expect("a key");
    let slow = busy.clone().into_bytes();
    cluster.on(to, move |call| {
        let mut actions = vec![Action::Send(b"+OK\r\n".to_vec())];
        if *call.args.get(1)? == slow {
            actions.insert(0, Action::Until(Instant::now() + TURN));
        }
        (call.name() == "SET").then_some(actions)
    });
    let set = [
        "limits.lane_in_flight_bytes=64KB",
        "upstream.bulk_from=1MB",
        &format!("timeouts.queue={PATIENCE}"),
        &format!("timeouts.command={PATIENCE}"),
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let stop = Arc::new(AtomicBool::new(false));
    let filler = keep_full(proxy.client(), busy, stop.clone());
    proxy.wait_for("the lane is full", SHOWN_WITHIN, || in_flight(&proxy, 1.0));

    cluster.give_slot(slot, to);
    let mut client = proxy.client();
    let request = encode(&["SET", "{moving}", "1"]);
    client.send(&request.repeat(REQUESTS));
    let replies = client.replies(REQUESTS);
    stop.store(true, Ordering::Relaxed);
    filler.join().expect("the other client");
    // The time runs from each one's own MOVED: one that was refused a moment after another may just have its turn.
    let done = |reply: &Vec<u8>| reply == b"+OK\r\n";
    let given_up: Vec<_> = replies.iter().filter(|reply| !done(reply)).collect();
    for reply in &given_up {
        assert!(reply.starts_with(LATE), "{}", show(reply));
    }
    assert!(!given_up.is_empty(), "each has waited by itself");
    let hits = |limit| {
        let limit = [("limit", limit)];
        proxy.metrics().sum("slotway_limit_hits_total", &limit)
    };
    let wanted = (given_up.len() as f64, 0.0);
    assert_eq!((hits("timeouts.command"), hits("timeouts.queue")), wanted);
    cluster.finish();
}

/// Has a request in flight that takes all the room of its lane, and another one that waits for it.
fn keep_full(mut client: RawClient, key: String, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    let request = encode(&["SET", &key, &"v".repeat(LARGE_BYTES)]);
    std::thread::spawn(move || {
        client.send(&request);
        while !stop.load(Ordering::Relaxed) {
            client.send(&request);
            assert_eq!(client.reply(), b"+OK\r\n");
        }
        assert_eq!(client.reply(), b"+OK\r\n");
    })
}
