//! One client from its first byte to its end: pipelines in pieces, replies compared, and an end that is drawn.

use super::crowd::Town;
use super::script::{List, Op, Script};
use crate::rig::findings::Findings;
use crate::support::{RawClient, show};
use crate::wire;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Most pipelines of a life.
const PIPELINES_MAX: usize = 4;

/// The depth of a pipeline is at most two to the power of something up to this, and at most `DEPTH_MAX`.
const DEPTH_LOG_MAX: u32 = 10;
const DEPTH_MAX: usize = 1000;

/// Cuts next to a CR or LF in a pipeline, at most: those in the middle of an end of a line are the rarest otherwise.
const CUTS_AT_LINE_ENDS: usize = 48;

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum End {
    /// It has heard everything, and closes.
    Heard,
    /// It sends no more, and hears everything that is left.
    HalfClosed,
    /// It has sent everything, heard a part, and resets.
    ResetHearing,
    /// It resets in the middle of a pipeline, and of a request.
    ResetSending,
}

impl End {
    /// In the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heard => "closed",
            Self::HalfClosed => "half-closed",
            Self::ResetHearing => "reset while reading",
            Self::ResetSending => "reset while sending",
        }
    }
}

/// See the module.
pub struct Life<'a> {
    addr: SocketAddr,
    rng: StdRng,
    script: Script<'a>,
    /// Sent, and not answered yet.
    waiting: VecDeque<Op>,
    sent: u64,
    findings: Findings,
}

/// What is left of a life.
pub struct Lived {
    pub end: End,
    pub sent: u64,
    pub findings: Findings,
    lists: Vec<List>,
}

impl<'a> Life<'a> {
    /// Everything about it is drawn from the seed and its number.
    pub fn new(town: &'a Town, number: u64) -> Self {
        Self {
            addr: town.addr,
            rng: StdRng::seed_from_u64(town.seed.wrapping_mul(1_000_003) ^ number),
            script: Script::new(town, number),
            waiting: VecDeque::new(),
            sent: 0,
            findings: Findings::default(),
        }
    }

    /// Lives it.
    pub fn live(mut self) -> Lived {
        let ends = [
            End::Heard,
            End::HalfClosed,
            End::ResetHearing,
            End::ResetSending,
        ];
        let end = *ends.choose(&mut self.rng).expect("not empty");
        let mut client = RawClient::connect(self.addr);
        for left in (0..self.rng.random_range(1..=PIPELINES_MAX)).rev() {
            // A half-closed client has a part of a request behind its last pipeline at times.
            let part = match (left, end) {
                (0, End::ResetSending) => true,
                (0, End::HalfClosed) => self.rng.random(),
                _ => false,
            };
            self.pipeline(&mut client, part);
            let stay = self.rng.random_range(0..=self.waiting.len());
            self.hear_until(&mut client, stay);
        }
        match end {
            End::Heard => {
                self.hear_until(&mut client, 0);
                client.expect("PING alone", b"$5\r\nalone\r\n");
            }
            End::HalfClosed => {
                client.half_close();
                self.hear_until(&mut client, 0);
                client.expect_close();
            }
            End::ResetHearing | End::ResetSending => client.reset(),
        }
        for op in self.waiting.drain(..) {
            self.script.unheard(op, &mut self.findings);
        }
        Lived {
            end,
            sent: self.sent,
            findings: self.findings,
            lists: self.script.lists(),
        }
    }

    /// Sends one, in pieces; `part`: it stops anywhere.
    fn pipeline(&mut self, client: &mut RawClient, part: bool) {
        let log = self.rng.random_range(0..=DEPTH_LOG_MAX);
        let depth = self.rng.random_range(1..=1 << log).min(DEPTH_MAX);
        let mut bytes = Vec::new();
        let mut drawn = Vec::new();
        for _ in 0..depth {
            let op = self.script.next(&mut self.rng, &mut bytes);
            drawn.push((op, bytes.len()));
        }
        if part {
            bytes.truncate(self.rng.random_range(0..bytes.len()));
        }
        for (op, end) in drawn {
            if end <= bytes.len() {
                self.script.sent(&op);
                self.waiting.push_back(op);
                self.sent += 1;
            }
        }
        let cuts = self.cuts(&bytes);
        client.send_in_pieces(&bytes, &cuts);
    }

    fn cuts(&mut self, bytes: &[u8]) -> Vec<usize> {
        if self.rng.random() {
            return wire::cuts(bytes.len(), &mut self.rng);
        }
        let line_ends = (1..bytes.len()).filter(|at| matches!(bytes[*at], b'\r' | b'\n'));
        let count = self.rng.random_range(1..=CUTS_AT_LINE_ENDS);
        let mut cuts = line_ends.choose_multiple(&mut self.rng, count);
        cuts.sort_unstable();
        cuts
    }

    fn hear_until(&mut self, client: &mut RawClient, stay: usize) {
        while self.waiting.len() > stay
            && let Some(op) = self.waiting.pop_front()
        {
            let reply = client.reply();
            self.findings.replies += 1;
            self.script.heard(op, &reply, &mut self.findings);
        }
    }
}

impl Lived {
    /// When nothing is in flight any more: its lists hold what it has sent, in this order, up to some place behind
    /// everything that was acknowledged.
    pub fn settle(&mut self, client: &mut RawClient, findings: &mut Findings) {
        for list in &self.lists {
            let reply = client.command(&["LRANGE", &list.name, "0", "-1"]);
            if let Err(what) = list.compare(&reply) {
                let example = format!("{}: {}, {list:?}", list.name, show(&reply));
                findings.wrong(what, example);
            }
        }
    }
}
