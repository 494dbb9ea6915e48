//! Subscriptions of one client: what it is subscribed to ([`Book`]), what one connection to a node has been asked for
//! and has confirmed ([`Link`]), what a node's push says ([`Push`]), and what RESP2 forbids meanwhile. Pure; `session` owns the connections and decides which node each subscription belongs to.

mod book;
mod link;
mod push;
mod restricted;

pub use book::Book;
pub use link::{Heard, Link};
pub use push::{Message, Push};
pub use restricted::{pong, refusal};

use std::rc::Rc;

/// The three families of subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// SUBSCRIBE: a channel of the whole cluster.
    Channel,
    /// PSUBSCRIBE: a pattern of such channels.
    Pattern,
    /// SSUBSCRIBE: a channel that belongs to a slot.
    Shard,
}

/// What a command does to a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// It begins.
    Subscribe,
    /// It ends.
    Unsubscribe,
}

/// One subscription. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Item {
    /// Its family.
    pub kind: Kind,
    /// Channel or pattern.
    pub name: Rc<[u8]>,
}

impl Item {
    /// The name is copied.
    pub fn new(kind: Kind, name: impl AsRef<[u8]>) -> Self {
        Self {
            kind,
            name: name.as_ref().into(),
        }
    }
}

/// What a command of the family does; its name in lower case.
pub fn command(name: &str) -> Option<(Kind, Verb)> {
    WORDS
        .iter()
        .find(|(_, word)| *word == name)
        .map(|(what, _)| *what)
}

/// The word of the command and of its confirmation.
pub fn word(kind: Kind, verb: Verb) -> &'static str {
    let row = WORDS.iter().find(|(what, _)| *what == (kind, verb));
    row.map_or("", |(_, word)| word)
}

const WORDS: [((Kind, Verb), &str); 6] = [
    ((Kind::Channel, Verb::Subscribe), "subscribe"),
    ((Kind::Pattern, Verb::Subscribe), "psubscribe"),
    ((Kind::Shard, Verb::Subscribe), "ssubscribe"),
    ((Kind::Channel, Verb::Unsubscribe), "unsubscribe"),
    ((Kind::Pattern, Verb::Unsubscribe), "punsubscribe"),
    ((Kind::Shard, Verb::Unsubscribe), "sunsubscribe"),
];
