//! What must hold whatever happens. It sees every execution and every reply.
//!
//! A command carries its number (in the value it writes, or in the range it reads), so that an execution can be told from
//! another of the same command; INCR, which has no room for one, is known by the values it returned.

use crate::plan::Op;
use crate::wire::{self, NIL, OK};
use std::collections::{BTreeMap, BTreeSet};

/// A number is written so that no other number can be taken for it.
const RANGE_BASE: usize = 1_000_000;

pub struct Asked {
    pub client: usize,
    pub op: Op,
    pub keys: Vec<Vec<u8>>,
    /// Segments of its keys.
    segments: usize,
    /// Segment, name, reply.
    done: Vec<(usize, Vec<u8>, Vec<u8>)>,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    NotDone,
    Unknown,
}

#[derive(Default)]
struct Counter {
    executed: BTreeSet<i64>,
    acked: BTreeSet<i64>,
    refused: usize,
    asked: usize,
}

/// The latest commands that were executed.
#[derive(Default)]
struct Latest {
    any: usize,
    write: usize,
}

#[derive(Default)]
pub struct Oracle {
    asked: Vec<Asked>,
    counters: BTreeMap<Vec<u8>, Counter>,
    /// Per client and key.
    latest: BTreeMap<(usize, Vec<u8>), Latest>,
    pub errors: usize,
    /// No error is allowed.
    pub strict: bool,
}

type Verdict = Result<(), String>;

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

impl Oracle {
    /// Commands asked so far.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// A client sends a command: its number, its bytes, and how many replies it has.
    pub fn ask(&mut self, client: usize, op: Op, tags: &[String]) -> (usize, Vec<u8>, usize) {
        let number = self.asked.len();
        let value = format!("n{number}").into_bytes();
        let range = (RANGE_BASE + number).to_string();
        let own = |tag: &usize| format!("{}s{client}", tags[*tag]).into_bytes();
        let list = |tag: &usize| format!("{}l", tags[*tag]).into_bytes();
        let mut out = Vec::new();
        let mut put = |words: &[&[u8]]| wire::put_request(&mut out, words);
        let (keys, replies) = match &op {
            Op::Set(t) => {
                put(&[b"SET", &own(t), &value]);
                (vec![own(t)], 1)
            }
            Op::Read(t) => {
                put(&[b"GETRANGE", &own(t), b"0", range.as_bytes()]);
                (vec![own(t)], 1)
            }
            Op::Get(t) => {
                put(&[b"GET", &own(t)]);
                (vec![own(t)], 1)
            }
            Op::Incr(t) => {
                let key = format!("{}c", tags[*t]).into_bytes();
                put(&[b"INCR", &key]);
                self.counters.entry(key.clone()).or_default().asked += 1;
                (vec![key], 1)
            }
            Op::Push(t) => {
                put(&[b"RPUSH", &list(t), &value]);
                (vec![list(t)], 1)
            }
            Op::Mset(all) => {
                let keys: Vec<Vec<u8>> = all.iter().map(own).collect();
                let pairs = keys.iter().flat_map(|k| [&k[..], &value]);
                put(&[&b"MSET"[..]].into_iter().chain(pairs).collect::<Vec<_>>());
                (keys, 1)
            }
            Op::Mget(all) => {
                let keys: Vec<Vec<u8>> = all.iter().map(own).collect();
                let words = [&b"MGET"[..]]
                    .into_iter()
                    .chain(keys.iter().map(|k| &k[..]));
                put(&words.collect::<Vec<_>>());
                (keys, 1)
            }
            Op::Multi(t) => {
                put(&[b"MULTI"]);
                put(&[b"SET", &own(t), &value]);
                put(&[b"RPUSH", &list(t), &value]);
                put(&[b"EXEC"]);
                (vec![own(t)], 4)
            }
            Op::Ping => {
                put(&[b"PING"]);
                (vec![], 1)
            }
        };
        let tags: BTreeSet<&[u8]> = keys
            .iter()
            .filter_map(|k| k.split(|b| *b == b'}').next())
            .collect();
        self.asked.push(Asked {
            client,
            op,
            segments: tags.len(),
            keys,
            done: Vec::new(),
            answer: None,
        });
        (number, out, replies)
    }

    /// A node has executed a command.
    pub fn executed(&mut self, words: &[Vec<u8>], reply: &[u8], segment: usize) -> Verdict {
        let number = |word: &[u8]| -> Option<usize> {
            std::str::from_utf8(word.strip_prefix(b"n")?)
                .ok()?
                .parse()
                .ok()
        };
        let number = match &words[0][..] {
            b"INCR" => {
                let value = integer(reply).ok_or("INCR of no number")?;
                let counter = self.counters.entry(words[1].clone()).or_default();
                counter.executed.insert(value);
                return Ok(());
            }
            b"SET" | b"RPUSH" | b"MSET" => number(&words[2]),
            b"GETRANGE" => {
                let last: Option<usize> = String::from_utf8_lossy(&words[3]).parse().ok();
                last.map(|last| last - RANGE_BASE)
            }
            _ => return Ok(()),
        };
        let number = number.ok_or("a command without its number")?;
        let asked = &mut self.asked[number];
        let name = &words[0];
        let read = matches!(asked.op, Op::Read(_));
        if asked.done.iter().any(|d| d.0 == segment && d.1 == *name) && !read {
            return Err(format!(
                "command {number} was executed twice: {:?}",
                asked.op
            ));
        }
        if asked.answer == Some(Answer::NotDone) && asked.segments == 1 && !read {
            return Err(format!(
                "command {number} was executed after its client was told that it was not"
            ));
        }
        let keys: Vec<&Vec<u8>> = match &name[..] {
            b"MSET" => words[1..].iter().step_by(2).collect(),
            _ => vec![&words[1]],
        };
        for key in keys {
            let latest = self.latest.entry((asked.client, key.clone())).or_default();
            let later = if read { latest.write } else { latest.any };
            if later > number {
                return Err(format!(
                    "client {}: command {number} was executed after the later command {later}, on the same key",
                    asked.client
                ));
            }
            latest.any = latest.any.max(number);
            if !read {
                latest.write = number;
            }
        }
        asked.done.push((segment, name.clone(), reply.to_vec()));
        Ok(())
    }

    /// A client got the last reply to a command.
    pub fn answered(&mut self, number: usize, reply: &[u8]) -> Verdict {
        let asked = &self.asked[number];
        let error = |what: &str| {
            Err(format!(
                "command {number} ({:?}) got {what}: {}",
                asked.op,
                show(reply)
            ))
        };
        if reply[0] == b'-' {
            return self.failed(number, reply);
        }
        let once = |n: usize| asked.done.len() == n;
        let right = match &asked.op {
            Op::Ping => reply == b"+PONG\r\n",
            Op::Set(_) => once(1) && reply == OK,
            Op::Push(_) => once(1) && reply == asked.done[0].2,
            Op::Read(_) => asked.done.last().is_some_and(|d| d.2 == reply),
            Op::Mset(_) => once(asked.segments) && reply == OK,
            Op::Multi(_) => {
                let done: Vec<Vec<u8>> = asked.done.iter().map(|d| d.2.clone()).collect();
                once(2) && reply == wire::array(&done)
            }
            Op::Get(_) => self.is_value(&asked.keys[0], reply),
            Op::Mget(_) => {
                let items = wire::elements(reply);
                let mut pairs = asked.keys.iter().zip(&items);
                items.len() == asked.keys.len() && pairs.all(|(k, v)| self.is_value(k, v))
            }
            Op::Incr(_) => {
                let counter = self.counters.entry(asked.keys[0].clone()).or_default();
                integer(reply)
                    .is_some_and(|v| counter.executed.contains(&v) && counter.acked.insert(v))
            }
        };
        if !right {
            return error("what it cannot have answered");
        }
        self.asked[number].answer = Some(Answer::Done);
        Ok(())
    }

    /// Whether a key can have had this value: nothing, or what a command wrote to it.
    fn is_value(&self, key: &[u8], reply: &[u8]) -> bool {
        if reply == NIL {
            return true;
        }
        let number = wire::content(reply).and_then(|v| v.strip_prefix(b"n"));
        let number = number.and_then(|n| std::str::from_utf8(n).ok()?.parse::<usize>().ok());
        let writer = number.and_then(|n| self.asked.get(n));
        writer.is_some_and(|w| w.keys.iter().any(|k| k == key) && !w.done.is_empty())
    }

    fn failed(&mut self, number: usize, reply: &[u8]) -> Verdict {
        self.errors += 1;
        let text = String::from_utf8_lossy(reply);
        let asked = &mut self.asked[number];
        let unknown = text.contains("outcome unknown");
        let several =
            asked.segments > 1 || asked.keys.len() > 1 || matches!(asked.op, Op::Multi(_));
        // Some of its keys have moved, and what came behind it on one of them was executed (invariant 3).
        let halfway = several && ["TRYAGAIN", "ASK "].iter().any(|word| text.contains(word));
        if self.strict && !halfway {
            return Err(format!(
                "command {number} ({:?}) got an error under mere moves: {}",
                asked.op,
                show(reply)
            ));
        }
        if !unknown
            && !asked.done.is_empty()
            && asked.segments == 1
            && !matches!(asked.op, Op::Read(_))
        {
            return Err(format!(
                "command {number} ({:?}) was executed, and its client told otherwise: {}",
                asked.op,
                show(reply)
            ));
        }
        asked.answer = Some(if unknown {
            Answer::Unknown
        } else {
            Answer::NotDone
        });
        if let Op::Incr(_) = asked.op
            && !unknown
        {
            let counter = self.counters.entry(asked.keys[0].clone()).or_default();
            counter.refused += 1;
        }
        Ok(())
    }

    /// At the end, when nothing is in flight any more.
    pub fn at_the_end(&self) -> Verdict {
        for (key, counter) in &self.counters {
            let (least, most) = (counter.acked.len(), counter.asked - counter.refused);
            let count = counter.executed.len();
            if count < least || count > most {
                let key = show(key);
                return Err(format!(
                    "{key} was counted {count} times: {least} acknowledged, at most {most} possible"
                ));
            }
        }
        Ok(())
    }

    pub fn describe(&self, number: usize) -> String {
        let asked = &self.asked[number];
        format!(
            "command {number} of client {} ({:?})",
            asked.client, asked.op
        )
    }
}

fn integer(reply: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(reply.strip_prefix(b":")?).ok()?;
    text.trim_end().parse().ok()
}
