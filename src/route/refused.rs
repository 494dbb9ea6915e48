//! A request that waits in a session: behind the fence of its slot, or because it was refused or lost; and what it waits
//! for. The order in which they go out is `fences`' business.

use super::contract::Losses;
use crate::cluster::NodeAddr;
use crate::upstream::{Class, NotTaken, Ticket};
use bytes::Bytes;
use std::time::Instant;

/// A request that was not sent because its slot is fenced.
#[derive(Debug)]
pub struct Held {
    /// Its place.
    pub ticket: Ticket,
    /// Its bytes.
    pub request: Bytes,
    /// Its time class.
    pub class: Class,
}

/// A request that is known not to have executed, or may safely be repeated.
#[derive(Debug)]
pub struct Refused {
    /// What it is.
    pub held: Held,
    /// Why, and so where it goes next.
    pub why: Why,
    /// What the client gets if it is given up.
    pub reply: Bytes,
    /// What has become of it before.
    pub past: Past,
    /// Not resent earlier.
    pub not_before: Option<Instant>,
}

/// How a request has fared so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Redirections it has followed.
    pub hops: u32,
    /// Times it was refused or could not be sent.
    pub attempts: u32,
    /// Whether it was lost. One that was only refused may still be repeated.
    pub losses: Losses,
}

/// Why a request did not execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its slot is at another node.
    Moved(NodeAddr),
    /// Its key may be at another node, this once.
    Ask(NodeAddr),
    /// A redirection that a script may have forged: wait until that many refreshes have finished, then see
    /// whether the map agrees.
    Unconfirmed {
        /// Count of finished refreshes that confirms or refutes it.
        refreshes: u64,
        /// Who said so.
        from: NodeAddr,
    },
    /// ASK, or MOVED that no refresh confirms, that a script may have forged: that node is asked about the script's keys in
    /// plain words.
    UnconfirmedAsk {
        /// Who said so.
        from: NodeAddr,
    },
    /// That node does not know the script: it gets it first.
    NoScript {
        /// Who said so.
        from: NodeAddr,
    },
    /// NOSCRIPT that a script may have worded: that node is asked whether it has the script.
    UnprovenNoScript {
        /// Who said so.
        from: NodeAddr,
        /// When: what the node says of the script later proves it.
        moment: u64,
    },
    /// That node did not confirm what the script said.
    Refuted,
    /// Keys on both sides of a migration.
    TryAgain,
    /// CLUSTERDOWN, MASTERDOWN, LOADING, READONLY: the node does not serve it now.
    Unavailable,
    /// It never left: the connection could not be made or broke before.
    NotSent,
    /// A read whose reply was lost with the connection; repeated once.
    LostRead,
    /// The lane is full.
    Full {
        /// Where a refusal had sent it; otherwise it is for its slot's owner.
        to: Option<(NodeAddr, Asking)>,
    },
}

/// Whether ASKING goes in front of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// It goes as it is.
    No,
    /// Its node only imports the slot.
    Yes,
}

impl From<&NotTaken> for Why {
    fn from(not_taken: &NotTaken) -> Self {
        match not_taken {
            NotTaken::Down(_) => Self::NotSent,
            NotTaken::Full(_) => Self::Full { to: None },
        }
    }
}

impl Why {
    /// Whether a request that has executed in spite of it tells that others with the same reason will: the slot has
    /// moved as a whole, or the connection is there again. ASK and TRYAGAIN are about single keys.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Moved(_) | Self::NotSent)
    }

    /// Whether it waits for room in a lane.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}
