//! The bounds at which a client is not read any further, and for how long that was so
//! (`slotway_backpressure_seconds_total`). A barrier, or waiting for the first map, is no bound.

use super::{Session, State};
use crate::observe::Limit;

impl Session {
    /// Whether so much is in flight or unwritten that no further command is taken.
    #[inline]
    pub(super) fn is_at_bound(&self, state: &State) -> bool {
        let limits = &self.context.config.limits;
        state.replies.len() >= self.context.memory.in_flight_max()
            || state.replies.bytes() >= limits.client_in_flight_bytes
            || state.output.len() + state.replies.kept() > limits.client_output_soft
    }

    /// Begins or ends the time at a bound. Called only while the session is paused, or as it goes on.
    #[cold]
    pub(super) fn note_bound(&self, state: &mut State) {
        self.count_bound(state);
        if state.bound_since.is_none() {
            let limits = &self.context.config.limits;
            if state.replies.len() >= limits.client_in_flight {
                self.context.metrics.limit_hit(Limit::ClientInFlight);
            } else if state.replies.bytes() >= limits.client_in_flight_bytes {
                self.context.metrics.limit_hit(Limit::ClientInFlightBytes);
            }
        }
        state.bound_since = self.is_at_bound(state).then(|| self.context.clock.micros());
    }

    /// Counts the time at a bound up to now, so that a client that stays there is seen.
    #[inline]
    pub(super) fn count_bound(&self, state: &mut State) {
        if let Some(since) = &mut state.bound_since {
            let now = self.context.clock.micros();
            self.context.metrics.backpressure(now.since(*since).into());
            *since = now;
        }
    }
}
