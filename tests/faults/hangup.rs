//! Scenario 13 under load: the nodes hang up on the proxy again and again (CLIENT KILL). What was in flight may have
//! executed or not: reads are repeated, writes get an error that says so, and nothing is executed twice, lost or
//! reordered.

use super::findings::Wrong;
use super::load::{Durability, Load};
use super::stage::{Stage, is_long, tags_in};
use crate::support::{redis, valkey};
use slotway::demo::{Stop, wait_until};
use std::time::Duration;

/// Times that every node hangs up.
const HANGUPS: usize = 40;
/// The same in the long form.
const HANGUPS_LONG: usize = 1000;

/// Replies that each connection hears between two of them.
const BETWEEN: u64 = 40;

/// How long it may take until the load has sent a write to each node.
const HELD_MAX: Duration = Duration::from_secs(60);

#[test]
fn nodes_hang_up_under_load_on_redis() {
    nodes_hang_up(&Stage::set(&redis()));
}

#[test]
fn nodes_hang_up_under_load_on_valkey() {
    nodes_hang_up(&Stage::set(&valkey()));
}

fn nodes_hang_up(stage: &Stage) {
    let (second, _) = stage.cluster.booted_slots(1);
    let tags = [
        tags_in(2, |slot| slot < second),
        tags_in(2, |slot| slot >= second),
    ]
    .concat();
    let load = Load::start(&stage.proxy, &tags, Durability::Kept, stage.seed);
    for node in 0..stage.cluster.primaries() {
        hang_up_on_a_write(stage, node);
        load.progressed(BETWEEN);
    }
    for _ in 0..if is_long() { HANGUPS_LONG } else { HANGUPS } {
        for node in 0..stage.cluster.primaries() {
            let args = ["CLIENT", "KILL", "TYPE", "normal"];
            stage.cluster.ask(node, &args).unwrap();
        }
        load.progressed(BETWEEN);
    }
    let findings = load.finish();
    stage.say(&format!("hanging up: {findings}"));
    findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
    let metrics = stage.proxy.metrics();
    let unknown = metrics.sum("slotway_unknown_outcomes_total", &[]);
    // A command in parts is told once and counted by its parts.
    assert!(findings.unknown as f64 <= unknown, "each is counted");
    assert!(findings.unknown > 0, "nodes hung up on writes they had");
}

/// The other hang-ups come when they come, and may meet nothing in flight. This one does: the node has read a write
/// and holds it back (CLIENT PAUSE; such a client is shown as blocked).
fn hang_up_on_a_write(stage: &Stage, node: usize) {
    let ask = |args: &[&str]| stage.cluster.ask(node, args).unwrap();
    ask(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    wait_until("a write is held back", HELD_MAX, &Stop::default(), || {
        let clients = ask(&["CLIENT", "LIST", "TYPE", "normal"]).text();
        match clients.contains(" flags=b ") {
            true => Ok(()),
            false => Err(clients),
        }
    })
    .unwrap();
    ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    ask(&["CLIENT", "UNPAUSE"]);
}
