//! Where the writes of a client went: what WAIT and WAITAOF ask about.
//!
//! What was written over a connection that is lost, or to a node that serves nothing any more, is in doubt: no replica
//! has it for sure. A client that waits is told so once, and the node is forgotten.

use super::dispatch::Batch;
use super::replies::Stage;
use super::{Session, State};
use crate::cluster::NodeAddr;
use crate::upstream::{Lane, LaneId, Ticket};
use rustc_hash::FxHashMap;
use std::cell::Cell;
use std::rc::Rc;

/// See the module. What a client has written to is found at once, however many nodes there are: each write asks.
#[derive(Default)]
pub(super) struct Written {
    targets: FxHashMap<LaneId, Target>,
    /// Something was forgotten that is in doubt, and nobody was told.
    in_doubt: bool,
    /// How much all lanes had lost when the targets were last looked at.
    losses: u32,
}

/// One primary that is written to, and waited for.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) lane: Rc<Lane>,
    /// How much the lane had lost at the first write, if there was one.
    pub(super) losses: Option<u32>,
    reached: Rc<Cell<Reached>>,
}

/// How far the primary was behind the last write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// It was not asked since.
    Unknown,
    Offset(u64),
    /// The client was told that it is in doubt.
    Told,
}

impl Session {
    /// A command that writes was taken: notes where it went, for WAIT.
    #[inline]
    pub(super) fn note_write(&self, state: &mut State) {
        match state.replies.newest() {
            Some(Stage::Sent(_, lane)) if (*lane, self.all_losses()) == state.wrote_last => {}
            _ => self.note_written(state),
        }
    }

    /// Of all lanes: as long as that stays the same, what is known of the last write still holds.
    #[inline]
    fn all_losses(&self) -> u32 {
        self.context.lanes.context().losses.get()
    }

    fn note_written(&self, state: &mut State) {
        let written = state.written.get_or_insert_default();
        written.notice(self.all_losses());
        let note = |written: &mut Written, lane: LaneId| {
            if !written.knows(lane)
                && let Some(lane) = self.context.lanes.by_id(lane)
            {
                written.note(&lane);
            }
        };
        match state.replies.newest() {
            Some(Stage::Sent(_, lane)) => {
                note(written, *lane);
                state.wrote_last = (*lane, self.all_losses());
            }
            Some(Stage::Fanout(fanout)) => {
                let lanes = fanout.parts.iter().filter_map(|part| part.lane);
                lanes.for_each(|lane| note(written, lane));
            }
            _ => {}
        }
    }

    /// A command was sent, later than it came or once more.
    pub(super) fn note_resent(&self, state: &mut State, ticket: Ticket, lane: &Rc<Lane>) {
        let pending = state.replies.get_mut(ticket.seq);
        if pending.is_some_and(|pending| pending.about.writes) {
            self.note_write_on(state, lane);
        }
    }

    /// What a task sent to that node has written.
    pub(super) fn note_write_at(&self, node: &NodeAddr) {
        let map = self.context.map().clone();
        if let Some(node) = map.find(node) {
            let state = &mut *self.state.borrow_mut();
            let lane = self.lane_to(state, &map, node);
            self.note_write_on(state, &lane);
        }
    }

    /// The primaries that it has written to, or all of them if it has written nothing. `None`: something that it has
    /// written is in doubt.
    pub(super) fn written_to(&self, state: &mut State, batch: &Batch<'_>) -> Option<Vec<Target>> {
        // The next write is noted, whichever lane it takes.
        state.wrote_last.0 = LaneId::NONE;
        let mut targets = Vec::new();
        if let Some(written) = &mut state.written {
            written.forget();
            if std::mem::take(&mut written.in_doubt) {
                return None;
            }
            targets.extend(written.targets.values().cloned());
            targets.sort_unstable_by_key(|target| target.lane.id());
        }
        if targets.is_empty() {
            let primaries = batch.map.primaries();
            targets.extend(primaries.into_iter().map(|node| Target {
                lane: self.lane_to(state, &batch.map, node),
                losses: None,
                reached: Rc::new(Cell::new(Reached::Offset(0))),
            }));
        }
        Some(targets)
    }

    fn note_write_on(&self, state: &mut State, lane: &Rc<Lane>) {
        state.wrote_last = (lane.id(), self.all_losses());
        let written = state.written.get_or_insert_default();
        written.notice(self.all_losses());
        if !written.knows(lane.id()) {
            written.note(lane);
        }
    }
}

impl Written {
    /// Lanes have lost as much. What is in doubt now is one thing, and what is written from now on another, which is not.
    #[inline]
    fn notice(&mut self, losses: u32) {
        if self.losses != losses {
            self.losses = losses;
            self.forget();
        }
    }

    /// Whether that lane is known to be written to; it is once more.
    #[inline]
    fn knows(&self, lane: LaneId) -> bool {
        let Some(target) = self.targets.get(&lane) else {
            return false;
        };
        if target.reached.get() == Reached::Told {
            return false;
        }
        target.reached.set(Reached::Unknown);
        true
    }

    #[cold]
    fn note(&mut self, lane: &Rc<Lane>) {
        if self.targets.len() == self.targets.capacity() {
            // Nodes come and go, and a client may never say WAIT.
            self.forget();
        }
        let target = Target {
            lane: lane.clone(),
            losses: Some(lane.losses()),
            reached: Rc::new(Cell::new(Reached::Unknown)),
        };
        self.targets.insert(lane.id(), target);
    }

    #[cold]
    fn forget(&mut self) {
        let doubt = &mut self.in_doubt;
        self.targets.retain(|_, target| {
            let told = target.reached.get() == Reached::Told;
            let in_doubt = target.is_in_doubt();
            *doubt |= in_doubt && !told;
            !told && !in_doubt
        });
    }
}

impl Target {
    /// Whether nobody knows any more what became of the writes: since the first of them a connection was lost, or the
    /// node replaced. A lane to a node that no map names is not to be used: nobody looks after it, and the address may
    /// be another's by now.
    fn is_in_doubt(&self) -> bool {
        let lost = self
            .losses
            .is_some_and(|losses| losses != self.lane.losses());
        lost || self.lane.is_replaced()
    }

    /// The same; then the client is told.
    pub(super) fn tells_doubt(&self) -> bool {
        if self.is_in_doubt() {
            self.tell();
        }
        self.reached.get() == Reached::Told
    }

    /// The client is told that they are in doubt.
    pub(super) fn tell(&self) {
        self.reached.set(Reached::Told);
    }

    /// How far the primary was behind the last write, being as far as that now.
    pub(super) fn reached(&self, now: u64) -> u64 {
        match self.reached.get() {
            Reached::Offset(offset) => offset,
            Reached::Unknown | Reached::Told => {
                self.reached.set(Reached::Offset(now));
                now
            }
        }
    }
}
