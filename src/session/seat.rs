//! How many clients may do what keeps something for each of them: in the whole process ([`Seat`]), or on one worker
//! ([`Place`]). Both are given back when they are dropped.

use super::SessionContext;
use crate::observe::{Limit, WorkerMetrics};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place among `limits.subscribers`.
pub(super) struct Seat {
    taken: Arc<AtomicUsize>,
    metrics: Arc<WorkerMetrics>,
}

impl Seat {
    /// `None` when all are taken.
    pub(super) fn take(context: &SessionContext) -> Option<Self> {
        let taken = &context.shared.subscribers;
        let seat = Self {
            taken: taken.clone(),
            metrics: context.metrics.clone(),
        };
        seat.metrics.subscriber_came();
        // Dropping the seat gives back what was taken too much.
        let before = taken.fetch_add(1, Ordering::Relaxed);
        (before < context.config.limits.subscribers).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.metrics.subscriber_went();
    }
}

/// A place among those of one worker.
pub(super) struct Place {
    among: Among,
    context: Rc<SessionContext>,
}

/// Whose places they are.
#[derive(Clone, Copy)]
pub(super) enum Among {
    /// `limits.blocked_clients`
    Blocked,
    /// `limits.watchers`
    Watchers,
}

impl Place {
    /// `None` when all are taken.
    pub(super) fn take(context: &Rc<SessionContext>, among: Among) -> Option<Self> {
        let limits = &context.config.limits;
        let (most, limit) = match among {
            Among::Blocked => (limits.blocked_clients, Limit::BlockedClients),
            Among::Watchers => (limits.watchers, Limit::Watchers),
        };
        if context.taken(among).get() >= most {
            context.metrics.limit_hit(limit);
            return None;
        }
        let context = context.clone();
        let place = Self { among, context };
        place.count(1);
        Some(place)
    }

    fn count(&self, more: isize) {
        let taken = self.context.taken(self.among);
        taken.set(taken.get().saturating_add_signed(more));
        let metrics = &self.context.metrics;
        match self.among {
            Among::Blocked => metrics.set_blocked_clients(taken.get()),
            Among::Watchers => metrics.set_watchers(taken.get()),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count(-1);
    }
}
