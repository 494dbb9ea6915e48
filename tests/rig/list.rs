//! The list checker: each connection appends a rising sequence to lists of its own. In the end every acknowledged
//! entry is there exactly once, what was refused is not, and all is in the order in which it was sent.

use super::findings::{Findings, Keys, Outcome, Wrong};
use super::load::Checker;
use super::reply::Reply;
use crate::support::{RawClient, encode};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::HashSet;

/// See the module. One per connection.
pub struct List {
    lists: Vec<One>,
}

struct One {
    name: String,
    next: u64,
    acknowledged: HashSet<u64>,
    unknown: HashSet<u64>,
    /// The length that the last reply told.
    len: i64,
}

impl List {
    /// For one connection; one list per tag.
    pub fn new(connection: usize, tags: &[String]) -> Self {
        let list = |tag: &String| One {
            name: format!("{tag}:list:{connection}"),
            next: 0,
            acknowledged: HashSet::new(),
            unknown: HashSet::new(),
            len: 0,
        };
        Self {
            lists: tags.iter().map(list).collect(),
        }
    }
}

impl One {
    fn compare(&self, entries: &[Reply], findings: &mut Findings) {
        let mut found = HashSet::new();
        let mut last = 0;
        for entry in entries {
            let number = match entry {
                Reply::Text(text) => text.parse::<u64>().ok(),
                _ => None,
            };
            let Some(number) = number else {
                findings.wrong(Wrong::Crossed, format!("{}: {entry:?}", self.name));
                continue;
            };
            if !found.insert(number) {
                findings.wrong(Wrong::Twice, format!("{}: {number} again", self.name));
            } else if number < last {
                findings.wrong(
                    Wrong::Stale,
                    format!("{}: {number} after {last}", self.name),
                );
            }
            last = number;
            if !self.acknowledged.contains(&number) && !self.unknown.contains(&number) {
                let example = format!("{}: {number} is there and was refused", self.name);
                findings.wrong(Wrong::Twice, example);
            }
        }
        for lost in self.acknowledged.difference(&found) {
            findings.wrong(Wrong::Stale, format!("{}: {lost} is missing", self.name));
        }
    }
}

impl Checker for List {
    /// Which list, which entry.
    type Op = (usize, u64);

    fn next(&mut self, rng: &mut StdRng, out: &mut Vec<u8>) -> Self::Op {
        let at = rng.random_range(0..self.lists.len());
        let list = &mut self.lists[at];
        list.next += 1;
        out.extend(encode(&["RPUSH", &list.name, &list.next.to_string()]));
        (at, list.next)
    }

    fn keys(_: &Self::Op) -> Keys {
        Keys::One
    }

    fn hear(&mut self, (at, entry): Self::Op, outcome: Outcome, findings: &mut Findings) {
        let list = &mut self.lists[at];
        match outcome {
            Outcome::Done(Reply::Int(len)) => {
                list.acknowledged.insert(entry);
                let most = (list.acknowledged.len() + list.unknown.len()) as i64;
                if len <= list.len {
                    let example = format!("{}: length {len} after {}", list.name, list.len);
                    findings.wrong(Wrong::Stale, example);
                }
                if len > most {
                    let example = format!("{}: length {len}, at most {most}", list.name);
                    findings.wrong(Wrong::Twice, example);
                }
                list.len = len;
            }
            Outcome::Done(reply) => findings.wrong(Wrong::Crossed, format!("RPUSH: {reply:?}")),
            Outcome::Unknown => {
                list.unknown.insert(entry);
            }
            Outcome::Refused => {}
        }
    }

    fn settle(&mut self, client: &mut RawClient, findings: &mut Findings) {
        for list in &self.lists {
            let reply = client.command(&["LRANGE", &list.name, "0", "-1"]);
            match Reply::parse(&reply) {
                Reply::Array(entries) => list.compare(&entries, findings),
                other => findings.wrong(Wrong::Crossed, format!("LRANGE: {other:?}")),
            }
        }
    }
}
