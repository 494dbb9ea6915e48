//! What is kept for one client besides its own buffers, by whoever reads for it alone: the reply on its way over a lease or
//! a lane, what its subscriptions bring. It counts as the client's, so that it is the client who is closed for it, and not
//! somebody else.

use super::Ledger;
use std::cell::Cell;
use std::rc::Rc;

/// Less than so many bytes is entered as nothing.
const COUNTED_MIN: usize = 4 * 1024;

/// The sum of what is kept for one client so, in the worker's ledger.
#[derive(Debug)]
pub struct Purse {
    ledger: Rc<Ledger>,
    held: Cell<usize>,
    /// Its client is gone: nothing needs to be kept for it.
    closed: Cell<bool>,
}

/// What one reader keeps. Nothing any more once it is dropped.
#[derive(Debug)]
pub struct Bill {
    purse: Rc<Purse>,
    bytes: usize,
}

impl Purse {
    /// An empty one.
    pub fn new(ledger: Rc<Ledger>) -> Rc<Self> {
        Rc::new(Self {
            ledger,
            held: Cell::new(0),
            closed: Cell::new(false),
        })
    }

    /// Bytes that are kept.
    #[inline]
    pub fn held(&self) -> usize {
        self.held.get()
    }

    /// Whether its client is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Its client is gone.
    pub fn close(&self) {
        self.closed.set(true);
    }
}

impl Bill {
    /// Nothing yet.
    pub fn new(purse: Rc<Purse>) -> Self {
        Self { purse, bytes: 0 }
    }

    /// So many bytes are kept now.
    pub fn set(&mut self, bytes: usize) {
        let bytes = if bytes < COUNTED_MIN { 0 } else { bytes };
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes != before {
            let purse = &self.purse;
            purse.held.set(purse.held.get() + bytes - before);
            purse.ledger.client(before, bytes);
        }
    }

    /// Whether nobody waits for what is kept.
    pub fn is_for_nobody(&self) -> bool {
        self.purse.closed.get()
    }

    /// Whether nothing is to be read for the client now.
    pub fn is_halted(&self) -> bool {
        self.purse.ledger.halts(self.purse.held())
    }

    /// Until that may have changed.
    pub async fn resumed(&self) {
        self.purse.ledger.resumed().await;
    }

    /// Whose it is part of.
    pub fn purse(&self) -> &Rc<Purse> {
        &self.purse
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Budget;

    #[test]
    fn a_bill_is_part_of_the_ledger_until_it_is_dropped() {
        let ledger = Rc::new(Ledger::new(Budget::new(1 << 20, 0, 1), 0, 100));
        let purse = Purse::new(ledger.clone());
        let (mut one, mut other) = (Bill::new(purse.clone()), Bill::new(purse.clone()));
        one.set(10_000);
        other.set(20_000);
        assert_eq!((purse.held(), ledger.used()), (30_000, 30_000));
        one.set(COUNTED_MIN - 1);
        assert_eq!((purse.held(), ledger.used()), (20_000, 20_000));
        assert!(!other.is_halted());
        other.set(2 << 20);
        assert!(other.is_halted() && ledger.is_halted());
        drop(other);
        assert_eq!((purse.held(), ledger.used()), (0, 0));
    }
}
