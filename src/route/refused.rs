//! A request that waits in a session: behind the fence of its slot, or because it was refused or lost; and what it waits
//! for. The order in which they go out is `fences`' business.

use super::contract::Losses;
use crate::cluster::NodeAddr;
use crate::observe::Limit;
use crate::upstream::{Class, NotTaken, Ticket};
use bytes::Bytes;
use std::time::{Duration, Instant};

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

impl Refused {
    /// Whether it was never anywhere, and waits for nothing but room: it goes as if it had just arrived.
    pub fn only_lacked_room(&self) -> bool {
        self.why.is_full() && self.past == Past::default()
    }

    /// Whether it was never anywhere, whatever it has waited for.
    pub fn was_never_sent(&self) -> bool {
        self.only_lacked_room() || self.past.sent == Sent::Nowhere
    }
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
    /// Since when nothing but nodes that send it on or put it off has kept it from being executed.
    pub moved_since: Option<Instant>,
    /// Since when it, or one of its slot in front of it, has found no node that serves it, whatever else has kept it since.
    pub away_since: Option<Instant>,
    /// To whom it was sent last.
    pub sent: Sent,
}

/// To whom a request was sent, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sent {
    /// To the node that owned its slot, as the map said then.
    #[default]
    ToOwner,
    /// To one that need not own it.
    ToOther(Asking),
    /// To none yet: none was there.
    Nowhere,
}

impl Past {
    /// It was refused or lost, or did not get there.
    pub fn failed(&mut self, why: &Why, now: Instant) {
        self.attempts += 1;
        match why {
            Why::Moved(_) | Why::Ask(_) => self.hops += 1,
            // Several keys on their way: both nodes send the request back and forth until they have arrived. The
            // pauses bound that, and the command's time.
            Why::TryAgain => self.hops = 0,
            // It did not get to where it was sent.
            Why::NotSent => self.hops = self.hops.saturating_sub(1),
            Why::LostRead => self.losses = Losses::One,
            _ => {}
        }
        match why.is_away() {
            true => self.finds_nobody(now),
            false => _ = self.moved_since.get_or_insert(now),
        }
    }

    /// No node has served it since it came.
    pub fn found_nobody_yet(&mut self, now: Instant) {
        self.sent = Sent::Nowhere;
        self.finds_nobody(now);
    }

    /// No node serves it.
    pub fn finds_nobody(&mut self, now: Instant) {
        self.moved_since = None;
        self.away_since.get_or_insert(now);
    }

    /// Until when it waits for room that it would wait for until then. Of a pipeline that is sent on each goes alone, and
    /// finds no room by itself: altogether they do not wait longer than one.
    pub fn waits_for_room(&self, until: Instant, patience: Duration) -> Instant {
        match self.moved_since {
            Some(since) => until.min(since + patience),
            None => until,
        }
    }

    /// Whether it has been sent on or put off for that long: it has not waited for room alone.
    pub fn is_late(&self, now: Instant, patience: Duration) -> bool {
        self.moved_since
            .is_some_and(|since| now >= since + patience)
    }

    /// From when on it counts how long a request waits that came at `started`. What it has waited for before it was sent
    /// on, or before its node was found not to serve it, is not counted: how old it is says nothing of either.
    pub fn waits_since(&self, why: &Why, started: Instant) -> Instant {
        match why.is_away() {
            true => self.away_since.unwrap_or(started).max(started),
            false => self.moved_since.unwrap_or(started),
        }
    }
}

impl Refused {
    /// More is known of why it was refused. It goes on at once.
    pub fn learns(&mut self, why: Why) {
        self.past.hops += u32::from(matches!(why, Why::Moved(_) | Why::Ask(_)));
        self.why = why;
        self.not_before = None;
    }
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
        /// What it waits for.
        room: Room,
    },
}

/// What a full lane has no room for; last that which takes longer to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Any further request.
    Request,
    /// A further large reply (`upstream.bulk_bytes`).
    LargeReply,
}

impl From<&NotTaken> for Room {
    fn from(not_taken: &NotTaken) -> Self {
        match not_taken {
            NotTaken::Full(Some(Limit::BulkBytes)) => Self::LargeReply,
            NotTaken::Full(_) | NotTaken::Down(_) => Self::Request,
        }
    }
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
            NotTaken::Full(_) => Self::Full {
                to: None,
                room: not_taken.into(),
            },
        }
    }
}

impl Why {
    /// Whether a request that has executed in spite of it tells that others with the same reason will: the slot has
    /// moved as a whole, or the connection is there again. ASK and TRYAGAIN are about single keys.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Moved(_) | Self::NotSent)
    }

    /// Whether it found no node that serves it.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Unavailable | Self::NotSent | Self::LostRead)
    }

    /// Whether it waits for room in a lane.
    pub fn is_full(&self) -> bool {
        self.room().is_some()
    }

    /// What it waits for in a full lane.
    pub fn room(&self) -> Option<Room> {
        match self {
            Self::Full { room, .. } => Some(*room),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeAddr {
        NodeAddr::new("127.0.0.1", 7000)
    }

    /// What has become of a request that came at the first moment and was refused like that, at these seconds.
    fn refused(start: Instant, reasons: &[(u64, Why)]) -> Past {
        let mut past = Past::default();
        for (after, why) in reasons {
            past.failed(why, start + Duration::from_secs(*after));
        }
        past
    }

    /// The second from which on it counts how long a request waits that was refused like that.
    fn counts_from(reasons: &[(u64, Why)]) -> u64 {
        let start = Instant::now();
        let (_, last) = reasons.last().expect("one");
        let since = refused(start, reasons).waits_since(last, start);
        since.duration_since(start).as_secs()
    }

    #[test]
    fn patience_with_redirections_counts_from_the_first_of_a_series() {
        let (moved, ask) = (|| Why::Moved(node()), || Why::Ask(node()));
        let from = node();
        assert_eq!(counts_from(&[(9, moved())]), 9);
        assert_eq!(counts_from(&[(9, Why::UnconfirmedAsk { from })]), 9);
        let series = [(9, ask()), (10, Why::TryAgain), (11, ask())];
        assert_eq!(counts_from(&series), 9);
        for between in [Why::Unavailable, Why::NotSent, Why::LostRead] {
            let interrupted = [(9, ask()), (10, between.clone()), (20, Why::TryAgain)];
            assert_eq!(counts_from(&interrupted), 20, "{between:?}");
            // The time without a node counts from when there was none, however often it is sent on meanwhile.
            let away = [(5, between.clone()), (9, moved()), (10, between.clone())];
            assert_eq!(counts_from(&away[1..]), 10, "{between:?}");
            assert_eq!(counts_from(&away), 5, "{between:?}");
        }
    }

    /// Each of a pipeline that was sent on waits for room by itself, but not one after the other for as long as it likes.
    #[test]
    fn what_was_sent_on_waits_for_room_within_one_time() {
        let start = Instant::now();
        let [first, last, patience] = [5, 100, 8].map(Duration::from_secs);
        let waits = |past: &Past, until| past.waits_for_room(start + until, patience) - start;
        let past = refused(start, &[(1, Why::Moved(node()))]);
        assert_eq!(waits(&past, first), first);
        assert_eq!(waits(&past, last), Duration::from_secs(9));
        assert_eq!(waits(&Past::default(), last), last);
    }

    #[test]
    fn hops_count_where_they_lead_somewhere() {
        let start = Instant::now();
        let (moved, ask) = (|| Why::Moved(node()), || Why::Ask(node()));
        let hops = |reasons: &[(u64, Why)]| refused(start, reasons).hops;
        assert_eq!(hops(&[(0, moved()), (1, ask()), (2, moved())]), 3);
        assert_eq!(hops(&[(0, moved()), (1, ask()), (2, Why::NotSent)]), 1);
        assert_eq!(hops(&[(0, moved()), (1, Why::TryAgain)]), 0);
        let mut refused = Refused {
            held: Held {
                ticket: Ticket::new(0, 0, None),
                request: Bytes::new(),
                class: Class::Normal,
            },
            why: Why::Refuted,
            reply: Bytes::new(),
            past: Past::default(),
            not_before: Some(start),
        };
        refused.learns(Why::UnconfirmedAsk { from: node() });
        assert_eq!((refused.past.hops, refused.not_before), (0, None));
        refused.learns(moved());
        assert_eq!(refused.past.hops, 1, "confirmed, it is followed");
    }
}
