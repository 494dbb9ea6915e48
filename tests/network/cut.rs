//! Scenario 8. A cut that only clients see is one that the cluster does not heal: how soon the proxy notices it, how
//! often it dials meanwhile, how soon it serves once the cut is lifted. If the host is gone altogether, its replica
//! takes over.

use super::direct::Direct;
use super::scene::{NOTICED_MAX, Scene, again, ms, observe};
use crate::rig::findings::Wrong;
use crate::rig::load::{Durability, Load};
use crate::support::netns::{self, Fault, Net, within};
use crate::support::{Scenario, ServerKind, is_long, redis, valkey};
use std::time::{Duration, Instant};

/// Replies that each connection hears after a recovery.
const AFTER: u64 = 100;

/// How long a cut lasts after it was noticed, for the dials to be counted.
const DEAD: Duration = Duration::from_secs(2);

/// Dials a second that a dead node may get, by promise.
const DIALS_PER_SECOND: f64 = 10.0;

/// What the proxy may take longer than the cluster, by promise.
const ADDED_MAX: Duration = Duration::from_millis(500);

/// Each of the faults on a cluster of its own.
#[test]
fn a_node_is_cut_off() {
    let silence = |net: &Net| again(net, &redis(), |scene, n| cut(scene, Fault::Silence, n));
    let reset = |net: &Net| again(net, &redis(), |scene, n| cut(scene, Fault::Reset, n));
    let connections = |net: &Net| again(net, &valkey(), connections_cut);
    let host = |net: &Net| again(net, &valkey(), host_gone);
    let others = |net: &Net| {
        again(net, &redis(), |scene, round| {
            cut(scene, Fault::Unreachable, round);
            cut(scene, Fault::Mute, round);
            host_gone(scene, round);
        });
        again(net, &valkey(), |scene, round| {
            cut(scene, Fault::Silence, round);
            cut(scene, Fault::Reset, round);
        });
    };
    let all: [netns::Scene<'_>; 5] = [
        ("silence", &silence),
        ("reset", &reset),
        ("connections", &connections),
        ("host", &host),
        ("others", &others),
    ];
    let scenes = if is_long() { &all[..] } else { &all[..4] };
    within("network::cut::a_node_is_cut_off", scenes);
}

fn begin(scene: &Scene<'_>, what: &str, round: usize) -> (Scenario, Load) {
    let kind: &ServerKind = &scene.stage.kind;
    let mut scenario = Scenario::begin(8, what, kind.name);
    let seed = scene.stage.seed + 1000 * round as u64;
    scenario.seeded(seed);
    let load = Load::start(&scene.stage.proxy, &scene.tags, Durability::Kept, seed);
    (scenario, load)
}

/// What happened to the load.
fn end(scene: &Scene<'_>, mut scenario: Scenario, load: Load, wrong: &[Wrong]) {
    load.progressed(AFTER);
    let findings = load.finish();
    scenario.figure("unknown outcomes", findings.unknown);
    scene.stage.say(&findings.to_string());
    findings.assert_none(wrong);
    scenario.passed();
    scene.stage.flush();
}

/// A cut that the cluster does not notice.
fn cut(scene: &Scene<'_>, fault: Fault, round: usize) {
    let what = match fault {
        Fault::Silence => "all packets to a primary dropped",
        Fault::Reset => "connections to a primary refused",
        Fault::Unreachable => "a primary's host unreachable",
        Fault::Mute => "replies of a primary dropped",
    };
    let (mut scenario, load) = begin(scene, what, round);
    let node = scene.stage.cluster.addr(scene.victim());
    let at = Instant::now();
    scene.net.cut(node, fault);
    let noticed = scene.noticed(node, at);
    // Not for a condition: dials are counted over a time.
    std::thread::sleep(DEAD);
    let (dials, elapsed) = (scene.net.dials(), at.elapsed());
    let rate = dials as f64 / elapsed.as_secs_f64();
    scenario.figure("noticed after", ms(noticed));
    scenario.figure("SYNs", format!("{rate:.1} /s"));
    // Whole seconds: the first second may end within a burst.
    let most = DIALS_PER_SECOND * elapsed.as_secs_f64().ceil();
    assert!(dials as f64 <= most, "{dials} SYNs in {elapsed:?}");
    let lifted = Instant::now();
    scene.net.lift();
    let served = scene.serves(lifted).join().expect("the observer");
    scenario.figure("served after the end of it", ms(served));
    if is_long() {
        assert!(noticed <= NOTICED_MAX, "{noticed:?}");
    }
    let wrong = [Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked];
    end(scene, scenario, load, &wrong);
}

/// Established connections die without a sign, as when a firewall forgets them; new ones work.
fn connections_cut(scene: &Scene<'_>, round: usize) {
    let what = "established connections to a primary dropped, new ones work";
    let (mut scenario, load) = begin(scene, what, round);
    let victim = scene.victim();
    let direct = is_long().then(|| Direct::connect(&scene.stage.cluster, &scene.tags[1]));
    let connections = scene.connections(victim);
    let at = Instant::now();
    scene
        .net
        .cut_connections(scene.stage.cluster.addr(victim), &connections);
    let direct = direct.map(|direct| direct.serves(at));
    let served = scene.serves(at).join().expect("the observer");
    scenario.figure("served after", ms(served));
    if let Some(direct) = direct {
        let direct = direct.join().expect("the direct client");
        scenario.figure("a direct client after", direct);
    }
    scene.net.lift();
    if is_long() {
        assert!(served <= NOTICED_MAX, "{served:?}");
    }
    let wrong = [Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked];
    end(scene, scenario, load, &wrong);
}

/// The host is gone: nothing to it arrives, and the cluster fails over.
fn host_gone(scene: &Scene<'_>, round: usize) {
    let what = "a primary's host vanishes";
    let kind: &ServerKind = &scene.stage.kind;
    let mut scenario = Scenario::begin(8, what, kind.name);
    let seed = scene.stage.seed + 1000 * round as u64 + 500;
    scenario.seeded(seed);
    let load = Load::start(&scene.stage.proxy, &scene.tags, Durability::MayLose, seed);
    let cluster = &scene.stage.cluster;
    let victim = scene.victim();
    let heir = cluster.replica_of(victim).expect("it has a replica");
    let direct = is_long().then(|| Direct::connect(cluster, &scene.tags[1]));
    let at = Instant::now();
    scene.net.cut(cluster.addr(victim), Fault::Silence);
    cluster.pause(victim).unwrap();
    let direct = direct.map(|direct| direct.serves(at));
    let served = scene.serves(at);
    let heir_serves = observe(cluster.addr(heir), format!("{}:heir", scene.tags[0]), at);
    let heir_serves = heir_serves.join().expect("the observer of the heir");
    let served = served.join().expect("the observer");
    if let Some(direct) = direct {
        let direct = direct.join().expect("the direct client");
        scenario.figure("a direct client after", direct);
    }
    cluster.resume(victim).unwrap();
    scene.net.lift();
    scenario.figure("served after", ms(served));
    scenario.figure("by the cluster after", ms(heir_serves));
    if is_long() {
        assert!(
            served <= heir_serves + ADDED_MAX,
            "{served:?}, {heir_serves:?}"
        );
    }
    end(
        scene,
        scenario,
        load,
        &[Wrong::Crossed, Wrong::Twice, Wrong::Leaked],
    );
}
