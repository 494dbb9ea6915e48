//! What clients and nodes cost in memory, against `limits.memory` of the process.
//!
//! Each worker has a [`Ledger`]: whoever holds bytes for a client or a node enters there what changes, when it changes
//! by more than a plain command's worth. All workers' sums make up the process's. What the process takes beyond that is
//! measured and is not for clients ([`Budget`]), nor is what is kept for all of them together, the scripts. That decides,
//! in this order:
//! 1. from three quarters on, a client is not read while replies to it are outstanding: it is slowed, not refused;
//! 2. from [`SCARCE_PERCENT`] on, requests of more than [`LARGE_REQUEST`] bytes are refused;
//! 3. beyond the limit, the clients that hold most are closed, until some room is left, at once: nobody is read before;
//! 4. if no client is left that holds anything (requests on their way to nodes do), every command is refused.
//!
//! Nobody is closed for what was freed already: while too much of that is not given back yet, only clients that hold little
//! are read, and not even those while it is far too much.
//!
//! What is read for one client alone is entered for that client ([`Purse`](super::Purse)), and not read while others are not
//! read. A single reply that would take more than a [`REPLY_COPIES`]th of what there is is not kept by anybody.
//!
//! It decides; the worker (`server`) acts.

use super::budget::{Budget, Level, Share};
use super::input::SCRATCH_BYTES;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// Large requests are refused from this share of the limit on.
const SCARCE_PERCENT: usize = 90;

/// A request of more bytes is a large one.
pub const LARGE_REQUEST: usize = 64 * 1024;

/// A client that holds so many bytes is not read while memory is tight.
const HOLDS_MUCH: usize = 8 * 1024;

/// Bytes that are read at once meanwhile.
const TIGHT_READ: usize = 4 * 1024;

/// A large reply is in memory so often for a moment: as it was collected, put together, and for its client.
const REPLY_COPIES: usize = 3;

/// Commands a client may have in flight while it is slowed.
const SLOW_IN_FLIGHT: usize = 1;

/// One worker's account; on its thread only.
#[derive(Debug)]
pub struct Ledger {
    budget: Arc<Budget>,
    worker: usize,
    clients: Cell<usize>,
    lanes: Cell<usize>,
    level: Cell<Level>,
    /// Bytes that clients and lanes took since it was last measured, given back or not.
    taken: Cell<usize>,
    in_flight_max: usize,
    /// Commands a client may have in flight now.
    in_flight_now: Cell<usize>,
    /// Requests of more bytes are looked at before they are taken.
    look_from: Cell<usize>,
    /// Clients that hold so many bytes are not read.
    halts_from: Cell<usize>,
    /// With more than so many bytes it is looked again whether it is stuck.
    stuck_until: Cell<usize>,
    /// Rung when those that wait may look again.
    resumed: Notify,
}

impl Ledger {
    /// The account of one worker, whose clients may have so many commands in flight.
    pub fn new(budget: Arc<Budget>, worker: usize, in_flight_max: usize) -> Self {
        Self {
            budget,
            worker,
            clients: Cell::new(0),
            lanes: Cell::new(0),
            level: Cell::new(Level::Ample),
            taken: Cell::new(0),
            in_flight_max,
            in_flight_now: Cell::new(in_flight_max),
            look_from: Cell::new(LARGE_REQUEST),
            halts_from: Cell::new(usize::MAX),
            stuck_until: Cell::new(0),
            resumed: Notify::new(),
        }
    }

    /// A client held `before` bytes and holds `after` now.
    pub fn client(&self, before: usize, after: usize) {
        self.clients
            .set((self.clients.get() + after).saturating_sub(before));
        self.took(after.saturating_sub(before));
    }

    /// What the lanes hold now.
    pub fn lanes(&self, held: usize) {
        let before = self.lanes.replace(held);
        self.took(held.saturating_sub(before));
    }

    /// The lanes hold so much more than when [`Self::lanes`] was last called.
    pub fn lanes_grew(&self, by: usize) {
        self.lanes.set(self.lanes.get() + by);
        self.took(by);
    }

    /// What the largest client of this worker holds.
    pub fn largest(&self, held: usize) {
        self.mine().largest.store(held, Ordering::Relaxed);
    }

    /// Commands that a client may have in flight now.
    #[inline]
    pub fn in_flight_max(&self) -> usize {
        self.in_flight_now.get()
    }

    /// Whether a request of so many bytes is not taken now.
    #[inline]
    pub fn refuses(&self, bytes: usize) -> bool {
        bytes > self.look_from.get() && self.lacks(bytes)
    }

    /// A request is copied on its way to a node.
    #[cold]
    fn lacks(&self, bytes: usize) -> bool {
        let used = self.budget.used();
        let over = |percent| used.saturating_add(bytes) > self.budget.room() / 100 * percent;
        match bytes > LARGE_REQUEST {
            true => over(SCARCE_PERCENT),
            false => self.level.get() == Level::Stuck && over(100),
        }
    }

    /// Whether nobody is read, because clients are being closed.
    #[inline]
    pub fn is_halted(&self) -> bool {
        self.level.get() == Level::Over
    }

    /// Whether nobody who holds much is read, or asks for much.
    pub fn is_tight(&self) -> bool {
        matches!(self.level.get(), Level::Tight | Level::Over)
    }

    /// Whether a client that holds so many bytes is not read now.
    #[inline]
    pub fn halts(&self, held: usize) -> bool {
        held >= self.halts_from.get()
    }

    /// How many bytes may be read at once.
    #[inline]
    pub fn read_max(&self) -> usize {
        match self.halts_from.get() {
            usize::MAX => SCRATCH_BYTES,
            _ => TIGHT_READ,
        }
    }

    /// A reply of more bytes is not kept, whoever asked for it.
    pub fn reply_max(&self) -> usize {
        self.budget.room() / REPLY_COPIES
    }

    /// Those that are halted look again.
    pub fn resume(&self) {
        self.resumed.notify_waiters();
    }

    /// Until then.
    pub async fn resumed(&self) {
        self.resumed.notified().await;
    }

    /// More is used than is allowed, by so many bytes.
    pub fn excess(&self) -> usize {
        self.budget.used().saturating_sub(self.budget.room())
    }

    /// What is to be freed once clients have to be closed, in bytes.
    pub fn to_free(&self) -> usize {
        self.budget.used().saturating_sub(self.budget.goal())
    }

    /// Bytes used by this worker.
    pub fn used(&self) -> usize {
        self.clients.get() + self.lanes.get()
    }

    /// Whether a client of this worker that holds so much is to be closed before those of the others. If not, the worker
    /// that has a larger one is told to look. Of equal ones, one of the worker that uses most: what a worker has freed
    /// serves only itself.
    pub fn is_next(&self, held: usize) -> bool {
        let others = self.budget.workers.iter().enumerate();
        let others = others.filter(|(index, _)| *index != self.worker);
        let rank = |share: &Share| {
            let largest = share.largest.load(Ordering::Relaxed);
            (largest, share.used.load(Ordering::Relaxed))
        };
        let others = others.filter(|(_, share)| share.largest.load(Ordering::Relaxed) > 0);
        let largest = others.max_by_key(|(_, share)| rank(share));
        match largest {
            Some((_, share)) if rank(share) > (held, self.used()) => {
                share.look.notify_one();
                false
            }
            _ => true,
        }
    }

    /// Until the worker is to look what is to be done.
    pub async fn look(&self) {
        self.mine().look.notified().await;
    }

    /// All workers are to look: what they waited for may be there.
    pub fn tell_all(&self) {
        self.budget.workers.iter().for_each(|w| w.look.notify_one());
    }

    /// Nobody can be closed for what is used: it goes on as it is, and nothing more is taken. If it becomes more all the same,
    /// it is looked at again.
    pub fn stuck(&self) {
        if self.level.get() == Level::Over {
            let more = self.budget.step();
            self.stuck_until.set(self.budget.used() + more);
            self.enter(Level::Stuck);
        }
    }

    /// Somebody took so many bytes.
    fn took(&self, bytes: usize) {
        if self.mine().left.load(Ordering::Relaxed) {
            return;
        }
        self.taken.set(self.taken.get() + bytes);
        self.mine().used.store(self.used(), Ordering::Relaxed);
        if self.taken.get() >= self.budget.beyond.step {
            self.taken.set(0);
            self.budget.measure();
        }
        self.weigh();
    }

    /// Nobody is read until [`Self::calm`] if more is used than is allowed.
    fn weigh(&self) {
        let now = self.budget.level();
        if now != Level::Over {
            self.tell_halted();
        }
        match (self.level.get(), now) {
            (before, now) if before == now => {}
            // What is stuck becomes less, or a client is to be closed after all: the worker looks ten times a second.
            (Level::Stuck, Level::Over) if self.budget.used() <= self.stuck_until.get() => {}
            (_, Level::Over) => {
                self.enter(Level::Over);
                self.mine().look.notify_one();
            }
            (Level::Over, _) => {}
            // Here too, those that wait are woken first.
            (Level::Tight, _) => self.mine().look.notify_one(),
            (_, level) => self.enter(level),
        }
    }

    /// Whoever halted looks, and has everybody read on. Each is told once: told on and on, a worker would do nothing else.
    fn tell_halted(&self) {
        for share in &self.budget.workers {
            if share.halted.load(Ordering::Relaxed) && share.halted.swap(false, Ordering::SeqCst) {
                share.look.notify_one();
            }
        }
    }

    /// Its worker ends: it waits for nothing, and nobody waits for it.
    pub fn leave(&self) {
        let share = self.mine();
        share.left.store(true, Ordering::Relaxed);
        share.halted.store(false, Ordering::Relaxed);
        share.largest.store(0, Ordering::Relaxed);
        share.used.store(0, Ordering::Relaxed);
    }

    /// Measures, however little has changed; about ten times a second. `common` is what is kept for all clients of the
    /// process together. One worker does it for all: the first that has not ended. Says whether it is this one.
    pub fn measure(&self, common: usize) -> bool {
        let beyond = &self.budget.beyond;
        let there = |share: &Share| !share.left.load(Ordering::Relaxed);
        if self.budget.workers.iter().position(there) != Some(self.worker) {
            return false;
        }
        self.budget.set_common(common);
        if self.is_tight() {
            beyond.nudge();
            if self.excess() == 0 {
                beyond.insist();
            }
        }
        self.budget.measure();
        true
    }

    /// Has everybody read on if that may be.
    pub fn calm(&self) {
        if self.is_halted() {
            // It is told again if it finds no room now.
            self.mine().halted.store(true, Ordering::SeqCst);
        }
        let now = self.budget.level();
        if self.is_tight() && now != Level::Over {
            self.enter(now);
        }
    }

    fn enter(&self, level: Level) {
        self.level.set(level);
        let halted = level == Level::Over;
        self.mine().halted.store(halted, Ordering::Relaxed);
        self.halts_from.set(match level {
            Level::Ample | Level::Slow | Level::Stuck => usize::MAX,
            Level::Tight => HOLDS_MUCH,
            Level::Over => 0,
        });
        self.in_flight_now.set(match level {
            Level::Ample => self.in_flight_max,
            _ => SLOW_IN_FLIGHT.min(self.in_flight_max),
        });
        self.look_from.set(match level {
            Level::Stuck => 0,
            _ => LARGE_REQUEST,
        });
    }

    fn mine(&self) -> &Share {
        &self.budget.workers[self.worker]
    }
}

#[cfg(test)]
mod tests;
