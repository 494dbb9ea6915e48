//! What a client has queued between MULTI and EXEC, and what becomes of it: the block (or the blocks, one per slot) to be
//! sent, and EXEC's one reply made of theirs. Pure; `session::transacting` drives it.
//!
//! Commands for nodes are kept as bytes, one behind the other, so that the block is there when EXEC comes. Commands that
//! slotway answers itself never go into a block: their answers are put into EXEC's array, at their places.

use crate::cluster::Slot;
use crate::command::Local;
use crate::observe::Limit;
use crate::resp::{Request, elements, encode, is_null};
use std::borrow::Cow;
use std::collections::HashMap;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// Room for so many bytes and commands is made with the first: most transactions are no longer.
const EXPECTED_BYTES: usize = 1024;
const EXPECTED_COMMANDS: usize = 16;

/// How much one transaction may hold.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Commands (`limits.transaction_commands`).
    pub commands: usize,
    /// Bytes of commands (`limits.transaction_bytes`).
    pub bytes: usize,
}

/// See the module. Begins with MULTI, ends with EXEC, DISCARD or the connection.
#[derive(Debug, Default)]
pub struct Queue {
    fate: Fate,
    /// The commands for nodes, MULTI in front of them.
    bytes: Vec<u8>,
    sent: Vec<Sent>,
    local: Vec<Answered>,
    local_bytes: usize,
    /// The first command with a key.
    keyed: Option<usize>,
    slow: bool,
}

/// Whether EXEC will execute it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Fate {
    #[default]
    Open,
    /// A command was refused as it was queued.
    Aborted,
}

/// A command for a node.
#[derive(Debug)]
struct Sent {
    /// Where it ends in `bytes`.
    end: usize,
    slot: Option<Slot>,
}

/// A command that slotway answers.
#[derive(Debug)]
struct Answered {
    /// Its place in the transaction.
    place: usize,
    command: Option<Local>,
    request: Box<[u8]>,
}

/// Why a command is not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotQueued {
    /// Its slot is not that of the commands before it.
    OtherSlot,
    /// `limits.transaction_commands` or `limits.transaction_bytes` is reached.
    Full(Limit),
}

/// Whether commands of several slots may be in one transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slots {
    /// All keys in one slot.
    One,
    /// One transaction for each slot (`policy.cross_slot_transactions = "split"`).
    Several,
}

/// MULTI, commands, EXEC, to be written as one.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The slot of its keys; `None` if it has none.
    pub slot: Option<Slot>,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Replies before EXEC's.
    pub inner: u32,
}

/// How EXEC's reply is made of those of the blocks and of what slotway answered.
#[derive(Debug, Default)]
pub struct Assembly {
    commands: usize,
    /// Commands that stand in front of the client's own in each block.
    loads: usize,
    /// What slotway answered: place and reply.
    local: Vec<(usize, Vec<u8>)>,
    /// For each block the places of its commands; none if there is one block.
    parts: Vec<Vec<usize>>,
}

impl Block {
    /// A transaction without commands: EXEC only says whether what is watched has changed.
    pub fn empty() -> Self {
        Self {
            slot: None,
            bytes: [MULTI, EXEC].concat(),
            inner: 1,
        }
    }
}

impl Queue {
    /// How many commands it holds.
    pub fn len(&self) -> usize {
        self.sent.len() + self.local.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a command was refused, so that EXEC executes nothing.
    pub fn is_aborted(&self) -> bool {
        self.fate == Fate::Aborted
    }

    /// Whether one of its commands may take long.
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// Bytes that EXEC sends to nodes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory it holds.
    pub fn held(&self) -> usize {
        self.bytes.capacity() + self.local_bytes
    }

    /// A command was refused as it was queued: nothing will be executed, so nothing is kept.
    pub fn abort(&mut self) {
        *self = Self {
            fate: Fate::Aborted,
            ..Self::default()
        };
    }

    /// Queues a command for the node that owns `slot`, or for any if it has no key.
    #[inline]
    pub fn send(
        &mut self,
        request: &Request<'_>,
        slot: Option<Slot>,
        slow: bool,
        slots: Slots,
        limits: &QueueLimits,
    ) -> Result<(), NotQueued> {
        if self.is_aborted() {
            return Ok(());
        }
        self.check(request, limits)?;
        if slot.is_some() {
            match self.keyed {
                None => self.keyed = Some(self.sent.len()),
                Some(first) if slots == Slots::One && self.sent[first].slot != slot => {
                    return Err(NotQueued::OtherSlot);
                }
                Some(_) => {}
            }
        }
        if self.bytes.is_empty() {
            self.bytes.reserve(EXPECTED_BYTES);
            self.sent.reserve(EXPECTED_COMMANDS);
            self.bytes.extend_from_slice(MULTI);
        }
        self.bytes.extend_from_slice(request.bytes());
        self.slow |= slow;
        let end = self.bytes.len();
        self.sent.push(Sent { end, slot });
        Ok(())
    }

    /// Queues a command that slotway answers when EXEC comes; `None` for one whose answer is OK.
    pub fn answer(
        &mut self,
        command: Option<Local>,
        request: &Request<'_>,
        limits: &QueueLimits,
    ) -> Result<(), NotQueued> {
        if self.is_aborted() {
            return Ok(());
        }
        self.check(request, limits)?;
        self.local_bytes += request.bytes().len() + size_of::<Answered>();
        self.local.push(Answered {
            place: self.len(),
            command,
            request: request.bytes().into(),
        });
        Ok(())
    }

    fn check(&self, request: &Request<'_>, limits: &QueueLimits) -> Result<(), NotQueued> {
        let bytes = self.bytes.len() + self.local_bytes + request.bytes().len();
        if self.len() >= limits.commands {
            return Err(NotQueued::Full(Limit::TransactionCommands));
        }
        if bytes > limits.bytes {
            return Err(NotQueued::Full(Limit::TransactionBytes));
        }
        Ok(())
    }

    /// The first command with a key, as it came.
    pub fn first_keyed(&self) -> Option<&[u8]> {
        self.keyed.map(|at| self.command(at))
    }

    fn command(&self, at: usize) -> &[u8] {
        let start = match at {
            0 => MULTI.len(),
            _ => self.sent[at - 1].end,
        };
        &self.bytes[start..self.sent[at].end]
    }

    /// The commands for nodes, as they came.
    pub fn commands(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.sent.len()).map(|at| self.command(at))
    }

    /// EXEC: what is to be sent, and how the reply is made. `answer` answers a command of slotway's own; `loads` are
    /// whole commands that go in front of the client's (SCRIPT LOAD).
    pub fn exec(
        mut self,
        loads: &[Vec<u8>],
        mut answer: impl FnMut(Local, &[u8], &mut Vec<u8>),
    ) -> (Vec<Block>, Assembly) {
        let mut assembly = Assembly {
            commands: self.len(),
            loads: loads.len(),
            ..Assembly::default()
        };
        for own in &self.local {
            let mut reply = Vec::new();
            match own.command {
                Some(command) => answer(command, &own.request, &mut reply),
                None => encode::simple(&mut reply, "OK"),
            }
            assembly.local.push((own.place, reply));
        }
        if self.sent.is_empty() {
            return (Vec::new(), assembly);
        }
        let slot = self.keyed.and_then(|at| self.sent[at].slot);
        let one = self.sent.iter().all(|s| s.slot.is_none() || s.slot == slot);
        if one && loads.is_empty() {
            self.bytes.extend_from_slice(EXEC);
            let block = Block {
                slot,
                bytes: self.bytes,
                inner: self.sent.len() as u32 + 1,
            };
            return (vec![block], assembly);
        }
        let blocks = self.by_slot(slot, loads, &mut assembly);
        (blocks, assembly)
    }

    /// One block for each slot, in the order of their first commands; what has no key goes with the first.
    fn by_slot(
        &self,
        first: Option<Slot>,
        loads: &[Vec<u8>],
        assembly: &mut Assembly,
    ) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut known: HashMap<Option<Slot>, usize> = HashMap::new();
        let mut own = self.local.iter().map(|own| own.place).peekable();
        let mut place = 0;
        for (at, sent) in self.sent.iter().enumerate() {
            while own.next_if_eq(&place).is_some() {
                place += 1;
            }
            let slot = sent.slot.or(first);
            let part = *known.entry(slot).or_insert(blocks.len());
            if part == blocks.len() {
                blocks.push(Block {
                    slot,
                    bytes: [&[MULTI.to_vec()], loads].concat().concat(),
                    inner: 1 + loads.len() as u32,
                });
                assembly.parts.push(Vec::new());
            }
            blocks[part].bytes.extend_from_slice(self.command(at));
            blocks[part].inner += 1;
            assembly.parts[part].push(place);
            place += 1;
        }
        for block in &mut blocks {
            block.bytes.extend_from_slice(EXEC);
        }
        if blocks.len() == 1 {
            assembly.parts.clear();
        }
        blocks
    }
}

/// What makes an EXEC whose replies do not fit the question (never seen) an error.
const MISFIT: &str = "ERR slotway: outcome unknown, the reply to EXEC does not fit what was queued; check before you repeat it";

impl Assembly {
    /// Puts in what slotway answers, where that was not known when the block was made: the replies that are empty so
    /// far, in their order.
    pub fn fill(&mut self, replies: impl Iterator<Item = Vec<u8>>) {
        let empty = self.local.iter_mut().filter(|(_, reply)| reply.is_empty());
        for ((_, place), reply) in empty.zip(replies) {
            *place = reply;
        }
    }

    /// EXEC's reply from those of the blocks, in their order. A block's error stands for each of its commands, unless
    /// all blocks failed: then the first is the reply.
    pub fn finish<'a>(&self, replies: &[&'a [u8]]) -> Cow<'a, [u8]> {
        let is_error = |reply: &[u8]| reply.first() == Some(&b'-');
        if let [first, rest @ ..] = replies {
            let untouched = rest.is_empty() && self.local.is_empty() && self.loads == 0;
            // Nothing was executed: a watched key has changed.
            let nil = rest.is_empty() && is_null(first);
            if nil || untouched || replies.iter().all(|r| is_error(r)) {
                return Cow::Borrowed(first);
            }
        }
        let mut places: Vec<Option<&[u8]>> = vec![None; self.commands];
        for (place, reply) in &self.local {
            places[*place] = Some(reply);
        }
        for (part, &reply) in replies.iter().enumerate() {
            let mine = match self.parts.get(part) {
                Some(mine) => mine.clone(),
                None => (0..self.commands)
                    .filter(|&p| places[p].is_none())
                    .collect(),
            };
            let ranges = match is_error(reply) {
                true => vec![0..reply.len(); mine.len() + self.loads],
                false => elements(reply).unwrap_or_default(),
            };
            if ranges.len() != mine.len() + self.loads {
                return misfit();
            }
            for (place, range) in mine.into_iter().zip(&ranges[self.loads..]) {
                places[place] = Some(&reply[range.clone()]);
            }
        }
        let mut out = Vec::new();
        encode::array(&mut out, self.commands);
        for place in places {
            match place {
                Some(reply) => out.extend_from_slice(reply),
                None => return misfit(),
            }
        }
        Cow::Owned(out)
    }
}

fn misfit() -> Cow<'static, [u8]> {
    let mut out = Vec::new();
    encode::error(&mut out, MISFIT);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
