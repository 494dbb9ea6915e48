//! What a client says, and the reply that each of its commands must have: its keys are its own, so that every reply is known
//! beforehand, but for those of the counters, which all clients share.

use super::crowd::Town;
use crate::rig::counter::Counter;
use crate::rig::findings::{Findings, Keys, Outcome, Wrong};
use crate::rig::load::Checker;
use crate::rig::reply::Reply;
use crate::support::{encode, show};
use crate::wire;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::HashMap;

/// What values are filled with: requests and replies, which a reader that has lost its place would take for such.
const FILLING: &[u8] = b"*1\r\n$4\r\nPING\r\n$-1\r\n+OK\r\n:1\r\n*3\r\n$3\r\nSET\r\n\r\n";

/// Sizes of values up to which they are drawn, in bytes, and how many of 1,000 are of each.
const SIZES: &[(usize, u32)] = &[(48, 850), (2_000, 120), (30_000, 27), (300_000, 3)];

/// Most keys of one command.
const KEYS_MAX: usize = 12;

/// A request with at most so many bytes of arguments may come inline: escaped it is within what a line may have.
const INLINE_MAX: usize = 4_000;

/// See the module.
pub struct Script<'a> {
    town: &'a Town,
    number: u64,
    seq: u64,
    /// By the number of the tag.
    values: HashMap<usize, Vec<u8>>,
    lists: Vec<List>,
    counter: Counter,
    is_resp3: bool,
}

/// A command, as its reply is compared with it.
#[derive(Debug)]
pub enum Op {
    /// This is the reply.
    Exactly(Vec<u8>),
    /// The same, of an entry of this list.
    Pushed(usize, Vec<u8>),
    /// An INCR of a counter.
    Counted((usize, Keys)),
    /// HELLO: the reply is of this type.
    Hello(u8),
}

/// A list of this client.
#[derive(Debug)]
pub struct List {
    pub name: String,
    drawn: u64,
    sent: u64,
    acknowledged: u64,
}

impl<'a> Script<'a> {
    /// Of the client with this number.
    pub fn new(town: &'a Town, number: u64) -> Self {
        let list = |tag: &String| List {
            name: format!("{tag}:list:{number}"),
            drawn: 0,
            sent: 0,
            acknowledged: 0,
        };
        Self {
            town,
            number,
            seq: 0,
            values: HashMap::new(),
            lists: town.tags.iter().map(list).collect(),
            counter: Counter::new(&town.ledger),
            is_resp3: false,
        }
    }

    /// Appends the next command.
    pub fn next(&mut self, rng: &mut StdRng, out: &mut Vec<u8>) -> Op {
        let mut args: Vec<Vec<u8>> = Vec::new();
        let expected = match rng.random_range(0..100) {
            0..30 => {
                let at = self.any(rng);
                args.extend([b"GET".to_vec(), self.key(at)]);
                self.value_of(at)
            }
            30..55 => {
                let at = self.any(rng);
                let value = self.draw_value(at, rng);
                args.extend([b"SET".to_vec(), self.key(at), value]);
                b"+OK\r\n".to_vec()
            }
            55..65 => return self.push(rng, out),
            65..75 => return Op::Counted(self.counter.next(rng, out)),
            75..85 => {
                let some = self.some(rng);
                args.push(b"MGET".to_vec());
                args.extend(some.iter().map(|at| self.key(*at)));
                let values = some.iter().map(|at| self.value_of(*at));
                let head = format!("*{}\r\n", some.len()).into_bytes();
                std::iter::once(head).chain(values).flatten().collect()
            }
            85..91 => {
                args.push(b"MSET".to_vec());
                for at in self.some(rng) {
                    let value = self.draw_value(at, rng);
                    args.extend([self.key(at), value]);
                }
                b"+OK\r\n".to_vec()
            }
            91..95 => {
                let some = self.some(rng);
                args.push(b"DEL".to_vec());
                args.extend(some.iter().map(|at| self.key(*at)));
                let there = some.iter().filter(|at| self.values.remove(at).is_some());
                format!(":{}\r\n", there.count()).into_bytes()
            }
            95..99 => {
                // Answered by the proxy itself, in its turn.
                let nonce = self.nonce();
                args.extend([b"PING".to_vec(), nonce.clone()]);
                bulk(&nonce)
            }
            _ => return self.hello(rng, out),
        };
        let size: usize = args.iter().map(Vec::len).sum();
        if size < INLINE_MAX && rng.random_ratio(1, 25) {
            out.extend(wire::inline(&args, rng));
        } else {
            out.extend(encode(&args));
        }
        Op::Exactly(expected)
    }

    fn push(&mut self, rng: &mut StdRng, out: &mut Vec<u8>) -> Op {
        let at = self.any(rng);
        let list = &mut self.lists[at];
        list.drawn += 1;
        let entry = list.entry(list.drawn);
        out.extend(encode(&["RPUSH", &list.name, &entry]));
        Op::Pushed(at, format!(":{}\r\n", list.drawn).into_bytes())
    }

    fn hello(&mut self, rng: &mut StdRng, out: &mut Vec<u8>) -> Op {
        self.is_resp3 = rng.random();
        let (version, kind) = match self.is_resp3 {
            true => ("3", b'%'),
            false => ("2", b'*'),
        };
        out.extend(encode(&["HELLO", version]));
        Op::Hello(kind)
    }

    /// It is on its way, whole.
    pub fn sent(&mut self, op: &Op) {
        if let Op::Pushed(at, _) = op {
            self.lists[*at].sent += 1;
        }
    }

    /// Compares the reply. Called in the order of the commands.
    pub fn heard(&mut self, op: Op, reply: &[u8], findings: &mut Findings) {
        let same = match &op {
            Op::Counted(counted) => {
                let outcome = Outcome::Done(Reply::parse(reply));
                return self.counter.hear(*counted, outcome, findings);
            }
            Op::Hello(kind) => reply[0] == *kind,
            Op::Exactly(expected) | Op::Pushed(_, expected) => reply == expected,
        };
        if !same {
            let number = self.number;
            let example = format!("client {number}: {}, expected {op:?}", show(reply));
            findings.wrong(Wrong::Crossed, example);
        }
        if let Op::Pushed(at, _) = op {
            self.lists[at].acknowledged += 1;
        }
    }

    /// The client went before the reply came.
    pub fn unheard(&mut self, op: Op, findings: &mut Findings) {
        if let Op::Counted(counted) = op {
            self.counter.hear(counted, Outcome::Unknown, findings);
        }
    }

    /// Those to which something was sent.
    pub fn lists(self) -> Vec<List> {
        let mut lists = self.lists;
        lists.retain(|list| list.sent > 0);
        lists
    }

    fn any(&self, rng: &mut StdRng) -> usize {
        rng.random_range(0..self.town.tags.len())
    }

    fn some(&self, rng: &mut StdRng) -> Vec<usize> {
        let count = rng.random_range(1..=KEYS_MAX);
        (0..count).map(|_| self.any(rng)).collect()
    }

    fn key(&self, at: usize) -> Vec<u8> {
        format!("{}:value:{}", self.town.tags[at], self.number).into_bytes()
    }

    /// The reply with the value of a key.
    fn value_of(&self, at: usize) -> Vec<u8> {
        match (self.values.get(&at), self.is_resp3) {
            (Some(value), _) => bulk(value),
            (None, true) => b"_\r\n".to_vec(),
            (None, false) => b"$-1\r\n".to_vec(),
        }
    }

    /// Another value for a key.
    fn draw_value(&mut self, at: usize, rng: &mut StdRng) -> Vec<u8> {
        let mut of_1000 = rng.random_range(0..1000);
        let size = SIZES.iter().find(|(_, weight)| {
            let found = of_1000 < *weight;
            of_1000 = of_1000.saturating_sub(*weight);
            found
        });
        let size = rng.random_range(0..size.expect("they add up").0);
        let mut value = self.nonce();
        let filling = FILLING.iter().cycle().take(size);
        value.extend(filling);
        self.values.insert(at, value.clone());
        value
    }

    fn nonce(&mut self) -> Vec<u8> {
        self.seq += 1;
        format!("client {} number {};", self.number, self.seq).into_bytes()
    }
}

impl List {
    fn entry(&self, number: u64) -> String {
        format!("{}#{number}", self.name)
    }

    /// With the reply to LRANGE.
    pub fn compare(&self, reply: &[u8]) -> Result<(), Wrong> {
        let Reply::Array(entries) = Reply::parse(reply) else {
            return Err(Wrong::Crossed);
        };
        let count = entries.len() as u64;
        if count > self.sent {
            return Err(Wrong::Twice);
        }
        let in_order = (1..=count).map(|number| Reply::Text(self.entry(number)));
        match count < self.acknowledged || !in_order.eq(entries) {
            true => Err(Wrong::Stale),
            false => Ok(()),
        }
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    let head = format!("${}\r\n", bytes.len());
    [head.as_bytes(), bytes, b"\r\n"].concat()
}
