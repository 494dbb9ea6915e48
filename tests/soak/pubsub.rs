//! Subscriptions: a channel of its own, on which nothing may be missing, and one that everybody listens to.

use super::visitor::{Visitor, bulk, read_stamp};
use crate::support::{RawClient, encode, encode_line, show};
use rand::Rng;
use std::collections::HashMap;

/// Everybody publishes here, so that most messages come from others.
pub const COMMON: &str = "common";

/// A way to listen to a channel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Channel,
    Pattern,
    Shard,
}

impl Way {
    fn command(self) -> &'static str {
        match self {
            Self::Channel => "subscribe",
            Self::Pattern => "psubscribe",
            Self::Shard => "ssubscribe",
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::Channel => "unsubscribe",
            Self::Pattern => "punsubscribe",
            Self::Shard => "sunsubscribe",
        }
    }

    fn publish(self) -> &'static str {
        match self {
            Self::Shard => "SPUBLISH",
            Self::Channel | Self::Pattern => "PUBLISH",
        }
    }
}

/// Listens to its own and the common channel while somebody publishes on both, and then goes on as if nothing was.
pub fn listen(visitor: &mut Visitor) {
    let way = [Way::Channel, Way::Pattern, Way::Shard][visitor.rng.random_range(0..3)];
    let own = visitor.key();
    let name = match way {
        Way::Pattern => format!("{own}*"),
        _ => own.clone(),
    };
    visitor.send(&format!("{} {name}", way.command()));
    expect_confirmation(visitor, way.command(), &name, 1);
    let shared = way == Way::Channel;
    if shared {
        visitor.send(&format!("subscribe {COMMON}"));
        expect_confirmation(visitor, "subscribe", COMMON, 2);
    }
    let mut helper = visitor.helper();
    let texts: Vec<String> = (0..visitor.rng.random_range(1..8))
        .map(|_| {
            let text = visitor.value(&own);
            helper.expect(&format!("{} {own} {text}", way.publish()), b":1\r\n");
            let common = visitor.value(COMMON);
            let heard = helper.line(&format!("PUBLISH {COMMON} {common}"));
            assert!(heard.starts_with(b":"), "{}", show(&heard));
            text
        })
        .collect();
    let mut ear = Ear::default();
    let mut own_texts = texts.iter();
    while own_texts.len() > 0 {
        let got = ear.message(visitor, &own);
        if let Some(text) = got {
            assert_eq!(Some(&text), own_texts.next());
        }
    }
    if visitor.proto == 3 {
        let key = visitor.key();
        let value = visitor.value(&key);
        visitor.send(&format!("ECHO {value}"));
        let reply = ear.reply(visitor, &own);
        assert_eq!(show(&reply), show(&bulk(&value)));
    }
    let gone = way.end();
    visitor.send(gone);
    let mut left = 1 + usize::from(shared);
    while left > 0 {
        let reply = visitor.client.reply();
        if words(&reply)[0] == gone {
            left -= 1;
        } else {
            ear.hear(visitor, &reply, &own);
        }
    }
    // Nothing comes any more.
    let value = visitor.value("end");
    visitor.expect(&format!("PING {value}"), &bulk(&value));
}

fn expect_confirmation(visitor: &mut Visitor, command: &str, name: &str, count: usize) {
    let mut expected = visitor.push(&[command, name, ""]);
    expected.truncate(expected.len() - b"$0\r\n\r\n".len());
    expected.extend(format!(":{count}\r\n").into_bytes());
    let got = visitor.client.reply();
    assert_eq!(show(&got), show(&expected));
}

/// What was heard last of each publisher.
#[derive(Default)]
struct Ear(HashMap<u64, u64>);

impl Ear {
    /// The next message; its text if it is on the own channel.
    fn message(&mut self, visitor: &mut Visitor, own: &str) -> Option<String> {
        let reply = visitor.client.reply();
        self.hear(visitor, &reply, own)
    }

    /// The next reply that is no message (RESP3).
    fn reply(&mut self, visitor: &mut Visitor, own: &str) -> Vec<u8> {
        loop {
            let reply = visitor.client.reply();
            if reply[0] != b'>' {
                return reply;
            }
            self.hear(visitor, &reply, own);
        }
    }

    fn hear(&mut self, visitor: &Visitor, reply: &[u8], own: &str) -> Option<String> {
        let words = words(reply);
        let (text, channel) = (&words[words.len() - 1], &words[words.len() - 2]);
        assert!(words[0].ends_with("message"), "{}", show(reply));
        assert!(channel == own || channel == COMMON, "{}", show(reply));
        let stamp = read_stamp(visitor.town.seed, text, channel);
        let (life, number) = stamp.unwrap_or_else(|| panic!("crossed: {}", show(reply)));
        let before = self.0.insert(life, number);
        assert!(
            before.is_none_or(|before| before < number),
            "order: {}",
            show(reply)
        );
        (channel == own).then(|| text.clone())
    }
}

/// The strings in an array.
fn words(reply: &[u8]) -> Vec<String> {
    let text = String::from_utf8(reply.to_vec()).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    let bulks = lines.windows(2).filter(|pair| pair[0].starts_with('$'));
    bulks.map(|pair| pair[1].to_owned()).collect()
}

/// Says something to everybody.
pub fn chatter(visitor: &mut Visitor) {
    let texts: Vec<String> = (0..5).map(|_| visitor.value(COMMON)).collect();
    let lines = texts.iter().map(|text| encode(&["PUBLISH", COMMON, text]));
    let bytes: Vec<u8> = lines.flatten().collect();
    visitor.client.send(&bytes);
    for reply in visitor.client.replies(texts.len()) {
        assert!(reply.starts_with(b":"), "{}", show(&reply));
    }
}

/// Subscribed to all kinds, and never again heard of.
pub fn subscribe_all(visitor: &mut Visitor) {
    let own = visitor.key();
    for command in ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"] {
        visitor
            .client
            .send(&encode_line(&format!("{command} {own}")));
        visitor.client.reply();
    }
    let mut helper: RawClient = visitor.helper();
    let text = visitor.value(&own);
    // Once by its name, once by its pattern.
    helper.expect(&format!("PUBLISH {own} {text}"), b":2\r\n");
}
