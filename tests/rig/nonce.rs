//! The nonce checker: every value names its connection, its key and its number, and every reply is compared with
//! what that connection wrote last: a reply that went to the wrong client, or to the wrong request, is seen.

use super::findings::{Findings, Keys, Outcome, Wrong};
use super::load::Checker;
use super::reply::Reply;
use crate::support::{RawClient, encode};
use rand::rngs::StdRng;
use rand::{Rng, seq::IteratorRandom};

/// See the module. One per connection; its keys are its own, one per slot.
pub struct Nonce {
    keys: Vec<Key>,
}

struct Key {
    name: String,
    next: u64,
    /// What it may hold now: one value, or several after an unknown outcome.
    candidates: Vec<Option<u64>>,
}

/// A command, as the reply is compared with it.
pub enum Op {
    /// `SET key value GET`: tells the value before.
    Swap(usize, u64),
    /// `GET key`.
    Get(usize),
    /// `MGET` of keys of several slots.
    Gather(Vec<usize>),
}

impl Nonce {
    /// For one connection.
    pub fn new(connection: usize, tags: &[String]) -> Self {
        let key = |tag: &String| Key {
            name: format!("{tag}:nonce:{connection}"),
            next: 0,
            candidates: vec![None],
        };
        Self {
            keys: tags.iter().map(key).collect(),
        }
    }

    fn compare(&mut self, key: usize, reply: &Reply, findings: &mut Findings) {
        let key = &mut self.keys[key];
        let found = match reply {
            Reply::Nil => Some(None),
            Reply::Text(text) => text
                .strip_prefix(&key.name)
                .and_then(|rest| rest.strip_prefix('#')?.parse().ok())
                .map(Some),
            _ => None,
        };
        let Some(found) = found else {
            return findings.wrong(Wrong::Crossed, format!("{}: {reply:?}", key.name));
        };
        if !key.candidates.contains(&found) {
            let what = if found < key.candidates.iter().copied().max().flatten() {
                Wrong::Stale
            } else {
                Wrong::Twice
            };
            let expected = &key.candidates;
            let example = format!("{}: {found:?}, expected {expected:?}", key.name);
            findings.wrong(what, example);
        }
        key.candidates = vec![found];
    }
}

impl Checker for Nonce {
    type Op = Op;

    fn next(&mut self, rng: &mut StdRng, out: &mut Vec<u8>) -> Op {
        let at = rng.random_range(0..self.keys.len());
        match rng.random_range(0..10) {
            0..5 => {
                let key = &mut self.keys[at];
                key.next += 1;
                let value = format!("{}#{}", key.name, key.next);
                out.extend(encode(&["SET", &key.name, &value, "GET"]));
                Op::Swap(at, key.next)
            }
            5..9 => {
                out.extend(encode(&["GET", &self.keys[at].name]));
                Op::Get(at)
            }
            _ => {
                let chosen = (0..self.keys.len()).choose_multiple(rng, 4);
                let names = chosen.iter().map(|&at| self.keys[at].name.as_str());
                out.extend(encode(
                    &["MGET"].into_iter().chain(names).collect::<Vec<_>>(),
                ));
                Op::Gather(chosen)
            }
        }
    }

    /// The keys of an MGET are of different slots, so none of its parts has more than one.
    fn keys(_: &Op) -> Keys {
        Keys::One
    }

    fn hear(&mut self, op: Op, outcome: Outcome, findings: &mut Findings) {
        match (op, outcome) {
            (Op::Swap(at, seq), Outcome::Done(reply)) => {
                self.compare(at, &reply, findings);
                self.keys[at].candidates = vec![Some(seq)];
            }
            (Op::Swap(at, seq), Outcome::Unknown) => self.keys[at].candidates.push(Some(seq)),
            (Op::Get(at), Outcome::Done(reply)) => self.compare(at, &reply, findings),
            (Op::Gather(chosen), Outcome::Done(Reply::Array(values)))
                if values.len() == chosen.len() =>
            {
                for (at, value) in chosen.into_iter().zip(values) {
                    self.compare(at, &value, findings);
                }
            }
            (Op::Gather(_), Outcome::Done(reply)) => {
                findings.wrong(Wrong::Crossed, format!("MGET: {reply:?}"));
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
