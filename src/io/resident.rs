//! What the process takes beyond what is counted for clients and nodes: the program itself, what nobody counts, holes that
//! the allocator cannot fill. It is measured: resident memory is read whenever much was taken.
//!
//! Not all that is resident and not counted is gone for good: what was freed is given back by the allocator only after a
//! while, or serves what comes next. So only memory that grew while nothing that is counted did is taken for overhead, the
//! rest for waste that passes.

use rustix::param::page_size;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Resident memory is read each time clients and nodes of a worker took this share of the limit, in percent, given back or
/// not.
const STEP_PERCENT: usize = 1;

/// But by no more than so many bytes.
const STEP_MAX: usize = 16 * 1024 * 1024;

/// Of what was freed and does not go, so much is taken for overhead each time that is insisted on: all of it after some
/// seconds.
const INSIST_PERCENT: usize = 10;

/// The allocator looks what it may give back when a block of this size, in bytes, is freed: none of its pages holds several.
const NUDGE_BYTES: usize = 1024 * 1024;

/// Where the resident memory of this process is read.
#[derive(Debug)]
pub(super) struct Resident(File);

impl Resident {
    pub(super) fn open() -> Option<Self> {
        File::open("/proc/self/statm").ok().map(Self)
    }

    /// In bytes.
    fn now(&self) -> Option<usize> {
        let mut text = [0; 128];
        let read = self.0.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..read]).ok()?;
        let pages: usize = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(pages * page_size())
    }
}

/// What is resident and not counted, of the process.
#[derive(Debug)]
pub(super) struct Beyond {
    source: Option<Resident>,
    seen: Mutex<Seen>,
    /// It is measured each time clients and nodes of a worker took so many bytes.
    pub(super) step: usize,
    overhead: AtomicUsize,
    waste: AtomicUsize,
}

impl Beyond {
    /// `program` is what is resident before anything is counted; without a source it stays at that.
    pub(super) fn new(source: Option<Resident>, program: usize, limit: usize) -> Self {
        let step = match source {
            Some(_) => (limit / 100 * STEP_PERCENT).min(STEP_MAX),
            None => usize::MAX,
        };
        Self {
            source,
            seen: Mutex::new(Seen::new(program)),
            step,
            overhead: AtomicUsize::new(program),
            waste: AtomicUsize::new(0),
        }
    }

    /// What cannot be had for clients and nodes, in bytes.
    pub(super) fn overhead(&self) -> usize {
        self.overhead.load(Ordering::Relaxed)
    }

    /// What was freed and is still resident, in bytes.
    pub(super) fn waste(&self) -> usize {
        self.waste.load(Ordering::Relaxed)
    }

    /// So much was freed and is still resident.
    #[cfg(test)]
    pub(super) fn set_waste(&self, bytes: usize) {
        self.waste.store(bytes, Ordering::Relaxed);
    }

    /// Measures. Whoever comes while another does has what that one finds.
    #[cold]
    pub(super) fn measure(&self, counted: usize) {
        let Some(resident) = self.source.as_ref().and_then(Resident::now) else {
            return;
        };
        if let Ok(mut seen) = self.seen.try_lock() {
            seen.see(resident, counted);
            self.overhead.store(seen.overhead, Ordering::Relaxed);
            self.waste.store(seen.waste(), Ordering::Relaxed);
        }
    }

    /// Has the allocator give back what it may.
    pub(super) fn nudge(&self) {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE_BYTES)));
    }

    /// What was freed does not go: some of it is overhead.
    pub(super) fn insist(&self) {
        if let Ok(mut seen) = self.seen.try_lock() {
            seen.overhead += seen.waste() / 100 * INSIST_PERCENT;
        }
    }
}

/// What was measured last, and what it says.
#[derive(Debug)]
struct Seen {
    program: usize,
    resident: usize,
    counted: usize,
    overhead: usize,
}

impl Seen {
    fn new(program: usize) -> Self {
        Self {
            program,
            resident: program,
            counted: 0,
            overhead: program,
        }
    }

    fn see(&mut self, resident: usize, counted: usize) {
        let grown = resident.saturating_sub(self.resident);
        let explained = counted.saturating_sub(self.counted);
        let beyond = resident.saturating_sub(counted);
        let overhead = self.overhead + grown.saturating_sub(explained);
        self.overhead = overhead.min(beyond).max(self.program);
        (self.resident, self.counted) = (resident, counted);
    }

    fn waste(&self) -> usize {
        let beyond = self.resident.saturating_sub(self.counted);
        beyond.saturating_sub(self.overhead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident and counted, then the overhead and the waste that follow.
    fn seen(steps: &[[usize; 2]]) -> (usize, usize) {
        let mut seen = Seen::new(10);
        for [resident, counted] in steps {
            seen.see(*resident, *counted);
        }
        (seen.overhead, seen.waste())
    }

    #[test]
    fn what_grows_uncounted_is_overhead() {
        assert_eq!(seen(&[[60, 50]]), (10, 0));
        assert_eq!(seen(&[[75, 50]]), (25, 0));
        assert_eq!(seen(&[[75, 50], [85, 30]]), (35, 20));
    }

    #[test]
    fn what_was_freed_is_waste_until_it_is_used_again_or_given_back() {
        assert_eq!(seen(&[[110, 100], [110, 20]]), (10, 80));
        assert_eq!(seen(&[[110, 100], [110, 20], [110, 100]]), (10, 0));
        assert_eq!(seen(&[[110, 100], [110, 20], [40, 20]]), (10, 10));
        assert_eq!(seen(&[[110, 100], [110, 20], [130, 40]]), (10, 80));
    }

    #[test]
    fn what_is_counted_before_it_is_used_takes_nothing_from_the_program() {
        assert_eq!(seen(&[[15, 50]]), (10, 0));
        assert_eq!(seen(&[[15, 50], [60, 50]]), (10, 0));
    }

    /// What does not go although it was freed a while ago has its place: less is left for clients.
    #[test]
    fn waste_that_stays_becomes_overhead() {
        let resident = Resident::open().unwrap();
        let now = resident.now().unwrap();
        assert!(now > 100 * 1024 && now < 1 << 40, "{now}");
        let beyond = Beyond::new(Some(resident), 0, usize::MAX);
        beyond.seen.lock().unwrap().resident = usize::MAX;
        beyond.measure(0);
        let waste = beyond.waste();
        assert!(waste > 0 && beyond.overhead() == 0);
        (0..100).for_each(|_| beyond.insist());
        beyond.measure(0);
        assert!(beyond.overhead() > waste / 2, "{beyond:?}");
    }
}
