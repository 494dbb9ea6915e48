//! Who waits for room in a full lane gets it in turn: a client that has thousands of requests waiting has one of each
//! round, like the client that has one.

use super::refusals::in_flight;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, encode, show};
use std::time::Duration;

const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// `limits.lane_in_flight` here.
const ROOM: usize = 8;

/// Requests of the client with the deep pipeline, for so many slots.
const GREEDY: usize = 2_000;

/// Clients with one request each.
const MODEST: usize = 20;

#[test]
fn a_deep_pipeline_does_not_starve_the_other_clients() {
    let gate = Gate::default();
    let cluster = FakeCluster::start(1);
    let held = gate.clone();
    cluster.on(0, move |call| {
        let reply = Action::Send([b"+", &call.args.last()?[..], b"\r\n"].concat());
        (call.name() == "GET").then(|| vec![Action::Wait(held.clone()), reply])
    });
    let room = format!("limits.lane_in_flight={ROOM}");
    let set = [room.as_str(), "timeouts.queue=60s", "timeouts.command=60s"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut sent = 0;
    let mut send = |client: &mut crate::support::RawClient, keys: std::ops::Range<usize>, name| {
        let requests: Vec<u8> = keys
            .flat_map(|n| encode(&["GET", &format!("{name}-{n}")]))
            .collect();
        sent += requests.len();
        client.send(&requests);
        proxy.wait_for("all of it is read", SHOWN_WITHIN, || {
            let read = proxy
                .metrics()
                .sum("slotway_client_received_bytes_total", &[]);
            match read as usize >= sent {
                true => Ok(()),
                false => Err(format!("{read} of {sent} bytes")),
            }
        });
    };
    let mut greedy = proxy.client();
    send(&mut greedy, 0..GREEDY, "greedy");
    let mut modest: Vec<_> = (0..MODEST).map(|_| proxy.client()).collect();
    for (n, client) in modest.iter_mut().enumerate() {
        send(client, n..n + 1, "modest");
    }
    in_flight(&proxy, ROOM as f64).expect("the lane is full, and no fuller");
    gate.open();
    for (n, client) in modest.iter_mut().enumerate() {
        assert_eq!(client.reply(), format!("+modest-{n}\r\n").into_bytes());
    }
    for n in 0..GREEDY {
        let reply = greedy.reply();
        assert_eq!(show(&reply), show(format!("+greedy-{n}\r\n").as_bytes()));
    }
    let calls = cluster.calls(0);
    let gets = calls.iter().filter(|call| call.name() == "GET");
    let last = gets
        .enumerate()
        .filter(|(_, call)| call.args[1].starts_with(b"modest"))
        .map(|(at, _)| at)
        .max();
    // What was in flight already, then in turn: one of the greedy client's, one of each of the others.
    let latest = ROOM + 1 + MODEST;
    assert!(last < Some(latest), "the last came as number {last:?}");
    cluster.finish();
}
