//! Knows when a worker was away: its process was stopped (a signal, a host that sleeps), or had too much to do.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Upkeep that comes so much later than the one before judges nobody: what has come meanwhile is still in the sockets.
const LATE: Duration = Duration::from_millis(300);

/// Owned by a worker, asked with each upkeep.
pub(super) struct Away {
    asked: Cell<Instant>,
    /// Whether the last upkeep was left out.
    excused: Cell<bool>,
}

impl Away {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: Cell::new(now),
            excused: Cell::new(false),
        }
    }

    /// For how long it was away, if this upkeep is to be left out until the sockets have been looked at. Never twice in a
    /// row: a worker that is always late does not wait for ever.
    pub(super) fn excuse(&self, now: Instant) -> Option<Duration> {
        let away = now.duration_since(self.asked.replace(now));
        let is_excused = away > LATE && !self.excused.get();
        self.excused.set(is_excused);
        is_excused.then_some(away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_excuses_once() {
        let start = Instant::now();
        let away = Away::new(start);
        assert_eq!(away.excuse(start + LATE), None);
        let late = start + 3 * LATE;
        assert_eq!(away.excuse(late), Some(2 * LATE));
        assert_eq!(away.excuse(late + 2 * LATE), None, "again");
        assert_eq!(away.excuse(late + 4 * LATE), Some(2 * LATE));
    }
}
