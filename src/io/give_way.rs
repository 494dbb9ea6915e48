//! Gives the processor away for a moment to whoever waits for it on the same core.
//!
//! A worker that has just written to several nodes will soon be woken once for each of them. Where nodes or clients
//! share cores with it (a sidecar, a small machine), letting them run first means that their bytes are there together:
//! one turn and one `send` for what would be several. Where nobody waits for the core, giving way costs one system
//! call that returns at once.

use super::now;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// If the core comes back later than this, somebody has used it who is no node and no client of ours (they need some
/// 10 µs each): a time slice of the kernel's scheduler is 0.7 ms at least (`base_slice_ns`).
const LONG: Duration = Duration::from_micros(700);

/// After such an absence no way is given for so many times its length: at most 0.1 % of the time is lost.
const PAUSE_FACTOR: u32 = 1_000;

/// Owned by a worker's flusher.
#[derive(Debug, Default)]
pub(super) struct GiveWay {
    /// No way is given before.
    not_before: Cell<Option<Instant>>,
}

impl GiveWay {
    /// Whether way may be given now.
    #[inline]
    pub(super) fn may(&self) -> bool {
        self.not_before.get().is_none() || self.may_again(now())
    }

    #[cold]
    fn may_again(&self, now: Instant) -> bool {
        if self.not_before.get().is_some_and(|until| now >= until) {
            self.not_before.set(None);
        }
        self.not_before.get().is_none()
    }

    /// Gives way once.
    pub(super) fn give(&self) {
        let start = now();
        // Nobody else is there in a simulation.
        if cfg!(not(feature = "simulation")) {
            std::thread::yield_now();
        }
        self.was_away(start, now());
    }

    fn was_away(&self, from: Instant, to: Instant) {
        let away = to - from;
        if away > LONG {
            self.not_before.set(Some(to + away * PAUSE_FACTOR));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_the_core_for_long_does_not_get_it_again_soon() {
        let way = GiveWay::default();
        let start = Instant::now();
        let short = start + LONG;
        way.was_away(start, short);
        assert!(way.may());
        let long = start + 2 * LONG;
        way.was_away(start, long);
        assert!(!way.may() && !way.may_again(long + 1_999 * LONG));
        assert!(way.may_again(long + 2_000 * LONG) && way.may());
    }
}
