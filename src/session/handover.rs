//! A handover of ordinary channels from one home to the next. While it lasts both tell everything, and the client hears
//! the old home. Each message comes from both, sooner from one and later from the other: what one has said and the other
//! has not yet is kept. So the home can change while messages keep coming, and whatever has become of the old one: what
//! only the new home has said is told then, and what only the old one had said is not told again.
//!
//! It ends [`LAG`] twice after the new home has answered for everything, by which time all that it says is known to be
//! new or not. That leaves three cases, all within a handover: what the new home says in the first [`LAG`] may have been
//! told before the handover began, and so is not told if the old one, cut off, does not say it any more; of equal
//! messages on a channel within [`LAG`] one may be lost or told twice, since nobody knows which of them is which; and
//! what comes later than [`LAG`] from one node than from the other is told twice.

use crate::cluster::NodeAddr;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// What one node has said the others have said within less, if they ever do: nodes pass messages on within 50 ms.
pub(super) const LAG: Duration = Duration::from_secs(1);

/// Memory that one message takes besides its bytes.
const ENTRY_BYTES: usize = 128;

/// Memory for what the old home has said and the new one has not: some 8,000 messages.
const SAID_MAX: usize = 1024 * 1024;

/// See the module.
pub(super) struct Handover {
    to: NodeAddr,
    since: Instant,
    step: Step,
    hasher: RandomState,
    /// What the old home has said, and the new one not yet.
    said: Unmatched,
    /// What the new one has said, and the old home not yet.
    early: Unmatched,
}

/// How far it is.
enum Step {
    /// The new home has not confirmed or refused everything.
    Subscribing,
    /// It had, at that moment.
    Listening(Instant),
    /// The new home is the home; what the old one had said may still come.
    Moved,
}

impl Handover {
    pub(super) fn new(to: NodeAddr, now: Instant) -> Self {
        Self {
            to,
            since: now,
            step: Step::Subscribing,
            hasher: RandomState::new(),
            said: Unmatched::default(),
            early: Unmatched::default(),
        }
    }

    pub(super) fn is_to(&self, node: &NodeAddr) -> bool {
        self.to == *node
    }

    pub(super) fn is_moved(&self) -> bool {
        matches!(self.step, Step::Moved)
    }

    /// The new home has answered for everything. Returns when it is to become the home.
    pub(super) fn due(&mut self, now: Instant) -> Instant {
        if let Step::Subscribing = self.step {
            self.step = Step::Listening(now);
        }
        match self.step {
            Step::Listening(at) => at + 2 * LAG,
            Step::Subscribing | Step::Moved => now,
        }
    }

    /// The old home said this; the client is told.
    pub(super) fn old_said(&mut self, message: &[u8], now: Instant) {
        let hash = self.hasher.hash_one(message);
        // Nobody will be told what is uncertain; its old copy must not pass for the one that is still to come.
        let uncertain = now.checked_sub(LAG).map(|old| old.min(self.certain()));
        self.early.drop_before(uncertain);
        if !self.early.take(hash) {
            self.said.drop_before(now.checked_sub(LAG));
            self.said.add(hash, now, Box::default());
            self.said.drop_beyond(SAID_MAX);
        }
    }

    /// The new home said this before it was the home; `limit`: bytes that may be kept.
    pub(super) fn new_said(&mut self, message: &[u8], now: Instant, limit: usize) {
        let hash = self.hasher.hash_one(message);
        self.said.drop_before(now.checked_sub(LAG));
        if !self.said.take(hash) {
            self.early.add(hash, now, message.into());
            self.early.drop_beyond(limit);
        }
    }

    /// The new home has become the home. Returns what the client has not been told of what it said.
    pub(super) fn moved(&mut self) -> Vec<Box<[u8]>> {
        self.step = Step::Moved;
        let certain = self.certain();
        let early = std::mem::take(&mut self.early).entries.into_values();
        let certain = early.filter(|entry| entry.at >= certain);
        certain.map(|entry| entry.message).collect()
    }

    /// What only the new home says from then on was not told before the handover began.
    fn certain(&self) -> Instant {
        self.since + LAG
    }

    /// The new home, which has become the home, said this. Returns whether the old one had said it.
    pub(super) fn was_said(&mut self, message: &[u8], now: Instant) -> bool {
        self.said.drop_before(now.checked_sub(LAG));
        self.said.take(self.hasher.hash_one(message))
    }

    /// Whether nothing that was said before can come again.
    pub(super) fn is_over(&self) -> bool {
        self.is_moved() && self.said.entries.is_empty()
    }

    /// Keeps such messages only.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let old = std::mem::take(&mut self.early).entries.into_values();
        for entry in old.filter(|entry| keep(&entry.message)) {
            self.early.add(entry.hash, entry.at, entry.message);
        }
    }

    /// Bytes it keeps.
    pub(super) fn memory(&self) -> usize {
        self.said.bytes + self.early.bytes
    }
}

/// Messages that one node has said and the other has not, in the order in which they came.
#[derive(Default)]
struct Unmatched {
    /// By number. None is left of what came from the other as well, or one message that never does would keep the room of
    /// all that came after it.
    entries: BTreeMap<u64, Entry>,
    /// The number of the next.
    next: u64,
    /// The numbers of those with a hash.
    numbers: HashMap<u64, SmallVec<[u64; 2]>>,
    bytes: usize,
}

struct Entry {
    hash: u64,
    at: Instant,
    message: Box<[u8]>,
}

impl Unmatched {
    fn add(&mut self, hash: u64, at: Instant, message: Box<[u8]>) {
        self.numbers.entry(hash).or_default().push(self.next);
        self.bytes += ENTRY_BYTES + message.len();
        self.entries.insert(self.next, Entry { hash, at, message });
        self.next += 1;
    }

    /// Strikes out the oldest that is like this one. Returns whether there was one.
    fn take(&mut self, hash: u64) -> bool {
        let number = self.numbers.get(&hash).and_then(|n| n.first());
        let entry = number.and_then(|number| self.entries.remove(number));
        entry.is_some_and(|entry| {
            self.unlist(&entry);
            true
        })
    }

    /// It was the oldest with its hash.
    fn unlist(&mut self, entry: &Entry) {
        self.bytes -= ENTRY_BYTES + entry.message.len();
        if let Some(numbers) = self.numbers.get_mut(&entry.hash) {
            numbers.remove(0);
            if numbers.is_empty() {
                self.numbers.remove(&entry.hash);
            }
        }
    }

    fn drop_first(&mut self) {
        if let Some((_, entry)) = self.entries.pop_first() {
            self.unlist(&entry);
        }
    }

    fn drop_before(&mut self, moment: Option<Instant>) {
        let is_old = |entry: &Entry| Some(entry.at) < moment;
        while self.entries.values().next().is_some_and(is_old) {
            self.drop_first();
        }
    }

    fn drop_beyond(&mut self, limit: usize) {
        while self.bytes > limit && !self.entries.is_empty() {
            self.drop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024 * 1024;

    fn begin() -> (Handover, Instant) {
        let now = Instant::now();
        (Handover::new(NodeAddr::new("b", 1), now), now)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn texts(owed: &[Box<[u8]>]) -> Vec<&str> {
        let texts = owed.iter().map(|text| std::str::from_utf8(text));
        texts.map(Result::unwrap).collect()
    }

    /// Each node is ahead of the other with what was published there.
    #[test]
    fn the_home_changes_while_messages_are_under_way() {
        let (mut handover, begun) = begin();
        let now = begun + 2 * LAG;
        for text in ["1", "2", "3"] {
            handover.old_said(text.as_bytes(), now);
        }
        for text in ["1", "4", "2", "5"] {
            handover.new_said(text.as_bytes(), now + ms(1), LIMIT);
        }
        handover.old_said(b"4", now + ms(2));
        assert_eq!(handover.due(now), now + 2 * LAG);
        assert_eq!(handover.due(now + LAG), now + 2 * LAG, "the same");
        assert_eq!(texts(&handover.moved()), ["5"]);
        assert!(!handover.is_over());
        assert!(!handover.was_said(b"6", now + ms(3)));
        assert!(handover.was_said(b"3", now + ms(3)));
        assert!(
            !handover.was_said(b"3", now + ms(3)),
            "somebody said 3 again"
        );
        assert!(handover.is_over() && handover.memory() == 0);
    }

    /// Of what comes at first nobody knows whether the old home had said it before.
    #[test]
    fn what_only_the_new_home_says_is_told_when_it_is_certain() {
        let (mut handover, begun) = begin();
        for (text, at) in [("0", 0), ("1", 999), ("2", 1000), ("3", 1900)] {
            handover.new_said(text.as_bytes(), begun + ms(at), LIMIT);
        }
        handover.old_said(b"2", begun + ms(1900));
        assert_eq!(texts(&handover.moved()), ["3"]);
    }

    #[test]
    fn what_was_said_long_ago_is_not_expected_any_more() {
        let (mut handover, begun) = begin();
        handover.old_said(b"tick", begun);
        handover.new_said(b"tick", begun + ms(1500), LIMIT);
        handover.old_said(b"tock", begun + ms(1500));
        assert_eq!(texts(&handover.moved()), ["tick"]);
        assert!(!handover.was_said(b"tock", begun + ms(2501)));
        assert!(handover.is_over());
    }

    /// The same over and over. The old home told the first just before the handover, the new one its copy just after.
    #[test]
    fn equal_messages_a_while_apart_are_told_once() {
        let (mut handover, begun) = begin();
        for n in 0..4 {
            let at = begun + ms(1500) * n;
            if n > 0 {
                handover.old_said(b"tick", at);
            }
            handover.new_said(b"tick", at + ms(10), LIMIT);
        }
        assert!(handover.moved().is_empty());
    }

    /// A message that the old home never says stays in front of all that both say.
    #[test]
    fn what_both_have_said_takes_no_memory() {
        let (mut handover, begun) = begin();
        handover.new_said(b"first", begun + LAG, LIMIT);
        for n in 0..10_000_u32 {
            let at = begun + LAG + ms(1);
            handover.new_said(&n.to_be_bytes(), at, LIMIT);
            handover.old_said(&n.to_be_bytes(), at);
        }
        assert_eq!((handover.early.entries.len(), handover.memory()), (1, 133));
        assert_eq!(texts(&handover.moved()), ["first"]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut handover, begun) = begin();
        let now = begun + LAG;
        for n in 0..2 * SAID_MAX / ENTRY_BYTES {
            handover.old_said(&n.to_be_bytes(), now);
            assert!(handover.memory() <= SAID_MAX);
        }
        let said = handover.memory();
        for text in ["a", "b", "c", "d"] {
            handover.new_said(text.as_bytes(), now, 3 * ENTRY_BYTES);
        }
        assert!(handover.memory() - said <= 3 * ENTRY_BYTES);
        handover.retain(|text| text != b"d");
        assert_eq!(texts(&handover.moved()), ["c"]);
    }
}
