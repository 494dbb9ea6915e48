//! Scenario 4: CLUSTER FAILOVER under load, again and again. The cluster loses nothing by it, so nothing may be
//! lost, executed twice or reordered behind the proxy.

use crate::rig::findings::{Keys, Wrong};
use crate::rig::load::{Durability, Load};
use crate::rig::pulse::Pulse;
use crate::rig::stage::{Stage, tags_in};
use crate::support::{redis, rounds, valkey};

/// Which hand over: the first one twice, there and back, then the others.
const SHARDS: [usize; 4] = [0, 0, 1, 2];

/// Replies that each connection hears between two of them.
const BETWEEN: u64 = 200;

#[test]
fn primaries_hand_over_under_load_on_redis() {
    primaries_hand_over(&Stage::set(&redis()));
}

#[test]
fn primaries_hand_over_under_load_on_valkey() {
    primaries_hand_over(&Stage::set(&valkey()));
}

fn primaries_hand_over(stage: &Stage) {
    let (second, _) = stage.cluster.booted_slots(1);
    let (third, _) = stage.cluster.booted_slots(2);
    let tags = [
        tags_in(2, |slot| slot < second),
        tags_in(1, |slot| (second..third).contains(&slot)),
        tags_in(1, |slot| slot >= third),
    ]
    .concat();
    let mut primaries = [0, 1, 2];
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(4, "CLUSTER FAILOVER", seed);
        let load = Load::start(&stage.proxy, &tags, Durability::Kept, seed);
        let pulse = Pulse::start(stage, &tags[0]);
        let counted = || ["moved", "passed_on"].map(|kind| stage.redirections(kind));
        let before = counted();
        let mut given_up = 0;
        for shard in SHARDS {
            let handover = stage.fail_over(primaries[shard]);
            primaries[shard] = handover.to;
            given_up += handover.attempts - 1;
            load.progressed(BETWEEN);
            stage.wait_healthy();
        }
        let pauses = pulse.finish();
        let findings = load.finish();
        let now = counted();
        let (moved, passed_on) = (now[0] - before[0], now[1] - before[1]);
        stage.say(&format!("handing over: {findings}"));
        row.figure("handovers", SHARDS.len());
        row.figure("attempts the servers gave up", given_up);
        row.figure("MOVED", moved);
        row.figure("passed on", passed_on);
        stage.note(&mut row, &findings, pauses);
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
        // That includes attempts that a server gives up: see `Stage::fail_over`.
        assert_eq!(
            findings.errors(&[Keys::One, Keys::Script, Keys::Several]),
            0,
            "a handover breaks no connection and refuses nothing for long: {findings}"
        );
        assert!(moved > 0.0, "primaries changed under load");
        row.passed();
        stage.flush();
    }
}
