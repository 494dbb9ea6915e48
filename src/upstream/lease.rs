//! A dedicated connection to one node, for one client at a time: for what would hold up or change a shared lane
//! (blocking commands, WATCH, subscriptions).
//!
//! Whoever holds a lease says what goes over it, and gives it back when the connection is as it was when it was made.
//! Otherwise it is dropped, and closed with that: a lease in doubt is never used again.

use super::block::Progress;
use super::collecting::{Collecting, REPLY_TOO_LARGE};
use super::lanes::UpstreamContext;
use super::leases::Place;
use super::prove::Transactions;
use super::{Fault, FaultKind};
use crate::cluster::NodeAddr;
use crate::io::{Bill, Input, NodeStream, Purse, ReadHalf, WriteHalf, in_time, split_node, until};
use crate::observe::Limit;
use crate::resp::{Proto, Skipped};
use bytes::Bytes;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// See the module. Made by [`super::Leases::take`].
pub struct Lease {
    link: Link,
    place: Place,
    /// What is kept of the next reply, as long as it is little.
    bill: Bill,
    /// Replies that are still to come.
    expected: usize,
}

/// Why a request on a lease got no reply. The lease is of no more use.
#[derive(Clone, Debug)]
pub enum Lost {
    /// Not all of its bytes were handed to the kernel, so the node cannot have executed it.
    NotSent(Fault),
    /// Its bytes were handed over: nobody knows.
    Unknown(Fault),
}

/// The connection itself: what the pool keeps of a lease that nobody holds.
pub(super) struct Link {
    read: ReadHalf,
    write: WriteHalf,
    /// What the node has said to one, if it refuses them.
    no_transactions: Option<Bytes>,
    input: Input,
    collecting: Collecting,
    /// By which the node knows it; asked for when it is needed first.
    number: Option<i64>,
}

impl Lease {
    pub(super) fn new(link: Link, place: Place, purse: &Rc<Purse>) -> Self {
        Self {
            link,
            place,
            bill: Bill::new(purse.clone()),
            expected: 0,
        }
    }

    /// The node it leads to.
    pub fn node(&self) -> &NodeAddr {
        &self.place.key().0
    }

    /// The number that the node's CLIENT ID gives it, if anybody has asked.
    pub fn number(&self) -> Option<i64> {
        self.link.number
    }

    /// The node has said its number.
    pub fn set_number(&mut self, number: Option<i64>) {
        self.link.number = number;
    }

    /// What the node says to transactions, if its user may not use them: the commands behind MULTI would be executed one
    /// by one.
    pub fn no_transactions(&self) -> Option<&Bytes> {
        self.link.no_transactions.as_ref()
    }

    /// The RESP version it speaks.
    pub fn proto(&self) -> Proto {
        self.place.key().1
    }

    /// Writes requests that are answered with so many replies.
    pub async fn send(&mut self, requests: &[u8], replies: usize) -> Result<(), Lost> {
        self.expected += replies;
        self.place.sent(replies);
        let within = self.place.settings().command;
        let kind = match in_time(within, self.link.write.write_all(requests)).await {
            Some(Ok(())) => return Ok(()),
            Some(Err(e)) => FaultKind::Io(e.to_string()),
            None => {
                self.place.limit_hit(Limit::CommandTimeout);
                FaultKind::Silent
            }
        };
        Err(Lost::NotSent(self.fault(kind)))
    }

    /// The next reply. A push is none: it ends the lease. May be dropped while it waits, and called again.
    pub async fn reply(&mut self) -> Result<Bytes, Lost> {
        let reply = self.message().await?;
        if reply.first() == Some(&b'>') || self.expected == 0 {
            let kind = FaultKind::Protocol("a message that nobody asked for");
            return Err(Lost::Unknown(self.fault(kind)));
        }
        self.expected -= 1;
        self.place.answered(1);
        Ok(reply)
    }

    /// The same, until that time at the latest, if there is one.
    pub async fn reply_until(&mut self, latest: Option<Instant>) -> Result<Bytes, Lost> {
        let Some(latest) = latest else {
            return self.reply().await;
        };
        match until(latest, self.reply()).await {
            Some(reply) => reply,
            None => {
                self.place.limit_hit(Limit::CommandTimeout);
                Err(Lost::Unknown(self.fault(FaultKind::Silent)))
            }
        }
    }

    /// The next message, reply or push: for subscriptions. May be dropped while it waits, and called again.
    pub async fn message(&mut self) -> Result<Bytes, Lost> {
        let message = self.collect().await;
        // Whoever gets it delivers it.
        let weighed = self.weigh();
        match message.and_then(|message| weighed.map(|()| message)) {
            Ok(message) => Ok(message),
            Err(kind) => Err(Lost::Unknown(self.fault(kind))),
        }
    }

    async fn collect(&mut self) -> Result<Bytes, FaultKind> {
        loop {
            if let Some(reply) = self.link.whole()? {
                return Ok(reply);
            }
            // Now the scanner has seen all that has come.
            self.weigh()?;
            while self.bill.is_halted() && !self.link.collecting.skips() {
                self.bill.resumed().await;
            }
            if let Some(instead) = self.link.read(self.place.context()).await? {
                return Ok(instead);
            }
        }
    }

    /// Enters for its client what is kept of the reply.
    fn weigh(&mut self) -> Result<(), FaultKind> {
        let Link {
            input, collecting, ..
        } = &mut self.link;
        let purse = || Some(self.bill.purse().clone());
        let held = collecting.weigh(input, &self.place.context().memory, purse)?;
        self.bill.set(held);
        Ok(())
    }

    /// One request and its one reply.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Bytes, Lost> {
        self.send(request, 1).await?;
        self.reply().await
    }

    /// The reply to a block (MULTI, commands, EXEC) that was sent, with so many replies before EXEC's: EXEC's own, or the
    /// refusal of a command where that says more.
    pub async fn exec_reply(&mut self, inner: u32) -> Result<Bytes, Lost> {
        let mut progress = Progress::default();
        for _ in 0..inner {
            let reply = self.reply().await?;
            if reply == REPLY_TOO_LARGE {
                let kind = FaultKind::Protocol("a reply that belongs in no transaction");
                return Err(Lost::Unknown(self.fault(kind)));
            }
            // All of it was handed over before the first reply was waited for.
            if let Err(kind) = progress.take(&reply, 1) {
                return Err(Lost::Unknown(self.fault(kind)));
            }
        }
        let reply = self.reply().await?;
        Ok(progress.finish(&reply).map_or(reply, Bytes::from))
    }

    /// Whether it is still connected, and nothing has come that nobody asked for. To be asked between requests.
    pub fn is_quiet(&self) -> bool {
        self.expected == 0 && self.link.is_empty() && self.link.is_quiet()
    }

    /// Puts it back for the next client. The connection must be as it was when it was taken (nothing watched, no
    /// subscription, no MULTI); if replies are still to come, it is closed instead.
    pub fn give_back(self) {
        let Self {
            link,
            place,
            expected,
            ..
        } = self;
        if expected == 0 && link.is_empty() {
            place.give_back(link);
        }
    }

    /// Sends nothing more, and waits for so long at most until the node has closed the connection, too: what it had got by
    /// then it has executed, or never will.
    pub async fn run_out(mut self, within: Duration) {
        self.link.write.shut_down();
        // What still comes is for nobody.
        let _ = timeout(within, async { while self.collect().await.is_ok() {} }).await;
    }

    fn fault(&self, kind: FaultKind) -> Fault {
        let fault = Fault {
            node: self.node().clone(),
            kind,
        };
        self.place.lost(&fault);
        fault
    }
}

impl Link {
    pub(super) fn new(
        stream: NodeStream,
        proto: Proto,
        depth: usize,
        transactions: Transactions,
    ) -> Self {
        let (read, write) = split_node(stream);
        Self {
            read,
            write,
            no_transactions: match transactions {
                Transactions::Refused(refusal) | Transactions::Stuck(refusal) => {
                    Some(refusal.into())
                }
                Transactions::Possible => None,
            },
            input: Input::default(),
            collecting: Collecting::new(proto, depth),
            number: None,
        }
    }

    /// Whether it is still connected and silent, as an idle connection must be.
    pub(super) fn is_quiet(&self) -> bool {
        self.read.is_quiet()
    }

    /// Whether nothing was read that is not delivered.
    fn is_empty(&self) -> bool {
        self.input.unconsumed() == 0 && !self.collecting.skips()
    }

    /// The reply at the front, if all of it is there.
    fn whole(&mut self) -> Result<Option<Bytes>, FaultKind> {
        let is_begun = self.collecting.skips() || self.input.collected() > 0;
        if is_begun || self.input.as_slice().is_empty() {
            return Ok(None);
        }
        let len = self.collecting.scanner.scan(self.input.as_slice())?;
        Ok(len.map(|len| self.input.detach(len)))
    }

    /// Reads once. What stands for the reply at the front, if that was skipped to its end.
    async fn read(&mut self, context: &UpstreamContext) -> Result<Option<Bytes>, FaultKind> {
        let (wanted, most) = (self.collecting.wanted(), context.memory.read_max());
        let mut skipped = Ok(Skipped::Part(0));
        let read = poll_fn(|cx| {
            let (read, collecting) = (&mut self.read, &mut self.collecting);
            let input = &mut self.input;
            input.poll_read(cx, read, &context.scratch, wanted, most, |bytes| {
                if !collecting.skips() {
                    return 0;
                }
                skipped = collecting.skip(bytes);
                match &skipped {
                    Ok(Skipped::Part(used) | Skipped::All(used)) => *used,
                    Err(_) => 0,
                }
            })
        });
        match read.await {
            Ok(0) => return Err(FaultKind::Closed),
            Ok(_) => {}
            Err(e) => return Err(FaultKind::Io(e.to_string())),
        }
        match skipped? {
            Skipped::Part(_) => Ok(None),
            Skipped::All(_) => {
                context.metrics.limit_hit(Limit::Memory);
                Ok(Some(Bytes::from_static(REPLY_TOO_LARGE)))
            }
        }
    }
}
