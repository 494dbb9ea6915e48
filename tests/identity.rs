//! Reply identity: thousands of sequences of commands, drawn from seeds, are sent to one plain server and through the
//! proxy to a cluster of the same server, in pipelines of 1 to 1,000 commands and in pieces that end anywhere, over
//! RESP2 and RESP3. Every reply must be the same, byte for byte. What cannot be the same is in `differences` and in
//! `compare::mode`, each with its reason, and nowhere else: every command and subcommand that the server lists is either
//! compared or has a row there.
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
#[path = "identity/differences.rs"]
mod differences;
#[path = "identity/others.rs"]
mod others;
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
use std::time::{Duration, Instant};

use differences::{BEYOND, COMPARED, DIFFERENCES, MISSING, Verdict, difference};
use run::Pair;
use slotway::demo::{Reply, Server};
use steps::Sequence;
use support::{Proxy, ServerKind};

/// Sequences for each server.
const SEEDS: u64 = 2_000;
/// The same in the long form.
const SEEDS_LONG: u64 = 40_000;
/// How long sequences that fail may take together: where replies do not come at all, each takes long.
const FAILING_MAX: Duration = Duration::from_secs(120);
/// Where the subcommands are in what COMMAND says of a command.
const SUBCOMMANDS: usize = 9;
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
    proxy.wait_commands_of(plain.addr());
    let names = command_names(&plain);
    let (mut sequences, mut commands) = (0, 0);
    let mut differences = Vec::new();
    let mut kinds = BTreeSet::new();
    let mut compared = BTreeSet::new();
    let mut failing = Duration::ZERO;
    for seed in seeds() {
        if differences.len() == DIFFERENCES_MAX || failing > FAILING_MAX {
            break;
        }
        let sequence = Sequence::of(seed, kind.name, &names);
        sequences += 1;
        commands += sequence.commands();
        compared.extend(sequence.names());
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
    if std::env::var_os("SLOTWAY_SEED").is_none() {
        let all = names.iter();
        let neither: Vec<_> = all
            .filter(|name| !compared.contains(*name) && difference(name).is_none())
            .collect();
        assert!(
            neither.is_empty(),
            "{}: neither compared nor in tests/identity/differences.rs: {neither:?}",
            kind.name
        );
    }
}

/// The rows of differences are true: what they name is a command, and is in the file that is said to test it.
#[test]
fn what_is_not_compared_here_is_a_command_and_tested_elsewhere() {
    let rows = || DIFFERENCES.iter().flat_map(|row| row.commands);
    for kind in support::servers() {
        let plain = Server::boot(&kind.path, &[]).expect("a plain server");
        let names = command_names(&plain);
        let missing = MISSING.iter().filter(|(server, _)| *server == kind.name);
        let missing: Vec<&str> = missing.flat_map(|(_, names)| *names).copied().collect();
        for name in rows().chain(COMPARED) {
            assert_eq!(
                names.iter().any(|known| known == name),
                !missing.contains(name),
                "{}: {name}",
                kind.name
            );
        }
    }
    let all: Vec<&&str> = rows().collect();
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(all.len(), distinct.len(), "a command has two rows");
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let text = |file: &str| {
        std::fs::read_to_string(tests.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    for row in DIFFERENCES {
        assert!(!row.why.is_empty(), "{:?}", row.commands);
        let (Verdict::Same(file) | Verdict::Other(file)) = row.verdict else {
            continue;
        };
        let text = text(file).to_ascii_uppercase();
        for name in row.commands {
            let words = name.replace('|', " ").to_ascii_uppercase();
            let named = text.contains(&words) || text.contains(&name.to_ascii_uppercase());
            assert!(named, "{file} says nothing of {name}");
        }
    }
    for (_, _, file) in BEYOND {
        text(file);
    }
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

/// A command or subcommand as a server lists it.
struct Listed {
    /// Subcommands as `config|set`.
    name: String,
    /// The least number of arguments, name included.
    arity: usize,
    /// Whether it has subcommands.
    container: bool,
}

/// All commands and subcommands that the server knows, in an order of their own.
fn listed(server: &Server) -> Vec<Listed> {
    let mut listed = Vec::new();
    let mut note = |command: &[Reply], subcommands: &[Reply]| {
        let Reply::Integer(arity) = command[1] else {
            panic!("no arity: {command:?}");
        };
        listed.push(Listed {
            name: command[0].text().to_ascii_lowercase(),
            arity: arity.unsigned_abs() as usize,
            container: !subcommands.is_empty(),
        });
    };
    for command in server.command(&["COMMAND"]).expect("it answers").elements() {
        let command = command.elements();
        let subcommands = command.get(SUBCOMMANDS).map_or(&[][..], |s| s.elements());
        note(command, subcommands);
        for subcommand in subcommands {
            note(subcommand.elements(), &[]);
        }
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    listed
}

fn command_names(server: &Server) -> Vec<String> {
    listed(server).into_iter().map(|c| c.name).collect()
}
