//! The same bytes to a plain server and through slotway to a cluster of the same server: the same replies, and the same
//! close. Scripts are drawn of what changes a client's state (AUTH, HELLO, MULTI, WATCH, SUBSCRIBE, CLIENT REPLY, RESET,
//! QUIT) with and without a password, streams are pipelines in which bytes were changed. What cannot be the same is in
//! `direct::differences`, each with its reason, and nowhere else.
//!
//! A failure is written to a file; moved into tests/fuzz/corpus it is a test. `SLOTWAY_SEED=n` repeats a run's inputs;
//! `./tests/fuzz.sh scripts`, `./tests/fuzz.sh streams` go on for as long as one likes.

#![allow(
    unreachable_pub,
    reason = "a test has modules, and nothing outside that could reach them"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/wire/reading.rs"]
mod reading;
#[path = "fuzz/short.rs"]
mod short;
/// Where writes end.
#[allow(dead_code, reason = "shared with tests/identity.rs")]
#[path = "identity/wire.rs"]
mod wire;

#[path = "fuzz/direct"]
mod direct {
    pub mod differences;
    pub mod pair;
    pub mod scripts;
    pub mod streams;
}

use direct::pair::{PASSWORD, Pair};
use direct::scripts::script;
use direct::streams::{WORDS, extremes};
use short::{Inputs, Length};
use support::{ServerKind, redis, valkey};

/// Inputs for each server.
const SCRIPTS: usize = 1_500;
const STREAMS: usize = 3_000;

#[test]
fn scripts_of_clients_have_the_replies_of_a_plain_redis() {
    scripts(&redis(), None);
}

#[test]
fn scripts_of_clients_have_the_replies_of_a_plain_valkey() {
    scripts(&valkey(), None);
}

#[test]
fn scripts_with_a_password_have_the_replies_of_a_plain_redis() {
    scripts(&redis(), Some(PASSWORD));
}

#[test]
fn scripts_with_a_password_have_the_replies_of_a_plain_valkey() {
    scripts(&valkey(), Some(PASSWORD));
}

#[test]
fn broken_streams_have_the_replies_of_a_plain_redis() {
    streams(&redis(), None);
}

#[test]
fn broken_streams_have_the_replies_of_a_plain_valkey() {
    streams(&valkey(), Some(PASSWORD));
}

fn scripts(kind: &ServerKind, password: Option<&str>) {
    let title = match password {
        None => "fuzz: scripts of clients, differential",
        Some(_) => "fuzz: scripts with a password, differential",
    };
    let mut pair = Pair::start(kind, password);
    short::run(
        "scripts",
        title,
        kind.name,
        Inputs::Drawn(script),
        Length::of(SCRIPTS),
        |input| pair.compare(input),
    );
    pair.tell();
}

fn streams(kind: &ServerKind, password: Option<&str>) {
    let mut pair = Pair::start(kind, password);
    for input in extremes() {
        pair.compare(&input);
    }
    short::run(
        "streams",
        "fuzz: broken streams, differential",
        kind.name,
        Inputs::Mutated(WORDS),
        Length::of(STREAMS),
        |input| pair.compare(input),
    );
    pair.tell();
}
