//! The end of the process: the first SIGTERM or SIGINT drains, which gives every client the replies that it waits for;
//! a second one does not wait.

mod support;

use rustix::process::Signal;
use support::node::{Action, FakeCluster, Gate};
use support::{Proxy, RawClient, SHOWN_WITHIN, encode};

/// A proxy that would drain for much longer than a test waits, and a client whose GET is held back.
struct Scene {
    // Dropped first: a node that still holds something back lets go then.
    gate: Gate,
    proxy: Proxy,
    client: RawClient,
    cluster: FakeCluster,
}

impl Scene {
    fn start() -> Self {
        Self::start_with(1)
    }

    fn start_with(workers: usize) -> Self {
        let cluster = FakeCluster::start(1);
        let gate = Gate::default();
        let held = gate.clone();
        cluster.on(0, move |call| {
            let reply = Action::Send(b"$1\r\nx\r\n".to_vec());
            (call.name() == "GET").then(|| vec![Action::Wait(held.clone()), reply])
        });
        let workers = workers.to_string();
        let args = [
            "--workers",
            &workers,
            "--set",
            "timeouts.drain=10m",
            "--set",
            "timeouts.command=60s",
        ];
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        let client = proxy.client();
        let mut scene = Self {
            gate,
            proxy,
            client,
            cluster,
        };
        scene.client.send(&encode(&["GET", "a"]));
        scene.wait_gets(1);
        scene
    }

    fn wait_gets(&self, wanted: usize) {
        let what = format!("the node has {wanted} GET");
        self.proxy
            .wait_for(&what, SHOWN_WITHIN, || match self.cluster.count(0, "GET") {
                n if n == wanted => Ok(()),
                n => Err(format!("{n} GET")),
            });
    }

    fn wait_gauges(&self, wanted: [(&str, f64); 2]) {
        self.proxy.wait_for("gauges", SHOWN_WITHIN, || {
            let metrics = self.proxy.metrics();
            let found = wanted.map(|(name, _)| (name, metrics.sum(name, &[])));
            match found == wanted {
                true => Ok(()),
                false => Err(format!("{found:?} instead of {wanted:?}")),
            }
        });
    }

    fn signal(&self, signal: Signal) {
        self.proxy.signal(signal);
    }

    fn wait_log(&self, text: &str) {
        let what = format!("the log says {text:?}");
        self.proxy.wait_for(&what, SHOWN_WITHIN, || {
            let log = self.proxy.log().join("\n");
            match log.contains(text) {
                true => Ok(()),
                false => Err(log),
            }
        });
    }
}

#[test]
fn a_signal_lets_replies_arrive_first() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut scene = Scene::start();
        scene.signal(signal);
        scene.wait_log("replies in flight are delivered");
        scene.gate.open();
        assert_eq!(scene.client.reply(), b"$1\r\nx\r\n");
        scene.client.expect_close();
        assert!(scene.proxy.wait_exit().success());
        scene.cluster.finish();
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT)] {
        let mut scene = Scene::start();
        scene.signal(first);
        scene.wait_log("replies in flight are delivered");
        scene.signal(second);
        scene.proxy.wait_exit();
        scene.wait_log("second signal");
        scene.client.expect_close();
        scene.gate.open();
        scene.cluster.finish();
    }
}

/// One worker has ended, the other waits for a reply for its client: what the first had open and in flight is not counted
/// until the process ends.
#[test]
fn a_worker_that_has_ended_is_counted_no_more() {
    let mut scene = Scene::start_with(2);
    let mut other = scene.proxy.client();
    other.send(&encode(&["GET", "b"]));
    scene.wait_gets(2);
    let (open, in_flight) = ("slotway_upstream_connections", "slotway_upstream_in_flight");
    scene.wait_gauges([(open, 2.0), (in_flight, 2.0)]);
    other.reset();
    scene.wait_gauges([("slotway_client_connections", 1.0), (in_flight, 2.0)]);
    scene.signal(Signal::TERM);
    scene.wait_gauges([(open, 1.0), (in_flight, 1.0)]);
    scene.gate.open();
    assert_eq!(scene.client.reply(), b"$1\r\nx\r\n");
    scene.client.expect_close();
    assert!(scene.proxy.wait_exit().success());
    scene.cluster.finish();
}
