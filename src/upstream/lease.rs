//! A dedicated connection to one node, for one client at a time: for what would hold up or change a shared lane
//! (blocking commands, WATCH, subscriptions).
//!
//! Whoever holds a lease says what goes over it, and gives it back when the connection is as it was when it was made.
//! Otherwise it is dropped, and closed with that: a lease in doubt is never used again.

use super::block::Progress;
use super::leases::Place;
use super::prove::Transactions;
use super::{Fault, FaultKind};
use crate::cluster::NodeAddr;
use crate::io::{NodeStream, is_quiet};
use crate::observe::Limit;
use crate::resp::{Proto, ReplyScanner};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

/// The least that is reserved ahead of a read, in bytes; more only as more has arrived.
const RESERVE_MIN: usize = 4 * 1024;

/// The most, in bytes.
const RESERVE_MAX: usize = 1024 * 1024;

/// See the module. Made by [`super::Leases::take`].
pub struct Lease {
    link: Link,
    place: Place,
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
    pub(super) stream: NodeStream,
    /// What the node has said to one, if it refuses them.
    no_transactions: Option<Bytes>,
    input: BytesMut,
    scanner: ReplyScanner,
    /// By which the node knows it; asked for when it is needed first.
    number: Option<i64>,
}

impl Lease {
    pub(super) fn new(link: Link, place: Place) -> Self {
        Self {
            link,
            place,
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
        let kind = match timeout(within, self.link.stream.write_all(requests)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(e)) => FaultKind::Io(e.to_string()),
            Err(_) => {
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
        match timeout_at(latest, self.reply()).await {
            Ok(reply) => reply,
            Err(_) => {
                self.place.limit_hit(Limit::CommandTimeout);
                Err(Lost::Unknown(self.fault(FaultKind::Silent)))
            }
        }
    }

    /// The next message, reply or push: for subscriptions. May be dropped while it waits, and called again.
    pub async fn message(&mut self) -> Result<Bytes, Lost> {
        match self.link.message().await {
            Ok(message) => Ok(message),
            Err(kind) => Err(Lost::Unknown(self.fault(kind))),
        }
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
        self.expected == 0 && self.link.input.is_empty() && self.link.is_quiet()
    }

    /// Puts it back for the next client. The connection must be as it was when it was taken (nothing watched, no
    /// subscription, no MULTI); if replies are still to come, it is closed instead.
    pub fn give_back(self) {
        let Self {
            link,
            place,
            expected,
        } = self;
        if expected == 0 && link.input.is_empty() {
            place.give_back(link);
        }
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
    pub(super) fn new(stream: NodeStream, depth: usize, transactions: Transactions) -> Self {
        Self {
            stream,
            no_transactions: match transactions {
                Transactions::Refused(refusal) | Transactions::Stuck(refusal) => {
                    Some(refusal.into())
                }
                Transactions::Possible => None,
            },
            input: BytesMut::new(),
            scanner: ReplyScanner::with_depth(depth),
            number: None,
        }
    }

    /// Whether it is still connected and silent, as an idle connection must be.
    pub(super) fn is_quiet(&self) -> bool {
        is_quiet(&self.stream)
    }

    async fn message(&mut self) -> Result<Bytes, FaultKind> {
        loop {
            if !self.input.is_empty() {
                match self.scanner.scan(&self.input) {
                    Ok(Some(len)) => return Ok(self.take(len)),
                    Ok(None) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let ahead = self.scanner.wanted().min(self.input.len());
            self.input.reserve(ahead.clamp(RESERVE_MIN, RESERVE_MAX));
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err(FaultKind::Closed),
                Ok(_) => {}
                Err(e) => return Err(FaultKind::Io(e.to_string())),
            }
        }
    }

    /// Detaches a message. What is behind it is copied, so that neither keeps the other's memory.
    fn take(&mut self, len: usize) -> Bytes {
        let rest = BytesMut::from(&self.input[len..]);
        let mut message = std::mem::replace(&mut self.input, rest);
        message.truncate(len);
        message.freeze()
    }
}
