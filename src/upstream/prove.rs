//! Whether a node would run a transaction as one. A user who may not use MULTI would have the commands behind it executed
//! one by one, and EXEC refused: an application would take what has happened for what has not. So it is tried out, with a
//! transaction of nothing, before the first request on a lane; on a lane where it failed, blocks are withheld and their
//! clients told what the node said.

use super::in_flight::{Own, Returned};
use super::outbox::Outbox;
use super::{Answer, FaultKind, Lane, Requester, Ticket};
use crate::io::Micros;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;

/// A transaction of nothing. DISCARD is for a user who may not use EXEC: no connection may be left inside MULTI.
pub(super) const PROOF: &[u8] = b"*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nEXEC\r\n*1\r\n$7\r\nDISCARD\r\n";

/// How many replies there are to it.
pub(super) const PROOF_REPLIES: usize = 3;

/// How a refusal of EXEC begins where it discards the transaction, as in Redis since 7.0.
const ABORTED_BECAUSE: &[u8] = b"-EXECABORT Transaction discarded because of: ";

/// How long a refusal is believed: then the lane is opened anew as soon as it has nothing else to do, for the user may
/// have got the permission.
const BELIEVED: Duration = Duration::from_secs(5);

/// Whether a connection is to be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is.
    Wanted,
    /// No transaction is sent over it.
    Spared,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Transactions {
    /// As far as can be told.
    Possible,
    /// This is what the node says to them: an error reply.
    Refused(Vec<u8>),
    /// The same, and the connection is inside MULTI for good.
    Stuck(Vec<u8>),
}

/// What the replies to [`PROOF`] say.
pub(super) fn conclude([multi, exec, discard]: &[Vec<u8>; PROOF_REPLIES]) -> Transactions {
    let ok = b"+OK\r\n";
    let is_error = |reply: &[u8]| reply.starts_with(b"-");
    let refusal = match exec.strip_prefix(ABORTED_BECAUSE) {
        _ if is_error(multi) => multi.clone(),
        Some(cause) => [b"-", cause].concat(),
        None if !is_error(exec) => return Transactions::Possible,
        None if discard != ok => return Transactions::Stuck(exec.clone()),
        None => exec.clone(),
    };
    // Others pass (a node may be busy with a script): then the replies to the block say it.
    let lasting = [&b"-NOPERM "[..], b"-ERR unknown command"];
    match lasting.iter().any(|start| refusal.starts_with(start)) {
        true => Transactions::Refused(refusal),
        false => Transactions::Possible,
    }
}

/// What a lane on which transactions are refused has for their clients.
pub(super) struct Withheld {
    refusal: Vec<u8>,
    since: Micros,
    waiting: Vec<(Rc<dyn Requester>, Ticket, Bytes)>,
}

impl Withheld {
    pub(super) fn new(refusal: Vec<u8>, since: Micros) -> Box<Self> {
        let waiting = Vec::new();
        Box::new(Self {
            refusal,
            since,
            waiting,
        })
    }

    /// A block that is not sent; its client is told soon.
    #[cold]
    pub(super) fn withhold(&mut self, requester: Rc<dyn Requester>, ticket: Ticket, block: Bytes) {
        self.waiting.push((requester, ticket, block));
    }
}

impl Lane {
    /// The node refuses transactions: those that came while the lane was connecting are not sent either.
    #[cold]
    pub(super) fn refuses_transactions(&self, refusal: Vec<u8>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let mut withheld = Withheld::new(refusal, self.context.clock.micros());
        let mut outbox = Outbox::default();
        let mut entries = std::mem::take(&mut state.queue).into_iter().peekable();
        while let Some(mut entry) = entries.next() {
            let bytes = state.outbox.copy_front(entry.len as usize);
            state.outbox.release_lost(entry.len as usize);
            let is_block = entry.ticket.inner() > 0;
            if let Some(requester) = entry.requester.take_if(|_| is_block) {
                withheld.withhold(requester, entry.ticket, bytes);
                self.metrics.released(1);
                state.room.given_back(entry.size);
                continue;
            }
            let is_for_block = entry.own == Own::Asking
                && entries.peek().is_some_and(|next| next.ticket.inner() > 0);
            if !is_for_block {
                outbox.append(&bytes);
                state.queue.push_back(entry);
            }
        }
        state.outbox = outbox;
        state.withheld = Some(withheld);
    }

    /// Has the clients told whose blocks are withheld. Called by the lane's task only.
    pub(super) fn tell_withheld(&self) {
        let (refusal, told) = {
            let mut state = self.state.borrow_mut();
            let idle = state.queue.is_empty();
            let Some(withheld) = &mut state.withheld else {
                return;
            };
            if withheld.waiting.is_empty() {
                return;
            }
            let age = self.context.clock.micros().since(withheld.since);
            if idle && u128::from(age) > BELIEVED.as_micros() {
                self.ending.borrow_mut().get_or_insert(FaultKind::Retired);
            }
            (
                withheld.refusal.clone(),
                std::mem::take(&mut withheld.waiting),
            )
        };
        for (requester, ticket, request) in told {
            let from = self.node();
            let taken = self.context.clock.micros();
            let request = Some(Returned {
                bytes: request,
                taken,
                next: taken,
            });
            requester.answered(
                ticket,
                Answer::Reply {
                    reply: &refusal,
                    request,
                    from,
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_a_refusal() {
        let replies = |replies: [&str; 3]| conclude(&replies.map(|r| r.as_bytes().to_vec()));
        let (ok, none, no) = ("+OK\r\n", "*0\r\n", "-NOPERM no\r\n");
        let outside = "-ERR DISCARD without MULTI\r\n";
        let refused = Transactions::Refused(no.into());
        assert_eq!(replies([ok, none, outside]), Transactions::Possible);
        assert_eq!(replies([ok, none, no]), Transactions::Possible);
        assert_eq!(
            replies([no, "-ERR EXEC without MULTI\r\n", outside]),
            refused
        );
        assert_eq!(replies([no, no, no]), refused);
        assert_eq!(replies([ok, no, ok]), refused);
        let aborted = "-EXECABORT Transaction discarded because of: NOPERM no\r\n";
        assert_eq!(replies([ok, aborted, no]), refused);
        assert_eq!(replies([ok, no, no]), Transactions::Stuck(no.into()));
        assert_eq!(replies([ok, "-BUSY\r\n", ok]), Transactions::Possible);
        assert_eq!(replies(["-LOADING\r\n", no, no]), Transactions::Possible);
    }
}
