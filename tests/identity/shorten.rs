//! Cuts a sequence that shows a difference down to the few commands that show it, and prints them.

use std::time::{Duration, Instant};

use super::run::{Difference, Pair};
use super::steps::{Sequence, Step};
use super::wire::show;
use crate::support::RawClient;

/// Most attempts at making a failing sequence shorter.
const ATTEMPTS_MAX: usize = 300;
/// And how long they may take.
const SHORTENING_MAX: Duration = Duration::from_secs(20);
/// How long a reply may take meanwhile: it may be one that never comes.
const REPLY_MAX: Duration = Duration::from_secs(3);

impl Pair {
    /// Both as if nothing had been sent.
    fn reset(&self) {
        for addr in [self.plain, self.proxied] {
            let mut client = RawClient::connect(addr);
            client.expect("FLUSHALL", b"+OK\r\n");
            client.expect("FUNCTION FLUSH", b"+OK\r\n");
            client.expect("SCRIPT FLUSH", b"+OK\r\n");
        }
    }

    /// A shorter sequence that shows a difference as well, and that difference; `None` if it does not show again.
    pub fn shorten(&self, failing: &Sequence) -> Option<(Sequence, Difference)> {
        let attempt = |sequence: &Sequence| {
            self.reset();
            self.run_within(sequence, REPLY_MAX).err()
        };
        let mut best = (failing.clone(), attempt(failing)?);
        let mut size = best.0.commands().div_ceil(2);
        let mut attempts = 0;
        let started = Instant::now();
        let mut tired = || {
            attempts += 1;
            attempts > ATTEMPTS_MAX || started.elapsed() > SHORTENING_MAX
        };
        loop {
            let mut from = 0;
            while from < best.0.commands() {
                if tired() {
                    return Some(best);
                }
                let shorter = without(&best.0, from, size);
                match attempt(&shorter) {
                    Some(difference) => best = (shorter, difference),
                    None => from += size,
                }
            }
            if size == 1 {
                return Some(best);
            }
            size = size.div_ceil(2);
        }
    }
}

fn without(sequence: &Sequence, from: usize, count: usize) -> Sequence {
    let mut number = 0;
    let mut shorter = sequence.clone();
    for batch in &mut shorter.batches {
        batch.steps.retain(|_| {
            number += 1;
            !(from + 1..=from + count).contains(&number)
        });
    }
    shorter.batches.retain(|batch| !batch.steps.is_empty());
    shorter
}

/// What a shortened sequence does, for a person.
pub fn tell(sequence: &Sequence) -> String {
    const STEPS_SHOWN_MAX: usize = 60;
    let mut lines = Vec::new();
    for batch in &sequence.batches {
        for step in &batch.steps {
            lines.push(match step {
                Step::Command { bytes, .. } => {
                    format!("  client {}: {}", batch.client, show(bytes))
                }
                Step::Scan(options) => format!(
                    "  client {}: SCAN to the end {}",
                    batch.client,
                    show(&options.concat())
                ),
            });
        }
    }
    let from = lines.len().saturating_sub(STEPS_SHOWN_MAX);
    format!(
        "  ({from} steps before)\n{}\n  then: {:?}",
        lines[from..].join("\n"),
        sequence.ending
    )
}
