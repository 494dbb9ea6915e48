//! Scenario 5: slots move between primaries under load, by `redis-cli --cluster reshard` and step by step, with
//! slots held half-migrated. No command of a single key gets an error, nothing is lost, and the order within a
//! slot is kept.

use super::overheard::Overheard;
use crate::rig::findings::{Findings, Keys, Wrong};
use crate::rig::load::{Durability, Load};
use crate::rig::pulse::Pulse;
use crate::rig::stage::{Stage, slot_of, tags_in};
use crate::support::{redis, rounds, valkey};
use slotway::demo::mortal;
use std::path::Path;

/// Slots that redis-cli moves at once: the first ones of the primary they are taken from.
const RESHARDED: u16 = 12;

/// Replies that each connection hears while a slot is half-migrated.
const HALF_WAY: u64 = 150;

/// The same while one stays so.
const HELD: u64 = 1500;

/// How long redis-cli may take, in seconds.
const RESHARD_MAX: &str = "120";

#[test]
fn slots_move_under_load_on_redis() {
    slots_move(&Stage::set(&redis()));
}

#[test]
fn slots_move_under_load_on_valkey() {
    slots_move(&Stage::set(&valkey()));
}

#[test]
fn a_slot_is_held_half_migrated_on_redis() {
    a_slot_is_held(&Stage::set(&redis()));
}

#[test]
fn a_slot_is_held_half_migrated_on_valkey() {
    a_slot_is_held(&Stage::set(&valkey()));
}

fn slots_move(stage: &Stage) {
    let (first, _) = stage.cluster.booted_slots(1);
    let stepwise = tags_in(2, |slot| slot < first);
    let resharded = tags_in(2, |slot| (first..first + RESHARDED).contains(&slot));
    let stays = tags_in(1, |slot| slot >= 2 * first);
    let tags = [&stepwise[..], &resharded, &stays].concat();

    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(5, "slots move", seed);
        let load = Load::start(&stage.proxy, &tags, Durability::Kept, seed);
        let pulse = Pulse::start(stage, &stepwise[0]);
        let before = counted(stage);
        for (tag, there) in stepwise.iter().zip([1, 2]) {
            move_stepwise(stage, &load, slot_of(tag), 0, there);
        }
        for (tag, there) in stepwise.iter().zip([1, 2]) {
            move_stepwise(stage, &load, slot_of(tag), there, 0);
        }
        // What one round moves there, the next one moves back: they are the first slots in both.
        let (from, to) = if round % 2 == 0 { (1, 2) } else { (2, 1) };
        reshard(stage, from, to);
        load.progressed(HALF_WAY);
        let pauses = pulse.finish();
        let findings = load.finish();
        let [moved, asked, passed_on] = since(stage, before);
        stage.say(&format!("resharding: {findings}"));
        row.figure("MOVED", moved);
        row.figure("ASK", asked);
        row.figure("passed on", passed_on);
        stage.note(&mut row, &findings, pauses);
        assert_nothing_seen(&findings, passed_on);
        assert!(moved > 0.0 && asked > 0.0, "slots moved under load");
        row.passed();
        stage.flush();
    }
}

/// Half of the keys have moved, and it stays so. A command of the other half finds its key by ASK: it is not in the
/// map, so each is sent twice, and ASKING is right in front of the second one.
fn a_slot_is_held(stage: &Stage) {
    let (first, _) = stage.cluster.booted_slots(1);
    let held = tags_in(1, |slot| slot < first);
    let tags = [&held[..], &tags_in(1, |slot| slot >= first)].concat();
    let slot = slot_of(&held[0]);
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(5, "a slot stays half moved", seed);
        let begun = counted(stage);
        let load = Load::start(&stage.proxy, &tags, Durability::Kept, seed);
        let pulse = Pulse::start(stage, &held[0]);
        load.progressed(HALF_WAY);
        stage.cluster.begin_migration(slot, 0, 1).unwrap();
        let overheard = Overheard::start(&stage.cluster, 1, &held[0]);
        move_half(stage, slot, 0, 1);
        let before = counted(stage);
        load.progressed(HELD);
        let [moved, asked, _] = since(stage, before);
        let asking = overheard.finish();
        stage.cluster.move_all_keys(slot, 0, 1).unwrap();
        stage.cluster.finish_migration(slot, 0, 1).unwrap();
        load.progressed(HALF_WAY);
        stage.cluster.migrate_slot(slot, 1, 0).unwrap();
        let pauses = pulse.finish();
        let findings = load.finish();
        let [_, _, passed_on] = since(stage, begun);
        stage.say(&format!("held half-migrated: {findings}; {asking:?}"));
        row.figure("ASK", asked);
        row.figure("commands behind ASKING", asking.behind);
        row.figure("passed on", passed_on);
        stage.note(&mut row, &findings, pauses);
        assert_nothing_seen(&findings, passed_on);
        assert!(asking.behind > 0 && asked > 0.0, "keys were asked for");
        assert_eq!(asking.without, Vec::<String>::new());
        // What comes without ASKING is refused with MOVED.
        assert_eq!(moved, 0.0, "the slot does not move meanwhile");
        row.passed();
        stage.flush();
    }
}

fn assert_nothing_seen(findings: &Findings, passed_on: f64) {
    findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
    let errors = findings.errors(&[Keys::One, Keys::Script]);
    assert_eq!(errors, 0, "{findings}");
    // A client may hear of it so late, behind others, that it takes it for a TRYAGAIN whose time was up.
    assert!(
        findings.passed_on as f64 <= passed_on,
        "a refusal is passed on only for the order's sake, and counted: {findings}"
    );
}

/// MOVED, ASK, passed on: since then.
fn since(stage: &Stage, before: [f64; 3]) -> [f64; 3] {
    let now = counted(stage);
    [0, 1, 2].map(|kind| now[kind] - before[kind])
}

fn counted(stage: &Stage) -> [f64; 3] {
    ["moved", "ask", "passed_on"].map(|kind| stage.redirections(kind))
}

/// Moves a slot, half of its keys first, and lets the load play in between.
fn move_stepwise(stage: &Stage, load: &Load, slot: u16, from: usize, to: usize) {
    let cluster = &stage.cluster;
    cluster.begin_migration(slot, from, to).unwrap();
    load.progressed(HALF_WAY);
    move_half(stage, slot, from, to);
    load.progressed(HALF_WAY);
    cluster.move_all_keys(slot, from, to).unwrap();
    load.progressed(HALF_WAY);
    cluster.finish_migration(slot, from, to).unwrap();
    load.progressed(HALF_WAY);
}

/// Every other key: of those of an MSET, some are here and some are there.
fn move_half(stage: &Stage, slot: u16, from: usize, to: usize) {
    let cluster = &stage.cluster;
    let number = slot.to_string();
    let reply = cluster
        .ask(from, &["CLUSTER", "GETKEYSINSLOT", &number, "100"])
        .unwrap();
    let keys: Vec<String> = reply.elements().iter().map(|k| k.text()).collect();
    assert!(keys.len() > 4, "the load has keys in slot {slot}");
    let half: Vec<&String> = keys.iter().step_by(2).collect();
    cluster.move_keys(from, to, &half).unwrap();
}

/// Has redis-cli move the first slots of one primary to another.
fn reshard(stage: &Stage, from: usize, to: usize) {
    stage.wait_healthy();
    let cluster = &stage.cluster;
    let output = mortal(Path::new("timeout"))
        .args([RESHARD_MAX, "redis-cli", "--cluster", "reshard"])
        .arg(cluster.addr(from).to_string())
        .args(["--cluster-from", cluster.id(from)])
        .args(["--cluster-to", cluster.id(to)])
        .args(["--cluster-slots", &RESHARDED.to_string(), "--cluster-yes"])
        .output()
        .expect("redis-cli is on PATH");
    let text = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{problems}");
}
