//! Connections that go wrong while their node is well: one on which a reply was lost, and one over which nothing comes.

mod support;

use slotway::cluster::Slot;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use support::node::{Action, Call, FakeCluster, Gate};
use support::{Proxy, SHOWN_WITHIN, encode, show};

/// So many right replies in a row are none by accident.
const RIGHT: usize = 200;

fn get(call: &Call) -> Option<String> {
    let key = (call.name() == "GET").then(|| call.args[1].clone())?;
    Some(String::from_utf8(key).expect("a key of ours"))
}

fn value(key: &str) -> Vec<u8> {
    format!("${}\r\nv-{key}\r\n", key.len() + 2).into_bytes()
}

fn errors(proxy: &Proxy, kind: &str) -> f64 {
    let labels = [("reason", kind)];
    proxy
        .metrics()
        .sum("slotway_upstream_errors_total", &labels)
}

/// The first reply over a connection does not come in time; then that is left, and its node serves over the next.
#[track_caller]
fn is_left(cluster: &FakeCluster) {
    let args = [
        "--workers",
        "1",
        "--set",
        "timeouts.command=300ms",
        "--set",
        "timeouts.slow_command=300ms",
    ];
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    is_late(&client.line("GET first"));
    proxy.wait_for("it is served", SHOWN_WITHIN, || {
        match client.line("GET other") {
            reply if reply == value("other") => Ok(()),
            reply => Err(show(&reply)),
        }
    });
    assert_eq!(errors(&proxy, "timeout"), 1.0);
}

#[track_caller]
fn is_late(reply: &[u8]) {
    let told = reply.starts_with(b"-ERR slotway: no reply in time");
    assert!(told, "{}", show(reply));
}

/// All replies behind a lost one are another request's. That they are is seen while requests come without end.
#[test]
fn a_lost_reply_does_not_shift_those_behind_it_for_ever() {
    let cluster = FakeCluster::start(1);
    let lost = AtomicBool::new(false);
    cluster.on(0, move |call| {
        let key = get(call)?;
        let loses = key == "lost" && !lost.swap(true, Ordering::Relaxed);
        Some(match loses {
            true => Vec::new(),
            false => vec![Action::Send(value(&key))],
        })
    });
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let mut first = proxy.client();
    let mut others = [proxy.client(), proxy.client()];
    first.send(&encode(&["GET", "lost"]));
    proxy.wait_for("the node has it", SHOWN_WITHIN, || {
        match cluster.calls(0).iter().any(|call| get(call).is_some()) {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    let (mut number, mut right, mut wrong) = (0, 0, 0);
    // Each leaves a request behind, so that there is always a reply to come.
    others[0].send(&encode(&["GET", "k"]));
    let mut round = || {
        number += 1;
        let key = format!("k{number}");
        others[1].send(&encode(&["GET", &key]));
        others[0].send(&encode(&["GET", "k"]));
        others[0].reply();
        let reply = others[1].reply();
        let is_right = reply == value(&key);
        assert!(
            !reply.starts_with(b"$16\r\n"),
            "what the lane asked: {}",
            show(&reply)
        );
        (right, wrong) = match is_right {
            true => (right + 1, wrong),
            false => (0, wrong + 1),
        };
        match right {
            RIGHT.. => Ok(()),
            _ => Err(format!(
                "{right} right ones in a row, {wrong} wrong ones before"
            )),
        }
    };
    proxy.wait_for("replies are right again", SHOWN_WITHIN, || {
        let mut rounds = (0..100).map(|_| round());
        rounds
            .find(Result::is_ok)
            .unwrap_or_else(|| Err("not yet".into()))
    });
    // How many were wrong before depends on when the lane looks: none, if that is before the first round.
    assert_eq!(errors(&proxy, "protocol"), 1.0, "a reply was lost");
    cluster.finish();
}

/// Something in between that still acknowledges keeps a connection up over which nothing comes any more.
#[test]
fn a_connection_over_which_nothing_comes_is_left_though_the_node_answers() {
    let cluster = FakeCluster::start(1);
    let gate = Gate::default();
    let (shut, hangs) = (gate.clone(), AtomicBool::new(false));
    cluster.on(0, move |call| {
        let key = get(call)?;
        let first = key == "first" && !hangs.swap(true, Ordering::Relaxed);
        let mut actions = vec![Action::Send(value(&key))];
        if first {
            actions.insert(0, Action::Wait(shut.clone()));
        }
        Some(actions)
    });
    is_left(&cluster);
    gate.open();
    cluster.finish();
}

/// A header promises more than there ever is: all replies behind it are taken for that, and they come without end.
#[test]
fn a_connection_whose_reply_does_not_end_is_left() {
    does_not_end(b"*2000000000\r\n".to_vec());
    // Large enough to be kept in pieces.
    let begun = [b"$400000000\r\n".to_vec(), vec![b'x'; 200_000]];
    does_not_end(begun.concat());
}

fn does_not_end(begun: Vec<u8>) {
    let cluster = FakeCluster::start(1);
    let began = AtomicBool::new(false);
    cluster.on(0, move |call| {
        let reply = value(&get(call)?);
        let before = match began.swap(true, Ordering::Relaxed) {
            true => &[][..],
            false => &begun,
        };
        Some(vec![Action::Send([before, &reply].concat())])
    });
    is_left(&cluster);
    cluster.finish();
}

/// A write that its node holds up, and the slot has another owner: what the client says next for it waits for the write to be
/// out of the way, and no longer.
#[test]
fn a_write_held_up_at_an_old_owner_does_not_hold_up_the_slot() {
    let cluster = FakeCluster::start(2);
    let slot = Slot::of(b"k").number();
    let from = cluster.owner(slot);
    let gate = Gate::default();
    let shut = gate.clone();
    let paused = |call: &Call| call.name() == "SET" && call.args[1] == b"k";
    cluster.on(from, move |call| {
        let ok = Action::Send(b"+OK\r\n".to_vec());
        paused(call).then(|| vec![Action::Wait(shut.clone()), ok])
    });
    cluster.on(1 - from, |call| {
        Some(vec![Action::Send(value(&get(call)?))])
    });
    let options = [
        "--set",
        "timeouts.command=1s",
        "--set",
        "cluster.refresh_interval=100ms",
    ];
    let args = [&["--workers", "1"][..], &options].concat();
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    client.send(&encode(&["SET", "k", "1"]));
    proxy.wait_for("it is held up", SHOWN_WITHIN, || {
        match cluster.calls(from).iter().any(paused) {
            true => Ok(()),
            false => Err("not yet".into()),
        }
    });
    cluster.give_slot(slot, 1 - from);
    is_late(&client.reply());
    client.expect("GET k", &value("k"));
    assert_eq!(errors(&proxy, "timeout"), 1.0, "it was held up to the end");
    gate.open();
    cluster.finish();
}

/// What is still being sent to a node that reads slowly is no silence of the node's.
#[test]
fn a_request_that_takes_long_to_send_is_sent() {
    const SIP: usize = 4 << 20;
    const LEN: usize = 10 * SIP;
    let cluster = FakeCluster::start(1);
    // Not so often that all the rest is in the kernel's buffers.
    let sips = Mutex::new(vec![cluster.read_in_sips(SIP); 4]);
    // A silent node is asked over another connection whether it lives: then it reads on.
    cluster.on(0, move |call| match call.name().as_str() {
        "SET" => Some(vec![Action::Send(b"+OK\r\n".to_vec())]),
        "PING" if call.args.len() == 1 => {
            let sip = sips.lock().unwrap().pop();
            sip.map(|sip| sip.send(()));
            None
        }
        _ => None,
    });
    let args = ["--workers", "1", "--set", "timeouts.command=1500ms"];
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    client.send(&encode(&["SET", "k", &"v".repeat(LEN)]));
    is_late(&client.reply());
    proxy.wait_for("the node has it all", SHOWN_WITHIN, || {
        match cluster.count(0, "SET") {
            1 => Ok(()),
            _ => Err(format!("{} probes", cluster.count(0, "PING"))),
        }
    });
    assert!(cluster.count(0, "PING") >= 4, "it took long");
    assert_eq!(errors(&proxy, "timeout"), 0.0);
    cluster.finish();
}
