//! Fuzzing without a socket: the decoder, the scanner, the topology's parsers, splitting and merging, on their corpora
//! and on seeded mutations of them. `tests/fuzz.sh` runs the same bodies for as long as one likes, guided by coverage.

#![allow(
    unreachable_pub,
    reason = "a test has modules, and nothing outside that could reach them"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/short.rs"]
mod short;
#[path = "fuzz/targets/mod.rs"]
mod targets;

use short::{Inputs, Length};

fn run(name: &str, inputs: usize) {
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("a target");
    short::run(
        name,
        target.title,
        "-",
        Inputs::Mutated(target.words),
        Length::of(inputs),
        target.run,
    );
}

#[test]
fn requests_are_the_same_however_they_are_cut() {
    run("requests", 6_000);
}

#[test]
fn replies_end_at_the_same_place_however_they_are_cut() {
    run("replies", 10_000);
}

#[test]
fn what_nodes_say_makes_a_view_in_bounds_and_a_map_of_what_was_named() {
    run("topology", 3_000);
}

#[test]
fn parts_and_their_merged_reply_are_those_of_the_whole() {
    run("split", 20_000);
}

#[test]
fn replies_of_nodes_that_lie_merge_to_one_reply() {
    run("merging", 20_000);
}
