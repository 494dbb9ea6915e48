//! The order checker: one connection pipelines SET, GET, APPEND, MSET and MGET on a few keys of one slot, and
//! every reply must show the writes that the connection sent before it, and no other: invariant 3. A command
//! that was refused must have left no trace.

use super::findings::{Findings, Keys, Outcome, Wrong};
use super::load::Checker;
use super::reply::Reply;
use crate::support::{RawClient, encode};
use rand::rngs::StdRng;
use rand::{Rng, seq::IteratorRandom};

/// Keys per slot.
const KEYS: usize = 4;

/// Values are cut short by a SET when APPEND made them longer than this.
const VALUE_MAX: usize = 400;

/// See the module. One per connection.
pub struct Order {
    keys: Vec<Key>,
    next: u64,
}

struct Key {
    name: String,
    /// What it may hold now: one value, or several after an unknown outcome.
    candidates: Vec<Option<String>>,
}

/// A command, as the reply is compared with it.
pub enum Op {
    /// SET or MSET.
    Write(Vec<(usize, String)>),
    /// APPEND.
    Append(usize, String),
    /// GET.
    Read(usize),
    /// MGET.
    ReadAll(Vec<usize>),
}

impl Order {
    /// For one connection.
    pub fn new(connection: usize, tags: &[String]) -> Self {
        let key = |name| Key {
            name,
            candidates: vec![None],
        };
        let names = tags
            .iter()
            .flat_map(|tag| (0..KEYS).map(move |i| format!("{tag}:order:{connection}:{i}")));
        Self {
            keys: names.map(key).collect(),
            next: 0,
        }
    }

    fn value(&mut self, key: usize) -> String {
        self.next += 1;
        format!("{}#{}", self.keys[key].name, self.next)
    }

    /// Two or more keys of one slot.
    fn several(&self, at: usize, rng: &mut StdRng) -> Vec<usize> {
        let first = at / KEYS * KEYS;
        let count = rng.random_range(2..=KEYS);
        (first..first + KEYS).choose_multiple(rng, count)
    }

    fn compare(&mut self, at: usize, reply: &Reply, findings: &mut Findings) {
        let key = &mut self.keys[at];
        let found = match reply {
            Reply::Nil => None,
            Reply::Text(text) => Some(text.clone()),
            other => {
                return findings.wrong(Wrong::Crossed, format!("{}: {other:?}", key.name));
            }
        };
        if !key.candidates.contains(&found) {
            let own = found.as_ref().is_none_or(|text| {
                text.starts_with('+') || text.starts_with(&format!("{}#", key.name))
            });
            let what = if own { Wrong::Stale } else { Wrong::Crossed };
            let expected = &key.candidates;
            let example = format!("{}: {found:?}, expected {expected:?}", key.name);
            findings.wrong(what, example);
        }
        key.candidates = vec![found];
    }

    fn appended(&mut self, at: usize, tail: &str, len: i64, findings: &mut Findings) {
        let key = &mut self.keys[at];
        let longer = key.candidates.iter().map(|c| join(c.as_deref(), tail));
        let (fit, unfit): (Vec<_>, Vec<_>) = longer.partition(|c| c.len() as i64 == len);
        if fit.is_empty() {
            let example = format!("{}: length {len}, expected one of {unfit:?}", key.name);
            findings.wrong(Wrong::Stale, example);
        }
        // What it holds after a loss shows at the next read.
        let kept = if fit.is_empty() { unfit } else { fit };
        key.candidates = kept.into_iter().map(Some).collect();
    }
}

impl Checker for Order {
    type Op = Op;

    fn next(&mut self, rng: &mut StdRng, out: &mut Vec<u8>) -> Op {
        let at = rng.random_range(0..self.keys.len());
        let long = self.keys[at]
            .candidates
            .iter()
            .flatten()
            .any(|c| c.len() > VALUE_MAX);
        match rng.random_range(0..20) {
            _ if long => self.write(vec![at], "SET", out),
            0..6 => self.write(vec![at], "SET", out),
            6..9 => {
                self.next += 1;
                let tail = format!("+{}", self.next);
                out.extend(encode(&["APPEND", &self.keys[at].name, &tail]));
                Op::Append(at, tail)
            }
            9..14 => {
                out.extend(encode(&["GET", &self.keys[at].name]));
                Op::Read(at)
            }
            14..17 => {
                let several = self.several(at, rng);
                self.write(several, "MSET", out)
            }
            _ => {
                let several = self.several(at, rng);
                let names = several.iter().map(|&at| self.keys[at].name.as_str());
                out.extend(encode(
                    &["MGET"].into_iter().chain(names).collect::<Vec<_>>(),
                ));
                Op::ReadAll(several)
            }
        }
    }

    fn keys(op: &Op) -> Keys {
        match op {
            Op::Write(pairs) if pairs.len() == 1 => Keys::One,
            Op::Append(..) | Op::Read(_) => Keys::One,
            Op::Write(_) | Op::ReadAll(_) => Keys::Several,
        }
    }

    fn hear(&mut self, op: Op, outcome: Outcome, findings: &mut Findings) {
        match (op, outcome) {
            (Op::Write(pairs), Outcome::Done(Reply::Ok)) => {
                for (at, value) in pairs {
                    self.keys[at].candidates = vec![Some(value)];
                }
            }
            (Op::Write(pairs), Outcome::Unknown) => {
                for (at, value) in pairs {
                    self.keys[at].candidates.push(Some(value));
                }
            }
            (Op::Append(at, tail), Outcome::Done(Reply::Int(len))) => {
                self.appended(at, &tail, len, findings);
            }
            (Op::Append(at, tail), Outcome::Unknown) => {
                let candidates = &mut self.keys[at].candidates;
                let longer: Vec<_> = candidates
                    .iter()
                    .map(|c| Some(join(c.as_deref(), &tail)))
                    .collect();
                candidates.extend(longer);
            }
            (Op::Read(at), Outcome::Done(reply)) => self.compare(at, &reply, findings),
            (Op::ReadAll(several), Outcome::Done(Reply::Array(values)))
                if values.len() == several.len() =>
            {
                for (at, value) in several.into_iter().zip(values) {
                    self.compare(at, &value, findings);
                }
            }
            (_, Outcome::Done(reply)) => {
                findings.wrong(Wrong::Crossed, format!("order: {reply:?}"));
            }
            (_, Outcome::Refused | Outcome::Unknown) => {}
        }
    }

    fn settle(&mut self, client: &mut RawClient, findings: &mut Findings) {
        for at in 0..self.keys.len() {
            let reply = client.command(&["GET", &self.keys[at].name]);
            self.compare(at, &Reply::parse(&reply), findings);
        }
    }
}

impl Order {
    fn write(&mut self, at: Vec<usize>, command: &'static str, out: &mut Vec<u8>) -> Op {
        let pairs: Vec<_> = at.into_iter().map(|at| (at, self.value(at))).collect();
        let words = pairs
            .iter()
            .flat_map(|(at, value)| [self.keys[*at].name.as_str(), value]);
        out.extend(encode(
            &[command].into_iter().chain(words).collect::<Vec<_>>(),
        ));
        Op::Write(pairs)
    }
}

fn join(value: Option<&str>, tail: &str) -> String {
    format!("{}{tail}", value.unwrap_or_default())
}
