//! A connection as its node has it: what was asked on it that changes what comes later.

use crate::plan::Reach;
use crate::wire::{Proto, bulk, integer};
use std::collections::BTreeSet;

/// A command.
pub type Words = Vec<Vec<u8>>;

/// See the module.
#[derive(Default)]
pub struct Peer {
    /// What CLIENT ID says.
    pub number: usize,
    pub proto: Proto,
    pub asking: bool,
    /// Behind MULTI.
    pub queue: Option<Vec<Words>>,
    /// One of those was refused.
    pub refused: bool,
    /// Keys, and how often each had been changed by then.
    pub watched: Vec<(Vec<u8>, u64)>,
    pub blocked: Option<Blocked>,
    pub channels: BTreeSet<(Reach, Vec<u8>)>,
}

/// A command that waits.
pub struct Blocked {
    pub words: Words,
    pub asking: bool,
    /// When it gives up; set when the wait begins.
    pub until: Option<u64>,
}

impl Blocked {
    pub fn new(words: Words, asking: bool) -> Self {
        Self {
            words,
            asking,
            until: None,
        }
    }

    /// How long it waits, in milliseconds.
    pub fn millis(&self) -> u64 {
        let text = self.words.last().map(|w| String::from_utf8_lossy(w));
        let seconds = text.and_then(|t| t.parse::<f64>().ok()).unwrap_or_default();
        (seconds * 1000.0) as u64
    }
}

impl Peer {
    pub fn new(number: usize) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    pub fn hello(&mut self, version: &[u8]) -> Vec<u8> {
        self.proto = match version {
            b"3" => Proto::Three,
            _ => Proto::Two,
        };
        let head: &[u8] = match self.proto {
            Proto::Two => b"*6\r\n",
            Proto::Three => b"%3\r\n",
        };
        let rest: &[u8] = b"$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$7\r\nmodules\r\n*0\r\n";
        [head, rest].concat()
    }

    /// One of (S)SUBSCRIBE and (S)UNSUBSCRIBE: its confirmations.
    pub fn subscription(&mut self, name: &[u8], channels: &[Vec<u8>]) -> Vec<u8> {
        let reach = match name {
            b"SSUBSCRIBE" | b"SUNSUBSCRIBE" => Reach::Shard,
            _ => Reach::Everywhere,
        };
        let mut out = Vec::new();
        for channel in channels {
            let item = (reach, channel.clone());
            match name.ends_with(b"UNSUBSCRIBE") {
                true => self.channels.remove(&item),
                false => self.channels.insert(item),
            };
            out.extend(self.confirmation(name, channel));
        }
        out
    }

    /// What it is told when a subscription begins or ends.
    pub fn confirmation(&self, name: &[u8], channel: &[u8]) -> Vec<u8> {
        let word = bulk(&name.to_ascii_lowercase());
        let count = integer(self.channels.len() as i64);
        [b">3\r\n", &word[..], &bulk(channel), &count].concat()
    }

    /// A message, if it has subscribed to the channel.
    pub fn message(&self, reach: Reach, channel: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
        if !self.channels.contains(&(reach, channel.to_vec())) {
            return None;
        }
        let word: &[u8] = match reach {
            Reach::Everywhere => b"message",
            Reach::Shard => b"smessage",
        };
        Some([b">3\r\n", &bulk(word)[..], &bulk(channel), &bulk(payload)].concat())
    }

    /// A waiting command ends without anything; `None` if none waits.
    pub fn give_up(&mut self) -> Option<Vec<u8>> {
        self.blocked.take()?;
        Some(self.proto.nil_array().to_vec())
    }
}

/// CLIENT UNBLOCK's answer.
pub fn unblocked(done: bool) -> Vec<u8> {
    integer(i64::from(done))
}

/// What another client of the node is told that is unblocked with an error.
pub const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
