//! Scenario 9: all nodes are killed under load, and started again. Clients are told that nobody serves, and are served
//! again, on the connections they have, about as soon as the cluster serves.

use super::serving::{Serving, options, tags};
use crate::rig::findings::Wrong;
use crate::rig::load::{Durability, Load};
use crate::rig::pulse::Pulse;
use crate::rig::stage::{Stage, ms};
use crate::support::{ServerKind, is_long, one_or_all, redis, rounds};
use std::time::Duration;

/// Replies that each connection hears when all is well again.
const AFTER: u64 = 100;

/// What the proxy may add to the cluster's own time, in the long form.
const ADDED_MAX: Duration = Duration::from_secs(2);

#[test]
fn all_nodes_go_down_and_come_back() {
    one_or_all(redis()).iter().for_each(all_nodes_go_down);
}

fn all_nodes_go_down(kind: &ServerKind) {
    let mut stage = Stage::set_on(kind, &options(kind), &["--set", "timeouts.unavailable=1s"]);
    let tags = tags(&stage.cluster);
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(9, "all nodes killed and started", seed);
        let load = Load::start(&stage.proxy, &tags, Durability::MayLose, seed);
        let pulse = Pulse::start(&stage, &tags[0]);
        load.progressed(AFTER);
        (0..stage.cluster.len()).for_each(|node| stage.cluster.kill(node));
        let mut client = stage.proxy.client();
        // The first one may have been on its way to a node already.
        client.line("GET a");
        let told = client.line("GET a");
        assert!(told.starts_with(b"-CLUSTERDOWN slotway: "), "{told:?}");
        client.expect("PING", b"+PONG\r\n");
        for node in 0..stage.cluster.len() {
            stage.cluster.restart(node).unwrap();
        }
        let serving = Serving::observe(&stage.cluster, stage.proxy.addr());
        let served = serving.served();
        load.progressed(AFTER);
        stage.wait_healthy();
        let pauses = pulse.finish();
        let findings = load.finish();
        stage.say(&format!("all down and back: {served:?}; {findings}"));
        row.figure("served by the cluster after", ms(served.cluster));
        row.figure("through the proxy", ms(served.proxy));
        stage.note(&mut row, &findings, pauses);
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Leaked]);
        if is_long() {
            assert!(served.added() <= ADDED_MAX, "{served:?}");
        }
        row.passed();
        stage.flush();
    }
}
