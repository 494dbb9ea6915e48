//! Room in a lane: how many requests may be in flight on it, and who waits for a place, in turn.
//!
//! A queue that takes everything ruins an overloaded node's work: each request is answered after its client has been
//! told that no reply came. So a lane takes no more than its node answers in a time that is worth waiting, and who comes
//! to a full lane waits in front of it. Requesters take turns, one request each, or a few where the node is fast (`pace`):
//! one with a deep pipeline has no more of the room than others with one. On a bulk lane requests with large replies wait for one another, too (`window`): they stand in
//! a line of their own, and nobody else waits behind them.

use super::lane::State;
use super::lanes::LaneSettings;
use super::pace::Pace;
use super::window::{Load, Size, Window};
use super::{Class, Fault, Lane, Requester, Ticket};
use crate::io::Micros;
use crate::observe::{Limit, NodeError};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

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
        let large_first = std::mem::take(&mut self.was_small) && is_open;
        if large_first && let Some(large) = first_of(&mut self.waiting) {
            self.turn = Turn::First;
            return Some(large);
        }
        if let Some(small) = first_of(&mut self.waiting_small) {
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

    /// How many requests of one requester are let in one after the other.
    fn turn_length(&self) -> usize {
        if self.is_bulk() {
            return 1;
        }
        self.pace.turn(self.waiting.len())
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

    /// Lets in those that wait, as far as there is room, one turn of each after the other (or all that have small
    /// replies).
    pub(super) fn offer_room(&self) {
        if !self.state.borrow().room.is_waited_for() {
            return;
        }
        let turn = self.state.borrow().room.turn_length();
        while let Some(next) = self.next_in_turn() {
            let mut wants = next.room(self.id());
            for _ in 1..turn {
                if wants == Wants::Nothing || !self.goes_on() {
                    break;
                }
                wants = next.room(self.id());
            }
            let room = &mut self.state.borrow_mut().room;
            if wants == Wants::More {
                room.waiting.push_back(Rc::downgrade(&next));
            }
        }
        self.state.borrow_mut().room.close();
    }

    /// One more request is let in of the requester whose turn it is.
    fn goes_on(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        let in_flight = state.queue.len();
        let goes_on = self.takes_bytes(state) && state.room.is_left(in_flight);
        if goes_on {
            state.room.admits = in_flight + 1;
        }
        goes_on
    }

    /// Whose turn it is; one request of it is let in.
    fn next_in_turn(&self) -> Option<Rc<dyn Requester>> {
        let state = &mut *self.state.borrow_mut();
        let in_flight = state.queue.len();
        self.takes_bytes(state)
            .then(|| state.room.next(in_flight))?
    }

    fn takes_bytes(&self, state: &State) -> bool {
        state.outbox.retained() < self.context.settings.in_flight_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LaneId, Lanes, Stripe};
    use super::*;
    use crate::cluster::{NodeAddr, Slot};
    use crate::resp::Proto;
    use std::cell::RefCell;

    /// Has requests for ever, and notes when it sends one.
    struct Greedy {
        lane: Rc<Lane>,
        name: char,
        sent: Rc<RefCell<String>>,
    }

    impl Requester for Greedy {
        fn wants_requests(&self) -> bool {
            false
        }

        fn answered(&self, _: Ticket, _: crate::upstream::Answer<'_>) {}

        fn expired(&self, _: Ticket) {}

        fn takes_turns(&self) -> bool {
            true
        }

        fn room(&self, _: LaneId) -> Wants {
            let ticket = Ticket::new(0, 0, Some(Slot::of(b"k")));
            let sent = self
                .lane
                .send(b"PING\r\n", false, ticket, Rc::new(Waiter), Class::Normal);
            sent.expect("it is its turn");
            self.sent.borrow_mut().push(self.name);
            Wants::More
        }
    }

    #[tokio::test]
    async fn a_turn_is_as_long_as_the_node_is_fast() {
        let turns = async |answered: usize| {
            let mut settings = LaneSettings::new(&crate::config::Config::default(), 1);
            settings.in_flight_max = 8;
            let lanes = Lanes::detached(settings);
            let node = NodeAddr::new("127.0.0.1", 1);
            let lane = lanes.to_addr(&node, Proto::Resp2, Stripe(0));
            let sent = Rc::default();
            let waiters: Vec<Rc<dyn Requester>> = ['a', 'b']
                .map(|name| -> Rc<dyn Requester> {
                    let (lane, sent) = (lane.clone(), Rc::clone(&sent));
                    Rc::new(Greedy { lane, name, sent })
                })
                .into();
            for waiter in &waiters {
                lane.wait_for_room(Rc::downgrade(waiter));
            }
            let room = || lane.state.borrow_mut();
            room().room.answered(answered);
            room().room.check(0, Micros::default().plus(100_000));
            lane.offer_room();
            sent.take()
        };
        tokio::task::LocalSet::new()
            .run_until(async {
                assert_eq!(turns(0).await, "abababab");
                // Six in five milliseconds.
                assert_eq!(turns(120).await, "aaabbbaa");
            })
            .await;
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
        let turn = |room: &mut Room, first: &Rc<dyn Requester>| {
            room.waiting.push_back(Rc::downgrade(first));
            room.waiting_small.push_back(Rc::downgrade(&small));
            let next = room.next(0).expect("somebody waits");
            let size = match Rc::ptr_eq(&next, &small) {
                true => Size::Small,
                false => Size::Large,
            };
            assert!(room.takes_bulk(size, 0), "it may use its turn");
            room.given_back(size);
            // Each read of replies ends with all room taken.
            assert!(room.next(settings.in_flight_max).is_none());
            room.close();
            size == Size::Small
        };
        let turns: Vec<_> = (0..4).map(|_| turn(&mut room, &large)).collect();
        assert_eq!(turns, [true, false, true, false]);
        // Who is gone takes no turn.
        let gone: Rc<dyn Requester> = Rc::new(Waiter);
        assert!(turn(&mut room, &large));
        room.waiting.clear();
        room.waiting.push_back(Rc::downgrade(&gone));
        drop(gone);
        assert!(room.next(0).is_some_and(|next| Rc::ptr_eq(&next, &small)));
    }
}
