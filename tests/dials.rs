//! How often a node that is gone is dialled: a loss that takes many connections along is no reason to dial as often.

#![allow(clippy::unwrap_used, reason = "in tests to fail is to panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::node::{Action, FakeCluster};
use support::{Proxy, RawClient, Scenario, encode, rounds};

/// Clients, each of which has a connection to the node to itself.
const CLIENTS: usize = 300;

/// Dials of the proxy to a node that is gone: for each second, and at any one time.
const EVERY_SECOND: f64 = 10.0;
const AT_ONCE: f64 = 10.0;

const SHOWN_WITHIN: Duration = Duration::from_secs(60);

/// A node that accepts connections, and closes them at the first word while it is gone. Blocking reads wait at it for ever.
struct Stage {
    cluster: FakeCluster,
    proxy: Proxy,
    gone: Arc<AtomicBool>,
}

impl Stage {
    fn new() -> Self {
        let cluster = FakeCluster::start(1);
        let gone = Arc::new(AtomicBool::new(false));
        let is_gone = gone.clone();
        cluster.on(0, move |call| match call.name().as_str() {
            _ if is_gone.load(Ordering::Relaxed) => Some(vec![Action::Close]),
            "XREAD" => Some(vec![]),
            "SUBSCRIBE" => Some(vec![Action::Send(
                b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".to_vec(),
            )]),
            _ => None,
        });
        let set = ["timeouts.unavailable=60s", "timeouts.command=60s"];
        let mut args = vec!["--workers", "1"];
        set.iter().for_each(|one| args.extend(["--set", one]));
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        Self {
            cluster,
            proxy,
            gone,
        }
    }

    fn clients(&self, command: &[&str]) -> Vec<RawClient> {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| self.proxy.client()).collect();
        for client in &mut clients {
            client.send(&encode(command));
        }
        self.wait(command[0], CLIENTS);
        clients
    }

    fn wait(&self, name: &str, wanted: usize) {
        let there = || match self.cluster.count(0, name) {
            n if n >= wanted => Ok(()),
            n => Err(format!("{n} of {wanted}")),
        };
        self.proxy.wait_for(name, SHOWN_WITHIN, there);
    }

    /// The node is gone for a while: how often it was dialled, and for how long.
    fn outage(&self) -> (usize, Duration) {
        let before = self.cluster.accepted(0);
        let since = Instant::now();
        self.gone.store(true, Ordering::Relaxed);
        self.cluster.disconnect(0);
        let dials = || self.cluster.accepted(0) - before;
        self.proxy
            .wait_for("it is dialled", SHOWN_WITHIN, || match dials() {
                n if n >= 8 => Ok(()),
                n => Err(format!("{n} dials")),
            });
        let seen = (dials(), since.elapsed());
        self.gone.store(false, Ordering::Relaxed);
        seen
    }
}

#[test]
fn the_loss_of_many_leases_is_no_storm_of_dials() {
    (0..rounds()).for_each(|_| storm(&["XREAD", "BLOCK", "0", "STREAMS", "s", "0-0"]));
}

#[test]
fn the_loss_of_many_subscriptions_is_no_storm_of_dials() {
    (0..rounds()).for_each(|_| storm(&["SUBSCRIBE", "c"]));
}

fn storm(command: &[&str]) {
    let what = format!("{CLIENTS} connections lost at once ({})", command[0]);
    let mut scenario = Scenario::begin(2, &what, "-");
    let stage = Stage::new();
    let clients = stage.clients(command);
    let (dials, elapsed) = stage.outage();
    let most = AT_ONCE + EVERY_SECOND * elapsed.as_secs_f64();
    assert!(dials as f64 <= most, "{dials} dials in {elapsed:?}");
    let since = Instant::now();
    stage.wait(command[0], 2 * CLIENTS);
    scenario.figure("dials", format!("{dials} in {} ms", elapsed.as_millis()));
    let again = since.elapsed().as_millis();
    scenario.figure("all of them again after", format!("{again} ms"));
    scenario.passed();
    drop(clients);
    stage.cluster.finish();
}
