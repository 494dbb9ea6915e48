//! Scenario 2: SIGKILL of a primary under load, later restarted as a replica. Writes that the cluster had not
//! replicated are lost; nothing may cross or be executed twice, and the slots are served again about as soon as
//! the cluster serves them.

use crate::rig::findings::Wrong;
use crate::rig::load::{Durability, Load};
use crate::rig::pulse::Pulse;
use crate::rig::stage::{CLUSTER_MAX, Stage, ms, slot_of, tags_in};
use crate::support::{RawClient, SHOWN_WITHIN, encode, is_long, redis, rounds, valkey};
use slotway::demo::Client;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Replies that each connection hears after a recovery.
const AFTER: u64 = 200;

/// Between two questions of the observer that asks the nodes.
const OBSERVE_EVERY: Duration = Duration::from_millis(2);

/// What the proxy may add to the cluster's own time, by median, in the long form.
const ADDED_MAX: Duration = Duration::from_millis(500);

#[test]
fn a_primary_is_killed_under_load_on_redis() {
    a_primary_is_killed(&mut Stage::set(&redis()));
}

#[test]
fn a_primary_is_killed_under_load_on_valkey() {
    a_primary_is_killed(&mut Stage::set(&valkey()));
}

fn a_primary_is_killed(stage: &mut Stage) {
    let (second, _) = stage.cluster.booted_slots(1);
    let tags = [
        tags_in(2, |slot| slot < second),
        tags_in(2, |slot| slot >= second),
    ]
    .concat();
    let mut added = Vec::new();
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(2, "a primary is killed", seed);
        let load = Load::start(&stage.proxy, &tags, Durability::MayLose, seed);
        let killed = stage
            .cluster
            .owner_of(slot_of(&tags[0]))
            .expect("it is served");
        let heir = stage
            .cluster
            .replica_of(killed)
            .expect("every primary has a replica");
        let heir_addr = stage.cluster.addr(heir);
        let pulse = Pulse::start(stage, &tags[0]);
        load.progressed(AFTER);
        stage.cluster.kill(killed);
        let at = Instant::now();
        let direct = observe_node(heir_addr, format!("{}:direct", tags[0]), at);
        let proxied = observe_proxy(stage.proxy.addr(), format!("{}:proxied", tags[0]), at);
        let direct = direct.join().expect("the direct observer");
        let proxied = proxied.join().expect("the observer at the proxy");
        load.progressed(AFTER);
        let down = format!(
            "slotway_upstream_up{{node=\"{}\"}} 0\n",
            stage.cluster.addr(killed)
        );
        stage
            .proxy
            .wait_for("its failure is in the metrics", SHOWN_WITHIN, || {
                let page = stage.proxy.get("/metrics").ok_or("no answer")?.1;
                match page.contains(&down) {
                    true => Ok(()),
                    false => Err("it is not".into()),
                }
            });
        stage.cluster.restart(killed).unwrap();
        stage.wait_healthy();
        load.progressed(AFTER);
        let pauses = pulse.finish();
        let findings = load.finish();
        let lost = findings.count(Wrong::Stale);
        stage.say(&format!(
            "killed: served again after {direct:?} by the cluster, {proxied:?} through the proxy (added {} ms); \
             {lost} signs of lost writes; {findings}",
            proxied.as_millis() as i128 - direct.as_millis() as i128,
        ));
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Leaked]);
        assert_eq!(stage.cluster.replica_of(heir), Some(killed));
        added.push(proxied.saturating_sub(direct));
        row.figure("served by the cluster after", ms(direct));
        row.figure("through the proxy", ms(proxied));
        row.figure("signs of writes that the cluster lost", lost);
        stage.note(&mut row, &findings, pauses);
        row.passed();
        stage.flush();
    }
    added.sort();
    let median = added[added.len() / 2];
    let worst = added[added.len() - 1];
    stage.say(&format!(
        "killed {} times: the proxy added {median:?} by median, {worst:?} at worst",
        added.len()
    ));
    if is_long() {
        assert!(median <= ADDED_MAX, "{added:?}");
    }
}

/// Asks the heir itself until it takes a write: then the cluster serves again.
fn observe_node(heir: SocketAddr, key: String, since: Instant) -> JoinHandle<Duration> {
    std::thread::spawn(move || {
        let mut client = Client::connect(heir, None).expect("the heir runs");
        while since.elapsed() < CLUSTER_MAX {
            let reply = client.command(&["SET", &key, "1"]).expect("the heir runs");
            if !reply.is_error() {
                return since.elapsed();
            }
            std::thread::sleep(OBSERVE_EVERY);
        }
        panic!("the heir never took a write");
    })
}

/// The same through the proxy.
pub fn observe_proxy(proxy: SocketAddr, key: String, since: Instant) -> JoinHandle<Duration> {
    std::thread::spawn(move || {
        let mut client = RawClient::connect(proxy);
        while since.elapsed() < CLUSTER_MAX {
            client.send(&encode(&["SET", &key, "1"]));
            if client.reply() == b"+OK\r\n" {
                return since.elapsed();
            }
        }
        panic!("the proxy never took a write");
    })
}
