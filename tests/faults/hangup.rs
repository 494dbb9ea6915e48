//! Scenario 13 under load. The nodes hang up on the proxy again and again (CLIENT KILL): what was in flight may have
//! executed or not, reads are repeated, writes get an error that says so, and nothing is executed twice, lost or
//! reordered. A node takes no connection any more (`maxclients`), and a node loads its data: commands wait for it.

use crate::rig::findings::{Keys, Wrong};
use crate::rig::load::{Durability, Load};
use crate::rig::pulse::Pulse;
use crate::rig::stage::{CLUSTER_MAX, Stage, ms, tags_in};
use crate::support::{encode, is_long, redis, rounds, valkey};
use slotway::demo::{Stop, wait_until};
use std::time::{Duration, Instant};

/// Times that every node hangs up.
const HANGUPS: usize = 40;

/// Replies that each connection hears between two of them.
const BETWEEN: u64 = 40;

/// Connections that a full node refuses before there is room again.
const REFUSALS: f64 = 5.0;

/// Longer than a client waits here: a command that goes on waiting when there is room again, or the data is loaded, is seen.
const PATIENT: &[&str] = &[
    "--set",
    "timeouts.command=20s",
    "--set",
    "timeouts.unavailable=60s",
];

/// How long the proxy may take to serve a node's slots when there is room again, in the long form.
const SERVED_AGAIN_MAX: Duration = Duration::from_secs(2);

/// Keys that a node loads, and how long it takes for each.
const KEYS_LOADED: usize = 500;
const KEY_LOAD_DELAY_US: &str = "1000";

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

#[test]
fn a_node_has_no_room_for_the_proxy_on_redis() {
    a_node_has_no_room(&Stage::set_with(&redis(), PATIENT));
}

#[test]
fn a_node_has_no_room_for_the_proxy_on_valkey() {
    a_node_has_no_room(&Stage::set_with(&valkey(), PATIENT));
}

#[test]
fn a_node_loads_its_data_under_load_on_redis() {
    a_node_loads(&Stage::set_with(&redis(), PATIENT));
}

#[test]
fn a_node_loads_its_data_under_load_on_valkey() {
    a_node_loads(&Stage::set_with(&valkey(), PATIENT));
}

fn nodes_hang_up(stage: &Stage) {
    let tags = some_tags(stage);
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(13, "CLIENT KILL", seed);
        let unknown = || unknown_outcomes(stage);
        let before = unknown();
        let load = Load::start(&stage.proxy, &tags, Durability::Kept, seed);
        let pulse = Pulse::start(stage, &tags[0]);
        for node in 0..stage.cluster.primaries() {
            hang_up_on_a_write(stage, node);
            load.progressed(BETWEEN);
        }
        for _ in 0..HANGUPS {
            for node in 0..stage.cluster.primaries() {
                let args = ["CLIENT", "KILL", "TYPE", "normal"];
                stage.cluster.ask(node, &args).unwrap();
            }
            load.progressed(BETWEEN);
        }
        let pauses = pulse.finish();
        let findings = load.finish();
        stage.say(&format!("hanging up: {findings}"));
        stage.note(&mut row, &findings, pauses);
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
        // A command in parts is told once and counted by its parts.
        let counted = unknown() - before;
        assert!(findings.unknown as f64 <= counted, "each is counted");
        assert!(findings.unknown > 0, "nodes hung up on writes they had");
        row.passed();
        stage.flush();
    }
}

fn some_tags(stage: &Stage) -> Vec<String> {
    let (second, _) = stage.cluster.booted_slots(1);
    [
        tags_in(2, |slot| slot < second),
        tags_in(2, |slot| slot >= second),
    ]
    .concat()
}

fn unknown_outcomes(stage: &Stage) -> f64 {
    let metrics = stage.proxy.metrics();
    metrics.sum("slotway_unknown_outcomes_total", &[])
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

/// The node's connections are closed, and it refuses new ones for a while. What the proxy had sent may have executed.
fn a_node_has_no_room(stage: &Stage) {
    let tags = some_tags(stage);
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(13, "maxclients", seed);
        let load = Load::start(&stage.proxy, &tags, Durability::Kept, seed);
        let pulse = Pulse::start(stage, &tags[0]);
        load.progressed(BETWEEN);
        // Stays connected: nobody else gets in later.
        let mut operator = stage.cluster.connect(0).unwrap();
        let mut tell = |args: &[&str]| {
            let reply = operator.command(args).unwrap();
            assert!(!reply.is_error(), "{args:?}: {reply:?}");
            reply.text()
        };
        let before = refused_connections(stage);
        let room = "10000";
        tell(&["CONFIG", "SET", "maxclients", "1"]);
        tell(&["CLIENT", "KILL", "TYPE", "normal"]);
        let refused = wait_until("it has tried", CLUSTER_MAX, &Stop::default(), || {
            match refused_connections(stage) - before {
                n if n >= REFUSALS => Ok(()),
                n => Err(format!("{n} refused")),
            }
        });
        refused.unwrap();
        tell(&["CONFIG", "SET", "maxclients", room]);
        let since = Instant::now();
        load.progressed(BETWEEN);
        let again = since.elapsed();
        let pauses = pulse.finish();
        let findings = load.finish();
        stage.say(&format!("no room: {findings}"));
        row.figure("served again after", ms(again));
        stage.note(&mut row, &findings, pauses);
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
        let errors = findings.errors(&[Keys::One, Keys::Script, Keys::Several]);
        assert_eq!(errors, findings.unknown, "the others wait: {findings}");
        if is_long() {
            assert!(again <= SERVED_AGAIN_MAX, "{again:?}");
        }
        row.passed();
        stage.flush();
    }
}

/// Attempts to connect to the first node that came to nothing, or to a connection that was closed at once.
fn refused_connections(stage: &Stage) -> f64 {
    let node = stage.cluster.addr(0).to_string();
    let metrics = stage.proxy.metrics();
    let reasons = ["connect", "handshake", "lost"].map(|reason| {
        let labels = [("node", node.as_str()), ("reason", reason)];
        metrics.sum("slotway_upstream_errors_total", &labels)
    });
    reasons.iter().sum()
}

/// A node reads its data from disk, slowly, and answers LOADING meanwhile. Nothing has executed then, so nothing is
/// told to clients while it does not take longer than `timeouts.unavailable`, but for the order's sake. A script may have
/// written before it says LOADING in words of its own, so that is passed on.
fn a_node_loads(stage: &Stage) {
    let tags = some_tags(stage);
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(13, "LOADING", seed);
        fill(stage, &tags[0]);
        let load = Load::start(&stage.proxy, &tags, Durability::Kept, seed);
        let pulse = Pulse::start(stage, &tags[0]);
        load.progressed(BETWEEN);
        let counted = || ["loading", "passed_on"].map(|kind| stage.redirections(kind));
        let before = counted();
        let ask = |args: &[&str]| stage.cluster.ask(0, args).unwrap();
        // Looks up from its work that often: the least it takes, in bytes.
        ask(&[
            "CONFIG",
            "SET",
            "loading-process-events-interval-bytes",
            "1024",
        ]);
        ask(&["CONFIG", "SET", "key-load-delay", KEY_LOAD_DELAY_US]);
        ask(&["DEBUG", "RELOAD"]);
        load.progressed(BETWEEN);
        let pauses = pulse.finish();
        let findings = load.finish();
        let now = counted();
        let [loading, passed_on] = [now[0] - before[0], now[1] - before[1]];
        stage.say(&format!("loading: {findings}"));
        row.figure("LOADING", loading);
        row.figure("passed on", passed_on);
        stage.note(&mut row, &findings, pauses);
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
        assert!(loading > 0.0, "the node said so");
        // Where a later command of a pipeline came when the data was there, an earlier one of the same key is not
        // repeated behind it.
        let errors = findings.errors(&[Keys::One, Keys::Several]);
        assert!(errors as f64 <= passed_on, "{findings}");
        row.passed();
        stage.flush();
    }
}

/// What takes the node about half a second to load.
fn fill(stage: &Stage, tag: &str) {
    let mut client = stage.proxy.client();
    let value = "x".repeat(1024);
    for n in 0..KEYS_LOADED {
        client.send(&encode(&["SET", &format!("{tag}:{n}"), &value]));
    }
    let replies = client.replies(KEYS_LOADED);
    assert!(replies.iter().all(|reply| reply == b"+OK\r\n"));
}
