//! Scenario 4: CLUSTER FAILOVER under load, again and again. The cluster loses nothing by it, so nothing may be
//! lost, executed twice or reordered behind the proxy.

use super::findings::{Keys, Wrong};
use super::load::{Durability, Load};
use super::stage::{Stage, rounds, tags_in};
use crate::support::{redis, valkey};

/// Handovers in the short form.
const HANDOVERS: usize = 4;

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
    let load = Load::start(&stage.proxy, &tags, Durability::Kept, stage.seed);
    // The first shard twice, there and back; then the others.
    let mut primaries = [0, 1, 2];
    let mut given_up = 0;
    for round in 0..rounds(HANDOVERS) {
        let shard = [0, 0, 1, 2][round % 4];
        let handover = stage.fail_over(primaries[shard]);
        primaries[shard] = handover.to;
        given_up += handover.attempts - 1;
        load.progressed(BETWEEN);
        stage.wait_healthy();
    }
    let findings = load.finish();
    let moved = stage.redirections("moved");
    let passed_on = stage.redirections("passed_on");
    stage.say(&format!(
        "handing over: {findings}; MOVED {moved}, passed on {passed_on}, attempts given up by the servers {given_up}"
    ));
    findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
    // That includes attempts that a server gives up: see `Stage::fail_over`.
    let errors = findings.errors(Keys::One) + findings.errors(Keys::Several);
    assert_eq!(
        errors, 0,
        "a handover breaks no connection and refuses nothing for long: {findings}"
    );
    assert!(moved > 0.0, "primaries changed under load");
}
