//! What is known of one slot while its session is redirecting.

use super::line::Line;
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
    pub(super) refused: Line,
    /// What executed, or may have, after one that was refused.
    pub(super) overtaking: Overtaking,
    pub(super) held: VecDeque<Held>,
    /// What is being resent, in order.
    pub(super) resent: VecDeque<Resent>,
    /// The last one executed. Others with that reason need not be alone, as long as none of them is refused.
    pub(super) flows: Option<Why>,
    /// Since when its requests have waited for that room in a lane, and for nothing else.
    pub(super) full_since: Option<(Room, Instant)>,
    /// Since when its requests have found no node that serves them, none of them having been executed.
    pub(super) away_since: Option<Instant>,
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
            refused: Line::default(),
            overtaking: Overtaking::default(),
            held: VecDeque::new(),
            resent: VecDeque::new(),
            flows: None,
            full_since: None,
            away_since: None,
            turn: None,
        }
    }

    /// A request is refused, or not sent: what comes behind one that found no node does not wait for one anew.
    pub(super) fn shares_wait(&mut self, refused: &mut Refused) {
        if let (true, Some(own)) = (refused.why.is_away(), refused.past.away_since) {
            let since = self.away_since.map_or(own, |since| since.min(own));
            self.away_since = Some(since);
            refused.past.away_since = Some(since);
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

#[cfg(test)]
mod tests {
    use super::super::{Fences, Next};
    use super::*;
    use crate::cluster::Slot;
    use crate::route::overtaken::Footprint;
    use crate::upstream::Class;
    use bytes::Bytes;
    use std::time::Duration;

    /// One that found no node at that moment.
    fn unsent(seq: u64, slot: Slot, now: Instant) -> Refused {
        let mut past = Past::default();
        past.finds_nobody(now);
        Refused {
            held: Held {
                ticket: Ticket::new(seq, 0, Some(slot)),
                request: Bytes::new(),
                class: Class::Normal,
            },
            why: Why::NotSent,
            reply: Bytes::new(),
            past,
            not_before: None,
        }
    }

    #[test]
    fn what_waits_behind_others_for_a_node_does_not_wait_anew() {
        let (slot, start) = (Slot::of(b"a"), Instant::now());
        let mut fences = Fences::enter([].into_iter(), 0);
        // Refused at that second, and taken out again: how long it has waited by then.
        let mut waited = |seq, at| {
            let now = start + Duration::from_secs(at);
            fences.put_back(slot, LaneId::OTHER, unsent(seq, slot, now));
            match fences.next(slot, now, |_| Footprint::Unknown) {
                Next::Resend(taken) => (now - taken.past.waits_since(&taken.why, start)).as_secs(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([waited(0, 1), waited(1, 4)], [0, 3]);
        fences.sent(slot, LaneId::OTHER);
        let ticket = Ticket::new(2, 0, Some(slot));
        fences.executed(ticket, slot, || Footprint::Unknown);
        let refused = unsent(3, slot, start + Duration::from_secs(9));
        let since = refused.past.away_since;
        fences.put_back(slot, LaneId::OTHER, refused);
        match fences.next(slot, start, |_| Footprint::Unknown) {
            Next::Resend(taken) => assert_eq!(taken.past.away_since, since),
            other => panic!("{other:?}"),
        }
    }
}
