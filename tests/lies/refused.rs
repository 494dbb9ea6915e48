//! Answers that are none, MOVED that leads nowhere, and how often the nodes are asked because of it.

use super::cast::{Cast, Manner, ask, expect_served, key_in, topology, wait_refreshes};
use super::tale::Tale;
use crate::support::node::Gate;
use crate::support::{RawClient, SHOWN_WITHIN, Scenario, StopOnDrop, encode, rounds};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// More than the proxy reads of one answer.
const ENDLESS_BYTES: usize = 24 << 20;

/// Nodes that answer nothing of use cost no memory to speak of.
const GROWTH_MAX: u64 = 96 << 20;

/// The rate that operators are promised, and how many refreshes may come at once after a quiet time.
const RATE: f64 = 2.0;
const BURST: f64 = 6.0;

/// For how long a storm of MOVED goes on at least, and how many commands come to nothing in it.
const STORM: Duration = Duration::from_secs(4);
const MOVED_MIN: u64 = 1_000;

#[test]
fn a_node_that_answers_nothing_of_use_holds_up_nobody() {
    let cast = Cast::of(3);
    let proxy = cast.proxy(&[]);
    let before = proxy.rss();
    let gate = Gate::default();
    let mut endless = b"*2000000000\r\n".to_vec();
    endless.extend(b":1\r\n".repeat(ENDLESS_BYTES / 4));
    let says = |bytes: &[u8]| Manner::Says(bytes.to_vec());
    // And what the proxy makes of it.
    let manners = [
        (says(b"\xff\xfe\x00"), "it sent something that is no reply"),
        (says(b"$-1\r\n"), "CLUSTER NODES has no valid text"),
        (
            says(b"*1\r\n*1\r\n*0\r\n"),
            "CLUSTER NODES has no valid text",
        ),
        (
            says(b"$9\r\nnonsense\n\r\n"),
            "CLUSTER NODES has no valid line",
        ),
        (says(b"-LOADING the dataset\r\n"), "refused: LOADING"),
        (Manner::Says(endless), "longer than 16777216 bytes"),
        (Manner::Hangs(gate.clone()), "did not answer within"),
    ];
    // The others tell that slot 100 has moved from node 0 to node 1, and back: that is followed.
    let (mut here, mut epoch) = (0, 10);
    for (manner, error) in manners {
        let before = cast.cluster.count(2, "CLUSTER");
        cast.set(2, manner);
        here = 1 - here;
        epoch += 1;
        let mut tale = Tale::of(&cast.cluster, 3);
        if here == 1 {
            tale.nodes[0].slots = vec![(0, 99), (101, 5_460)];
            tale.nodes[1].slots.push((100, 100));
        }
        tale.nodes[here].epoch = epoch;
        cast.set(0, Manner::Tells(tale.clone()));
        cast.set(1, Manner::Tells(tale));
        proxy.wait_for("it was heard, and the move followed", SHOWN_WITHIN, || {
            let topology = topology(&proxy);
            let asked = cast.cluster.count(2, "CLUSTER") > before;
            let heard = asked && topology["nodes"].to_string().contains(error);
            let owner = cast.cluster.addr(here).to_string();
            let followed = proxy.owner_of(100).as_ref() == Some(&owner);
            let missing = || format!("not {error:?}, or not at {owner}: {topology}");
            (heard && followed).then_some(()).ok_or_else(missing)
        });
        expect_served(&proxy, &[(99, 0), (100, here), (6_000, 1), (12_000, 2)]);
    }
    gate.open();
    let grown = proxy.rss().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "grown by {grown} bytes");
    cast.cluster.finish();
}

/// It is named by topology first.
#[test]
fn moved_to_an_address_nobody_named_waits_until_somebody_does() {
    let cast = Cast::of(4);
    let mut tale = Tale::of(&cast.cluster, 3);
    cast.all_tell(&tale);
    let args = ["--set", "timeouts.command=60s"];
    let proxy = cast.proxy(&args);
    let moved = format!("-MOVED 100 {}\r\n", cast.cluster.addr(3)).into_bytes();
    let key = key_in(100);
    cast.redirect(move |call| {
        (call.node == 0 && call.args[1] == key.as_bytes()).then(|| moved.clone())
    });
    // A seed: the proxy knows its address, but nobody has named it.
    let dialled = |node| {
        let lane = |call: &&crate::support::node::Call| call.name() == "GETRANGE";
        cast.cluster.calls(node).iter().filter(lane).count()
    };
    std::thread::scope(|scope| {
        let proxy = &proxy;
        let asking = scope.spawn(move || ask(&mut proxy.client(), 100));
        wait_refreshes(proxy, 3.0);
        assert_eq!(dialled(3), 0, "sent to an address that nobody named");
        assert!(!asking.is_finished(), "topology had not confirmed it");
        let mut named = Tale::of(&cast.cluster, 4).nodes.pop().expect("four");
        named.slots = vec![(100, 100)];
        named.epoch = 9;
        tale.nodes[0].slots = vec![(0, 99), (101, 5_460)];
        tale.nodes.push(named);
        cast.all_tell(&tale);
        assert_eq!(asking.join().expect("a client"), "+3:nonce\r\n");
    });
    expect_served(&proxy, &[(99, 0), (100, 3), (101, 0)]);
}

/// What is at the other end is not the node that the address leads to now: only a new connection finds it. What is
/// in flight on the old one is answered first.
#[test]
fn moved_to_itself_has_the_proxy_connect_anew() {
    let cast = Cast::of(2);
    let proxy = cast.proxy(&[
        "--set",
        "timeouts.command=60s",
        "--set",
        "timeouts.unavailable=60s",
    ]);
    expect_served(&proxy, &[(100, 0)]);
    let calls = cast.cluster.calls(0);
    let old = calls
        .iter()
        .rfind(|call| call.name() == "GETRANGE")
        .expect("it came")
        .connection;
    let addr = cast.cluster.addr(0);
    cast.redirect(move |call| {
        let slot = slotway::cluster::Slot::of(&call.args[1]).number();
        (call.connection == old && slot == 100)
            .then(|| format!("-MOVED {slot} {addr}\r\n").into_bytes())
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop_others = StopOnDrop(&stop);
        let (proxy, stop) = (&proxy, &stop);
        let others: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = proxy.client();
                    while !stop.load(Ordering::Relaxed) {
                        assert_eq!(ask(&mut client, 200), "+0:nonce\r\n");
                    }
                })
            })
            .collect();
        let mut client = proxy.client();
        assert_eq!(ask(&mut client, 100), "+0:nonce\r\n");
        drop(stop_others);
        others
            .into_iter()
            .for_each(|other| other.join().expect("a client beside it"));
    });
    let unknown = proxy.metrics().sum("slotway_unknown_outcomes_total", &[]);
    assert_eq!(unknown, 0.0, "the old connection was not left in order");
    cast.cluster.finish();
}

#[test]
fn a_storm_of_moved_makes_no_more_questions_than_promised() {
    (0..rounds()).for_each(|_| storm());
}

fn storm() {
    let mut scenario = Scenario::begin(
        0,
        "a storm of MOVED to unknown addresses: questions to each node",
        "-",
    );
    let cast = Cast::of(3);
    let proxy = cast.proxy(&[
        "--set",
        "timeouts.command=200ms",
        "--set",
        "cluster.refresh_interval=1h",
    ]);
    let trap = TcpListener::bind("127.0.0.1:0").expect("a free port");
    trap.set_nonblocking(true).expect("a socket");
    let to = trap.local_addr().expect("it listens");
    cast.redirect(move |call| {
        let slot = slotway::cluster::Slot::of(&call.args[1]).number();
        let away = call.node != 2;
        away.then(|| format!("-MOVED {slot} {to}\r\n").into_bytes())
    });
    let asked = |node| {
        let calls = cast.cluster.calls(node);
        calls
            .iter()
            .filter(|call| call.args.get(1).is_some_and(|sub| sub == b"SHARDS"))
            .count() as f64
    };
    let before: Vec<f64> = (0..3).map(asked).collect();
    let began = Instant::now();
    let total = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let (proxy, total) = (&proxy, &total);
        let clients: Vec<_> = (0..8)
            .map(|id| {
                scope.spawn(move || {
                    let mut client = proxy.client();
                    while goes_on(began, total) {
                        let now = moved(&mut client, [id * 50, 6_000 + id * 50]);
                        total.fetch_add(now, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        clients
            .into_iter()
            .for_each(|client| client.join().expect("a client"));
    });
    let moved = total.into_inner();
    assert!(moved >= MOVED_MIN, "no storm: {moved} MOVED");
    let allowed = began.elapsed().as_secs_f64() * RATE + BURST + 2.0;
    let most = (0..3)
        .map(|node| asked(node) - before[node])
        .fold(0.0, f64::max);
    assert!(
        most <= allowed,
        "{most} questions to a node, {allowed} allowed"
    );
    assert!(
        trap.accept().is_err(),
        "an address was dialled that only MOVED named"
    );
    assert_eq!(topology(&proxy)["unconfirmed_slots"], 0);
    scenario.figure("MOVED", moved);
    scenario.figure("questions", most);
    scenario.figure("allowed", allowed.floor());
    scenario.passed();
    let mut client = proxy.client();
    proxy.wait_for("the others are served", SHOWN_WITHIN, || {
        match ask(&mut client, 12_000) {
            told if told == "+2:nonce\r\n" => Ok(()),
            told if told.contains("no reply in time") => Err(told),
            told => panic!("{told}"),
        }
    });
}

/// Asks in these slots, and says how many of the commands came to nothing.
fn moved(client: &mut RawClient, slots: [u16; 2]) -> u64 {
    let batch = slots.map(|slot| encode(&["GETRANGE", &key_in(slot), "n", "0"]).repeat(50));
    client.send(&batch.concat());
    let told = b"-CLUSTERDOWN slotway: not executed, its slot was";
    let replies = client.replies(100);
    replies.iter().filter(|r| r.starts_with(told)).count() as u64
}

/// A machine that is slow may take longer for so many.
fn goes_on(began: Instant, moved: &AtomicU64) -> bool {
    let (age, moved) = (began.elapsed(), moved.load(Ordering::Relaxed));
    age < STORM || moved < MOVED_MIN && age < SHOWN_WITHIN
}
