//! Scenario 6: Valkey 9 moves slots in one step (CLUSTER MIGRATESLOTS): their keys are copied while they are served, and
//! all of them belong to the new primary from one moment on. There and back, again and again, under load and with
//! clients in every mode: nothing is lost, and no client sees anything of it. Redis 7.0 has no such command.

use crate::modes::cast::{Cast, Nodes, Tag};
use crate::modes::held::{Fault, Held};
use crate::rig::findings::{Keys, Wrong};
use crate::rig::load::{Durability, Load};
use crate::rig::pulse::Pulse;
use crate::rig::stage::{CLUSTER_MAX, Stage, tags_in};
use crate::support::{rounds, valkey, wait_empty};

/// As patient as its clients: a migration that takes long on this machine is waited for.
const PATIENT: &[&str] = &[
    "--set",
    "timeouts.command=20s",
    "--set",
    "timeouts.unavailable=60s",
];

/// Moves of the same slots in one round, there and back in turn; in the end they are there.
const MOVES: usize = 9;

/// Things that each client does between two of them, and replies that each connection of the load hears.
const BETWEEN: u64 = 5;

/// Slots that move together, from the first primary to the second or back.
const MOVED: (u16, u16) = (0, 1500);

#[test]
fn slots_move_atomically_under_load_on_valkey() {
    let stage = Stage::set_with(&valkey(), PATIENT);
    let moved = tags_in(2, |slot| (MOVED.0..=MOVED.1).contains(&slot));
    let stays = tags_in(1, |slot| slot > MOVED.1);
    let tags: Vec<Tag> = [&moved[..1], &stays]
        .concat()
        .into_iter()
        .map(kept)
        .collect();
    let all = [&moved[..], &stays].concat();
    let mut at = 0;
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(6, "CLUSTER MIGRATESLOTS there and back", seed);
        let held = Held::start(&stage, &tags, round);
        let cast = Cast::start(stage.proxy.addr(), &tags);
        let load = Load::start(&stage.proxy, &all, Durability::Kept, seed);
        let pulse = Pulse::start(&stage, &moved[0]);
        let counted = || ["moved", "ask"].map(|kind| stage.redirections(kind));
        let before = counted();
        for _ in 0..MOVES {
            for channel in &cast.channels {
                channel.trouble();
            }
            migrate(&stage, at, 1 - at);
            at = 1 - at;
            for channel in &cast.channels {
                channel.wait_home(&stage);
            }
            cast.progressed(BETWEEN);
            load.progressed(BETWEEN);
        }
        for (held, fault) in held.into_iter().zip([Some(Fault::Moved), None]) {
            held.release(&stage, fault);
        }
        cast.note_messages(&mut row, Nodes::Kept);
        let report = cast.finish();
        let pauses = pulse.finish();
        let findings = load.finish();
        let now = counted();
        let [redirected, asked] = [now[0] - before[0], now[1] - before[1]];
        row.figure("moves", MOVES);
        row.figure("MOVED", redirected);
        report.note(&stage, &mut row);
        stage.note(&mut row, &findings, pauses);
        report.assert_true();
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
        let errors = findings.errors(&[Keys::One, Keys::Script, Keys::Several]);
        assert_eq!(
            (errors, report.errors()),
            (0, 0),
            "{findings}; {}",
            report.told()
        );
        assert!(redirected > 0.0 && asked == 0.0, "slots moved, in one step");
        // What a node says when it gives subscriptions away is understood.
        let closed = stage.proxy.log();
        let closed = closed
            .iter()
            .find(|line| line.contains("closing a subscriber"));
        assert_eq!(closed, None);
        stage.flush();
        wait_empty(&stage.proxy, &stage.cluster);
        row.passed();
    }
}

fn kept(tag: String) -> Tag {
    (tag, Durability::Kept)
}

/// Has one primary give its slots to another, and waits until all nodes know.
#[track_caller]
fn migrate(stage: &Stage, from: usize, to: usize) {
    let cluster = &stage.cluster;
    let [first, last] = [MOVED.0, MOVED.1].map(|slot| slot.to_string());
    let words = [
        "CLUSTER",
        "MIGRATESLOTS",
        "SLOTSRANGE",
        &first,
        &last,
        "NODE",
    ];
    let words = [&words[..], &[cluster.id(to)]].concat();
    assert_eq!(cluster.ask(from, &words).unwrap().text(), "OK");
    stage
        .proxy
        .wait_for("the slots have moved", CLUSTER_MAX, || {
            for node in 0..cluster.len() {
                let lines = cluster.nodes_seen_by(node).map_err(|e| e.to_string())?;
                let line = lines.iter().find(|line| line.id == cluster.id(to));
                if !line.is_some_and(|line| line.serves(MOVED.0)) {
                    let how = cluster.ask(from, &["CLUSTER", "GETSLOTMIGRATIONS"]);
                    return Err(format!("node {node} sees {line:?}; {how:?}"));
                }
            }
            Ok(())
        });
}
