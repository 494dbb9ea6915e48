//! Deterministic simulation: the proxy's own workers, sessions, lanes and topology task on one thread, in made-up time, over
//! connections in memory, before a model of a cluster. A seed decides all that happens; the same seed is the same run.
//!
//!     ./tests/simulate.sh 100000          so many fresh seeds, release build
//!     SLOTWAY_SEED=17 cargo test --features simulation --test simulation -- --nocapture one_seed

#![allow(unreachable_pub, reason = "the modules of a test are its own")]
#![allow(
    clippy::unwrap_used,
    reason = "in a helper of a test, too, to fail is to panic"
)]

#[path = "simulation/channels.rs"]
mod channels;
#[path = "simulation/cluster.rs"]
mod cluster;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "its seeds are drawn by the clock"
)]
#[path = "support/form.rs"]
mod form;
#[path = "simulation/gauges.rs"]
mod gauges;
#[path = "simulation/history.rs"]
mod history;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/peer.rs"]
mod peer;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/request.rs"]
mod request;
#[path = "simulation/rng.rs"]
mod rng;
#[path = "simulation/run.rs"]
mod run;
#[path = "support/scenario.rs"]
mod scenario;
#[path = "simulation/trace.rs"]
mod trace;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;

use form::{is_long, rounds};
use run::{Kept, Lab, many};
use scenario::Scenario;
use std::time::{Duration, Instant, SystemTime};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds that have shown a fault of the proxy once.
const KEPT: &[u64] = &[
    // An answer that was asked for before a MOVED undid it: the former owner had risen in epoch for another slot.
    480, // A proxy that was told to end took no notice of new maps, not even of the first.
    774, // A MOVED that a node had said before it got the slot came late, and undid what was known since.
    1_795_396_764_018_340,
    // Nodes so slow that the time of a command was over while MOVED was followed: the client got the MOVED.
    1_795_396_764_019_275,
    // Messages of a node that is not the home, had they been taken: no fault of the proxy, but the model can tell.
    5_529,
    // A request that waited for room in a full lane was forgotten, if its turn came while one in front of it, which had been
    // redirected, was being followed.
    1_795_405_000_030_563,
    // MULTI was refused because memory was short, and what was behind it carried out command by command.
    477,
    // A node's MOVED to a subscription, from before it got the slot, was taken for the answer to a later one.
    501_972,
    // A reply from before a failover made the demoted node the heir of the new primary, which could not be reached: a request
    // went back to it at once, as often as it said no.
    1_800_004_887,
    // A client was told that it had not subscribed, for its node was late, and heard a message all the same.
    1_800_004_670,
    // The same, twice for one channel: the first end was taken for the second.
    1_900_067_520,
    // UNWATCH was refused because memory was short, and the next transaction was of two slots.
    1_795_441_631_032_934,
    // Nodes that needed longer to answer than the first refresh waits were not heard, though nobody else was known.
    1_795_445_532_072_585,
    // A pop for a client that had closed its sending side was given up while its answer was on its way from a slow node.
    1_795_449_756_012_830,
    // No faults of the proxy: a client was closed for its memory while it waited; and another subscribed at a slow node, which
    // took three seconds to say so.
    1_795_450_579_087_406,
    1_795_450_579_050_268,
    // No fault of the proxy: all of the last client's commands at once took more memory than there was.
    1_795_445_532_060_301,
    // Memory was short when a worker ended: what was in flight on its lanes was counted for ever.
    1_795_453_023_006_961,
    // The model's: a connection that was late twice was given up as one that is not, and what was on its way arrived.
    1_795_467_769_088_162,
    // A slot went and came back, known by MOVED only: an answer from before both confirmed the second, and those who had
    // heard of the first undid it.
    1_795_469_986_079_830,
    // No fault of the proxy: a command was at a slow node while its slot was moved five times.
    1_795_473_786_087_232,
];

/// The first seed of the short form, how many there are, and how long they may take.
const SHORT: (u64, u64, Duration) = (1, 2_000, Duration::from_secs(12));

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn seeds_that_failed_once_hold() {
    let lab = Lab::new();
    for &seed in KEPT {
        if let Some(problem) = lab.run(seed, Kept::Hash).problem {
            panic!("seed {seed}: {problem}");
        }
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let lab = Lab::new();
    for seed in 1..=50 {
        let once = lab.run(seed, Kept::Hash);
        let again = lab.run(seed, Kept::Hash);
        assert_eq!(once.hash, again.hash, "seed {seed}");
    }
}

#[test]
fn one_seed() {
    let Some(seed) = number("SLOTWAY_SEED") else {
        return;
    };
    let run = Lab::new().run(seed, Kept::Words);
    run.lines.iter().for_each(|line| eprintln!("{line}"));
    eprintln!("seed {seed}: hash {:016x}, {:?}", run.hash, run.problem);
    assert_eq!(run.problem, None);
}

#[test]
fn many_seeds() {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let fresh = || number("SLOTWAY_FIRST_SEED").unwrap_or(now.as_secs() * 1_000_000);
    let (first, seeds, within) = match number("SLOTWAY_SEEDS") {
        Some(seeds) => (fresh(), seeds, Duration::MAX),
        None if is_long() => (fresh(), SHORT.1 * rounds() as u64, Duration::MAX),
        None => SHORT,
    };
    let mut scenario = Scenario::begin(0, "simulation", "-");
    scenario.seeded(first);
    let began = Instant::now();
    let failures = number("SLOTWAY_FAILURES").unwrap_or(1) as usize;
    let sum = many(first, seeds, within, failures);
    scenario.figure("seeds", sum.seeds);
    scenario.figure("took", format!("{:.1} s", began.elapsed().as_secs_f64()));
    scenario.figure("requests", sum.requests);
    scenario.figure("errors", sum.errors);
    for (kind, count) in &sum.happened {
        scenario.figure(&format!("{kind:?}"), count);
    }
    if let Some((seed, problem)) = sum.failed.first() {
        run::report(*seed, problem);
        panic!("seed {seed}: {problem}");
    }
    scenario.passed();
}
