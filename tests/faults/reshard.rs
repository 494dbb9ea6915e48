//! Scenario 5: slots move between primaries under load, by `redis-cli --cluster reshard` and step by step, with
//! slots held half-migrated. No command of a single key gets an error, nothing is lost, and the order within a
//! slot is kept.

use super::findings::{Keys, Wrong};
use super::load::{Durability, Load};
use super::stage::{Stage, rounds, slot_of, tags_in};
use crate::support::{redis, valkey};
use slotway::demo::mortal;
use std::path::Path;

/// Slots that redis-cli moves at once: the first ones of the primary they are taken from.
const RESHARDED: u16 = 12;

/// Replies that each connection hears while a slot is half-migrated.
const HALF_WAY: u64 = 150;

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

fn slots_move(stage: &Stage) {
    let (first, _) = stage.cluster.booted_slots(1);
    let stepwise = tags_in(2, |slot| slot < first);
    let resharded = tags_in(2, |slot| (first..first + RESHARDED).contains(&slot));
    let stays = tags_in(1, |slot| slot >= 2 * first);
    let tags = [&stepwise[..], &resharded, &stays].concat();

    for round in 0..rounds(1) {
        let seed = stage.seed + 1000 * round as u64;
        let load = Load::start(&stage.proxy, &tags, Durability::Kept, seed);
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
        let findings = load.finish();
        let [moved, asked, passed_on] = counted(stage);
        let [moved, asked, passed_on] =
            [moved - before[0], asked - before[1], passed_on - before[2]];
        stage.say(&format!(
            "resharding: {findings}; MOVED {moved}, ASK {asked}, passed on {passed_on}"
        ));
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
        assert_eq!(findings.errors(Keys::One), 0, "{findings}");
        // A client may hear of it so late, behind others, that it takes it for a TRYAGAIN whose time was up.
        assert!(
            findings.passed_on as f64 <= passed_on,
            "a refusal is passed on only for the order's sake, and counted: {findings}"
        );
        assert!(moved > 0.0 && asked > 0.0, "slots moved under load");
        stage.flush();
    }
}

fn counted(stage: &Stage) -> [f64; 3] {
    ["moved", "ask", "passed_on"].map(|kind| stage.redirections(kind))
}

/// Moves a slot, half of its keys first, and lets the load play in between.
fn move_stepwise(stage: &Stage, load: &Load, slot: u16, from: usize, to: usize) {
    let cluster = &stage.cluster;
    cluster.begin_migration(slot, from, to).unwrap();
    load.progressed(HALF_WAY);
    let number = slot.to_string();
    let reply = cluster
        .ask(from, &["CLUSTER", "GETKEYSINSLOT", &number, "100"])
        .unwrap();
    let keys: Vec<String> = reply.elements().iter().map(|k| k.text()).collect();
    assert!(keys.len() > 4, "the load has keys in slot {slot}");
    // Every other one: of the keys of an MSET, some are here and some are there.
    let half: Vec<&String> = keys.iter().step_by(2).collect();
    cluster.move_keys(from, to, &half).unwrap();
    load.progressed(HALF_WAY);
    cluster.move_all_keys(slot, from, to).unwrap();
    load.progressed(HALF_WAY);
    cluster.finish_migration(slot, from, to).unwrap();
    load.progressed(HALF_WAY);
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
