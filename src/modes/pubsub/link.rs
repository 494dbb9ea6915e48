//! What one connection to a node was asked to subscribe to and what of it the node has confirmed. Confirmations come in
//! the order of the commands; a node ends a sharded subscription by itself when it gives the slot away.

use super::{Item, Kind, Message, Push, Verb, word};
use crate::cluster::Slot;
use crate::resp::encode;
use std::collections::{BTreeMap, VecDeque};

/// Names in one command to a node.
const NAMES_PER_COMMAND: usize = 1000;

/// See the module.
#[derive(Default, Debug)]
pub struct Link {
    items: BTreeMap<Item, Standing>,
    /// Of them, the confirmed channels and patterns.
    common: usize,
    /// Commands without an answer to each of their names, oldest first.
    unanswered: VecDeque<Asked>,
    /// Ends of sharded subscriptions that may have come of themselves rather than as the answer that they were taken for:
    /// so many more answers may come, MOVED.
    perhaps_unasked: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    Asked,
    Confirmed,
    Leaving,
}

#[derive(Debug)]
struct Asked {
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
    pub fn subscribe(&mut self, items: &[Item], out: &mut Vec<u8>) {
        for item in items {
            self.set(item, Some(Standing::Asked));
        }
        self.ask(Verb::Subscribe, items, out);
    }

    /// Asks for their end.
    pub fn unsubscribe(&mut self, items: &[Item], out: &mut Vec<u8>) {
        for item in items {
            self.set(item, Some(Standing::Leaving));
        }
        self.ask(Verb::Unsubscribe, items, out);
    }

    /// Whether it was asked for this subscription, and not for its end since.
    pub fn wants(&self, item: &Item) -> bool {
        matches!(
            self.items.get(item),
            Some(Standing::Asked | Standing::Confirmed)
        )
    }

    /// Whether the node has confirmed it.
    pub fn has(&self, item: &Item) -> bool {
        self.items.get(item) == Some(&Standing::Confirmed)
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
        all.filter(|(_, standing)| **standing != Standing::Leaving)
            .map(|(item, _)| item)
    }

    /// How many there are, those that are to end included.
    pub fn len(&self) -> usize {
        self.items.len()
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
            Push::Message(message) => Heard::Message(message),
            Push::Confirmed(verb, item) => self.confirmed(verb, item),
            Push::Nothing | Push::Odd => Heard::Odd,
        }
    }

    /// How an item stands from now on. Returns how it stood.
    fn set(&mut self, item: &Item, standing: Option<Standing>) -> Option<Standing> {
        let before = match standing {
            Some(standing) => self.items.insert(item.clone(), standing),
            None => self.items.remove(item),
        };
        if item.kind != Kind::Shard {
            let counts = |standing| usize::from(standing == Some(Standing::Confirmed));
            self.common += counts(standing);
            self.common -= counts(before);
        }
        before
    }

    fn ask(&mut self, verb: Verb, items: &[Item], out: &mut Vec<u8>) {
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
                self.unanswered.push_back(Asked {
                    verb,
                    items: some.iter().map(|item| (*item).clone()).collect(),
                    answered: 0,
                });
            }
        }
    }

    fn confirmed(&mut self, verb: Verb, item: Item) -> Heard<'static> {
        let answers = self
            .unanswered
            .front()
            .is_some_and(|asked| asked.verb == verb && asked.items[asked.answered] == item);
        if !answers {
            // Only ends come unasked, and what is over may end once more.
            return match (verb, self.set(&item, None)) {
                (Verb::Unsubscribe, Some(_)) => Heard::Ended(item),
                (Verb::Unsubscribe, None) => Heard::Settled,
                (Verb::Subscribe, _) => Heard::Odd,
            };
        }
        if (verb, item.kind) == (Verb::Unsubscribe, Kind::Shard) {
            self.perhaps_unasked += 1;
        }
        if let Some(asked) = self.unanswered.front_mut() {
            asked.answered += 1;
            if asked.answered == asked.items.len() {
                self.unanswered.pop_front();
            }
        }
        match (verb, self.items.get(&item)) {
            (Verb::Subscribe, Some(Standing::Asked)) => {
                self.set(&item, Some(Standing::Confirmed));
            }
            (Verb::Unsubscribe, Some(Standing::Leaving)) => {
                self.set(&item, None);
            }
            // It was asked for something else since.
            _ => {}
        }
        Heard::Settled
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
                for item in self.unanswered.pop_front()?.items {
                    if self.items.get(&item) == Some(&Standing::Leaving) {
                        self.set(&item, None);
                    }
                }
                Some(Heard::Settled)
            }
            None => {
                self.perhaps_unasked = self.perhaps_unasked.checked_sub(1)?;
                Some(Heard::Settled)
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
                for item in &asked.items {
                    if self.items.get(item) == Some(&Standing::Asked) {
                        self.set(item, None);
                    }
                }
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
mod tests {
    use super::*;

    fn item(kind: Kind, name: &str) -> Item {
        Item {
            kind,
            name: name.as_bytes().into(),
        }
    }

    fn push(word: &str, name: &str) -> Vec<u8> {
        format!(
            ">3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n:1\r\n",
            word.len(),
            name.len()
        )
        .into_bytes()
    }

    #[test]
    fn confirmations_answer_the_oldest_command() {
        let mut link = Link::default();
        let (a, s, t) = (
            item(Kind::Channel, "a"),
            item(Kind::Shard, "s"),
            item(Kind::Shard, "t"),
        );
        let mut out = Vec::new();
        link.subscribe(&[a.clone(), s.clone(), t.clone()], &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches("ssubscribe").count(), 2, "one for each slot");
        assert!(matches!(link.hear(&push("subscribe", "a")), Heard::Settled));
        assert!(link.has(&a) && link.wants(&s) && !link.has(&s));
        assert_eq!(link.common(), 1);
        let Heard::Refused(items, _) = link.hear(b"-MOVED 1 127.0.0.1:1\r\n") else {
            panic!("s was refused");
        };
        assert!(items == [s.clone()] && link.lacks(&s));
        assert!(matches!(
            link.hear(&push("ssubscribe", "t")),
            Heard::Settled
        ));
        // Ended by the node, before and after it was asked to end it.
        assert!(matches!(link.hear(&push("sunsubscribe", "t")), Heard::Ended(i) if i == t));
        link.unsubscribe(std::slice::from_ref(&t), &mut Vec::new());
        assert!(!link.lacks(&t) && !link.wants(&t));
        assert!(matches!(
            link.hear(&push("sunsubscribe", "t")),
            Heard::Settled
        ));
        assert!(matches!(
            link.hear(&push("sunsubscribe", "t")),
            Heard::Settled
        ));
        assert!(link.lacks(&t) && !link.is_empty());
        assert_eq!(link.common(), 1, "sharded ones are not counted");
        link.unsubscribe(std::slice::from_ref(&a), &mut Vec::new());
        assert_eq!(link.common(), 0);
    }

    #[test]
    fn asked_again_while_leaving_it_stays() {
        let mut link = Link::default();
        let a = item(Kind::Channel, "a");
        for verb in [Verb::Subscribe, Verb::Unsubscribe, Verb::Subscribe] {
            match verb {
                Verb::Subscribe => link.subscribe(std::slice::from_ref(&a), &mut Vec::new()),
                Verb::Unsubscribe => link.unsubscribe(std::slice::from_ref(&a), &mut Vec::new()),
            }
        }
        link.hear(&push("subscribe", "a"));
        link.hear(&push("unsubscribe", "a"));
        assert!(link.wants(&a));
        link.hear(&push("subscribe", "a"));
        assert!(link.has(&a) && link.common() == 1);
        assert!(matches!(link.hear(b"-ERR what\r\n"), Heard::Odd));
        assert!(matches!(link.hear(&push("subscribe", "b")), Heard::Odd));
    }

    /// The node gives the slot away, ends the subscription, and only then hears that it is to end.
    #[test]
    fn what_was_given_away_may_be_ended_late() {
        let (a, b) = (item(Kind::Shard, "a"), item(Kind::Shard, "b"));
        let moved = |item: &Item| {
            let slot = Slot::of(&item.name).number();
            format!("-MOVED {slot} 127.0.0.1:1\r\n").into_bytes()
        };
        let mut link = Link::default();
        link.subscribe(std::slice::from_ref(&a), &mut Vec::new());
        link.hear(&push("ssubscribe", "a"));
        link.unsubscribe(std::slice::from_ref(&a), &mut Vec::new());
        link.subscribe(std::slice::from_ref(&b), &mut Vec::new());
        assert!(matches!(
            link.hear(&push("sunsubscribe", "a")),
            Heard::Settled
        ));
        assert!(matches!(link.hear(&moved(&a)), Heard::Settled));
        assert!(matches!(
            link.hear(&push("ssubscribe", "b")),
            Heard::Settled
        ));
        assert!(link.lacks(&a) && link.has(&b));
        assert!(matches!(link.hear(&moved(&a)), Heard::Odd), "once only");
        // It had been ended before the client's command, which is all that is answered.
        link.unsubscribe(std::slice::from_ref(&b), &mut Vec::new());
        assert!(matches!(link.hear(&moved(&b)), Heard::Settled));
        assert!(link.is_empty());
    }
}
