//! A request that a refusal has sent to a crowded lane waits for room in that one: once there is some, it goes where the
//! refusal has sent it, with ASKING in front.

use super::refusals::in_flight;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, encode, show};
use slotway::cluster::Slot;

/// `limits.lane_in_flight` here.
const ROOM: usize = 4;

/// A cluster whose node `to` has a full lane, and a client whose request ASK has sent there.
struct Sent {
    cluster: FakeCluster,
    from: usize,
    to: usize,
    proxy: Proxy,
    filler: RawClient,
    client: RawClient,
    /// Lets `to` answer.
    gate: Gate,
}

fn send_to_full_lane(queue_timeout: &str) -> Sent {
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
    let set = [room.as_str(), queue_timeout, "timeouts.command=60s"];
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
    Sent {
        cluster,
        from,
        to,
        proxy,
        filler,
        client,
        gate,
    }
}

#[test]
fn what_ask_has_sent_to_a_full_lane_waits_there() {
    let mut sent = send_to_full_lane("timeouts.queue=60s");
    in_flight(&sent.proxy, ROOM as f64).expect("there is no room for it");
    sent.gate.open();
    assert_eq!(sent.client.reply(), b"+OK\r\n");
    (0..ROOM).for_each(|_| assert_eq!(sent.filler.reply(), b"$-1\r\n"));
    let cluster = sent.cluster;
    assert_eq!(
        cluster.count(sent.from, "SET"),
        1,
        "it went to the owner again"
    );
    assert_eq!(cluster.count(sent.to, "SET"), 1);
    cluster.finish();
}

/// An operator looks for the busy node, not for the one that owns the slot.
#[test]
fn what_finds_no_room_where_ask_has_sent_it_is_counted_there() {
    let mut sent = send_to_full_lane("timeouts.queue=300ms");
    let told = sent.client.reply();
    let prefix = b"-ERR slotway: not sent, too many requests in flight";
    assert!(told.starts_with(prefix), "{}", show(&told));
    let refused = |node: usize| {
        let node = sent.cluster.addr(node).to_string();
        let labels = [("node", node.as_str()), ("reason", "queue")];
        let metrics = sent.proxy.metrics();
        metrics.sum("slotway_upstream_errors_total", &labels)
    };
    assert_eq!((refused(sent.from), refused(sent.to)), (0.0, 1.0));
    sent.gate.open();
    (0..ROOM).for_each(|_| assert_eq!(sent.filler.reply(), b"$-1\r\n"));
    sent.cluster.finish();
}
