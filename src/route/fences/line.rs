//! The refused requests of one slot, in the order in which their client sent them.

use crate::route::refused::{Refused, Why};
use crate::upstream::Ticket;
use std::collections::VecDeque;
use std::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Line {
    requests: VecDeque<Refused>,
    /// So many of them wait for room and have not been let in. Of thousands that follow a redirection one or two have been
    /// tried and found none.
    crowded: usize,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The oldest.
    pub(super) fn front(&self) -> Option<&Refused> {
        self.requests.front()
    }

    pub(super) fn pop_front(&mut self) -> Option<Refused> {
        let first = self.requests.pop_front()?;
        self.crowded -= usize::from(is_crowded(&first));
        Some(first)
    }

    /// To its place.
    pub(super) fn insert(&mut self, refused: Refused) {
        let seq = refused.held.ticket.seq;
        let at = self.requests.partition_point(|r| r.held.ticket.seq < seq);
        self.crowded += usize::from(is_crowded(&refused));
        self.requests.insert(at, refused);
    }

    /// More is known about that one, if it is here: why it was refused.
    pub(super) fn explain(&mut self, ticket: Ticket, why: Why) {
        let mut all = self.requests.iter_mut();
        if let Some(refused) = all.find(|r| r.held.ticket == ticket) {
            self.crowded -= usize::from(is_crowded(refused));
            refused.learns(why);
        }
    }

    /// There is room for those that wait for it. Gives how many had to be looked at for that.
    pub(super) fn let_in(&mut self) -> usize {
        let mut looks = 0;
        for refused in &mut self.requests {
            if self.crowded == 0 {
                break;
            }
            looks += 1;
            if is_crowded(refused) {
                refused.not_before = None;
                self.crowded -= 1;
            }
        }
        looks
    }

    /// Nothing waits for a later moment than `now` any longer, but for room in the lane of the slot's owner if that is
    /// still the same.
    pub(super) fn hurry(&mut self, now: Instant, owner: Owner) {
        for refused in &mut self.requests {
            let stays = owner == Owner::Same && matches!(refused.why, Why::Full { to: None, .. });
            if !stays {
                refused.not_before = refused.not_before.map(|at| at.min(now));
            }
        }
    }
}

/// Whether a slot has another owner since the map was looked at last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// As before.
    Same,
    /// Another one, or one again, or none.
    New,
}

/// It waits for room, and has not been let in.
fn is_crowded(refused: &Refused) -> bool {
    refused.not_before.is_some() && refused.why.is_full()
}
