//! Reply identity: thousands of sequences of commands, drawn from seeds, are sent to one plain server and through the
//! proxy to a cluster of the same server, in pipelines of 1 to 1,000 commands and in pieces that end anywhere, over
//! RESP2 and RESP3. Every reply must be the same, byte for byte. What cannot be the same is in `excluded` and in
//! `compare::mode`, each with its reason, and nowhere else.
//!
//! A failure prints the seed and the shortest sequence that shows the difference. `SLOTWAY_SEED=n` runs that seed
//! alone (and those up to `SLOTWAY_SEEDS` behind it); `SLOTWAY_LONG=1` runs more of them.

#![allow(
    unreachable_pub,
    reason = "a test has modules, and nothing outside that could reach them"
)]

mod support;

#[path = "identity/catalog.rs"]
mod catalog;
#[path = "identity/catalog_other.rs"]
mod catalog_other;
#[path = "identity/compare.rs"]
mod compare;
#[path = "identity/excluded.rs"]
mod excluded;
#[path = "identity/run.rs"]
mod run;
#[path = "identity/scripts.rs"]
mod scripts;
#[path = "identity/shorten.rs"]
mod shorten;
#[path = "identity/source.rs"]
mod source;
#[path = "identity/steps.rs"]
mod steps;
#[path = "identity/template.rs"]
mod template;
#[path = "identity/values.rs"]
mod values;
#[path = "identity/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use run::Pair;
use slotway::demo::{Reply, Server};
use steps::Sequence;
use support::{Proxy, RawClient, ServerKind};

/// Sequences for each server.
const SEEDS: u64 = 2_000;
/// The same in the long form.
const SEEDS_LONG: u64 = 40_000;
/// How long the proxy may take to learn the nodes' commands.
const COMMAND_TABLE_WITHIN: Duration = Duration::from_secs(30);
/// How long sequences that fail may take together: where replies do not come at all, each takes long.
const FAILING_MAX: Duration = Duration::from_secs(120);
/// Differences of distinct kinds that are shown before the test fails.
const DIFFERENCES_MAX: usize = 10;

#[test]
fn every_reply_is_that_of_a_plain_redis() {
    every_reply_is_that_of_a_plain(&support::redis());
}

#[test]
fn every_reply_is_that_of_a_plain_valkey() {
    every_reply_is_that_of_a_plain(&support::valkey());
}

fn every_reply_is_that_of_a_plain(kind: &ServerKind) {
    // A cluster has one database.
    let plain = Server::boot(&kind.path, &[("databases", "1")]).expect("a plain server");
    let cluster = support::boot_cluster(kind);
    // Refused for what it does while slots move; here none does.
    let allow = r#"policy.allow=["msetex"]"#;
    let proxy = Proxy::start(&cluster, &["--set", allow]);
    let pair = Pair {
        plain: plain.addr(),
        proxied: proxy.addr(),
    };
    wait_for_the_command_table(&proxy, plain.addr());
    let names = command_names(&plain);
    let (mut sequences, mut commands) = (0, 0);
    let mut differences = Vec::new();
    let mut kinds = BTreeSet::new();
    let mut failing = Duration::ZERO;
    for seed in seeds() {
        if differences.len() == DIFFERENCES_MAX || failing > FAILING_MAX {
            break;
        }
        let sequence = Sequence::of(seed, kind.name, &names);
        sequences += 1;
        commands += sequence.commands();
        let started = Instant::now();
        if let Err(first) = pair.run(&sequence) {
            let (shown, difference) = pair.shorten(&sequence).unwrap_or((sequence, first));
            failing += started.elapsed();
            if !kinds.insert(difference.kind()) {
                continue;
            }
            differences.push(format!(
                "{} seed {seed}, pipeline {}, step {}: {}\nafter\n{}",
                kind.name,
                difference.at.0,
                difference.at.1,
                difference.text,
                shorten::tell(&shown)
            ));
        }
    }
    eprintln!(
        "{}: {sequences} sequences, {commands} commands compared",
        kind.name
    );
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
        )
    };
    let all = if std::env::var_os("SLOTWAY_LONG").is_some() {
        SEEDS_LONG
    } else {
        SEEDS
    };
    match number("SLOTWAY_SEED") {
        Some(first) => first..first + number("SLOTWAY_SEEDS").unwrap_or(1),
        None => 0..number("SLOTWAY_SEEDS").unwrap_or(all),
    }
}

/// Until the nodes have listed their commands the proxy takes each for a command that some server has.
fn wait_for_the_command_table(proxy: &Proxy, plain: SocketAddr) {
    /// So many clients that each worker has some.
    const CLIENTS: usize = 16;
    let expected = RawClient::connect(plain).line("HTTL");
    proxy.wait_for("the command table", COMMAND_TABLE_WITHIN, || {
        let answers = (0..CLIENTS).map(|_| proxy.client().line("HTTL"));
        let other = answers.into_iter().find(|answer| *answer != expected);
        other.map_or(Ok(()), |answer| Err(support::show(&answer)))
    });
}

/// The names of all commands that the server knows, in an order of their own.
fn command_names(server: &Server) -> Vec<String> {
    let Reply::Array(names) = server.command(&["COMMAND", "LIST"]).expect("it answers") else {
        panic!("COMMAND LIST is no array");
    };
    let mut names: Vec<String> = names
        .iter()
        .map(|name| name.text().to_ascii_lowercase())
        .collect();
    names.sort();
    names
}
