//! The harness itself: a scripted node is strict, and a reply ends where it ends. What the harness lets through,
//! no other test would notice.

mod support;

use slotway::cluster::Slot;
use support::node::{Action, FakeCluster, Gate, Step};
use support::{Metrics, RawClient, reply_end};

#[test]
fn a_script_is_played_byte_for_byte() {
    let cluster = FakeCluster::start(1);
    let gate = Gate::default();
    cluster.script(
        0,
        [
            Step::expect("GET a").send(b"$1\r\nx\r\n"),
            Step::expect("GET b")
                .send(b"$3\r\n")
                .then(Action::Wait(gate.clone()))
                .send(b"yes\r\n")
                .then(Action::Close),
        ],
    );
    let mut client = RawClient::connect(cluster.addr(0));
    client.expect("PING", b"+PONG\r\n");
    client.expect("GET a", b"$1\r\nx\r\n");
    client.send(&support::encode(&["GET", "b"]));
    gate.open();
    assert_eq!(client.reply(), b"$3\r\nyes\r\n");
    client.expect_close();
    assert_eq!(cluster.count(0, "GET"), 2);
    cluster.finish();
}

#[test]
#[should_panic(expected = "never came")]
fn a_step_that_never_comes_fails() {
    let cluster = FakeCluster::start(1);
    cluster.script(0, [Step::expect("GET a").send(b"$-1\r\n")]);
    cluster.finish();
}

#[test]
#[should_panic(expected = "nothing was expected")]
fn a_command_that_is_not_expected_fails() {
    let cluster = FakeCluster::start(1);
    RawClient::connect(cluster.addr(0)).line("GET a");
    drop(cluster);
}

#[test]
#[should_panic(expected = "several slots")]
fn keys_of_several_slots_fail() {
    let cluster = FakeCluster::start(1);
    RawClient::connect(cluster.addr(0)).line("MGET a b");
    cluster.finish();
}

#[test]
fn a_moving_slot_is_served_after_asking_only() {
    let cluster = FakeCluster::start(2);
    let slot = Slot::of(b"a").number();
    let from = cluster.owner(slot);
    let to = 1 - from;
    let ask = format!("-ASK {slot} {}\r\n", cluster.addr(to));
    let moved_back = format!("-MOVED {slot} {}\r\n", cluster.addr(from));
    cluster.script(from, [Step::expect("GET a").send(ask.as_bytes())]);
    cluster.script(
        to,
        [Step::expect("GET a").asking(true).send(b"$1\r\nx\r\n")],
    );

    let mut old = RawClient::connect(cluster.addr(from));
    let mut new = RawClient::connect(cluster.addr(to));
    new.expect("GET a", moved_back.as_bytes());
    cluster.begin_migration(slot, to);
    old.expect("GET a", ask.as_bytes());
    new.expect("GET a", moved_back.as_bytes());
    new.expect("ASKING", b"+OK\r\n");
    new.expect("PING", b"+PONG\r\n");
    new.expect("GET a", moved_back.as_bytes());
    new.expect("ASKING", b"+OK\r\n");
    new.expect("GET a", b"$1\r\nx\r\n");
    cluster.give_slot(slot, to);
    let moved = format!("-MOVED {slot} {}\r\n", cluster.addr(to));
    old.expect("GET a", moved.as_bytes());
    assert_eq!(cluster.refusals().len(), 4);
    cluster.finish();
}

#[test]
fn a_reply_ends_where_it_ends() {
    let replies: &[&[u8]] = &[
        b"+OK\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$4\r\n\r\n\r\n\r\n",
        b"*-1\r\n",
        b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        b"%1\r\n+a\r\n#t\r\n",
        b"|1\r\n+a\r\n+b\r\n~1\r\n,1.5\r\n",
        b"=5\r\ntxt:a\r\n",
        b">2\r\n_\r\n(123\r\n",
    ];
    for reply in replies {
        for end in 0..reply.len() {
            assert_eq!(reply_end(&reply[..end], 0), None, "{reply:?} up to {end}");
        }
        let more = [reply, b"+more\r\n".as_slice()].concat();
        assert_eq!(reply_end(&more, 0), Some(reply.len()), "{reply:?}");
    }
}

#[test]
fn samples_are_read_with_their_labels() {
    let page = "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"q\\\"} \"} 2\na{x=\"2\"} 3\nb 4\n";
    let metrics = Metrics::parse(page);
    assert_eq!(metrics.sum("a", &[]), 5.0);
    assert_eq!(metrics.sum("a", &[("x", "1"), ("y", "q\"} ")]), 2.0);
    assert_eq!(metrics.sum("b", &[]), 4.0);
}
