//! Leaves a connection in good order, for a new one to the same address: a node that answers MOVED to that very
//! address is not the one that the address leads to now (its name means another host, or something in between sends
//! us elsewhere). What is in flight is answered first; until then the lane takes nothing, but no longer than requests wait
//! for room (`timeouts.queue`): one slow command of one client does not keep all others from the node. The connection is
//! left at the next occasion then.

use super::lane::{Link, State};
use super::room::size_in_turn;
use super::window::Size;
use super::{Fault, FaultKind, Lane, Lanes, NotTaken, Requester, Ticket};
use crate::cluster::NodeAddr;
use crate::observe::Limit;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Least time between two such connections: a node that says MOVED to itself over the new one, too, will go on so.
const RENEWED_EVERY: Duration = Duration::from_millis(500);

impl Lanes {
    /// `node` has answered that its address leads elsewhere.
    pub fn renew(&self, node: &NodeAddr) {
        self.of(node).iter().for_each(Lane::renew);
    }
}

impl Lane {
    fn renew(self: &Rc<Self>) {
        let now = self.context.clock.now();
        let mut state = self.state.borrow_mut();
        let lately = |at| now.duration_since(at) < RENEWED_EVERY;
        if matches!(state.link, Link::Up(_) | Link::Blocked(_))
            && !state.renewed.is_some_and(lately)
        {
            state.renewed = Some(now);
            state.room.leave();
        }
    }

    /// Why it does not take that requester's request.
    #[cold]
    pub(super) fn not_taken(
        &self,
        state: &State,
        requester: &dyn Requester,
        ticket: Ticket,
    ) -> NotTaken {
        if state.is_leaving() {
            return NotTaken::Down(Fault {
                node: self.node().clone(),
                kind: FaultKind::Retired,
            });
        }
        if state.outbox.retained() >= self.context.settings.in_flight_bytes_max {
            return NotTaken::Full(Some(Limit::LaneInFlightBytes));
        }
        let size = size_in_turn(requester, ticket).unwrap_or(Size::Small);
        NotTaken::Full(state.room.keeps_out(size, state.queue.len()))
    }
}

impl State {
    /// Whether it waits for its last replies.
    pub(super) fn is_leaving(&self) -> bool {
        self.room.is_leaving()
    }

    /// Takes requests again if its last replies have not come within that time.
    pub(super) fn stay(&mut self, now: Instant, within: Duration) {
        let late = |since| now.duration_since(since) > within;
        if self.is_leaving() && self.renewed.is_some_and(late) {
            self.renewed = Some(now);
            self.room.open_again();
        }
    }
}
