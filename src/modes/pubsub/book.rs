//! What one client is subscribed to, and how that is confirmed to it: the counts, the nil for "nothing", one
//! confirmation for each name.

use super::{Item, Kind, Verb, word};
use crate::cluster::Slot;
use crate::resp::{Proto, encode};
use std::collections::{BTreeMap, BTreeSet};

/// Memory that one subscription takes besides its name, in bytes: in the book and for each connection that has it.
const ITEM_BYTES: usize = 160;

/// See the module.
#[derive(Default, Debug)]
pub struct Book {
    items: BTreeSet<Item>,
    /// The sharded ones, by slot.
    slots: BTreeMap<Slot, BTreeSet<Item>>,
    /// Bytes of their names.
    bytes: usize,
    shards: usize,
}

impl Book {
    /// Subscriptions of all families.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Channels and patterns that are not sharded.
    pub fn common(&self) -> usize {
        self.items.len() - self.shards
    }

    /// Whether it has none: the client is no subscriber.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether it has this one.
    pub fn has(&self, item: &Item) -> bool {
        self.items.contains(item)
    }

    /// All subscriptions, those of a family in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    /// The sharded ones of these slots.
    pub fn in_slots(&self, slots: &[Slot]) -> Vec<Item> {
        if self.slots.is_empty() {
            return Vec::new();
        }
        let some = slots.iter().filter_map(|slot| self.slots.get(slot));
        some.flatten().cloned().collect()
    }

    /// About how much memory it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.items.len() * ITEM_BYTES + self.bytes
    }

    /// Enters the names, and appends their confirmations. Returns those that are new.
    pub fn subscribe<'a>(
        &mut self,
        kind: Kind,
        names: impl Iterator<Item = &'a [u8]>,
        proto: Proto,
        out: &mut Vec<u8>,
    ) -> Vec<Item> {
        let mut new = Vec::new();
        for name in names {
            let item = Item::new(kind, name);
            if self.items.insert(item.clone()) {
                self.bytes += name.len();
                if kind == Kind::Shard {
                    self.shards += 1;
                    let slot = self.slots.entry(Slot::of(name)).or_default();
                    slot.insert(item.clone());
                }
                new.push(item);
            }
            let count = self.count(kind);
            confirm(out, kind, Verb::Subscribe, Some(name), count, proto);
        }
        new
    }

    /// Strikes the names out (all of the family if there are none), and appends the confirmations. Returns those that
    /// were there.
    pub fn unsubscribe<'a>(
        &mut self,
        kind: Kind,
        names: impl Iterator<Item = &'a [u8]>,
        proto: Proto,
        out: &mut Vec<u8>,
    ) -> Vec<Item> {
        let mut names: Vec<Item> = names.map(|name| Item::new(kind, name)).collect();
        if names.is_empty() {
            names.extend(self.items.iter().filter(|item| item.kind == kind).cloned());
        }
        if names.is_empty() {
            confirm(out, kind, Verb::Unsubscribe, None, self.count(kind), proto);
        }
        let mut gone = Vec::new();
        for item in names {
            let name = item.name.clone();
            if self.remove(&item) {
                gone.push(item);
            }
            let count = self.count(kind);
            confirm(out, kind, Verb::Unsubscribe, Some(&name), count, proto);
        }
        gone
    }

    /// Strikes one out without a word.
    pub fn remove(&mut self, item: &Item) -> bool {
        let there = self.items.remove(item);
        if there {
            self.bytes -= item.name.len();
            if item.kind == Kind::Shard {
                self.shards -= 1;
                self.strike_slot(item);
            }
        }
        there
    }

    fn strike_slot(&mut self, item: &Item) {
        let slot = Slot::of(&item.name);
        if let Some(items) = self.slots.get_mut(&slot) {
            items.remove(item);
            if items.is_empty() {
                self.slots.remove(&slot);
            }
        }
    }

    /// How many there are of one kind.
    pub fn of_kind(&self, kind: Kind) -> usize {
        self.items.iter().filter(|item| item.kind == kind).count()
    }

    /// What confirmations count: sharded channels for themselves, the others together.
    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.shards,
            Kind::Channel | Kind::Pattern => self.common(),
        }
    }
}

fn confirm(
    out: &mut Vec<u8>,
    kind: Kind,
    verb: Verb,
    name: Option<&[u8]>,
    count: usize,
    proto: Proto,
) {
    encode::push(out, 3, proto);
    encode::bulk(out, word(kind, verb).as_bytes());
    match name {
        Some(name) => encode::bulk(out, name),
        None => encode::null(out, proto),
    }
    encode::integer(out, count as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
        names.iter().map(|name| name.as_bytes())
    }

    #[test]
    fn channels_and_patterns_are_counted_together_and_shards_apart() {
        let mut book = Book::default();
        let mut out = Vec::new();
        let new = book.subscribe(
            Kind::Channel,
            names(&["a", "b", "a"]),
            Proto::Resp2,
            &mut out,
        );
        assert_eq!(new.len(), 2);
        book.subscribe(Kind::Pattern, names(&["p*"]), Proto::Resp2, &mut out);
        book.subscribe(Kind::Shard, names(&["s"]), Proto::Resp3, &mut out);
        let expected = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n\
                        *3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n*3\r\n$10\r\npsubscribe\r\n$2\r\np*\r\n:3\r\n\
                        >3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        let gone = book.unsubscribe(Kind::Channel, names(&[]), Proto::Resp2, &mut out);
        assert_eq!((gone.len(), book.len()), (2, 2));
        assert!(out.ends_with(b":1\r\n"), "the pattern is left");
        assert!(book.memory() > 3);
    }

    #[test]
    fn sharded_channels_are_found_by_their_slot() {
        let mut book = Book::default();
        let all = names(&["{a}1", "b", "{a}2"]);
        book.subscribe(Kind::Shard, all, Proto::Resp3, &mut Vec::new());
        book.subscribe(Kind::Channel, names(&["a"]), Proto::Resp3, &mut Vec::new());
        let (a, b, c) = (Slot::of(b"a"), Slot::of(b"b"), Slot::of(b"c"));
        assert_eq!(book.in_slots(&[a, c]).len(), 2);
        assert_eq!(book.in_slots(&[a, b]).len(), 3);
        book.unsubscribe(Kind::Shard, names(&["b"]), Proto::Resp3, &mut Vec::new());
        assert_eq!(book.in_slots(&[b, c]).len(), 0);
        book.unsubscribe(Kind::Shard, names(&[]), Proto::Resp3, &mut Vec::new());
        assert!(book.slots.is_empty() && book.len() == 1);
    }

    #[test]
    fn nothing_to_unsubscribe_is_confirmed_with_nil() {
        let mut book = Book::default();
        let mut out = Vec::new();
        book.unsubscribe(Kind::Pattern, names(&[]), Proto::Resp2, &mut out);
        book.unsubscribe(Kind::Shard, names(&[]), Proto::Resp3, &mut out);
        book.unsubscribe(Kind::Shard, names(&["x"]), Proto::Resp3, &mut out);
        let expected = "*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:0\r\n>3\r\n$12\r\nsunsubscribe\r\n_\r\n:0\r\n\
                        >3\r\n$12\r\nsunsubscribe\r\n$1\r\nx\r\n:0\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(book.is_empty() && book.memory() == 0);
    }
}
