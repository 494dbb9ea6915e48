//! What a bad line to one primary does to the clients: all is slower that goes over it, and nothing else happens. Its
//! connections are kept, no command is refused or repeated, and those of other shards go on.

use super::relay::{Line, Relay};
use crate::rig::findings::{Keys, Wrong};
use crate::rig::load::{Durability, Load};
use crate::rig::stage::{Stage, ms, patient, tags_in};
use crate::support::{ServerKind, boot_cluster, redis, rounds, valkey};
use std::time::{Duration, Instant};

/// The primary behind the line, and its replica.
const FAR: usize = 0;

/// Replies that each connection hears over the bad line.
const REPLIES: u64 = 300;

/// How long another shard's rate is counted, before the line is bad and while it is.
const COUNTED: Duration = Duration::from_secs(1);

/// Across a continent, or a machine that is very busy.
const DISTANT: Line = Line {
    delay: Duration::from_millis(50),
    lost: 0,
};

/// Nearly useless, but TCP holds on to it.
const LOSSY: Line = Line {
    delay: Duration::from_millis(2),
    lost: 30,
};

#[test]
fn a_line_is_bad_on_redis() {
    bad_lines(&redis());
}

#[test]
fn a_line_is_bad_on_valkey() {
    bad_lines(&valkey());
}

fn bad_lines(kind: &ServerKind) {
    let cluster = boot_cluster(kind);
    let target = cluster.addr(FAR);
    let relay = Relay::to(target, 1);
    let map = format!("cluster.address_map={target}={}", relay.addr());
    let patient = patient();
    let mut args = vec!["--set", &map];
    args.extend(patient.iter().map(String::as_str));
    let stage = Stage::of(kind, cluster, &args);
    let mut primary = FAR;
    for round in 0..rounds() {
        for (what, line) in [
            ("a primary 50 ms away", DISTANT),
            ("a line that loses 3 % of all segments", LOSSY),
        ] {
            let seed = stage.seed + 1000 * round as u64;
            primary = bad_line(&stage, &relay, primary, what, line, seed);
        }
    }
}

/// One bad line, and a handover over it and back. Gives who is the primary then.
fn bad_line(
    stage: &Stage,
    relay: &Relay,
    primary: usize,
    what: &str,
    line: Line,
    seed: u64,
) -> usize {
    let mut row = stage.begin(8, what, seed);
    let (second, _) = stage.cluster.booted_slots(1);
    let far = tags_in(2, |slot| slot < second);
    let near = tags_in(2, |slot| slot >= second);
    let tags = [&far[..1], &near[..1]].concat();
    let load = Load::start(&stage.proxy, &tags, Durability::Kept, seed);
    let before = rate(stage, &near[1]);
    let (failed, lost) = (failures(stage), relay.lost());
    relay.become_like(line);
    load.progressed(REPLIES);
    let meanwhile = rate(stage, &near[1]);
    let failed = failures(stage) - failed;
    // Refusals and redirections cross the line, too.
    let there = stage.fail_over(primary).to;
    load.progressed(REPLIES / 2);
    stage.wait_healthy();
    let back = stage.fail_over(there).to;
    load.progressed(REPLIES / 2);
    stage.wait_healthy();
    relay.become_like(Line {
        delay: Duration::ZERO,
        lost: 0,
    });
    let lost = relay.lost() - lost;
    let findings = load.finish();
    stage.say(&format!("{what}: {findings}"));
    row.figure(
        "commands for another shard",
        format!("{before} /s before, {meanwhile} /s"),
    );
    row.figure("slowest reply", ms(findings.slowest));
    row.figure("segments lost", lost);
    row.figure("errors", findings.errors_by_kind());
    findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
    let kinds = [Keys::One, Keys::Script, Keys::Several];
    assert_eq!(findings.errors(&kinds), findings.passed_on, "{findings}");
    assert_eq!(
        failed, 0.0,
        "a slow line is no dead line: connections are kept"
    );
    assert_eq!(lost > 0, line.lost > 0, "{lost} segments lost");
    row.passed();
    stage.flush();
    back
}

/// Connections to nodes that were lost, given up, or could not be made, and requests that found no room. To ask whether
/// a silent node lives takes one connection more, which is no failure.
fn failures(stage: &Stage) -> f64 {
    let metrics = stage.proxy.metrics();
    metrics.sum("slotway_upstream_errors_total", &[])
}

/// Commands a second of a client that waits for each reply.
fn rate(stage: &Stage, tag: &str) -> u64 {
    let mut client = stage.proxy.client();
    let (key, from) = (format!("{tag}:rate"), Instant::now());
    client.command(&["DEL", &key]);
    let mut count = 0;
    while from.elapsed() < COUNTED {
        count += 1;
        client.expect(&format!("INCR {key}"), format!(":{count}\r\n").as_bytes());
    }
    count
}
