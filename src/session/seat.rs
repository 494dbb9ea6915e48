//! How many clients may be subscribed at the same time, in the whole process.

use super::SessionContext;
use crate::observe::WorkerMetrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place among `limits.subscribers`, given back when it is dropped.
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
