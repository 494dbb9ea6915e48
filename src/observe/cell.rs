//! A number with one writer: the unit every metric of the hot path is made of. It does not know what it
//! counts; `worker` and `node` own the cells, `collector` reads them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter that one thread writes and any thread may read.
///
/// Adding is a plain load and a plain store, not a locked read-modify-write. With a second writer at the
/// same time additions would be lost; nothing worse.
#[derive(Debug, Default)]
pub(super) struct Cell64(AtomicU64);

impl Cell64 {
    #[inline]
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub(super) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    #[inline]
    pub(super) fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
