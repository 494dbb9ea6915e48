//! Sequences: what one or two clients send, in which pieces, and how it ends. All of it is drawn from the seed, so
//! that a seed is a sequence.

use std::collections::BTreeSet;

use slotway::resp::parse_request;

use super::compare::{self, Mode};
use crate::support;

/// What is sent in one go, from one reply to the next that is waited for.
#[derive(Clone, Debug)]
pub enum Step {
    /// One command.
    Command {
        /// What is sent.
        bytes: Vec<u8>,
        /// How many replies it has: none for what servers ignore, and for a client that wants none.
        replies: usize,
        /// How the reply is compared.
        mode: Mode,
    },
    /// SCAN from 0 to 0 with these arguments. Cursors are each server's own, so it is a dialogue; what it found is
    /// compared as a set.
    Scan(Vec<Vec<u8>>),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client goes.
    Close,
    /// No more requests; everything until the other side closes is compared.
    HalfClose,
    /// QUIT, and more behind it.
    Quit,
    /// A request that is none.
    Broken(&'static [u8]),
}

/// A pipeline of one client.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which client's.
    pub client: usize,
    /// Its commands.
    pub steps: Vec<Step>,
    /// Where the writes end is drawn from this.
    pub cuts_seed: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The pipelines, one after the other.
    pub batches: Vec<Batch>,
    /// How the first client's connection ends.
    pub ending: Ending,
}

/// How many clients a sequence has at most.
pub const CLIENTS_MAX: usize = 2;

impl Sequence {
    /// How many commands it has.
    pub fn commands(&self) -> usize {
        self.batches.iter().map(|batch| batch.steps.len()).sum()
    }
}

impl Sequence {
    /// The names of its commands, those of subcommands as `config|set`.
    pub fn names(&self) -> BTreeSet<String> {
        let steps = self.batches.iter().flat_map(|batch| &batch.steps);
        let mut names = BTreeSet::new();
        for step in steps {
            let Step::Command { bytes, .. } = step else {
                continue;
            };
            let mut spans = Vec::new();
            if let Some(request) = parse_request(bytes, &mut spans) {
                let word = |i| {
                    request
                        .get(i)
                        .map(|w| String::from_utf8_lossy(w).to_ascii_lowercase())
                };
                let name = word(0).unwrap_or_default();
                names.extend(word(1).map(|second| format!("{name}|{second}")));
                names.insert(name);
            }
        }
        names
    }
}

/// A command with one reply.
pub fn plain(args: &[Vec<u8>]) -> Step {
    Step::Command {
        bytes: support::encode(args),
        replies: 1,
        mode: compare::mode(args),
    }
}

/// Bytes without a reply.
pub fn ignored(bytes: &[u8]) -> Step {
    Step::Command {
        bytes: bytes.to_vec(),
        replies: 0,
        mode: Mode::Exact,
    }
}

/// The words of a line.
pub fn line_args(line: &str) -> Vec<Vec<u8>> {
    line.split_ascii_whitespace()
        .map(|word| word.as_bytes().to_vec())
        .collect()
}
