//! Scenario 3. SIGSTOP: the host of the primary accepts connections and acknowledges bytes, and nobody answers. After
//! 1 s of it everything goes on as before; after 10 s its replica has taken over, and what wakes up is no primary any
//! more: nothing is sent to it from 1 s after the failover on.

use super::direct::Direct;
use super::scene::{Scene, again, ms, observe};
use crate::rig::findings::Wrong;
use crate::rig::load::{Durability, Load};
use crate::support::netns::within;
use crate::support::{Scenario, is_long, redis, valkey};
use std::time::{Duration, Instant};

/// A pause that the cluster does not act on, and one that it does.
const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(10);

/// Nothing may be sent to the old primary from so long after the failover on; in the short form, from so long after
/// slotway has heard of it.
const SETTLED: Duration = Duration::from_secs(1);

/// Replies that each connection hears after a recovery.
const AFTER: u64 = 100;

/// By promise.
const QUESTIONS_PER_SECOND: f64 = 2.0;
const DIALS_PER_SECOND: f64 = 10.0;

#[test]
fn a_primary_stops() {
    within(
        "network::stopped::a_primary_stops",
        &[
            ("a second", &|net| again(net, &redis(), briefly)),
            ("ten seconds", &|net| again(net, &valkey(), for_long)),
        ],
    );
}

/// Dials to the node and questions for the topology since `at` are no more than promised.
#[track_caller]
fn assert_calm(scene: &Scene<'_>, scenario: &mut Scenario, at: Instant, questions_before: f64) {
    let (dials, questions) = (
        scene.net.dials() as f64,
        questions(scene) - questions_before,
    );
    // Whole seconds, and one more: both may end within a burst.
    let seconds = at.elapsed().as_secs_f64().ceil() + 1.0;
    scenario.figure("SYNs", format!("{:.1} /s", dials / seconds));
    scenario.figure(
        "topology questions",
        format!("{:.1} /s", questions / seconds),
    );
    assert!(
        dials <= DIALS_PER_SECOND * seconds,
        "{dials} SYNs in {seconds} s"
    );
    assert!(
        questions <= QUESTIONS_PER_SECOND * seconds,
        "{questions} questions in {seconds} s"
    );
}

fn questions(scene: &Scene<'_>) -> f64 {
    let metrics = scene.stage.proxy.metrics();
    metrics.sum("slotway_topology_refreshes_total", &[])
}

fn briefly(scene: &Scene<'_>, round: usize) {
    let stage = &scene.stage;
    let mut scenario = Scenario::begin(3, "stopped for 1 s", stage.kind.name);
    let seed = stage.seed + 1000 * round as u64;
    scenario.seeded(seed);
    let load = Load::start(&stage.proxy, &scene.tags, Durability::MayLose, seed);
    let victim = scene.victim();
    let direct = Direct::connect(&stage.cluster, &scene.tags[1]);
    let before = questions(scene);
    scene.net.lift();
    scene.net.count_dials(stage.cluster.addr(victim));
    let at = Instant::now();
    stage.cluster.pause(victim).unwrap();
    let direct = direct.serves(at);
    let served = scene.serves(at);
    // The fault itself: it lasts that long.
    std::thread::sleep(SHORT);
    stage.cluster.resume(victim).unwrap();
    let served = served.join().expect("the observer");
    let direct = direct.join().expect("the direct client");
    load.progressed(AFTER);
    assert_calm(scene, &mut scenario, at, before);
    scenario.figure("served after", ms(served));
    scenario.figure("a direct client after", direct);
    let findings = load.finish();
    scenario.figure("unknown outcomes", findings.unknown);
    stage.say(&findings.to_string());
    findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Leaked]);
    scenario.passed();
    stage.flush();
}

fn for_long(scene: &Scene<'_>, round: usize) {
    let stage = &scene.stage;
    let mut scenario = Scenario::begin(3, "stopped for 10 s, then resumed", stage.kind.name);
    let seed = stage.seed + 1000 * round as u64;
    scenario.seeded(seed);
    let load = Load::start(&stage.proxy, &scene.tags, Durability::MayLose, seed);
    let (cluster, victim) = (&stage.cluster, scene.victim());
    let heir = cluster.replica_of(victim).expect("it has a replica");
    let old = cluster.addr(victim).to_string();
    let sent = || {
        let metrics = stage.proxy.metrics();
        metrics.sum("slotway_upstream_requests_total", &[("node", &old)])
    };
    load.progressed(AFTER);
    assert!(sent() > 0.0, "the metric names the node {old}");
    let before = questions(scene);
    scene.net.lift();
    scene.net.count_dials(cluster.addr(victim));
    let at = Instant::now();
    cluster.pause(victim).unwrap();
    let noticed = scene.notice(at);
    let served = scene.serves(at);
    let heir_serves = observe(cluster.addr(heir), format!("{}:heir", scene.tags[0]), at);
    let heir_serves = heir_serves.join().expect("the observer of the heir");
    if !is_long() {
        scene.follows(heir);
    }
    // What is promised, no condition.
    std::thread::sleep(SETTLED);
    let settled = sent();
    // The fault itself: it lasts that long.
    std::thread::sleep(LONG.saturating_sub(at.elapsed()));
    // Before the test itself connects to the node again.
    assert_calm(scene, &mut scenario, at, before);
    cluster.resume(victim).unwrap();
    stage.wait_healthy();
    load.progressed(AFTER);
    let after = sent();
    let served = served.join().expect("the observer");
    let (noticed, _) = noticed.join().expect("the client that waits");
    scenario.figure("noticed after", ms(noticed));
    scenario.figure("served after", ms(served));
    scenario.figure("by the cluster after", ms(heir_serves));
    // A node that serves nothing is forgotten, and counted from 0 if anything is sent to it again.
    let late = if after == 0.0 { 0.0 } else { after - settled };
    scenario.figure("sent to the old primary after the failover", late);
    assert_eq!(late, 0.0, "requests went to the old primary");
    let findings = load.finish();
    scenario.figure("unknown outcomes", findings.unknown);
    stage.say(&findings.to_string());
    findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Leaked]);
    scenario.passed();
    stage.flush();
}
