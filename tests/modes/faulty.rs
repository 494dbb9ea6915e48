//! Scenario 15: a primary is killed and comes back as a replica; primaries hand over again and again.

use crate::modes::cast::{Cast, Nodes, Tag};
use crate::modes::held::{Fault, Held};
use crate::rig::findings::Wrong;
use crate::rig::load::{Durability, Load};
use crate::rig::pulse::Pulse;
use crate::rig::stage::{Stage, slot_of, tags_in};
use crate::support::{redis, rounds, valkey, wait_empty};

/// Longer than a client waits here: what is not executed waits for the cluster, however long that takes on this machine.
const PATIENT: &[&str] = &[
    "--set",
    "timeouts.command=20s",
    "--set",
    "timeouts.unavailable=60s",
];

/// Things that each client does between two faults.
const BETWEEN: u64 = 5;

/// Handovers of the same shard in one round.
const HANDOVERS: usize = 3;

#[test]
fn clients_in_modes_survive_a_kill_on_redis() {
    a_primary_is_killed(&mut Stage::set_with(&redis(), PATIENT));
}

#[test]
fn clients_in_modes_survive_a_kill_on_valkey() {
    a_primary_is_killed(&mut Stage::set_with(&valkey(), PATIENT));
}

#[test]
fn clients_in_modes_survive_failovers_on_redis() {
    primaries_hand_over(&Stage::set_with(&redis(), PATIENT));
}

#[test]
fn clients_in_modes_survive_failovers_on_valkey() {
    primaries_hand_over(&Stage::set_with(&valkey(), PATIENT));
}

/// One in the second shard, which is the home of ordinary channels and the one that the fault is about, and one in the
/// third.
fn some_tags(stage: &Stage, durability: Durability) -> [Tag; 2] {
    let [first, second] = [1, 2].map(|primary| {
        let (from, _) = stage.cluster.booted_slots(primary);
        tags_in(1, |slot| (from..from + 5000).contains(&slot)).remove(0)
    });
    [(first, durability), (second, Durability::Kept)]
}

fn names(tags: &[Tag]) -> Vec<String> {
    tags.iter().map(|(tag, _)| tag.clone()).collect()
}

fn a_primary_is_killed(stage: &mut Stage) {
    let tags = some_tags(stage, Durability::MayLose);
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(15, "a primary is killed", seed);
        let held = Held::start(stage, &tags, round);
        let cast = Cast::start(stage.proxy.addr(), &tags);
        let load = Load::start(&stage.proxy, &names(&tags), Durability::MayLose, seed);
        let pulse = Pulse::start(stage, &tags[0].0);
        let killed = stage.cluster.owner_of(slot_of(&tags[0].0)).expect("served");
        cast.progressed(BETWEEN);
        stage.cluster.kill(killed);
        cast.progressed(BETWEEN);
        stage.cluster.restart(killed).unwrap();
        stage.wait_healthy();
        for channel in &cast.channels {
            channel.wait_home(stage);
        }
        cast.progressed(BETWEEN);
        for (held, fault) in held.into_iter().zip([Some(Fault::Killed), None]) {
            held.release(stage, fault);
        }
        cast.note_messages(&mut row, Nodes::Lost);
        let report = cast.finish();
        let pauses = pulse.finish();
        let findings = load.finish();
        report.note(stage, &mut row);
        stage.note(&mut row, &findings, pauses);
        report.assert_true();
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Leaked]);
        // What was not sent, or refused, waits for the new primary.
        assert_eq!(report.errors(), report.unknown(), "{}", report.told());
        stage.flush();
        wait_empty(&stage.proxy, &stage.cluster);
        row.passed();
    }
}

fn primaries_hand_over(stage: &Stage) {
    let tags = some_tags(stage, Durability::Kept);
    let mut primary = stage.cluster.owner_of(slot_of(&tags[0].0)).expect("served");
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(15, "CLUSTER FAILOVER", seed);
        let held = Held::start(stage, &tags, round);
        let cast = Cast::start(stage.proxy.addr(), &tags);
        let load = Load::start(&stage.proxy, &names(&tags), Durability::Kept, seed);
        let pulse = Pulse::start(stage, &tags[0].0);
        cast.progressed(BETWEEN);
        for _ in 0..HANDOVERS {
            for channel in &cast.channels {
                channel.trouble();
            }
            primary = stage.fail_over(primary).to;
            stage.wait_healthy();
            for channel in &cast.channels {
                channel.wait_home(stage);
            }
            cast.progressed(BETWEEN);
        }
        for (held, fault) in held.into_iter().zip([Some(Fault::Moved), None]) {
            held.release(stage, fault);
        }
        cast.note_messages(&mut row, Nodes::Kept);
        let report = cast.finish();
        let pauses = pulse.finish();
        let findings = load.finish();
        row.figure("handovers", HANDOVERS);
        report.note(stage, &mut row);
        stage.note(&mut row, &findings, pauses);
        report.assert_true();
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
        assert_eq!(
            report.errors(),
            0,
            "a handover breaks no connection and refuses nothing for long: {}",
            report.told()
        );
        stage.flush();
        wait_empty(&stage.proxy, &stage.cluster);
        row.passed();
    }
}
