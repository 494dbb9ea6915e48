//! Room in a lane: how many requests may be in flight on it, and who waits for a place, in turn.
//!
//! A queue that takes everything ruins an overloaded node's work: each request is answered after its client has been
//! told that no reply came. So a lane takes no more than its node answers in a time that is worth waiting, and who comes
//! to a full lane waits in front of it. Requesters take turns, one request each: one with a deep pipeline has no more of
//! the room than the others. On a bulk lane requests with large replies wait for one another, too (`window`): they stand in
//! a line of their own, and nobody else waits behind them.

use super::lane::State;
use super::lanes::LaneSettings;
use super::window::{Load, Size, Window};
use super::{Class, Fault, Lane, Requester, Ticket};
use crate::io::Micros;
use crate::observe::{Limit, NodeError};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

/// So many requests are taken however slow the node seems, in requests: a node is not thought slow for long, and a few
/// slow commands are no sign of overload.
const IN_FLIGHT_MIN: usize = 64;

/// The fastest of so many measurements counts: one in which a script held up the others says little.
const SAMPLES: usize = 5;

/// Why a lane did not take a request; none of its bytes went anywhere.
#[derive(Clone, Debug)]
pub enum NotTaken {
    /// The node is not reachable now.
    Down(Fault),
    /// There is no room, or others wait for it (`room`): the bound that was reached, if it is one of the operator's.
    Full(Option<Limit>),
}

/// Whether a requester that had its turn waits for another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wants {
    /// It waits for nothing more.
    Nothing,
    /// It has more requests that wait for this lane.
    More,
}

/// Whether a lane takes requests at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Door {
    Open,
    /// It leaves its connection for a new one (`renew`).
    Shut,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Nobody,
    /// One request of the requester that waited longest, whatever its reply.
    First,
}

/// See the module. One per lane.
pub(super) struct Room {
    /// So many in flight are let in without a look: none while somebody waits, or if it is a bulk lane.
    pub(super) admits: usize,
    turn: Turn,
    door: Door,
    pace: Pace,
    /// If it is a bulk lane.
    window: Option<Window>,
    waiting: VecDeque<Weak<dyn Requester>>,
    /// On a bulk lane: who waits for the pace of the node, and not for the large replies of others.
    waiting_small: VecDeque<Weak<dyn Requester>>,
    /// The last turn was one of those.
    was_small: bool,
}

impl Room {
    pub(super) fn new(settings: &LaneSettings, load: Load, now: Micros) -> Self {
        let mut room = Self {
            admits: 0,
            turn: Turn::Nobody,
            door: Door::Open,
            pace: Pace::new(settings, now),
            window: (load == Load::Bulk).then(|| Window::new(settings.bulk_bytes)),
            waiting: VecDeque::new(),
            waiting_small: VecDeque::new(),
            was_small: false,
        };
        room.close();
        room
    }

    /// Whether one more is let in whose turn it is, or who waits for no turn.
    fn is_left(&self, in_flight: usize) -> bool {
        in_flight < self.pace.limit && self.door == Door::Open
    }

    /// Whose turn it is.
    fn next(&mut self, in_flight: usize) -> Option<Rc<dyn Requester>> {
        if !self.is_left(in_flight) {
            return None;
        }
        let is_open = self.window.as_ref().is_none_or(Window::is_open);
        // The two lines take turns where both may go.
        let large_first = self.was_small && is_open && !self.waiting.is_empty();
        self.was_small = false;
        if !large_first && let Some(small) = first_of(&mut self.waiting_small) {
            self.was_small = true;
            return Some(small);
        }
        if !is_open {
            return None;
        }
        if !self.is_bulk() {
            self.admits = in_flight + 1;
        }
        self.turn = Turn::First;
        first_of(&mut self.waiting)
    }

    /// Which of the operator's bounds keeps out a request whose reply is of that size; none: it is the pace of the node, or
    /// others that wait for it.
    pub(super) fn keeps_out(&self, size: Size, in_flight: usize) -> Option<Limit> {
        if self.is_bulk() && size == Size::Large && self.is_left(in_flight) {
            return Some(Limit::BulkBytes);
        }
        (in_flight >= self.pace.max).then_some(Limit::LaneInFlight)
    }

    fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty() || !self.waiting_small.is_empty()
    }

    /// Whether a bulk lane takes one more. One with a small reply waits for nobody there, only for the pace of the node: the
    /// others wait for bytes, of which it needs few.
    fn takes_bulk(&mut self, size: Size, in_flight: usize) -> bool {
        let is_left = self.is_left(in_flight);
        let may_go = self.turn == Turn::First || self.waiting.is_empty();
        let Some(window) = self.window.as_mut().filter(|_| is_left) else {
            return false;
        };
        if size == Size::Large {
            if !may_go || !window.is_open() {
                return false;
            }
            window.taken();
            self.turn = Turn::Nobody;
        }
        true
    }

    /// A request that was expected to have a large reply has one of so many bytes.
    #[cold]
    pub(super) fn landed(&mut self, reply: usize) {
        if let Some(window) = &mut self.window {
            window.landed(reply);
        }
    }

    /// A request is not sent after all.
    pub(super) fn given_back(&mut self, size: Size) {
        if let Some(window) = self.window.as_mut().filter(|_| size == Size::Large) {
            window.given_back();
        }
    }

    /// Whether requests in turn wait for more than the pace of the node.
    pub(super) fn is_bulk(&self) -> bool {
        self.window.is_some()
    }

    /// Whether one more is let in that stands in no line. There are few of them, and whoever waits in turn takes all room
    /// that the pace of the node leaves: they would never find any.
    fn is_below_max(&self, in_flight: usize) -> bool {
        in_flight < self.pace.max && self.door == Door::Open
    }

    /// Lets nothing in until the connection is gone.
    pub(super) fn leave(&mut self) {
        self.door = Door::Shut;
        self.close();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.door == Door::Shut
    }

    /// The connection is gone.
    pub(super) fn open_again(&mut self) {
        self.door = Door::Open;
        self.close();
    }

    /// Nothing is on its way any longer.
    pub(super) fn lost(&mut self) {
        self.window.iter_mut().for_each(Window::reset);
        self.open_again();
    }

    /// So many requests were answered.
    pub(super) fn answered(&mut self, requests: usize) {
        self.pace.answered += requests;
    }

    /// Measures; about ten times a second.
    pub(super) fn check(&mut self, in_flight: usize, now: Micros) {
        self.pace.measure(in_flight, now);
        for line in [&mut self.waiting, &mut self.waiting_small] {
            line.retain(|waiter| waiter.strong_count() > 0);
        }
        self.close();
    }

    /// Ends a turn.
    fn close(&mut self) {
        self.turn = Turn::Nobody;
        let at_once = self.waiting.is_empty() && self.door == Door::Open && !self.is_bulk();
        self.admits = if at_once { self.pace.limit } else { 0 };
    }
}

impl State {
    /// Whether a request finds room that is not let in without a look: on a bulk lane, or if it need not wait for its turn,
    /// because there is no order to keep.
    #[cold]
    pub(super) fn lets_in(
        &mut self,
        requester: &dyn Requester,
        ticket: Ticket,
        bytes_max: usize,
    ) -> Option<Size> {
        let in_flight = self.queue.len();
        if self.outbox.retained() >= bytes_max {
            return None;
        }
        let (size, taken) = match size_in_turn(requester, ticket) {
            Some(size) => (size, self.room.takes_bulk(size, in_flight)),
            None => (Size::Small, self.room.is_below_max(in_flight)),
        };
        taken.then_some(size)
    }
}

/// How large the reply to a request is likely to be that waits for its turn; `None`: it stands in no line.
pub(super) fn size_in_turn(requester: &dyn Requester, ticket: Ticket) -> Option<Size> {
    (ticket.slot().is_some() && requester.takes_turns()).then(|| requester.expects())
}

/// The first in a line who is still there.
fn first_of(line: &mut VecDeque<Weak<dyn Requester>>) -> Option<Rc<dyn Requester>> {
    while let Some(waiter) = line.pop_front() {
        if let Some(requester) = waiter.upgrade() {
            return Some(requester);
        }
    }
    None
}

impl Lane {
    /// Has [`Requester::room`] called when it is this requester's turn.
    pub fn wait_for_room(&self, requester: Weak<dyn Requester>) {
        let room = &mut self.state.borrow_mut().room;
        let is_small = || {
            requester
                .upgrade()
                .is_some_and(|r| r.expects() == Size::Small)
        };
        let line = match room.is_bulk() && is_small() {
            true => &mut room.waiting_small,
            false => &mut room.waiting,
        };
        line.push_back(requester);
        room.close();
    }

    /// Sends what has to go right in front of a request: if it is that one's turn, the turn is not used up.
    pub fn send_ahead(
        self: &Rc<Self>,
        request: &[u8],
        ticket: Ticket,
        requester: Rc<dyn Requester>,
        class: Class,
    ) -> Result<(), NotTaken> {
        self.send(request, false, ticket, requester, class)?;
        let state = &mut *self.state.borrow_mut();
        if state.room.turn == Turn::First && !state.room.is_bulk() {
            state.room.admits = state.queue.len() + 1;
        }
        Ok(())
    }

    /// A request was refused because no room came in time, so that it is the bound that was reached.
    pub fn count_refused(&self, limit: Limit) {
        self.metrics.error(NodeError::Queue);
        self.context.metrics.limit_hit(limit);
    }

    /// Lets in those that wait, as far as there is room, one request of each after the other (or all that have small
    /// replies).
    pub(super) fn offer_room(&self) {
        if !self.state.borrow().room.is_waited_for() {
            return;
        }
        while let Some(next) = self.next_in_turn() {
            let wants = next.room(self.id());
            let room = &mut self.state.borrow_mut().room;
            if wants == Wants::More {
                room.waiting.push_back(Rc::downgrade(&next));
            }
        }
        self.state.borrow_mut().room.close();
    }

    /// Whose turn it is; one request of it is let in.
    fn next_in_turn(&self) -> Option<Rc<dyn Requester>> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if state.outbox.retained() >= self.context.settings.in_flight_bytes_max {
            return None;
        }
        state.room.next(state.queue.len())
    }
}

/// How many requests a node answers in the time that is worth waiting for a place in its lane.
struct Pace {
    limit: usize,
    max: usize,
    /// In microseconds.
    worth_waiting: u64,
    answered: usize,
    /// In flight at the last measurement.
    in_flight: usize,
    measured: Micros,
    /// What it would have answered in `worth_waiting`; the newest replaces the oldest.
    samples: [usize; SAMPLES],
    next: usize,
}

impl Pace {
    fn new(settings: &LaneSettings, now: Micros) -> Self {
        // Together with the wait in front of the lane it is less than a command may take.
        let worth_waiting = settings.queue.min(settings.command / 2);
        Self {
            limit: settings.in_flight_max,
            max: settings.in_flight_max,
            worth_waiting: worth_waiting.as_micros() as u64,
            answered: 0,
            in_flight: 0,
            measured: now,
            samples: [usize::MAX; SAMPLES],
            next: 0,
        }
    }

    /// A node that answered all that it had in the meantime is no bottleneck. One that answered nothing is no slow one:
    /// it is stopped, or runs a long script, and there are other times for that.
    fn measure(&mut self, in_flight: usize, now: Micros) {
        let elapsed = u64::from(now.since(self.measured)).max(1);
        let answered = std::mem::take(&mut self.answered);
        if answered > 0 {
            let kept_up = answered > self.in_flight;
            let paced = (answered as u64).saturating_mul(self.worth_waiting) / elapsed;
            self.samples[self.next] = if kept_up { usize::MAX } else { paced as usize };
            self.next = (self.next + 1) % SAMPLES;
            let best = self.samples.iter().copied().max().unwrap_or(self.max);
            // An operator's smaller limit stands.
            self.limit = best.max(IN_FLIGHT_MIN).min(self.max);
        }
        self.in_flight = in_flight;
        self.measured = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK_MICROS: u32 = 100_000;

    fn pace(max: usize) -> Pace {
        Pace {
            limit: max,
            max,
            worth_waiting: 1_000_000,
            answered: 0,
            in_flight: 0,
            measured: Micros::default(),
            samples: [usize::MAX; SAMPLES],
            next: 0,
        }
    }

    /// So many intervals, each with so many answers, at the end of which so many are in flight.
    fn pass(pace: &mut Pace, intervals: u32, answered: usize, in_flight: usize) {
        for _ in 0..intervals {
            pace.answered = answered;
            let now = pace.measured.plus(CHECK_MICROS);
            pace.measure(in_flight, now);
        }
    }

    #[test]
    fn a_busy_node_gets_what_it_answers_in_the_time_that_is_worth_waiting() {
        let mut pace = pace(100_000);
        pass(&mut pace, 1, 500, 20_000);
        assert_eq!(pace.limit, 100_000, "it had nothing to do before");
        pass(&mut pace, SAMPLES as u32, 500, 20_000);
        assert_eq!(pace.limit, 5_000);
        pass(&mut pace, 1, 100, 20_000);
        assert_eq!(pace.limit, 5_000, "the fastest counts");
        pass(&mut pace, SAMPLES as u32, 100, 20_000);
        assert_eq!(pace.limit, 1_000);
    }

    #[test]
    fn a_node_that_keeps_up_or_stands_still_is_not_slow() {
        let mut pace = pace(100_000);
        pass(&mut pace, 20, 500, 400);
        assert_eq!(pace.limit, 100_000, "it answers more than was there");
        pass(&mut pace, 20, 0, 50_000);
        assert_eq!(pace.limit, 100_000, "it stands still");
    }

    struct Waiter;

    impl Requester for Waiter {
        fn wants_requests(&self) -> bool {
            false
        }

        fn answered(&self, _: Ticket, _: crate::upstream::Answer<'_>) {}

        fn expired(&self, _: Ticket) {}
    }

    #[test]
    fn nobody_waits_behind_those_with_large_replies_but_they_themselves() {
        let settings = LaneSettings::new(&crate::config::Config::default(), 1);
        let mut room = Room::new(&settings, Load::Bulk, Micros::default());
        let [large, small]: [Rc<dyn Requester>; 2] = [Rc::new(Waiter), Rc::new(Waiter)];
        room.waiting.push_back(Rc::downgrade(&large));
        room.waiting_small.push_back(Rc::downgrade(&small));
        while room.window.as_ref().is_some_and(Window::is_open) {
            room.turn = Turn::First;
            assert!(room.takes_bulk(Size::Large, 0));
        }
        assert_eq!(room.keeps_out(Size::Large, 0), Some(Limit::BulkBytes));
        let max = settings.in_flight_max;
        for size in [Size::Small, Size::Large] {
            assert_eq!(room.keeps_out(size, max), Some(Limit::LaneInFlight));
        }
        assert!(room.next(max).is_none());
        let is = |next: Option<Rc<dyn Requester>>, whose: &Rc<dyn Requester>| {
            next.is_some_and(|next| Rc::ptr_eq(&next, whose))
        };
        assert!(is(room.next(0), &small));
        assert!(room.next(0).is_none());
        room.given_back(Size::Large);
        assert!(is(room.next(0), &large));
    }

    /// While the node is at its pace neither line is served alone.
    #[test]
    fn large_and_small_ones_take_turns() {
        let settings = LaneSettings::new(&crate::config::Config::default(), 1);
        let mut room = Room::new(&settings, Load::Bulk, Micros::default());
        let [large, small]: [Rc<dyn Requester>; 2] = [Rc::new(Waiter), Rc::new(Waiter)];
        let turns: Vec<_> = (0..4)
            .map(|_| {
                room.waiting.push_back(Rc::downgrade(&large));
                room.waiting_small.push_back(Rc::downgrade(&small));
                let next = room.next(0).expect("somebody waits");
                Rc::ptr_eq(&next, &small)
            })
            .collect();
        assert_eq!(turns, [true, false, true, false]);
    }

    #[test]
    fn the_limit_keeps_within_its_bounds() {
        let mut pace = pace(1_000);
        pass(&mut pace, 10, 5_000, 20_000);
        assert_eq!(pace.limit, 1_000);
        pass(&mut pace, 10, 1, 20_000);
        assert_eq!(pace.limit, IN_FLIGHT_MIN);
    }
}
