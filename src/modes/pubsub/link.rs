//! What one connection to a node was asked to subscribe to and what of it the node has confirmed. Confirmations come in
//! the order of the commands; a node ends a sharded subscription by itself when it gives the slot away.

use super::{Item, Kind, Message, Push, Verb, word};
use crate::cluster::Slot;
use crate::resp::encode;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Names in one command to a node.
const NAMES_PER_COMMAND: usize = 1000;

/// See the module.
#[derive(Default, Debug)]
pub struct Link {
    items: BTreeMap<Item, Held>,
    /// Of them, the confirmed channels and patterns.
    common: usize,
    /// Of them, those that are nobody's.
    disowned: usize,
    /// Commands without an answer to each of their names, oldest first.
    unanswered: VecDeque<Asked>,
    /// What is not answered it was asked for then, or later.
    asked_at: Option<Instant>,
    /// How many commands there have been.
    commands: u64,
    /// Ends of sharded subscriptions that may have come of themselves rather than as the answer that they were taken for:
    /// so many more answers may come, MOVED.
    perhaps_unasked: usize,
}

/// How an item stands. It was told by the last command that names it; only the answer to that one changes it, for the
/// answers to those before it look the same.
#[derive(Clone, Copy, Debug)]
struct Held {
    standing: Standing,
    command: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Asked,
    Confirmed,
    Leaving,
    /// The same, and what it still brings is not for the client, which was told that it has not subscribed.
    Disowned,
}

impl Standing {
    /// Whether the node was told to end it.
    fn is_to_end(self) -> bool {
        matches!(self, Self::Leaving | Self::Disowned)
    }
}

#[derive(Debug)]
struct Asked {
    /// Commands are numbered from one on.
    number: u64,
    verb: Verb,
    items: Vec<Item>,
    /// How many of them are answered.
    answered: usize,
}

/// What a reply of the node means.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A message.
    Message(Message<'a>),
    /// A message by a subscription that is nobody's.
    Stray,
    /// A subscription began or ended as it was asked to.
    Settled,
    /// The node ended this subscription by itself.
    Ended(Item),
    /// It refused to begin these, with that reply.
    Refused(Vec<Item>, &'a [u8]),
    /// Nothing that belongs here: the connection is not to be trusted.
    Odd,
}

impl Link {
    /// Asks for subscriptions; the commands are appended.
    pub fn subscribe(&mut self, items: &[Item], now: Instant, out: &mut Vec<u8>) {
        self.ask(Verb::Subscribe, items, now, out);
    }

    /// Asks for their end.
    pub fn unsubscribe(&mut self, items: &[Item], now: Instant, out: &mut Vec<u8>) {
        self.ask(Verb::Unsubscribe, items, now, out);
    }

    /// Their end was asked for, and what they bring before it is nobody's.
    pub fn disown(&mut self, items: &[Item]) {
        for item in items {
            if let Some(held) = self.items.get(item)
                && held.standing == Standing::Leaving
            {
                self.set(item, Some(Standing::Disowned), held.command);
            }
        }
    }

    /// Whether it was asked for this subscription, and not for its end since.
    pub fn wants(&self, item: &Item) -> bool {
        matches!(
            self.standing(item),
            Some(Standing::Asked | Standing::Confirmed)
        )
    }

    /// Whether the node has confirmed it.
    pub fn has(&self, item: &Item) -> bool {
        self.standing(item) == Some(Standing::Confirmed)
    }

    /// Whether nothing is left of it.
    pub fn lacks(&self, item: &Item) -> bool {
        !self.items.contains_key(item)
    }

    /// How many channels and patterns the node has confirmed: those that are not sharded.
    pub fn common(&self) -> usize {
        self.common
    }

    /// What it was asked for.
    pub fn wanted(&self) -> impl Iterator<Item = &Item> {
        let all = self.items.iter();
        all.filter(|(_, held)| !held.standing.is_to_end())
            .map(|(item, _)| item)
    }

    /// How many there are, those that are to end included.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// What the node has not answered yet it was asked for then, or later: an answer may be a MOVED from that time.
    pub fn asked_at(&self) -> Option<Instant> {
        self.asked_at
    }

    /// Whether nothing is on it, nor still to end.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes one reply.
    pub fn hear<'a>(&mut self, reply: &'a [u8]) -> Heard<'a> {
        if matches!(reply.first(), Some(b'-' | b'!')) {
            return self.refused(reply);
        }
        match Push::read(reply) {
            Push::Message(message) if self.is_disowned(&message) => Heard::Stray,
            Push::Message(message) => Heard::Message(message),
            Push::Confirmed(verb, item) => self.confirmed(verb, item),
            Push::Nothing | Push::Odd => Heard::Odd,
        }
    }

    fn is_disowned(&self, message: &Message<'_>) -> bool {
        self.disowned > 0 && self.standing(&message.item()) == Some(Standing::Disowned)
    }

    fn standing(&self, item: &Item) -> Option<Standing> {
        self.items.get(item).map(|held| held.standing)
    }

    /// Whether this is the last command that names the item.
    fn is_last(&self, command: u64, item: &Item) -> bool {
        let held = self.items.get(item);
        held.is_some_and(|held| held.command == command)
    }

    /// How an item stands from now on, by which command.
    fn set(&mut self, item: &Item, standing: Option<Standing>, command: u64) {
        let before = match standing {
            Some(standing) => self.items.insert(item.clone(), Held { standing, command }),
            None => self.items.remove(item),
        };
        let before = before.map(|held| held.standing);
        let strays = |standing| usize::from(standing == Some(Standing::Disowned));
        self.disowned += strays(standing);
        self.disowned -= strays(before);
        if item.kind != Kind::Shard {
            let counts = |standing| usize::from(standing == Some(Standing::Confirmed));
            self.common += counts(standing);
            self.common -= counts(before);
        }
    }

    fn ask(&mut self, verb: Verb, items: &[Item], now: Instant, out: &mut Vec<u8>) {
        if self.unanswered.is_empty() {
            self.asked_at = Some(now);
        }
        let standing = match verb {
            Verb::Subscribe => Standing::Asked,
            Verb::Unsubscribe => Standing::Leaving,
        };
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            let of_kind: Vec<&Item> = items.iter().filter(|item| item.kind == kind).collect();
            // A node of a cluster takes sharded channels of one slot at a time.
            let size = match kind {
                Kind::Shard => 1,
                Kind::Channel | Kind::Pattern => NAMES_PER_COMMAND,
            };
            for some in of_kind.chunks(size) {
                let words = word(kind, verb).as_bytes();
                let command: Vec<&[u8]> = [words]
                    .into_iter()
                    .chain(some.iter().map(|item| &*item.name))
                    .collect();
                encode::command(out, &command);
                self.commands += 1;
                for item in some {
                    self.set(item, Some(standing), self.commands);
                }
                self.unanswered.push_back(Asked {
                    number: self.commands,
                    verb,
                    items: some.iter().map(|item| (*item).clone()).collect(),
                    answered: 0,
                });
            }
        }
    }

    fn confirmed(&mut self, verb: Verb, item: Item) -> Heard<'static> {
        let asked = self.unanswered.front_mut();
        let Some(asked) = asked.filter(|a| a.verb == verb && a.items[a.answered] == item) else {
            return match verb {
                Verb::Subscribe => Heard::Odd,
                Verb::Unsubscribe => self.ended(item),
            };
        };
        if (verb, item.kind) == (Verb::Unsubscribe, Kind::Shard) {
            self.perhaps_unasked += 1;
        }
        let number = asked.number;
        asked.answered += 1;
        if asked.answered == asked.items.len() {
            self.unanswered.pop_front();
        }
        if self.is_last(number, &item) {
            let standing = match verb {
                Verb::Subscribe => Some(Standing::Confirmed),
                Verb::Unsubscribe => None,
            };
            self.set(&item, standing, number);
        }
        Heard::Settled
    }

    /// A subscription has ended unasked. What is over may end once more, and what was asked for or told to end since
    /// stands until that is answered.
    fn ended(&mut self, item: Item) -> Heard<'static> {
        let answered = match self.unanswered.front() {
            Some(asked) => asked.number.saturating_sub(1),
            None => self.commands,
        };
        match self.items.get(&item) {
            Some(held) if held.command <= answered => {
                self.set(&item, None, answered);
                Heard::Ended(item)
            }
            _ => Heard::Settled,
        }
    }

    /// The node says that it has given a slot away, and has ended all subscriptions of it: whoever tells it to end one
    /// too late gets MOVED. `None`: it is the answer to another command.
    fn given_away(&mut self, slot: Slot) -> Option<Heard<'static>> {
        let asked = self.unanswered.front();
        let here = asked.filter(|asked| {
            let first = asked.items.first();
            first.is_some_and(|item| item.kind == Kind::Shard && Slot::of(&item.name) == slot)
        });
        match here.map(|asked| asked.verb) {
            Some(Verb::Subscribe) => None,
            Some(Verb::Unsubscribe) => {
                let asked = self.unanswered.pop_front()?;
                self.strike_out(&asked);
                Some(Heard::Settled)
            }
            None => {
                self.perhaps_unasked = self.perhaps_unasked.checked_sub(1)?;
                Some(Heard::Settled)
            }
        }
    }

    /// Nothing is left of what a command named, unless a later one names it too.
    fn strike_out(&mut self, asked: &Asked) {
        for item in &asked.items {
            if self.is_last(asked.number, item) {
                self.set(item, None, asked.number);
            }
        }
    }

    /// An error is the answer to a whole command.
    fn refused<'a>(&mut self, reply: &'a [u8]) -> Heard<'a> {
        if let Some(slot) = moved(reply)
            && let Some(heard) = self.given_away(slot)
        {
            return heard;
        }
        let Some(asked) = self.unanswered.pop_front() else {
            return Heard::Odd;
        };
        match asked.verb {
            Verb::Subscribe => {
                self.strike_out(&asked);
                Heard::Refused(asked.items, reply)
            }
            // A connection that cannot be told to end a subscription is to be closed.
            Verb::Unsubscribe => Heard::Odd,
        }
    }
}

/// The slot of a MOVED.
fn moved(reply: &[u8]) -> Option<Slot> {
    let mut words = reply.strip_prefix(b"-MOVED ")?.split(|byte| *byte == b' ');
    let number = std::str::from_utf8(words.next()?).ok()?;
    Slot::new(number.parse().ok()?)
}

#[cfg(test)]
mod tests;
