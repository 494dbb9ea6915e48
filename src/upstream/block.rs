//! The replies to a block (MULTI, commands, EXEC) that came so far, for the block at the front of a lane's queue.
//!
//! A block is one request: it has one place in the queue, and only the reply to EXEC is delivered. Those before it
//! must be what a server says to MULTI and to commands that it queues; anything else means that the lane and the node
//! no longer agree what is being answered, or that the commands ran outside of a transaction: the connection ends
//! (invariant 1).

use super::FaultKind;

/// What the server says when EXEC finds that a command was refused as it was queued.
const ABORTED: &[u8] = b"-EXECABORT ";

/// What the server says to a command that it queues.
const QUEUED: &[u8] = b"+QUEUED\r\n";

/// See the module.
#[derive(Default)]
pub(super) struct Progress {
    seen: u32,
    /// MULTI was answered with OK.
    opened: bool,
    /// The first error among the replies.
    cause: Vec<u8>,
}

impl Progress {
    /// How many replies of the block have come.
    #[inline]
    pub(super) fn seen(&self) -> u32 {
        self.seen
    }

    /// One more reply that is not EXEC's; `handed_over`: bytes of the block that the kernel has got.
    pub(super) fn take(&mut self, reply: &[u8], handed_over: usize) -> Result<(), FaultKind> {
        if handed_over == 0 {
            return Err(FaultKind::Protocol("a reply before its request"));
        }
        match reply {
            b"+OK\r\n" if self.seen == 0 => self.opened = true,
            QUEUED if self.opened => {}
            [b'-', ..] if self.cause.is_empty() => self.cause.extend_from_slice(reply),
            [b'-', ..] => {}
            _ => {
                return Err(FaultKind::Protocol(
                    "a reply that belongs in no transaction",
                ));
            }
        }
        self.seen += 1;
        Ok(())
    }

    /// As [`Self::take`], for as many of these bytes as are replies to queued commands of a block with `inner` replies
    /// before EXEC's; says how many bytes that is. They need no scanner.
    pub(super) fn take_queued(&mut self, bytes: &[u8], inner: u32) -> usize {
        let most = inner.saturating_sub(self.seen) as usize;
        let queued = match self.opened {
            true => bytes
                .chunks_exact(QUEUED.len())
                .take(most)
                .take_while(|r| *r == QUEUED)
                .count(),
            false => 0,
        };
        self.seen += queued as u32;
        queued * QUEUED.len()
    }

    /// The reply to EXEC has come: what is to be delivered instead, because it says more, if anything. Ready for the
    /// next block.
    pub(super) fn finish(&mut self, reply: &[u8]) -> Option<Vec<u8>> {
        let Self { opened, cause, .. } = std::mem::take(self);
        let refused = reply.starts_with(ABORTED) || (!opened && reply[0] == b'-');
        (refused && !cause.is_empty()).then_some(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(replies: &[&[u8]]) -> Result<Progress, FaultKind> {
        let mut progress = Progress::default();
        for reply in replies {
            progress.take(reply, 1)?;
        }
        Ok(progress)
    }

    const OK: &[u8] = b"+OK\r\n";
    #[test]
    fn the_first_refusal_says_why_exec_was_aborted() {
        let refusals: [&[u8]; 4] = [OK, b"-ASK 1 h:1\r\n", QUEUED, b"-OOM\r\n"];
        let mut progress = after(&refusals).ok().unwrap();
        assert_eq!(progress.seen(), 4);
        let told = progress.finish(b"-EXECABORT because of previous errors\r\n");
        assert_eq!(told.as_deref(), Some(&b"-ASK 1 h:1\r\n"[..]));
        assert_eq!(progress.seen(), 0);
        assert_eq!(progress.finish(b"-EXECABORT why\r\n"), None);
        // EXEC's own redirection, and what it executed, are told as they are.
        for reply in [&b"-MOVED 1 h:1\r\n"[..], b"*1\r\n-EXECABORT x\r\n"] {
            assert_eq!(after(&[OK, QUEUED]).ok().unwrap().finish(reply), None);
        }
    }

    #[test]
    fn replies_to_queued_commands_are_taken_together_up_to_execs() {
        let mut progress = after(&[OK]).ok().unwrap();
        let bytes = [QUEUED, QUEUED, b"-ERR x\r\n", QUEUED].concat();
        assert_eq!(progress.take_queued(&bytes, 9), 2 * QUEUED.len());
        assert_eq!(progress.seen(), 3);
        assert_eq!(progress.take_queued(&QUEUED[..5], 9), 0);
        assert_eq!(progress.take_queued(&bytes, 4), QUEUED.len());
        assert_eq!(progress.take_queued(&bytes, 4), 0);
        assert_eq!(Progress::default().take_queued(&bytes, 9), 0);
    }

    #[test]
    fn a_user_who_may_do_nothing_is_told_so() {
        let mut progress = after(&[b"-NOAUTH no\r\n", b"-NOAUTH no\r\n"]).ok().unwrap();
        let told = progress.finish(b"-NOAUTH no\r\n");
        assert_eq!(told.as_deref(), Some(&b"-NOAUTH no\r\n"[..]));
    }

    #[test]
    fn replies_that_no_transaction_gives_end_the_connection() {
        let odd: [&[&[u8]]; 4] = [
            &[QUEUED],
            &[OK, OK],
            &[b"-NOPERM no MULTI\r\n", OK],
            &[OK, b":1\r\n"],
        ];
        for replies in odd {
            assert!(after(replies).is_err(), "{replies:?}");
        }
        assert!(Progress::default().take(OK, 0).is_err());
    }
}
