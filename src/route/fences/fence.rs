//! What is known of one slot while its session is redirecting.

use crate::route::overtaken::Overtaking;
use crate::route::refused::{Held, Past, Refused, Room, Why};
use crate::upstream::{LaneId, Ticket};
use std::collections::VecDeque;
use std::time::Instant;

/// See the module. Its owner, `Fences`, keeps it.
#[derive(Debug)]
pub(super) struct Fence {
    pub(super) in_flight: u32,
    /// The lane on which they are in flight.
    pub(super) lane: LaneId,
    pub(super) refused: VecDeque<Refused>,
    /// What executed, or may have, after one that was refused.
    pub(super) overtaking: Overtaking,
    pub(super) held: VecDeque<Held>,
    /// What is being resent, in order.
    pub(super) resent: VecDeque<Resent>,
    /// The last one executed. Others with that reason need not be alone, as long as none of them is refused.
    pub(super) flows: Option<Why>,
    /// Since when its requests have waited for that room in a lane, and for nothing else.
    pub(super) full_since: Option<(Room, Instant)>,
    /// The lane that has room for the oldest refused request now.
    pub(super) turn: Option<LaneId>,
}

/// A refused request that is in flight again.
#[derive(Debug)]
pub(super) struct Resent {
    pub(super) ticket: Ticket,
    pub(super) why: Why,
    pub(super) past: Past,
}

impl Fence {
    pub(super) fn new(lane: LaneId) -> Self {
        Self {
            in_flight: 0,
            lane,
            refused: VecDeque::new(),
            overtaking: Overtaking::default(),
            held: VecDeque::new(),
            resent: VecDeque::new(),
            flows: None,
            full_since: None,
            turn: None,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        !self.refused.is_empty() || !self.held.is_empty() || !self.resent.is_empty()
    }

    /// Whether the oldest refused request may follow what is in flight: all of that is resent, too.
    pub(super) fn follows(&self) -> bool {
        let next = self.refused.front().map(|first| &first.why);
        self.flows.is_some() && self.flows.as_ref() == next && self.all_resent()
    }

    /// Whether the oldest one goes behind what is in flight because that lane has room for it: it was never anywhere, so
    /// all of that is older, and the connection keeps the order. Not if any of it was refused before.
    pub(super) fn takes(&self, turn: Option<LaneId>) -> bool {
        let first = self.refused.front();
        turn == Some(self.lane)
            && self.resent.is_empty()
            && first.is_some_and(Refused::only_lacked_room)
    }

    fn all_resent(&self) -> bool {
        usize::try_from(self.in_flight).is_ok_and(|n| n == self.resent.len())
    }
}
