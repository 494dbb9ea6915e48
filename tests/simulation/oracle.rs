//! What must hold whatever happens. It sees every execution and every reply.
//!
//! A command carries its number (in the value it writes, or in the range it reads), so that an execution can be told from
//! another of the same command; INCR, which has no room for one, is known by the values it returned.

mod verdicts;

use crate::channels::Channels;
use crate::plan::{Channel, Op};
use crate::request::{RANGE_BASE, Request, request};
use crate::wire::{self, Proto};
use std::collections::{BTreeMap, BTreeSet};
use verdicts::integer;

pub struct Asked {
    pub client: usize,
    pub op: Op,
    /// What the client speaks.
    proto: Proto,
    pub keys: Vec<Vec<u8>>,
    /// Segments of its keys.
    segments: usize,
    /// Segment, name, reply.
    done: Vec<(usize, Vec<u8>, Vec<u8>)>,
    answer: Option<Answer>,
    /// What a node answered, last, is from before an earlier write of its client: nobody may get it.
    stale: bool,
    watch: Watch,
    replies: usize,
    /// How often a node has sent it on, as far as that can be told.
    hops: usize,
    /// When.
    at: u64,
    /// How many moves of slots had begun by then.
    moves: usize,
}

/// What became of a WATCH, for the EXEC behind it.
#[derive(Default)]
struct Watch {
    /// How often the key had been written when a node executed it last.
    seen: Option<usize>,
    /// Its client was told so.
    confirmed: bool,
    /// The block was executed although the key had changed since.
    broken: bool,
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
    /// How often what is watched was written.
    writes: BTreeMap<Vec<u8>, usize>,
    /// By client; the others speak RESP2.
    protos: BTreeMap<usize, Proto>,
    pub channels: Channels,
    names: BTreeMap<Vec<u8>, Channel>,
    pub errors: usize,
    /// No error is allowed.
    pub strict: bool,
    /// No message may come twice on a channel of the whole cluster.
    pub once: bool,
    /// Nodes can be so slow that it takes longer to follow redirections than a command may take.
    pub slow: bool,
    /// Values are longer by so many bytes.
    pub padding: usize,
    /// Elements that the proxy has popped for commands that wait in two slots, and from where: neither pushed back nor
    /// brought to a client yet.
    popped: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A slot is where it was before: of two commands on their way to a node, one can have come while the slot was
    /// elsewhere and the later one when it was back.
    pub came_back: bool,
    /// `limits.redirections`
    pub hops_max: usize,
    /// How many moves of slots have begun.
    pub moves: usize,
    /// The time, in milliseconds.
    pub now: u64,
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
        if let Op::Hello(proto) = op {
            self.protos.insert(client, proto);
        }
        let proto = self.protos.get(&client).copied().unwrap_or_default();
        let Request {
            bytes: out,
            keys,
            replies,
        } = request(&op, client, number, tags, self.padding);
        match &op {
            Op::Incr(_) => self.counters.entry(keys[0].clone()).or_default().asked += 1,
            Op::Publish(channel) => {
                self.names.insert(keys[0].clone(), *channel);
            }
            Op::Subscribe(channel) | Op::Unsubscribe(channel) => {
                self.channels.asked(client, *channel);
                self.names.insert(keys[0].clone(), *channel);
            }
            _ => {}
        }
        let tags: BTreeSet<&[u8]> = keys
            .iter()
            .filter_map(|k| k.split(|b| *b == b'}').next())
            .collect();
        self.asked.push(Asked {
            client,
            op,
            proto,
            segments: tags.len(),
            keys,
            done: Vec::new(),
            answer: None,
            stale: false,
            watch: Watch::default(),
            replies,
            hops: 0,
            at: self.now,
            moves: self.moves,
        });
        (number, out, replies)
    }

    /// A node has answered MOVED or ASK.
    pub fn sent_on(&mut self, words: &[Vec<u8>]) {
        if let Some(number) = number_of(words) {
            self.asked[number].hops += 1;
        }
    }

    /// A node has executed a command.
    pub fn executed(&mut self, words: &[Vec<u8>], reply: &[u8], segment: usize) -> Verdict {
        let number = match &words[0][..] {
            // The proxy's own, for what waits in two slots.
            b"LPOP" => {
                if let Some(element) = wire::content(reply) {
                    self.popped.insert(element.to_vec(), words[1].clone());
                }
                return Ok(());
            }
            // And for a client that is gone.
            b"LPUSH" => {
                let popped = self.popped.remove(&words[2]);
                let key = popped.ok_or("what nobody popped is pushed back")?;
                return match key == words[1] {
                    true => Ok(()),
                    false => Err("it is pushed back to another queue".into()),
                };
            }
            b"INCR" => {
                let value = integer(reply).ok_or("INCR of no number")?;
                let counter = self.counters.entry(words[1].clone()).or_default();
                counter.executed.insert(value);
                return Ok(());
            }
            _ => match number_of(words) {
                Some(number) => number,
                None => return Ok(()),
            },
        };
        let asked = &mut self.asked[number];
        let name = &words[0];
        if name == b"WATCH" {
            if !asked.watch.confirmed {
                let writes = self.writes.get(&words[1]).copied();
                asked.watch.seen = Some(writes.unwrap_or_default());
            }
            return Ok(());
        }
        if matches!(asked.op, Op::Watched(_)) {
            let writes = self.writes.entry(words[1].clone()).or_default();
            asked.watch.broken |= asked.watch.seen != Some(*writes);
            *writes += 1;
        }
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
        if let Op::Publish(channel) = asked.op {
            self.channels.published(channel, number);
        }
        let keys: Vec<&Vec<u8>> = match &name[..] {
            // What waits is overtaken, and a channel is no key.
            b"BLPOP" | b"PUBLISH" | b"SPUBLISH" => Vec::new(),
            b"MSET" => words[1..].iter().step_by(2).collect(),
            _ => vec![&words[1]],
        };
        let mut overtaking = Vec::new();
        for key in keys {
            let latest = self.latest.entry((asked.client, key.clone())).or_default();
            if latest.write > number {
                return Err(out_of_order(asked, number, latest.write));
            }
            let overtaken = !read && latest.any > number;
            latest.any = latest.any.max(number);
            if !read {
                latest.write = number;
            }
            if overtaken {
                overtaking.push(key.clone());
            }
        }
        asked.stale = false;
        asked.done.push((segment, name.clone(), reply.to_vec()));
        self.overtaken_by_reads(number, &overtaking)
    }

    /// A write was executed after later reads of its keys. One that was lost is read again; one that was answered was wrong.
    fn overtaken_by_reads(&mut self, number: usize, keys: &[Vec<u8>]) -> Verdict {
        let (before, after) = self.asked.split_at_mut(number + 1);
        let write = &before[number];
        for (later, asked) in (number + 1..).zip(after) {
            let same = asked.client == write.client && asked.keys.iter().any(|k| keys.contains(k));
            if !same || asked.done.is_empty() || !matches!(asked.op, Op::Read(_)) {
                continue;
            }
            if asked.answer == Some(Answer::Done) {
                return Err(out_of_order(write, number, later));
            }
            asked.stale = true;
        }
        Ok(())
    }

    /// Whether a command may wait for what others do.
    pub fn waits(&self, number: usize) -> bool {
        matches!(self.asked[number].op, Op::Pop(..) | Op::Sweep(..))
    }

    /// Whether a node has executed any of a command that changes something.
    pub fn is_executed(&self, number: usize) -> bool {
        let asked = &self.asked[number];
        !asked.done.is_empty() && !matches!(asked.op, Op::Read(_))
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

    /// An element that was popped and is nowhere now; `was_sent`: whether a client was sent it.
    pub fn lost_element(&self, was_sent: impl Fn(&[u8]) -> bool) -> Option<String> {
        let element = self.popped.keys().find(|element| !was_sent(element))?;
        Some(format!("{} was popped, and is lost", show(element)))
    }

    pub fn describe(&self, number: usize) -> String {
        let asked = &self.asked[number];
        format!(
            "command {number} of client {} ({:?})",
            asked.client, asked.op
        )
    }
}

fn out_of_order(asked: &Asked, number: usize, later: usize) -> String {
    let client = asked.client;
    format!(
        "client {client}: command {number} was executed after the later command {later}, on the same key"
    )
}

/// The number that a command carries, if it has one; see `request`.
fn number_of(words: &[Vec<u8>]) -> Option<usize> {
    let digits = |word: &[u8]| {
        let count = word.iter().rev().take_while(|b| b.is_ascii_digit());
        let digits = &word[word.len() - count.count()..];
        std::str::from_utf8(digits).ok()?.parse::<usize>().ok()
    };
    match &words[0][..] {
        b"SET" | b"RPUSH" | b"MSET" | b"PUBLISH" | b"SPUBLISH" | b"BLPOP" | b"WATCH" => {
            digits(&words[2])
        }
        b"GETRANGE" => digits(&words[3]).map(|last| last - RANGE_BASE),
        _ => None,
    }
}
