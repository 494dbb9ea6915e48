//! Large values take lanes of their own, so that they hold up nobody else's: a client that has had a large reply, or
//! sends a large request or transaction, has all its commands sent over the bulk lanes (one to each node and RESP version)
//! until nothing of it has been large for a while. What is large, `upstream.bulk_from` says.
//!
//! Invariant 3: a session changes its lanes only while nothing of it is in flight. If something always is, no further
//! command is taken until all of it is answered; where requests are refused or lost that may take long, and it stays.

use super::{Session, State};
use crate::cluster::{SLOTS, Slot};
use crate::route::Plan;
use crate::upstream::{Size, Stripe, Ticket};
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// After so many small replies, the next one is not taken to be large: then a client does not wait until others have their
/// large ones (`upstream.bulk_bytes`).
const SMALL_REPLIES: u64 = 4;

/// For so long after its last large value a client stays on the bulk lanes.
const STAYS: Duration = Duration::from_secs(10);

/// For so long if its value turns out to be small.
const STAYS_FOR_A_GUESS: Duration = Duration::from_secs(1);

/// A client that has sent fewer commands is new: whether its values are large is guessed from what others got from the
/// same slot. Some applications open a connection for every page.
const NEW_COMMANDS: u64 = 100;

/// So many guesses are remembered.
const LUCK_MAX: i8 = 8;

/// A slot is known for large values for so long after the last one, or up to twice as long.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Which lanes a session takes, and which it should.
pub(super) struct Way {
    now: Stripe,
    /// That of its small values.
    own: Stripe,
    /// Until when it is one of large values.
    large_until: Option<Instant>,
    /// Once all commands before this one are answered, its next reply is taken to be small.
    small_from: u64,
    guess: Guess,
}

/// Whether it is on the bulk lanes for no more than a guess.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guess {
    None,
    Open,
}

impl Way {
    pub(super) fn new(own: Stripe) -> Self {
        Self {
            now: own,
            own,
            large_until: None,
            small_from: 0,
            guess: Guess::None,
        }
    }

    #[inline]
    pub(super) fn stripe(&self) -> Stripe {
        self.now
    }

    #[inline]
    pub(super) fn is_bulk(&self) -> bool {
        self.now != self.own
    }

    /// Whether it is, or was until lately, one of large values.
    #[inline]
    pub(super) fn is_unsettled(&self) -> bool {
        self.large_until.is_some()
    }
}

impl Session {
    /// A large reply came, or one of its parts.
    #[cold]
    pub(super) fn got_large(&self, state: &mut State, ticket: Ticket) {
        let now = self.context.clock.now();
        let is_first = state.way.guess == Guess::Open || !state.way.is_unsettled();
        if is_first && ticket.seq < NEW_COMMANDS {
            self.context.bulky.would_be(true);
        }
        state.way.guess = Guess::None;
        state.way.large_until = Some(now + STAYS);
        state.way.small_from = state.way.small_from.max(ticket.seq + 1 + SMALL_REPLIES);
        self.expects.set(Size::Large);
        if let Some(slot) = ticket.slot() {
            self.context.bulky.note(slot, now);
        }
    }

    /// A request of at least so many bytes is arriving.
    #[cold]
    pub(super) fn sends(&self, state: &mut State, bytes: usize) {
        if bytes >= self.context.bulk_from {
            state.way.large_until = Some(self.context.clock.now() + STAYS);
        }
    }

    /// A command is about to be sent whose size, or that of its reply, may decide on its lane.
    #[inline]
    pub(super) fn look_at_size(&self, state: &mut State, plan: &Plan, bytes: usize) {
        // If it came whole; else it has been seen before.
        self.look_at_request(state, bytes);
        if self.is_guessed_at(state) {
            self.guess(state, plan);
        }
    }

    /// Whether what is queued since MULTI is large, and the session is not yet on the lanes for that: EXEC waits until it
    /// can take them.
    pub(super) fn leaves_for_block(&self, state: &State) -> bool {
        let bytes = state.transaction.as_ref().map_or(0, |queue| queue.bytes());
        bytes >= self.context.bulk_from && !state.way.is_bulk() && state.fences.is_none()
    }

    /// A request of so many bytes, or a block, is about to be sent.
    pub(super) fn look_at_request(&self, state: &mut State, bytes: usize) {
        if bytes >= self.context.bulk_from {
            self.sends(state, bytes);
            self.settle(state);
        }
    }

    /// Whether the next commands say something about its values.
    #[inline]
    pub(super) fn is_guessed_at(&self, state: &State) -> bool {
        self.context.bulky.any.get()
            && state.replies.next_seq() < NEW_COMMANDS
            && !state.way.is_unsettled()
    }

    /// A command of a new client is about to be sent.
    #[cold]
    fn guess(&self, state: &mut State, plan: &Plan) {
        let now = self.context.clock.now();
        if let Plan::Slot(slot) = plan
            && is_still(state)
            && self.context.bulky.knows(*slot, now)
        {
            state.way.guess = Guess::Open;
            state.way.large_until = Some(now + STAYS_FOR_A_GUESS);
            state.way.small_from = state.replies.next_seq() + 1;
            self.expects.set(Size::Large);
            self.take(state, self.context.lanes.bulk());
        }
    }

    /// Looks at how many small replies it has had since its last large one.
    pub(super) fn look_at_replies(&self, state: &State) {
        if state.replies.oldest() >= state.way.small_from {
            self.expects.set(Size::Small);
        }
    }

    /// Takes the lanes that suit its values, as soon as nothing is in flight.
    #[cold]
    pub(super) fn settle(&self, state: &mut State) {
        self.look_at_replies(state);
        let now = self.context.clock.now();
        if state
            .way
            .large_until
            .take_if(|until| *until <= now)
            .is_some()
        {
            self.end_guess(state);
        }
        let to = match state.way.large_until {
            Some(_) => self.context.lanes.bulk(),
            None => state.way.own,
        };
        if to == state.way.now {
            return;
        }
        if is_still(state) {
            self.take(state, to);
        } else {
            // It is asked again with the next commands.
            state.way.large_until.get_or_insert(now);
            state.barrier |= state.fences.is_none();
        }
    }

    /// Nothing large has come of a guess.
    fn end_guess(&self, state: &mut State) {
        if std::mem::replace(&mut state.way.guess, Guess::None) == Guess::Open {
            self.context.bulky.would_be(false);
        }
    }

    fn take(&self, state: &mut State, to: Stripe) {
        if state.way.now != to {
            state.way.now = to;
            let more = if to == state.way.own { -1 } else { 1 };
            self.context.count_bulk_clients(more);
        }
    }

    /// It has ended.
    pub(super) fn leave_bulk(&self, state: &mut State) {
        self.end_guess(state);
        state.way.large_until = None;
        self.take(state, state.way.own);
    }
}

/// Whether nothing of it is in flight: what its client got a timeout error for has a fence.
fn is_still(state: &State) -> bool {
    state.replies.is_empty() && state.fences.is_none()
}

/// Slots in which a large value was seen lately. One per worker.
#[derive(Default)]
pub(super) struct Bulky {
    /// Whether there are any.
    any: Cell<bool>,
    /// How often a guess was right, or would have been, more than it was wrong; below 0 nothing is guessed. Where large
    /// values are spread over all slots, a slot says little.
    luck: Cell<i8>,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    lately: Option<Box<Slots>>,
    before: Option<Box<Slots>>,
    /// When `lately` was begun.
    since: Option<Instant>,
}

/// One bit for each slot.
type Slots = [u64; SLOTS / 64];

impl Bulky {
    /// What came of a guess, or of none.
    fn would_be(&self, right: bool) {
        let luck = self.luck.get() + if right { 1 } else { -1 };
        self.luck.set(luck.clamp(-LUCK_MAX, LUCK_MAX));
    }

    fn knows(&self, slot: Slot, now: Instant) -> bool {
        let seen = &mut *self.seen.borrow_mut();
        seen.forget(now);
        self.any.set(seen.lately.is_some() || seen.before.is_some());
        let (word, bit) = place(slot);
        let has = |slots: &Option<Box<Slots>>| slots.as_ref().is_some_and(|s| s[word] & bit != 0);
        self.luck.get() >= 0 && (has(&seen.lately) || has(&seen.before))
    }

    fn note(&self, slot: Slot, now: Instant) {
        let seen = &mut *self.seen.borrow_mut();
        seen.forget(now);
        let (word, bit) = place(slot);
        let lately = seen.lately.get_or_insert_with(|| Box::new([0; SLOTS / 64]));
        lately[word] |= bit;
        seen.since.get_or_insert(now);
        self.any.set(true);
    }
}

impl Seen {
    fn forget(&mut self, now: Instant) {
        let age = self.since.map_or(Duration::ZERO, |s| now.duration_since(s));
        if age > REMEMBERED {
            self.before = self.lately.take().filter(|_| age <= REMEMBERED * 2);
            self.since = self.before.as_ref().map(|_| now);
        }
    }
}

fn place(slot: Slot) -> (usize, u64) {
    let number = usize::from(slot.number());
    (number / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_remembered_for_a_while() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let slots = |numbers: &[u16]| -> Vec<Slot> {
            numbers.iter().filter_map(|&n| Slot::new(n)).collect()
        };
        let [one, other] = slots(&[5, 16_383])[..] else {
            panic!("two slots");
        };
        let bulky = Bulky::default();
        let known = |seconds| [one, other].map(|slot| bulky.knows(slot, at(seconds)));
        assert_eq!(known(0), [false, false]);
        bulky.note(one, at(0));
        assert_eq!(known(30), [true, false]);
        bulky.note(other, at(31));
        assert_eq!(known(61), [true, true]);
        assert_eq!(known(62), [false, true]);
        assert!(bulky.any.get());
        bulky.would_be(false);
        assert_eq!(known(62), [false, false], "out of luck");
        bulky.would_be(true);
        assert_eq!(known(62), [false, true]);
        assert_eq!(known(93), [false, false]);
        assert!(!bulky.any.get());
    }
}
