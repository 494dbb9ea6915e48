//! The account of the process: what all workers' clients and nodes hold, and what there is for them: `limits.memory`
//! without what the process takes beyond what is counted.

use super::resident::{Beyond, Resident};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Clients are slowed from this share of the limit on. What is left is for what each of many has sent already.
const SLOW_PERCENT: usize = 75;

/// So many bytes are for clients and nodes at least, whatever else takes the memory, ...
const ROOM_MIN: usize = 32 * 1024 * 1024;

/// ... but no more than this share of the limit, in percent.
const ROOM_PERCENT: usize = 50;

/// So much of the limit is left for what was freed and is not given back yet, in percent. With more of that, clients that
/// hold much are not read.
const SPARE_PERCENT: usize = 8;

/// With so much more of it, in percent of the limit, nobody is read.
const WASTE_PERCENT: usize = 6;

/// And no less than so many bytes.
const WASTE_MIN: usize = 4 * 1024 * 1024;

/// Once clients have to be closed, so much of the limit is freed at once, in percent: whoever is read next would have others
/// closed otherwise, one by one.
const MARGIN_PERCENT: usize = 2;

/// The account of the process.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    /// Of it, what is left for what was freed.
    spare: usize,
    pub(super) beyond: Beyond,
    /// What is kept for all clients together.
    common: AtomicUsize,
    pub(super) workers: Box<[Share]>,
}

/// What one worker tells the others.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) used: AtomicUsize,
    /// What its largest client holds.
    pub(super) largest: AtomicUsize,
    /// It has ended.
    pub(super) left: AtomicBool,
    /// It reads nobody, and was not told since that it may look.
    pub(super) halted: AtomicBool,
    /// It is to look what is to be done.
    pub(super) look: Notify,
}

impl Budget {
    /// For so many workers; `program` is what the process takes without any client.
    pub fn new(limit: usize, program: usize, workers: usize) -> Arc<Self> {
        Self::with(limit, 0, Beyond::new(None, program, limit), workers)
    }

    /// The same; what the process takes without any client, and beyond what is counted for them, is measured.
    pub fn measured(limit: usize, program: usize, workers: usize) -> Arc<Self> {
        let beyond = Beyond::new(Resident::open(), program, limit);
        Self::with(limit, limit / 100 * SPARE_PERCENT, beyond, workers)
    }

    #[cfg(test)]
    pub(super) fn sparing(limit: usize, spare: usize, workers: usize) -> Arc<Self> {
        Self::with(limit, spare, Beyond::new(None, 0, limit), workers)
    }

    fn with(limit: usize, spare: usize, beyond: Beyond, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            spare,
            beyond,
            common: AtomicUsize::new(0),
            workers: (0..workers).map(|_| Share::default()).collect(),
        })
    }

    pub(super) fn used(&self) -> usize {
        let each = self.workers.iter().map(|w| w.used.load(Ordering::Relaxed));
        each.sum()
    }

    /// So much is kept for all clients together, in bytes: no client can be closed for it.
    pub(super) fn set_common(&self, held: usize) {
        self.common.store(held, Ordering::Relaxed);
    }

    /// Looks how much is resident.
    pub(super) fn measure(&self) {
        let common = self.common.load(Ordering::Relaxed);
        self.beyond.measure(self.used() + common);
    }

    /// What there is for clients and nodes.
    pub(super) fn room(&self) -> usize {
        let least = ROOM_MIN.min(self.limit / 100 * ROOM_PERCENT);
        let common = self.common.load(Ordering::Relaxed);
        let taken = self.beyond.overhead() + common + self.spare;
        self.limit.saturating_sub(taken).max(least)
    }

    /// What is to be used once clients had to be closed.
    pub(super) fn goal(&self) -> usize {
        self.room().saturating_sub(self.step())
    }

    /// So much is freed at once, and may come while nothing can be freed before that is looked at again.
    pub(super) fn step(&self) -> usize {
        self.limit / 100 * MARGIN_PERCENT
    }

    pub(super) fn level(&self) -> Level {
        let (used, room) = (self.used(), self.room());
        let resident = used.saturating_add(self.beyond.waste());
        let full = room + self.spare;
        let most = full + (self.limit / 100 * WASTE_PERCENT).max(WASTE_MIN);
        match () {
            () if used > room || resident > most => Level::Over,
            () if resident > full => Level::Tight,
            () if resident > room / 100 * SLOW_PERCENT => Level::Slow,
            () => Level::Ample,
        }
    }
}

/// How much of the limit is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    Ample,
    Slow,
    /// Too much was freed and is not given back yet: only clients that hold little are read, a little at a time.
    Tight,
    /// Clients are being closed, or far too much is not given back yet; nobody is read.
    Over,
    /// More than the limit, and no client to close for it.
    Stuck,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_itself_counts() {
        assert_eq!(Budget::new(1000, 100, 1).room(), 900);
        assert_eq!(Budget::new(1000, 5000, 1).room(), 500);
        let budget = Budget::new(1000, 100, 1);
        budget.set_common(50);
        assert_eq!((budget.room(), budget.used()), (850, 0));
    }
}
