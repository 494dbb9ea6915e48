//! What a node's reply costs until all of it is there, and what becomes of one that costs too much.
//!
//! Whoever asked for a large reply pays for it, not whoever else holds something: what has arrived is entered for its
//! client. One that `limits.memory` has no room for, or whose client is gone, is skipped as it comes, and its place taken
//! by an error.

use super::FaultKind;
use crate::io::{Bill, Input, Ledger, Purse, SCRATCH_BYTES};
use crate::resp::{Proto, ReplyScanner, Skipped};
use std::rc::Rc;

/// It is no OOM error: that would say that nothing was executed.
macro_rules! reply_too_large {
    () => {
        "ERR slotway: executed, but its reply is larger than what limits.memory leaves room for; ask for less at once \
         (GETRANGE, LRANGE, HSCAN), or raise limits.memory"
    };
}

/// What stands for a reply that could not be kept.
pub const REPLY_TOO_LARGE: &[u8] = concat!("-", reply_too_large!(), "\r\n").as_bytes();

/// What has arrived of a reply is entered for its client from so many bytes on.
const BILLED_MIN: usize = SCRATCH_BYTES;

/// The reply that is being read.
pub(super) struct Collecting {
    pub(super) scanner: ReplyScanner,
    course: Course,
    bill: Option<Bill>,
}

/// What is done with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Course {
    Keeps,
    Skips,
}

impl Collecting {
    /// At the beginning of a reply, nested no deeper than that.
    pub(super) fn new(proto: Proto, depth: usize) -> Self {
        Self {
            scanner: ReplyScanner::with_depth(depth).speaking(proto),
            course: Course::Keeps,
            bill: None,
        }
    }

    /// How many more bytes the reply needs that are to be kept, as far as is known.
    pub(super) fn wanted(&self) -> usize {
        match self.course {
            Course::Keeps => self.scanner.wanted(),
            Course::Skips => 0,
        }
    }

    #[inline]
    pub(super) fn skips(&self) -> bool {
        self.course == Course::Skips
    }

    /// After a read: enters what is kept for the client, and says how much is not, because it is little or nobody's.
    #[inline]
    pub(super) fn weigh(
        &mut self,
        input: &mut Input,
        ledger: &Ledger,
        purse: impl FnOnce() -> Option<Rc<Purse>>,
    ) -> Result<usize, FaultKind> {
        let held = input.held();
        match held < BILLED_MIN {
            true if self.bill.is_none() => Ok(held),
            true => {
                self.bill = None;
                Ok(held)
            }
            false => self.weigh_large(input, ledger, purse),
        }
    }

    #[cold]
    fn weigh_large(
        &mut self,
        input: &mut Input,
        ledger: &Ledger,
        purse: impl FnOnce() -> Option<Rc<Purse>>,
    ) -> Result<usize, FaultKind> {
        let purse = purse();
        let total = input.as_slice().len() + self.wanted().max(input.collected());
        let is_for_nobody = purse.as_ref().is_some_and(|purse| purse.is_closed());
        if !self.skips() && (is_for_nobody || total > ledger.reply_max()) {
            self.give_up(input)?;
        }
        let held = input.held();
        let Some(purse) = purse else {
            self.bill = None;
            return Ok(held);
        };
        if self
            .bill
            .as_ref()
            .is_none_or(|bill| !Rc::ptr_eq(bill.purse(), &purse))
        {
            self.bill = Some(Bill::new(purse));
        }
        self.bill.iter_mut().for_each(|bill| bill.set(held));
        Ok(0)
    }

    /// From now on it is skipped.
    fn give_up(&mut self, input: &mut Input) -> Result<(), FaultKind> {
        if input.as_slice().first() == Some(&b'>') {
            return Err(FaultKind::Protocol("a push that nobody asked for"));
        }
        self.course = Course::Skips;
        if self.scanner.leap(input.collected()) {
            input.clear();
        }
        Ok(())
    }

    /// What comes of a reply that is skipped; `All` is its end.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> Result<Skipped, FaultKind> {
        let skipped = self.scanner.skip(bytes)?;
        if let Skipped::All(_) = skipped {
            self.course = Course::Keeps;
        }
        Ok(skipped)
    }

    /// Whether its client is gone.
    pub(super) fn is_for_nobody(&self) -> bool {
        self.bill.as_ref().is_some_and(Bill::is_for_nobody)
    }
}
