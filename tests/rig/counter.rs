//! The counter checker: several connections INCR the same counters. No value is returned twice, values rise for
//! each connection, and in the end acknowledged ≤ value ≤ acknowledged + unknown.

use super::findings::{Findings, Keys, Outcome, Wrong};
use super::load::{Checker, Durability};
use super::reply::Reply;
use crate::support::{RawClient, encode};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// One in eight is counted by a script: redirections of scripts are followed in another way.
const SCRIPT: &str = "return redis.call('INCR', KEYS[1])";

/// What all connections together know of the counters.
#[derive(Clone)]
pub struct Ledger {
    names: Arc<Vec<String>>,
    entries: Arc<Mutex<Vec<Entry>>>,
    durability: Durability,
}

#[derive(Clone, Default)]
struct Entry {
    acknowledged: i64,
    unknown: i64,
    seen: HashSet<i64>,
    /// Values returned more than once.
    again: i64,
}

impl Ledger {
    /// One counter per tag.
    pub fn new(tags: &[String], durability: Durability) -> Self {
        let names: Vec<String> = tags.iter().map(|tag| format!("{tag}:counter")).collect();
        Self {
            entries: Arc::new(Mutex::new(vec![Entry::default(); names.len()])),
            names: Arc::new(names),
            durability,
        }
    }

    /// After all connections have ended: compares the final values.
    pub fn close(&self, client: &mut RawClient, findings: &mut Findings) {
        let entries = self.entries.lock().expect("no connection panicked");
        for (name, entry) in self.names.iter().zip(entries.iter()) {
            let value = match Reply::parse(&client.command(&["GET", name])) {
                Reply::Nil => 0,
                Reply::Text(text) => text.parse().expect("a counter"),
                other => panic!("{name}: {other:?}"),
            };
            let Entry {
                acknowledged,
                unknown,
                again,
                ..
            } = entry;
            let example = format!(
                "{name}: {value}, acknowledged {acknowledged}, unknown {unknown}, returned again {again}"
            );
            if value < *acknowledged {
                findings.wrong(Wrong::Stale, example.clone());
            }
            // What was lost is counted again.
            let lost_max = match self.durability {
                Durability::Kept => 0,
                Durability::MayLose => acknowledged + unknown - value,
            };
            if value > acknowledged + unknown || *again > lost_max {
                findings.wrong(Wrong::Twice, example);
            }
        }
    }
}

/// See the module. One per connection.
pub struct Counter {
    ledger: Ledger,
    /// The last value this connection got, per counter.
    last: Vec<i64>,
}

impl Counter {
    /// For one connection.
    pub fn new(ledger: &Ledger) -> Self {
        Self {
            last: vec![0; ledger.names.len()],
            ledger: ledger.clone(),
        }
    }
}

impl Checker for Counter {
    /// Which counter, and how.
    type Op = (usize, Keys);

    fn next(&mut self, rng: &mut StdRng, out: &mut Vec<u8>) -> Self::Op {
        let at = rng.random_range(0..self.last.len());
        let name = &self.ledger.names[at];
        if rng.random_ratio(1, 8) {
            out.extend(encode(&["EVAL", SCRIPT, "1", name]));
            return (at, Keys::Script);
        }
        out.extend(encode(&["INCR", name]));
        (at, Keys::One)
    }

    fn keys((_, keys): &Self::Op) -> Keys {
        *keys
    }

    fn hear(&mut self, (at, _): Self::Op, outcome: Outcome, findings: &mut Findings) {
        let entry = &mut self.ledger.entries.lock().expect("no connection panicked")[at];
        match outcome {
            Outcome::Done(Reply::Int(value)) => {
                entry.acknowledged += 1;
                entry.again += i64::from(!entry.seen.insert(value));
                if value <= self.last[at] {
                    let name = &self.ledger.names[at];
                    findings.wrong(
                        Wrong::Stale,
                        format!("{name}: {value} after {}", self.last[at]),
                    );
                }
                self.last[at] = value;
            }
            Outcome::Done(reply) => findings.wrong(Wrong::Crossed, format!("INCR: {reply:?}")),
            Outcome::Unknown => entry.unknown += 1,
            Outcome::Refused => {}
        }
    }

    fn settle(&mut self, _: &mut RawClient, _: &mut Findings) {}
}
