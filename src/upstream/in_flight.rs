//! A request on its way to a node, whom to tell, and what can become of it.

use super::outbox::Outbox;
use super::{LaneId, Size, Wants};
use crate::cluster::{NodeAddr, Slot};
use crate::io::{Micros, Purse};
use crate::observe::{Limit, NodeError};
use crate::resp::ReplyError;
use bytes::Bytes;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Lets the next command have a slot that its node only imports.
pub const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// Names a request to its requester: the requester's own sequence number, which part of it (for commands that
/// were split), and the slot it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The requester's number of the command.
    pub seq: u64,
    /// Which part of the command, 0 if it has one.
    pub part: u16,
    slot: u16,
    inner: u32,
}

const NO_SLOT: u16 = u16::MAX;

impl Ticket {
    /// A ticket for one part of a command; `slot` is `None` for what belongs to no slot (DBSIZE, SCAN …).
    #[inline]
    pub fn new(seq: u64, part: u16, slot: Option<Slot>) -> Self {
        let slot = slot.map_or(NO_SLOT, Slot::number);
        Self {
            seq,
            part,
            slot,
            inner: 0,
        }
    }

    /// The same for a block: MULTI, commands and EXEC, whose replies before the last, `inner` of them, are the lane's
    /// business.
    pub fn of_block(self, inner: u32) -> Self {
        Self { inner, ..self }
    }

    /// How many replies come before the one that is delivered: 0, or those of a block.
    #[inline]
    pub fn inner(self) -> u32 {
        self.inner
    }

    /// The slot the request is for.
    #[inline]
    pub fn slot(self) -> Option<Slot> {
        Slot::new(self.slot)
    }
}

/// How long a request may take before its client is told that nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `timeouts.command`.
    Normal,
    /// O(N) commands and scripts: `timeouts.slow_command`.
    Slow,
}

/// Whoever sent a request and waits for its answer: a session.
///
/// A lane never calls a requester from within [`super::Lane::send`]; a requester may call `send` on any lane from
/// within any of these.
pub trait Requester {
    /// Whether this requester wants the request's bytes back with every answer, not only with error replies. (It
    /// does while it is redirecting, to see which commands conflict.)
    fn wants_requests(&self) -> bool;

    /// The request's outcome. Called exactly once for each request a lane took.
    fn answered(&self, ticket: Ticket, answer: Answer<'_>);

    /// No reply within the time of the request's class. Its place in the lane is kept: `answered` still follows.
    fn expired(&self, ticket: Ticket);

    /// Whether this requester waits for its turn at a full lane ([`super::Lane::wait_for_room`]).
    fn takes_turns(&self) -> bool {
        false
    }

    /// How large the reply to its next request is likely to be, if it takes turns.
    fn expects(&self) -> Size {
        Size::Small
    }

    /// What is kept of its replies before they are delivered is entered there.
    fn purse(&self) -> Option<Rc<Purse>> {
        None
    }

    /// There is room in that lane for one request of this requester, which waits for it.
    fn room(&self, _lane: LaneId) -> Wants {
        Wants::Nothing
    }
}

/// A request that a lane gives back with its reply.
#[derive(Clone, Debug)]
pub struct Returned {
    /// Its bytes.
    pub bytes: Bytes,
    /// When the lane took it: before the node saw it.
    pub taken: Micros,
    /// From when on nothing that was asked before it was unanswered.
    pub next: Micros,
}

/// What became of a request.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The node replied.
    Reply {
        /// The whole reply, as the node sent it.
        reply: &'a [u8],
        /// The request, if the reply is an error, late or large (`observe.slow`, `observe.big_value`), or the requester wanted
        /// it.
        request: Option<Returned>,
        /// The node that replied.
        from: &'a NodeAddr,
    },
    /// Not all of its bytes were handed to the kernel, so no node can have executed it.
    NotSent {
        /// The request.
        request: Bytes,
        /// Why.
        fault: &'a Fault,
    },
    /// Its bytes were handed over, then the connection was lost: nobody knows.
    Unknown {
        /// The request.
        request: Bytes,
        /// Why.
        fault: &'a Fault,
    },
}

/// Why a connection to a node is not there. Always the node's or the network's fault, never the client's.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The node.
    pub node: NodeAddr,
    /// What happened.
    pub kind: FaultKind,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It could not be made.
    Connect(String),
    /// It was not there in time (`timeouts.connect`).
    ConnectLate(Duration),
    /// The node's host has accepted it, and the node has not answered in that time.
    HandshakeLate,
    /// The node refused the handshake, in these words.
    Handshake(String),
    /// The node closed it.
    Closed,
    /// Reading or writing failed.
    Io(String),
    /// The node sent what is not a reply, or one that nobody asked for.
    Protocol(&'static str),
    /// The node sent a reply that is nested too deeply (`limits.reply_depth`).
    TooDeep,
    /// No reply came, and a probe over a second connection failed too.
    Silent,
    /// No reply came, though the node answers over a second connection.
    Stuck,
    /// A reply has begun, and did not end in time.
    Endless,
    /// Nobody needs it any more: idle for long, node gone from the topology, shutdown.
    Retired,
}

impl FaultKind {
    /// What a reply is that is none to its request.
    pub(super) const OF_ANOTHER: Self = Self::Protocol("a reply to another command");

    /// As it is counted.
    pub(super) fn counted(&self) -> NodeError {
        match self {
            Self::Connect(_) => NodeError::Connect,
            Self::ConnectLate(_) | Self::HandshakeLate => NodeError::ConnectTimeout,
            Self::Handshake(_) => NodeError::Handshake,
            Self::Protocol(_) | Self::TooDeep => NodeError::Protocol,
            Self::Silent | Self::Stuck | Self::Endless => NodeError::Timeout,
            Self::Closed | Self::Io(_) | Self::Retired => NodeError::Lost,
        }
    }

    /// The bound that it comes from.
    pub(super) fn limit(&self) -> Option<Limit> {
        match self {
            Self::ConnectLate(_) | Self::HandshakeLate => Some(Limit::ConnectTimeout),
            Self::TooDeep => Some(Limit::ReplyDepth),
            _ => None,
        }
    }
}

impl From<ReplyError> for FaultKind {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::TooDeep => Self::TooDeep,
            _ => Self::Protocol("bytes that are not RESP"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        match &self.kind {
            FaultKind::ConnectLate(within) => {
                write!(f, "cannot connect to {node}: no answer within {within:?}")
            }
            FaultKind::HandshakeLate => write!(f, "{node} does not answer the handshake"),
            FaultKind::TooDeep => write!(
                f,
                "{node} sent a reply that is nested deeper than limits.reply_depth"
            ),
            FaultKind::Connect(why) => write!(f, "cannot connect to {node}: {why}"),
            FaultKind::Handshake(why) => write!(f, "{node} refused the handshake: {why}"),
            FaultKind::Closed => write!(f, "{node} closed the connection"),
            FaultKind::Io(why) => write!(f, "connection to {node} failed: {why}"),
            FaultKind::Protocol(why) => write!(f, "{node} broke the protocol: {why}"),
            FaultKind::Silent => write!(f, "{node} does not answer"),
            FaultKind::Stuck => write!(
                f,
                "{node} answers over other connections, and not over this one"
            ),
            FaultKind::Endless => write!(f, "a reply of {node} did not end in time"),
            FaultKind::Retired => write!(f, "connection to {node} was retired"),
        }
    }
}

/// One entry of a lane's queue.
pub(super) struct InFlight {
    /// Whom to tell; `None` for what the lane itself sent (ASKING, PING).
    pub(super) requester: Option<Rc<dyn Requester>>,
    pub(super) ticket: Ticket,
    /// Length of its bytes in the outbox.
    pub(super) len: u32,
    /// When the lane got it.
    pub(super) at: Micros,
    pub(super) class: Class,
    pub(super) own: Own,
    /// Whether its requester knows that its time is up.
    pub(super) told: bool,
    /// What was expected of its reply: counted if it is large (`window`).
    pub(super) size: Size,
}

/// How many late replies of one read bring their requests with them: a node that was busy makes many of them late.
#[derive(Clone, Copy)]
pub(super) struct Late {
    any: u8,
    slow: u8,
}

impl Late {
    /// Nothing was read yet.
    pub(super) const NONE: Self = Self { any: 1, slow: 8 };

    /// Whether this one does: the first of all, and the first of those that can take long by themselves.
    #[cold]
    pub(super) fn takes(&mut self, class: Class) -> bool {
        let left = match class {
            Class::Normal => &mut self.any,
            Class::Slow => &mut self.slow,
        };
        let takes = *left > 0;
        *left = left.saturating_sub(1);
        takes
    }
}

/// What an entry without a requester expects; anything else ends the connection (invariant 1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// It has a requester; any reply will do.
    No,
    /// ASKING: `+OK`, or an error if the node is no cluster any more (then the command behind it says so too).
    Asking,
    /// The lane's [`super::question::Question`], which knows its answer.
    Ping,
}

impl InFlight {
    /// What the lane itself sends.
    pub(super) fn own(bytes: &[u8], own: Own, at: Micros) -> Self {
        Self {
            requester: None,
            ticket: Ticket::new(0, 0, None),
            len: bytes.len() as u32,
            at,
            class: Class::Normal,
            own,
            told: false,
            size: Size::Small,
        }
    }

    /// What its requester gets of it.
    #[cold]
    pub(super) fn returned(&self, outbox: &Outbox, delivered: Micros, now: Micros) -> Returned {
        let next = match now.since(delivered) < now.since(self.at) {
            true => delivered,
            false => self.at,
        };
        Returned {
            bytes: outbox.copy_front(self.len as usize),
            taken: self.at,
            next,
        }
    }
}

impl Own {
    /// Whether the reply is one to this.
    pub(super) fn check(self, reply: &[u8]) -> Result<(), FaultKind> {
        let fits = match self {
            Self::Asking => reply == b"+OK\r\n" || reply[0] == b'-',
            Self::Ping | Self::No => true,
        };
        match fits {
            true => Ok(()),
            false => Err(FaultKind::OF_ANOTHER),
        }
    }
}
