//! The ordered replies of one client (invariant 2): every command has its place here from the moment it is
//! decoded until its reply is behind those of all earlier commands in the output.

use super::recent::Question;
use super::scanning::Scan;
use crate::cluster::{NodeAddr, Slot};
use crate::command::{CommandId, Lookup};
use crate::io::{Micros, Output};
use crate::modes::Assembly;
use crate::observe::{ErrorSource, KeyGroup, WorkerMetrics};
use crate::route::Gathering;
use crate::upstream::LaneId;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;

/// Replies that came before their turn are kept together in one buffer of at most this many bytes; beyond it
/// each has a buffer of its own.
const EARLY_BYTES_MAX: usize = 64 * 1024;

/// By so many bytes the replies to parts of commands grow before they are entered in the ledger.
pub(super) const GATHERED_BYTES: usize = 256 * 1024;

/// They are in memory so often when they are put together: as they came, and as one.
const GATHERED_COPIES: usize = 2;

/// A queue longer than this gives its memory back once it is empty.
const KEEP_MAX: usize = 64;

/// What is known of a command apart from its reply.
#[derive(Clone, Copy)]
pub(super) struct About {
    pub(super) started: Micros,
    pub(super) command: CommandId,
    pub(super) lookup: Lookup,
    /// Of the keys that it looks up.
    pub(super) group: KeyGroup,
    /// How many keys it looks up, for hit rates of counting commands.
    pub(super) keys: u32,
    /// Length of the request.
    pub(super) bytes: u32,
    /// Whether its duration is measured (`observe.latency`).
    pub(super) timed: bool,
    /// CLIENT REPLY OFF or SKIP: its reply is not written.
    pub(super) silent: bool,
    /// May change data: WAIT wants to know where it went.
    pub(super) writes: bool,
}

impl Default for About {
    fn default() -> Self {
        Self {
            started: Micros::default(),
            command: CommandId::OTHER,
            lookup: Lookup::None,
            group: KeyGroup::OTHER,
            keys: 0,
            bytes: 0,
            timed: false,
            silent: false,
            writes: false,
        }
    }
}

/// Where one command stands.
pub(super) struct Pending {
    pub(super) about: About,
    pub(super) stage: Stage,
    /// What is still to be done with its reply, if it is not delivered as it comes.
    pub(super) rest: Option<Box<Rest>>,
}

/// How a reply becomes the client's.
pub(super) enum Rest {
    /// It ends a step of a SCAN.
    Scan(Scan),
    /// It is EXEC's.
    Exec(Assembly),
    /// It is EXEC's as the client gets it.
    ExecWatched,
}

pub(super) enum Stage {
    /// In flight on that lane.
    Sent(Option<Slot>, LaneId),
    /// Not sent: its slot is fenced.
    Held,
    /// In parts.
    Fanout(Box<Fanout>),
    /// Answered before its turn; in the common buffer.
    Early { from: u32, len: u32 },
    /// Answered before its turn.
    Ready(Bytes),
}

/// A command that went out in parts.
pub(super) struct Fanout {
    pub(super) gathering: Gathering,
    pub(super) parts: Box<[Part]>,
    pub(super) size: MergedSize,
    /// Who worded the error that a part of it has come to.
    pub(super) blame: Option<ErrorSource>,
    /// Its reply may be given again to whoever asks this, from that moment on for a while.
    pub(super) again: Option<(Question, Instant)>,
}

/// Whether the parts are too large to be put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MergedSize {
    Fits,
    /// And that was counted.
    TooLarge,
}

/// One part of it.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) slot: Option<Slot>,
    /// The lane it is in flight on.
    pub(super) lane: Option<LaneId>,
    /// The node it is for, if that is not its slot's owner.
    pub(super) node: Option<NodeAddr>,
    pub(super) keys: u32,
    pub(super) duty: Duty,
}

/// Whether a part's node has to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Duty {
    Required,
    /// It is left out of the reply if it cannot be asked.
    Optional,
}

/// See the module.
#[derive(Default)]
pub(super) struct Replies {
    /// Sequence number of the oldest unanswered command.
    base: u64,
    queue: VecDeque<Pending>,
    early: Vec<u8>,
    early_count: usize,
    /// Bytes of replies that came before their turn.
    kept: usize,
    /// Bytes of replies to parts of commands, until all parts are answered.
    gathered: usize,
    /// Bytes of the requests in the queue.
    bytes: usize,
}

impl Replies {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes of replies that came before their turn.
    #[inline]
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// How many commands there is memory for.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// Bytes of memory it holds, without the requests.
    pub(super) fn held(&self) -> usize {
        self.kept + self.gathered * GATHERED_COPIES + self.queue.capacity() * size_of::<Pending>()
    }

    /// Bytes of the requests that are not answered yet.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The sequence number of the oldest unanswered command.
    pub(super) fn oldest(&self) -> u64 {
        self.base
    }

    /// The sequence number the next command will get.
    pub(super) fn next_seq(&self) -> u64 {
        self.base + self.queue.len() as u64
    }

    /// Where the last command stands.
    #[inline]
    pub(super) fn newest(&self) -> Option<&Stage> {
        self.queue.back().map(|pending| &pending.stage)
    }

    #[inline]
    pub(super) fn push(&mut self, about: About, stage: Stage) {
        self.bytes += about.bytes as usize;
        self.queue.push_back(Pending {
            about,
            stage,
            rest: None,
        });
    }

    /// The command with that number, unless its reply has left already.
    #[inline]
    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Pending> {
        let at = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.queue.get_mut(at)
    }

    /// Whether its client has the reply to the command with that number, or will get it in its turn.
    pub(super) fn is_answered(&mut self, seq: u64) -> bool {
        let stage = self.get_mut(seq).map(|pending| &pending.stage);
        matches!(stage, None | Some(Stage::Early { .. } | Stage::Ready(_)))
    }

    /// Every part in flight: its slot and lane.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (Slot, LaneId)> {
        self.queue.iter().flat_map(|pending| {
            let (one, parts) = match &pending.stage {
                Stage::Sent(slot, lane) => (slot.map(|s| (s, *lane)), [].as_slice()),
                Stage::Fanout(fanout) => (None, &fanout.parts[..]),
                _ => (None, [].as_slice()),
            };
            one.into_iter()
                .chain(parts.iter().filter_map(|p| Some((p.slot?, p.lane?))))
        })
    }

    /// The reply of a command is there. It goes into `out` if it is its turn, with all behind it that were waiting
    /// for it.
    #[inline]
    pub(super) fn complete(
        &mut self,
        seq: u64,
        reply: &[u8],
        out: &mut Output,
        now: Micros,
        metrics: &WorkerMetrics,
    ) {
        if seq != self.base {
            return self.keep_early(seq, reply);
        }
        if !self.queue.front().is_some_and(|p| p.about.silent) {
            out.extend(reply);
        }
        self.pop(now, metrics);
        if self.early_count > 0 {
            self.drain(out, now, metrics);
        }
        if self.queue.is_empty() && self.queue.capacity() > KEEP_MAX {
            self.queue = VecDeque::new();
        }
    }

    #[inline]
    fn pop(&mut self, now: Micros, metrics: &WorkerMetrics) {
        if let Some(done) = self.queue.pop_front() {
            self.base += 1;
            self.bytes -= done.about.bytes as usize;
            if done.about.timed {
                metrics.command(done.about.command, now.since(done.about.started));
            } else {
                metrics.command_untimed(done.about.command);
            }
        }
    }

    /// Moves the replies whose turn it is.
    fn drain(&mut self, out: &mut Output, now: Micros, metrics: &WorkerMetrics) {
        while let Some(first) = self.queue.front_mut() {
            self.kept -= match &first.stage {
                Stage::Early { len, .. } => *len as usize,
                Stage::Ready(reply) => reply.len(),
                _ => break,
            };
            match &mut first.stage {
                Stage::Early { .. } | Stage::Ready(_) if first.about.silent => {}
                Stage::Early { from, len } => {
                    let from = *from as usize;
                    out.extend(&self.early[from..from + *len as usize]);
                }
                Stage::Ready(reply) => out.push(std::mem::take(reply)),
                _ => break,
            }
            self.early_count -= 1;
            self.pop(now, metrics);
        }
        if self.early_count == 0 {
            if self.early.capacity() > EARLY_BYTES_MAX / 4 {
                self.early = Vec::new();
            } else {
                self.early.clear();
            }
        }
    }

    fn keep_early(&mut self, seq: u64, reply: &[u8]) {
        let room = self.early.len() + reply.len() <= EARLY_BYTES_MAX;
        let stage = if room {
            let from = self.early.len() as u32;
            self.early.extend_from_slice(reply);
            Stage::Early {
                from,
                len: reply.len() as u32,
            }
        } else {
            Stage::Ready(Bytes::copy_from_slice(reply))
        };
        if let Some(pending) = self.get_mut(seq) {
            pending.stage = stage;
            self.early_count += 1;
            self.kept += reply.len();
        }
    }

    /// Forgets everything: the client is gone.
    pub(super) fn clear(&mut self) {
        self.base = self.next_seq();
        self.queue = VecDeque::new();
        self.early = Vec::new();
        self.early_count = 0;
        self.bytes = 0;
        self.kept = 0;
        self.gathered = 0;
    }

    /// A reply of so many bytes to a part of a command is kept. Whether there are so many now that somebody should know.
    pub(super) fn gather(&mut self, bytes: usize) -> bool {
        let before = self.gathered;
        self.gathered += bytes;
        before / GATHERED_BYTES != self.gathered / GATHERED_BYTES
    }

    /// So many of them are kept no longer.
    pub(super) fn gathered(&mut self, bytes: usize) {
        self.gathered = self.gathered.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_counts_as_what_it_takes_to_put_it_together() {
        let mut replies = Replies::default();
        assert!(!replies.gather(GATHERED_BYTES - 1));
        assert!(replies.gather(1), "that is to be entered");
        assert_eq!(replies.held(), GATHERED_COPIES * GATHERED_BYTES);
        replies.gathered(GATHERED_BYTES);
        assert_eq!(replies.held(), 0);
    }
}
