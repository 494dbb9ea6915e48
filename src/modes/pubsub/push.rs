//! What a node pushes to a subscriber.

use super::{Item, Kind, Verb, command};
use crate::resp::{self, Proto};
use std::ops::Range;

/// A push, read.
#[derive(Debug)]
pub enum Push<'a> {
    /// A message.
    Message(Message<'a>),
    /// A subscription began or ended; the confirmation of a command, or a node's own decision.
    Confirmed(Verb, Item),
    /// UNSUBSCRIBE found nothing to end.
    Nothing,
    /// Something that no subscriber is sent.
    Odd,
}

/// A message and the channel it was published to.
#[derive(Debug)]
pub struct Message<'a> {
    /// By which kind of subscription it came.
    pub kind: Kind,
    /// What it was subscribed to: the channel or a pattern.
    pub name: &'a [u8],
    /// Where it was published.
    pub channel: &'a [u8],
    /// The whole push, as RESP3 has it.
    pub bytes: &'a [u8],
}

impl<'a> Push<'a> {
    /// Reads one whole reply of a RESP3 connection.
    pub fn read(bytes: &'a [u8]) -> Self {
        if bytes.first() != Some(&b'>') {
            return Self::Odd;
        }
        let Some(parts) = resp::elements(bytes) else {
            return Self::Odd;
        };
        Self::of(bytes, &parts).unwrap_or(Self::Odd)
    }

    fn of(bytes: &'a [u8], parts: &[Range<usize>]) -> Option<Self> {
        let part = |i: usize| parts.get(i).map(|at| &bytes[at.clone()]);
        let word = resp::bulk(part(0)?)?;
        let (kind, channel) = match word {
            b"message" => (Kind::Channel, 1),
            b"pmessage" => (Kind::Pattern, 2),
            b"smessage" => (Kind::Shard, 1),
            _ => {
                let (kind, verb) = command(std::str::from_utf8(word).ok()?)?;
                let name = part(1)?;
                if resp::is_null(name) {
                    return Some(Self::Nothing);
                }
                let name = resp::bulk(name)?.into();
                return Some(Self::Confirmed(verb, Item { kind, name }));
            }
        };
        Some(Self::Message(Message {
            kind,
            name: resp::bulk(part(1)?)?,
            channel: resp::bulk(part(channel)?)?,
            bytes,
        }))
    }
}

impl Message<'_> {
    /// The subscription that it came by.
    pub fn item(&self) -> Item {
        Item::new(self.kind, self.name)
    }

    /// Its bytes as a client with this version gets them, in two pieces: in RESP2 it is an array of the same elements.
    pub fn pieces(&self, proto: Proto) -> (&'static [u8], &[u8]) {
        match proto {
            Proto::Resp2 => (b"*", &self.bytes[1..]),
            Proto::Resp3 => (b"", self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_channel() {
        let bytes = b">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$2\r\nhi\r\n";
        let Push::Message(message) = Push::read(bytes) else {
            panic!("a message");
        };
        assert_eq!((message.kind, message.channel), (Kind::Pattern, &b"ab"[..]));
        assert_eq!(message.item().name[..], *b"a*");
        let (first, rest) = message.pieces(Proto::Resp2);
        assert_eq!(
            [first, rest].concat(),
            b"*4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$2\r\nab\r\n$2\r\nhi\r\n"
        );
    }

    #[test]
    fn what_is_no_push_of_a_subscription_is_odd() {
        for bytes in [
            &b"+OK\r\n"[..],
            b">2\r\n$10\r\ninvalidate\r\n_\r\n",
            b">1\r\n$7\r\nmessage\r\n",
            b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
        ] {
            assert!(matches!(Push::read(bytes), Push::Odd), "{bytes:?}");
        }
    }
}
