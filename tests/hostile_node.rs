//! Invariants 1 and 5 against nodes that break the protocol or hang up: surplus replies, pushes, truncated replies,
//! bytes that are no RESP, replies to what was not asked yet, closes before and after a request was handed over. The
//! connection dies, the requests on it are resent only where that is harmless, the others get an error that says
//! so, nobody gets a reply that is not theirs, and the proxy reconnects.

mod support;
#[allow(
    clippy::unwrap_used,
    reason = "a test's own module; to fail is to panic"
)]
#[path = "hostile_node/under_load.rs"]
mod under_load;

use support::node::{Action, FakeCluster, Gate, Step};
use support::{Proxy, RawClient, SHOWN_WITHIN, show};

/// More than any socket's buffers hold, so that a request of this size is never handed over as a whole while the
/// node does not read.
const HUGE_BYTES: usize = 48 << 20;

/// A node whose scripts each test writes, and a proxy with one lane to it.
struct Scene {
    cluster: FakeCluster,
    proxy: Proxy,
}

impl Scene {
    fn start() -> Self {
        let cluster = FakeCluster::start(1);
        // What is held back here is held back for longer on a slow machine, and large values share the connection.
        let args = [
            "--workers",
            "1",
            "--set",
            "timeouts.command=60s",
            "--set",
            "upstream.bulk_from=512MB",
        ];
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        Self { cluster, proxy }
    }

    fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.cluster.script(0, steps);
    }

    /// The lane works, whatever happened before.
    fn expect_serving(&self) {
        self.script([
            Step::expect("GET other").send(b"$5\r\nother\r\n"),
            Step::expect("INCR other").send(b":7\r\n"),
        ]);
        let mut other = self.proxy.client();
        other.expect("GET other", b"$5\r\nother\r\n");
        other.expect("INCR other", b":7\r\n");
    }

    /// Waits until a counter has this value.
    #[track_caller]
    fn wait_count(&self, name: &str, labels: &[(&str, &str)], expected: f64) {
        let what = format!("{name}{labels:?} is {expected}");
        self.proxy.wait_for(&what, SHOWN_WITHIN, || {
            let value = self.proxy.metrics().sum(name, labels);
            if value == expected {
                Ok(())
            } else {
                Err(format!("it is {value}"))
            }
        });
    }

    #[track_caller]
    fn wait_errors(&self, reason: &str, expected: f64) {
        self.wait_count(
            "slotway_upstream_errors_total",
            &[("reason", reason)],
            expected,
        );
    }

    /// Two clients: an INCR, for which the node waits until the gate is open and then closes the connection, and behind it
    /// one of which the node cannot have got everything by then. Whoever gets that answers `:5`.
    fn huge_behind(&self, gate: &Gate) -> [RawClient; 2] {
        self.script([Step::expect("INCR a")
            .then(Action::Wait(gate.clone()))
            .then(Action::Close)]);
        let mut first = self.proxy.client();
        first.send_lines(&["INCR a"]);
        self.wait_count("slotway_upstream_in_flight", &[], 1.0);
        let huge = format!("APPEND a {}", "h".repeat(HUGE_BYTES));
        let mut second = self.proxy.client();
        second.send_lines(&[&huge]);
        self.wait_count("slotway_upstream_in_flight", &[], 2.0);
        self.script([Step::expect(&huge).send(b":5\r\n")]);
        [first, second]
    }

    /// The number of the connection on which the node's last command of that name came.
    fn connection_of(&self, name: &str) -> usize {
        let calls = self.cluster.calls(0);
        let call = calls.iter().rfind(|call| call.name() == name);
        call.expect("it came").connection
    }
}

/// What a client gets for a write that may have been executed.
#[track_caller]
fn expect_unknown(reply: &[u8]) {
    let expected = b"-ERR slotway: outcome unknown, connection to ";
    assert!(reply.starts_with(expected), "{}", show(reply));
}

#[test]
fn a_surplus_reply_is_nobodys() {
    let scene = Scene::start();
    scene.script([Step::expect("GET a").send(b"$1\r\nx\r\n$6\r\nstolen\r\n")]);
    let mut client = scene.proxy.client();
    client.expect("GET a", b"$1\r\nx\r\n");
    scene.wait_errors("protocol", 1.0);
    scene.expect_serving();
    scene.cluster.finish();
}

/// The next reply on that connection would complete it.
#[test]
fn the_beginning_of_a_surplus_reply_is_nobodys() {
    let scene = Scene::start();
    scene.script([Step::expect("GET a").send(b"$1\r\nx\r\n$12\r\nsto")]);
    let mut client = scene.proxy.client();
    client.expect("GET a", b"$1\r\nx\r\n");
    scene.wait_errors("protocol", 1.0);
    scene.expect_serving();
    let idle = scene.connection_of("INCR");
    scene.cluster.inject(idle, b"$");
    scene.wait_errors("protocol", 2.0);
    scene.expect_serving();
    scene.cluster.finish();
}

#[test]
fn a_reply_on_an_idle_connection_is_nobodys() {
    let scene = Scene::start();
    scene.expect_serving();
    scene
        .cluster
        .inject(scene.connection_of("INCR"), b"$6\r\nstolen\r\n");
    scene.wait_errors("protocol", 1.0);
    scene.expect_serving();
    scene.cluster.finish();
}

#[test]
fn pushes_and_bytes_that_are_no_reply_end_the_connection() {
    let broken: [&[u8]; 11] = [
        b">2\r\n$10\r\ninvalidate\r\n*0\r\n",
        b"GET a\r\n",
        b"\r\n",
        b"$-7\r\n",
        b"*2\r\n$3\r\nabcd\r\n",
        b"$?\r\n;1\r\na\r\n;0\r\n",
        b"\xff\xfe",
        b"*1\r\n:1\r:1\r\n",
        // Nobody has said HELLO 3 to it.
        b"|1\r\n+a\r\n+b\r\n$1\r\nx\r\n",
        b"*1\r\n%0\r\n",
        b"_\r\n",
    ];
    let scene = Scene::start();
    for (i, bytes) in broken.into_iter().enumerate() {
        // A read is sent once more, on a new connection; a write is not.
        scene.script([
            Step::expect("GET a").send(bytes),
            Step::expect("GET a").send(b"$1\r\nx\r\n"),
            Step::expect("INCR a").send(bytes),
        ]);
        let mut client = scene.proxy.client();
        client.expect("GET a", b"$1\r\nx\r\n");
        expect_unknown(&client.line("INCR a"));
        scene.wait_errors("protocol", (i as f64 + 1.0) * 2.0);
        scene.expect_serving();
    }
    let tries = broken.len() as f64;
    scene.wait_count("slotway_unknown_outcomes_total", &[], tries);
    scene.wait_count("slotway_retries_total", &[("reason", "read_only")], tries);
    assert_eq!(scene.cluster.count(0, "INCR"), 2 * broken.len());
    scene.cluster.finish();
}

#[test]
fn a_reply_that_ends_in_the_middle_is_no_reply() {
    let scene = Scene::start();
    scene.script([
        Step::expect("GET a")
            .send(b"$10\r\nabc")
            .then(Action::Close),
        Step::expect("GET a").send(b"$2\r\nok\r\n"),
        Step::expect("INCR a").send(b":1").then(Action::Reset),
        // Twice in a row, it is not tried a third time.
        Step::expect("GET b")
            .send(b"$10\r\nabc")
            .then(Action::Close),
        Step::expect("GET b")
            .send(b"*2\r\n$1\r\na\r\n")
            .then(Action::Close),
    ]);
    let mut client = scene.proxy.client();
    client.expect("GET a", b"$2\r\nok\r\n");
    expect_unknown(&client.line("INCR a"));
    expect_unknown(&client.line("GET b"));
    // Nor is a command without keys, which is for whole shards.
    let close = || Step::expect("DBSIZE").then(Action::Close);
    scene.script([close(), close()]);
    expect_unknown(&client.line("DBSIZE"));
    scene.script([close(), Step::expect("DBSIZE").send(b":3\r\n")]);
    client.expect("DBSIZE", b":3\r\n");
    scene.wait_errors("lost", 7.0);
    scene.wait_count("slotway_unknown_outcomes_total", &[], 3.0);
    scene.expect_serving();
    scene.cluster.finish();
}

#[test]
fn a_loss_is_told_to_everyone_on_the_connection() {
    let scene = Scene::start();
    let gate = Gate::default();
    scene.script([Step::expect("INCR a")
        .then(Action::Wait(gate.clone()))
        .then(Action::Close)]);
    // In which order the reads come again is left open.
    scene.cluster.on(0, |call| {
        let reply = match (call.name().as_str(), call.args.get(1)?.as_slice()) {
            ("GET", b"b") => b"$1\r\nb\r\n",
            ("GET", b"d") => b"$1\r\nd\r\n",
            _ => return None,
        };
        Some(vec![Action::Send(reply.to_vec())])
    });
    // Four clients wait on one connection when it is closed.
    let lines = ["INCR a", "GET b", "INCR c", "GET d"];
    let mut clients = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let mut client = scene.proxy.client();
        client.send_lines(&[line]);
        scene.wait_count("slotway_upstream_in_flight", &[], i as f64 + 1.0);
        clients.push(client);
    }
    gate.open();
    let replies: Vec<Vec<u8>> = clients.iter_mut().map(RawClient::reply).collect();
    expect_unknown(&replies[0]);
    assert_eq!(replies[1], b"$1\r\nb\r\n");
    expect_unknown(&replies[2]);
    assert_eq!(replies[3], b"$1\r\nd\r\n");
    assert_eq!(
        scene.cluster.count(0, "INCR"),
        1,
        "the second was never read by the node, nor sent again"
    );
    scene.wait_count("slotway_unknown_outcomes_total", &[], 2.0);
    scene.expect_serving();
    scene.cluster.finish();
}

/// A request of which the node cannot have got everything is resent, whatever it does.
#[test]
fn what_was_not_handed_over_is_sent_again() {
    let scene = Scene::start();
    let gate = Gate::default();
    let [mut first, mut second] = scene.huge_behind(&gate);
    gate.open();
    expect_unknown(&first.reply());
    assert_eq!(second.reply(), b":5\r\n");
    scene.wait_count("slotway_unknown_outcomes_total", &[], 1.0);
    scene.wait_count("slotway_retries_total", &[("reason", "not_sent")], 1.0);
    scene.expect_serving();
    scene.cluster.finish();
}

#[test]
fn a_reply_before_its_request_is_nobodys() {
    let scene = Scene::start();
    let gate = Gate::default();
    let [mut first, mut second] = scene.huge_behind(&gate);
    // The first is the reply to INCR; the second answers what the node has not read yet.
    scene
        .cluster
        .inject(scene.connection_of("INCR"), b":1\r\n:999\r\n");
    assert_eq!(first.reply(), b":1\r\n");
    assert_eq!(second.reply(), b":5\r\n");
    gate.open();
    scene.wait_errors("protocol", 1.0);
    scene.expect_serving();
    scene.cluster.finish();
}

/// A node that is down when the request comes, and up again soon after: nothing was sent, so anything is resent.
#[test]
fn a_request_for_a_lost_connection_waits_for_the_next_one() {
    let scene = Scene::start();
    scene.expect_serving();
    for round in 0..20 {
        scene.cluster.disconnect(0);
        let reply = format!(":{round}\r\n");
        scene.wait_errors("lost", f64::from(round + 1));
        scene.script([Step::expect("INCR a").send(reply.as_bytes())]);
        scene.proxy.client().expect("INCR a", reply.as_bytes());
    }
    scene.wait_count("slotway_unknown_outcomes_total", &[], 0.0);
    scene.cluster.finish();
}
