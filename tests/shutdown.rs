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
        let cluster = FakeCluster::start(1);
        let gate = Gate::default();
        let held = gate.clone();
        cluster.on(0, move |call| {
            let reply = Action::Send(b"$1\r\nx\r\n".to_vec());
            (call.name() == "GET").then(|| vec![Action::Wait(held.clone()), reply])
        });
        let args = [
            "--workers",
            "1",
            "--set",
            "timeouts.drain=10m",
            "--set",
            "timeouts.command=60s",
        ];
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        let mut client = proxy.client();
        client.send(&encode(&["GET", "a"]));
        proxy.wait_for("the node has the GET", SHOWN_WITHIN, || {
            match cluster.count(0, "GET") {
                1 => Ok(()),
                n => Err(format!("{n} GET")),
            }
        });
        Self {
            gate,
            proxy,
            client,
            cluster,
        }
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
