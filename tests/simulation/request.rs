//! What clients send. A command carries its number, in the value it writes, in the range it reads or in the name of a key
//! that does not exist, so that its execution can be told from others.

use crate::plan::{Channel, Op, Reach, Unwatch};
use crate::wire::{self, Proto};

/// A number is written so that no other number can be taken for it.
pub const RANGE_BASE: usize = 1_000_000;

/// What values are made longer with.
pub const PAD: char = 'x';

/// See the module.
pub struct Request {
    pub bytes: Vec<u8>,
    pub keys: Vec<Vec<u8>>,
    pub replies: usize,
}

/// The command with that number.
pub fn request(op: &Op, client: usize, number: usize, tags: &[String], padding: usize) -> Request {
    let value = format!("n{number}").into_bytes();
    let long = [PAD.to_string().repeat(padding).as_bytes(), &value].concat();
    let range = (RANGE_BASE + number).to_string();
    let own = |tag: &usize| format!("{}s{client}", tags[*tag]).into_bytes();
    let list = |tag: &usize| format!("{}l", tags[*tag]).into_bytes();
    let mut out = Vec::new();
    let mut put = |words: &[&[u8]]| wire::put_request(&mut out, words);
    let (keys, replies) = match op {
        Op::Set(t) => {
            put(&[b"SET", &own(t), &long]);
            (vec![own(t)], 1)
        }
        Op::Read(t) => {
            put(&[b"GETRANGE", &own(t), b"0", range.as_bytes()]);
            (vec![own(t)], 1)
        }
        Op::Get(t) => {
            put(&[b"GET", &own(t)]);
            (vec![own(t)], 1)
        }
        Op::Incr(t) => {
            let key = format!("{}c", tags[*t]).into_bytes();
            put(&[b"INCR", &key]);
            (vec![key], 1)
        }
        Op::Push(t) => {
            put(&[b"RPUSH", &list(t), &value]);
            (vec![list(t)], 1)
        }
        Op::Mset(all) => {
            let keys: Vec<Vec<u8>> = all.iter().map(own).collect();
            let pairs = keys.iter().flat_map(|k| [&k[..], &long]);
            put(&[&b"MSET"[..]].into_iter().chain(pairs).collect::<Vec<_>>());
            (keys, 1)
        }
        Op::Mget(all) => {
            let keys: Vec<Vec<u8>> = all.iter().map(own).collect();
            let words = [&b"MGET"[..]]
                .into_iter()
                .chain(keys.iter().map(|k| &k[..]));
            put(&words.collect::<Vec<_>>());
            (keys, 1)
        }
        Op::Multi(t) => {
            put(&[b"MULTI"]);
            put(&[b"SET", &own(t), &long]);
            put(&[b"RPUSH", &list(t), &value]);
            put(&[b"EXEC"]);
            (vec![own(t)], 4)
        }
        Op::Ping => {
            put(&[b"PING"]);
            (vec![], 1)
        }
        _ => special(op, number, tags, &mut put),
    };
    Request {
        bytes: out,
        keys,
        replies,
    }
}

/// Commands that wait, watch, publish and subscribe: their keys, and how many replies they have.
fn special(
    op: &Op,
    number: usize,
    tags: &[String],
    put: &mut dyn FnMut(&[&[u8]]),
) -> (Vec<Vec<u8>>, usize) {
    let value = format!("n{number}").into_bytes();
    let with = |tag: &usize, end: &str| format!("{}{end}", tags[*tag]).into_bytes();
    match op {
        Op::Feed(t) => {
            let queue = with(t, "q");
            put(&[b"RPUSH", &queue, &value]);
            (vec![queue], 1)
        }
        Op::Pop(t, wait) => {
            // The second key never exists: it says which command this is.
            let keys = [with(t, "q"), with(t, &format!("b{number}"))];
            put(&[b"BLPOP", &keys[0], &keys[1], seconds(*wait).as_bytes()]);
            (keys.to_vec(), 1)
        }
        Op::Sweep(tags, wait) => {
            let keys = tags.map(|t| with(&t, "q"));
            put(&[b"BLPOP", &keys[0], &keys[1], seconds(*wait).as_bytes()]);
            (keys.to_vec(), 1)
        }
        Op::Watched(t) => {
            let keys = [with(t, "w"), with(t, &format!("x{number}"))];
            put(&[b"WATCH", &keys[0], &keys[1]]);
            put(&[b"MULTI"]);
            put(&[b"SET", &keys[0], &value]);
            put(&[b"EXEC"]);
            (keys.to_vec(), 4)
        }
        Op::Unwatched(t, how) => {
            let keys = [with(t, "w"), with(t, &format!("x{number}"))];
            put(&[b"WATCH", &keys[0], &keys[1]]);
            let replies = match how {
                Unwatch::AtOnce => {
                    put(&[b"UNWATCH"]);
                    2
                }
                Unwatch::Discards => {
                    put(&[b"MULTI"]);
                    put(&[b"SET", &keys[0], &value]);
                    put(&[b"DISCARD"]);
                    4
                }
            };
            (keys.to_vec(), replies)
        }
        Op::Hello(proto) => {
            let version = match proto {
                Proto::Two => b"2",
                Proto::Three => b"3",
            };
            put(&[b"HELLO", version]);
            (vec![], 1)
        }
        Op::Publish(channel) => {
            let (word, _, name) = channel.words(tags);
            put(&[word, &name, &value]);
            (vec![name], 1)
        }
        Op::Subscribe(channel) | Op::Unsubscribe(channel) => {
            let (_, word, name) = channel.words(tags);
            let word = match op {
                Op::Subscribe(_) => word.as_bytes().to_vec(),
                _ => word.replace("SUB", "UNSUB").into_bytes(),
            };
            put(&[&word, &name]);
            (vec![name], 1)
        }
        _ => (vec![], 0),
    }
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

impl Channel {
    /// The commands that publish and subscribe, and the name.
    fn words(self, tags: &[String]) -> (&'static [u8], &'static str, Vec<u8>) {
        let tag = &tags[self.tag];
        match self.reach {
            Reach::Everywhere => (b"PUBLISH", "SUBSCRIBE", format!("{tag}p").into_bytes()),
            Reach::Shard => (b"SPUBLISH", "SSUBSCRIBE", format!("{tag}sp").into_bytes()),
        }
    }
}
