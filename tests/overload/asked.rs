//! A request that a refusal has sent to a crowded lane waits for room in that one: once there is some, it goes where the
//! refusal has sent it, with ASKING in front.

use super::refusals::in_flight;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, encode};
use slotway::cluster::Slot;
use std::time::Duration;

const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// `limits.lane_in_flight` here.
const ROOM: usize = 4;

#[test]
fn what_ask_has_sent_to_a_full_lane_waits_there() {
    let cluster = FakeCluster::start(2);
    let (from, to) = cluster.ask_for(Slot::of(b"{moving}").number(), "SET");
    let gate = Gate::default();
    let held = gate.clone();
    cluster.on(to, move |call| match call.name().as_str() {
        "GET" => Some(vec![
            Action::Wait(held.clone()),
            Action::Send(b"$-1\r\n".to_vec()),
        ]),
        "SET" if call.asking => Some(vec![Action::Send(b"+OK\r\n".to_vec())]),
        _ => None,
    });
    let room = format!("limits.lane_in_flight={ROOM}");
    let set = [room.as_str(), "timeouts.queue=60s", "timeouts.command=60s"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut filler = proxy.client();
    let keys = (0..).map(|n| format!("k{n}"));
    let of_the_target = keys.filter(|key| cluster.owner(Slot::of(key.as_bytes()).number()) == to);
    for key in of_the_target.take(ROOM) {
        filler.send(&encode(&["GET", &key]));
    }
    let full = ROOM as f64;
    proxy.wait_for("the lane is full", SHOWN_WITHIN, || in_flight(&proxy, full));
    let mut client = proxy.client();
    client.send(&encode(&["SET", "{moving}", "1"]));
    proxy.wait_for("it is refused", SHOWN_WITHIN, || {
        let asks = [("type", "ask")];
        match proxy.metrics().sum("slotway_redirections_total", &asks) {
            0.0 => Err("not yet".into()),
            _ => Ok(()),
        }
    });
    in_flight(&proxy, full).expect("there is no room for it");
    gate.open();
    assert_eq!(client.reply(), b"+OK\r\n");
    (0..ROOM).for_each(|_| assert_eq!(filler.reply(), b"$-1\r\n"));
    assert_eq!(cluster.count(from, "SET"), 1, "it went to the owner again");
    assert_eq!(cluster.count(to, "SET"), 1);
    cluster.finish();
}
