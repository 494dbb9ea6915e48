//! Who waits for room in a full lane gets it in turn: a client that has thousands of requests waiting has one of each
//! round, like the client that has one.

use super::refusals::in_flight;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, SHOWN_WITHIN, encode, show};

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
    // What only waited for room was never anywhere before.
    let retries = proxy.metrics().sum("slotway_retries_total", &[]);
    assert_eq!(retries, 0.0);
    cluster.finish();
}

/// Where a node is fast turns are longer than one request: commands for one key have as many of them as others.
#[test]
fn a_pipeline_for_one_key_has_turns_as_long_as_others() {
    const COMMANDS: usize = 9_000;
    /// Looked at once both clients have begun.
    const LOOKED_AT: usize = 4_000;
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| {
        (call.name() == "GET").then(|| vec![Action::Send(b"$-1\r\n".to_vec())])
    });
    let room = format!("limits.lane_in_flight={ROOM}");
    let set = [room.as_str(), "timeouts.queue=60s", "timeouts.command=60s"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let gets = |key: &dyn Fn(usize) -> String| -> Vec<u8> {
        let requests = (0..COMMANDS).map(|n| encode(&["GET", &key(n)]));
        requests.collect::<Vec<_>>().concat()
    };
    let several = gets(&|n| format!("several-{n}"));
    // The node is known to be fast.
    let mut warm = proxy.client();
    warm.send(&several);
    warm.replies(COMMANDS);
    let warmed = cluster.count(0, "GET");
    let (mut one, mut other) = (proxy.client(), proxy.client());
    one.send(&gets(&|_| "one".into()));
    other.send(&several);
    one.replies(COMMANDS);
    other.replies(COMMANDS);
    let calls = cluster.calls(0).into_iter();
    let gets = calls.filter(|call| call.name() == "GET").skip(warmed);
    let of_one: Vec<bool> = gets.map(|call| call.args[1] == b"one").collect();
    let begun = of_one.iter().position(|&one| one != of_one[0]);
    let both = of_one.iter().skip(begun.expect("both have begun"));
    let share = both.take(LOOKED_AT).filter(|&&one| one).count();
    assert!(share > LOOKED_AT / 4, "{share} of {LOOKED_AT}");
    cluster.finish();
}

/// The SHA-1 of `return 1`.
const SHA: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";

#[test]
fn a_script_that_goes_ahead_does_not_cost_its_call_the_turn() {
    let gate = Gate::default();
    let cluster = FakeCluster::start(1);
    let held = gate.clone();
    let send = |bytes: &[u8]| Some(vec![Action::Send(bytes.to_vec())]);
    cluster.on(0, move |call| match call.name().as_str() {
        "GET" => Some(vec![
            Action::Wait(held.clone()),
            Action::Send(b"$-1\r\n".to_vec()),
        ]),
        "SCRIPT" => send(format!("$40\r\n{SHA}\r\n").as_bytes()),
        "EVALSHA" => send(b":1\r\n"),
        _ => None,
    });
    let set = [
        "limits.lane_in_flight=2",
        "timeouts.queue=60s",
        "timeouts.command=60s",
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut caller = proxy.client();
    let load = encode(&["SCRIPT", "LOAD", "return 1"]);
    caller.send(&load);
    assert!(caller.reply().starts_with(b"$40\r\n"));
    let mut filler = proxy.client();
    filler.send(&[encode(&["GET", "k"]), encode(&["GET", "l"])].concat());
    proxy.wait_for("the lane is full", SHOWN_WITHIN, || in_flight(&proxy, 2.0));
    let mut other = proxy.client();
    let crowded = |wanted: f64| {
        let limit = [("limit", "limits.lane_in_flight")];
        proxy.wait_for("it waits for room", SHOWN_WITHIN, || {
            match proxy.metrics().sum("slotway_limit_hits_total", &limit) {
                n if n >= wanted => Ok(()),
                n => Err(format!("{n} of {wanted}")),
            }
        });
    };
    caller.send(&encode(&["EVALSHA", SHA, "1", "x"]));
    crowded(1.0);
    other.send(&[encode(&["GET", "m"]), encode(&["GET", "n"])].concat());
    crowded(3.0);
    gate.open();
    assert_eq!(caller.reply(), b":1\r\n");
    for client in [&mut filler, &mut other] {
        (0..2).for_each(|_| assert_eq!(client.reply(), b"$-1\r\n"));
    }
    let calls = cluster.calls(0);
    let at = |name: &str, arg: &str| {
        let its = |call: &&crate::support::node::Call| {
            call.name() == name && call.args[1] == arg.as_bytes()
        };
        calls.iter().rposition(|call| its(&call))
    };
    let called = at("EVALSHA", SHA).expect("it was called");
    assert!(Some(called) < at("GET", "m"), "it has lost its turn");
    assert_eq!(at("SCRIPT", "LOAD"), Some(called - 1));
    cluster.finish();
}

/// Commands of one client for one key: the first one takes the last place, and is in flight while others are answered.
/// The next ones do not wait for its reply, but for room, like the commands of everybody else.
#[test]
fn a_pipeline_for_one_key_has_its_turns() {
    const COMMANDS: usize = 4;
    let [early, late] = [Gate::default(), Gate::default()];
    let cluster = FakeCluster::start(1);
    let gates = [early.clone(), late.clone()];
    cluster.on(0, move |call| {
        let [early, late] = &gates;
        let gate = match call.args.get(1)?.as_slice() {
            b"key" => late,
            _ => early,
        };
        let reply = Action::Send([b"+", &call.args.last()?[..], b"\r\n"].concat());
        (call.name() == "GETRANGE").then(|| vec![Action::Wait(gate.clone()), reply])
    });
    let set = [
        "limits.lane_in_flight=4",
        "timeouts.queue=60s",
        "timeouts.command=60s",
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let get = |key: &str, n: usize| encode(&["GETRANGE", key, "0", &n.to_string()]);
    let mut filler = proxy.client();
    filler.send(&(0..3).flat_map(|n| get("other", n)).collect::<Vec<_>>());
    proxy.wait_for("there is one place", SHOWN_WITHIN, || {
        in_flight(&proxy, 3.0)
    });
    let mut client = proxy.client();
    client.send(
        &(0..COMMANDS)
            .flat_map(|n| get("key", n))
            .collect::<Vec<_>>(),
    );
    proxy.wait_for("the lane is full", SHOWN_WITHIN, || in_flight(&proxy, 4.0));
    early.open();
    for n in 0..3 {
        assert_eq!(filler.reply(), format!("+{n}\r\n").into_bytes());
    }
    proxy.wait_for("all of it is on its way", SHOWN_WITHIN, || {
        in_flight(&proxy, COMMANDS as f64)
    });
    late.open();
    for n in 0..COMMANDS {
        assert_eq!(client.reply(), format!("+{n}\r\n").into_bytes());
    }
    cluster.finish();
}
