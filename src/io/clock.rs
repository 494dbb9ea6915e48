//! The clock of a worker: read once per batch of bytes, not once per command.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Microseconds since the worker started, modulo 2^32 (71 minutes): enough to time a command, 4 bytes to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Micros(u32);

impl Micros {
    /// How long `earlier` was before this, in microseconds; right for spans up to 71 minutes.
    #[inline]
    pub fn since(self, earlier: Micros) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// This moment and `micros` later.
    pub fn plus(self, micros: u32) -> Micros {
        Micros(self.0.wrapping_add(micros))
    }
}

/// The time, read now. In a simulation it is the runtime's, which stands still until nobody can run.
#[inline]
pub fn now() -> Instant {
    #[cfg(feature = "simulation")]
    return tokio::time::Instant::now().into_std();
    #[cfg(not(feature = "simulation"))]
    Instant::now()
}

/// Owned by a worker (shared by `Rc`): the time of the current batch.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    now: Cell<Instant>,
    /// The same moment as a stamp: taken from here for every command, worked out once per batch.
    stamp: Cell<Micros>,
}

impl Default for Clock {
    fn default() -> Self {
        let start = now();
        Self {
            start,
            now: Cell::new(start),
            stamp: Cell::default(),
        }
    }
}

impl Clock {
    /// Reads the time; called when bytes have arrived and when a timer fires.
    #[inline]
    pub fn tick(&self) {
        let now = now();
        self.now.set(now);
        self.stamp
            .set(Micros((now - self.start).as_micros() as u32));
    }

    /// The time of the current batch.
    #[inline]
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// The time of the current batch, as a short stamp.
    #[inline]
    pub fn micros(&self) -> Micros {
        self.stamp.get()
    }

    /// The moment of a stamp taken at most 71 minutes ago.
    pub fn instant(&self, stamp: Micros) -> Instant {
        let ago = Duration::from_micros(u64::from(self.micros().since(stamp)));
        self.now.get().checked_sub(ago).unwrap_or(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_survive_the_wrap() {
        let before = Micros(u32::MAX - 10);
        assert_eq!(before.plus(30).since(before), 30);
    }
}
