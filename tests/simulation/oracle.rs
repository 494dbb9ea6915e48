//! What must hold whatever happens. It sees every execution and every reply.
//!
//! A command carries its number (in the value it writes, or in the range it reads), so that an execution can be told from
//! another of the same command; INCR, which has no room for one, is known by the values it returned.

use crate::channels::Channels;
use crate::plan::{Channel, Op, Reach};
use crate::request::{RANGE_BASE, Request, request};
use crate::wire::{self, OK, Proto};
use std::collections::{BTreeMap, BTreeSet};

pub struct Asked {
    pub client: usize,
    pub op: Op,
    /// What the client speaks.
    proto: Proto,
    pub keys: Vec<Vec<u8>>,
    /// Segments of its keys.
    segments: usize,
    /// Segment, name, reply.
    done: Vec<(usize, Vec<u8>, Vec<u8>)>,
    answer: Option<Answer>,
    watch: Watch,
    replies: usize,
    /// When.
    at: u64,
}

/// What became of a WATCH, for the EXEC behind it.
#[derive(Default)]
struct Watch {
    /// How often the key had been written when a node executed it last.
    seen: Option<usize>,
    /// Its client was told so.
    confirmed: bool,
    /// The block was executed although the key had changed since.
    broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    NotDone,
    Unknown,
}

#[derive(Default)]
struct Counter {
    executed: BTreeSet<i64>,
    acked: BTreeSet<i64>,
    refused: usize,
    asked: usize,
}

/// The latest commands that were executed.
#[derive(Default)]
struct Latest {
    any: usize,
    write: usize,
}

#[derive(Default)]
pub struct Oracle {
    asked: Vec<Asked>,
    counters: BTreeMap<Vec<u8>, Counter>,
    /// Per client and key.
    latest: BTreeMap<(usize, Vec<u8>), Latest>,
    /// How often what is watched was written.
    writes: BTreeMap<Vec<u8>, usize>,
    /// By client; the others speak RESP2.
    protos: BTreeMap<usize, Proto>,
    pub channels: Channels,
    names: BTreeMap<Vec<u8>, Channel>,
    pub errors: usize,
    /// No error is allowed.
    pub strict: bool,
    /// No message may come twice on a channel of the whole cluster.
    pub once: bool,
    /// Nodes can be so slow that it takes longer to follow redirections than a command may take.
    pub slow: bool,
    /// The time, in milliseconds.
    pub now: u64,
}

/// `timeouts.command`, in milliseconds.
const COMMAND_TIMEOUT_MS: u64 = 5_000;

type Verdict = Result<(), String>;

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

impl Oracle {
    /// Commands asked so far.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// A client sends a command: its number, its bytes, and how many replies it has.
    pub fn ask(&mut self, client: usize, op: Op, tags: &[String]) -> (usize, Vec<u8>, usize) {
        let number = self.asked.len();
        if let Op::Hello(proto) = op {
            self.protos.insert(client, proto);
        }
        let proto = self.protos.get(&client).copied().unwrap_or_default();
        let Request {
            bytes: out,
            keys,
            replies,
        } = request(&op, client, number, tags);
        match &op {
            Op::Incr(_) => self.counters.entry(keys[0].clone()).or_default().asked += 1,
            Op::Publish(channel) => {
                self.names.insert(keys[0].clone(), *channel);
            }
            Op::Subscribe(channel) | Op::Unsubscribe(channel) => {
                self.channels.asked(client, *channel);
                self.names.insert(keys[0].clone(), *channel);
            }
            _ => {}
        }
        let tags: BTreeSet<&[u8]> = keys
            .iter()
            .filter_map(|k| k.split(|b| *b == b'}').next())
            .collect();
        self.asked.push(Asked {
            client,
            op,
            proto,
            segments: tags.len(),
            keys,
            done: Vec::new(),
            answer: None,
            watch: Watch::default(),
            replies,
            at: self.now,
        });
        (number, out, replies)
    }

    /// A node has executed a command.
    pub fn executed(&mut self, words: &[Vec<u8>], reply: &[u8], segment: usize) -> Verdict {
        let number = match &words[0][..] {
            b"INCR" => {
                let value = integer(reply).ok_or("INCR of no number")?;
                let counter = self.counters.entry(words[1].clone()).or_default();
                counter.executed.insert(value);
                return Ok(());
            }
            _ => match number_of(words) {
                Some(number) => number,
                None => return Ok(()),
            },
        };
        let asked = &mut self.asked[number];
        let name = &words[0];
        if name == b"WATCH" {
            if !asked.watch.confirmed {
                let writes = self.writes.get(&words[1]).copied();
                asked.watch.seen = Some(writes.unwrap_or_default());
            }
            return Ok(());
        }
        if matches!(asked.op, Op::Watched(_)) {
            let writes = self.writes.entry(words[1].clone()).or_default();
            asked.watch.broken |= asked.watch.seen != Some(*writes);
            *writes += 1;
        }
        let read = matches!(asked.op, Op::Read(_));
        if asked.done.iter().any(|d| d.0 == segment && d.1 == *name) && !read {
            return Err(format!(
                "command {number} was executed twice: {:?}",
                asked.op
            ));
        }
        if asked.answer == Some(Answer::NotDone) && asked.segments == 1 && !read {
            return Err(format!(
                "command {number} was executed after its client was told that it was not"
            ));
        }
        if let Op::Publish(channel) = asked.op {
            self.channels.published(channel, number);
        }
        let keys: Vec<&Vec<u8>> = match &name[..] {
            // What waits is overtaken, and a channel is no key.
            b"BLPOP" | b"PUBLISH" | b"SPUBLISH" => Vec::new(),
            b"MSET" => words[1..].iter().step_by(2).collect(),
            _ => vec![&words[1]],
        };
        for key in keys {
            let latest = self.latest.entry((asked.client, key.clone())).or_default();
            let later = if read { latest.write } else { latest.any };
            if later > number {
                return Err(format!(
                    "client {}: command {number} was executed after the later command {later}, on the same key",
                    asked.client
                ));
            }
            latest.any = latest.any.max(number);
            if !read {
                latest.write = number;
            }
        }
        asked.done.push((segment, name.clone(), reply.to_vec()));
        Ok(())
    }

    /// A client got the last reply to a command.
    pub fn answered(&mut self, number: usize, reply: &[u8]) -> Verdict {
        let asked = &self.asked[number];
        let error = |what: &str| {
            Err(format!(
                "command {number} ({:?}) got {what}: {}",
                asked.op,
                show(reply)
            ))
        };
        if reply[0] == b'-' {
            return self.failed(number, reply);
        }
        let once = |n: usize| asked.done.len() == n;
        let is_nothing = reply == asked.proto.nil_array();
        let mut answer = Answer::Done;
        let right = match &asked.op {
            Op::Ping => is_pong(asked, reply),
            Op::Hello(Proto::Two) => reply[0] == b'*',
            Op::Hello(Proto::Three) => reply[0] == b'%',
            Op::Feed(_) | Op::Publish(_) => once(1) && reply == asked.done[0].2,
            Op::Pop(..) | Op::Watched(_) if is_nothing => {
                answer = Answer::NotDone;
                once(0)
            }
            Op::Pop(..) => once(1) && reply == asked.done[0].2,
            Op::Watched(_) => {
                let watch = &asked.watch;
                if watch.confirmed && watch.broken {
                    return error("EXEC although what it watched had changed");
                }
                once(1) && reply == wire::array(&[OK.to_vec()])
            }
            Op::Subscribe(channel) | Op::Unsubscribe(channel) => {
                let subscribes = matches!(asked.op, Op::Subscribe(_));
                let right = is_confirmation(asked, *channel, subscribes, reply);
                let (client, channel) = (asked.client, *channel);
                self.channels.answered(client, channel, subscribes);
                right
            }
            Op::Unwatched(..) => once(0) && reply == OK,
            Op::Set(_) => once(1) && reply == OK,
            Op::Push(_) => once(1) && reply == asked.done[0].2,
            Op::Read(_) => asked.done.last().is_some_and(|d| d.2 == reply),
            Op::Mset(_) => once(asked.segments) && reply == OK,
            Op::Multi(_) => {
                let done: Vec<Vec<u8>> = asked.done.iter().map(|d| d.2.clone()).collect();
                once(2) && reply == wire::array(&done)
            }
            Op::Get(_) => self.is_value(asked, &asked.keys[0], reply),
            Op::Mget(_) => {
                let items = wire::elements(reply);
                let mut pairs = asked.keys.iter().zip(&items);
                items.len() == asked.keys.len() && pairs.all(|(k, v)| self.is_value(asked, k, v))
            }
            Op::Incr(_) => {
                let counter = self.counters.entry(asked.keys[0].clone()).or_default();
                integer(reply)
                    .is_some_and(|v| counter.executed.contains(&v) && counter.acked.insert(v))
            }
        };
        if !right {
            return error("what it cannot have answered");
        }
        self.asked[number].answer = Some(answer);
        Ok(())
    }

    /// A client got one of the replies before the last: so many are left with it.
    pub fn inner(&mut self, number: usize, left: usize, reply: &[u8]) -> Verdict {
        let asked = &mut self.asked[number];
        let place = asked.replies - left;
        let expected: &[u8] = match (&asked.op, place) {
            (Op::Watched(_) | Op::Unwatched(..), 0) => {
                asked.watch.confirmed = reply == OK;
                if asked.watch.confirmed || reply[0] == b'-' {
                    return Ok(());
                }
                OK
            }
            (Op::Watched(_) | Op::Unwatched(..), 1) | (_, 0) => OK,
            _ => b"+QUEUED\r\n",
        };
        match reply == expected {
            true => Ok(()),
            false => {
                let (what, got) = (self.describe(number), show(reply));
                Err(format!("{what} got {got} inside of MULTI"))
            }
        }
    }

    /// A message came to a client between its replies.
    pub fn message(&mut self, client: usize, reply: &[u8]) -> Verdict {
        let items = wire::elements(reply);
        let content = |at: usize| items.get(at).and_then(|item| wire::content(item));
        let payload = content(2).and_then(|p| p.strip_prefix(b"n"));
        let number = payload.and_then(|p| std::str::from_utf8(p).ok()?.parse().ok());
        let channel = content(1).and_then(|name| self.names.get(name));
        let proto = self.protos.get(&client).copied().unwrap_or_default();
        let (Some(number), Some(&channel)) = (number, channel) else {
            return Err(format!("client {client} heard {}", show(reply)));
        };
        if reply[0] != head(proto) {
            return Err(format!(
                "client {client} heard {} in another version",
                show(reply)
            ));
        }
        let once = self.strict || (self.once && channel.reach == Reach::Everywhere);
        self.channels.hears(client, channel, number, once)
    }

    /// Whether a command may wait for what others do.
    pub fn waits(&self, number: usize) -> bool {
        matches!(self.asked[number].op, Op::Pop(..))
    }

    /// Whether a node has executed any of a command that changes something.
    pub fn is_executed(&self, number: usize) -> bool {
        let asked = &self.asked[number];
        !asked.done.is_empty() && !matches!(asked.op, Op::Read(_))
    }

    /// Whether a key can have had this value: nothing, or what a command wrote to it.
    fn is_value(&self, asked: &Asked, key: &[u8], reply: &[u8]) -> bool {
        if reply == asked.proto.nil() {
            return true;
        }
        let number = wire::content(reply).and_then(|v| v.strip_prefix(b"n"));
        let number = number.and_then(|n| std::str::from_utf8(n).ok()?.parse::<usize>().ok());
        let writer = number.and_then(|n| self.asked.get(n));
        writer.is_some_and(|w| w.keys.iter().any(|k| k == key) && !w.done.is_empty())
    }

    fn failed(&mut self, number: usize, reply: &[u8]) -> Verdict {
        self.errors += 1;
        let text = String::from_utf8_lossy(reply);
        let asked = &mut self.asked[number];
        let unknown = text.contains("outcome unknown");
        let several =
            asked.segments > 1 || asked.keys.len() > 1 || matches!(asked.op, Op::Multi(_));
        // Some of its keys have moved, and what came behind it on one of them was executed (invariant 3).
        let halfway = several && ["TRYAGAIN", "ASK "].iter().any(|word| text.contains(word));
        let cause = text.rsplit("because of: ").next().unwrap_or(&text);
        let cause = cause.trim_start_matches('-');
        if cause.starts_with("MOVED ") || cause.starts_with("ASK ") {
            return Err(format!(
                "command {number} ({:?}) got what is not for clients: {}",
                asked.op,
                show(reply)
            ));
        }
        // Only who was sent on may be told so: a request that no reply comes to was lost.
        let late = self.slow
            && text.contains("was on the move for longer than")
            && self.now >= asked.at + COMMAND_TIMEOUT_MS;
        if self.strict && !halfway && !late {
            return Err(format!(
                "command {number} ({:?}) got an error under mere moves: {}",
                asked.op,
                show(reply)
            ));
        }
        if !unknown
            && !asked.done.is_empty()
            && asked.segments == 1
            && !matches!(asked.op, Op::Read(_))
        {
            return Err(format!(
                "command {number} ({:?}) was executed, and its client told otherwise: {}",
                asked.op,
                show(reply)
            ));
        }
        if let Op::Subscribe(channel) | Op::Unsubscribe(channel) = asked.op {
            self.channels.answered(asked.client, channel, false);
        }
        asked.answer = Some(if unknown {
            Answer::Unknown
        } else {
            Answer::NotDone
        });
        if let Op::Incr(_) = asked.op
            && !unknown
        {
            let counter = self.counters.entry(asked.keys[0].clone()).or_default();
            counter.refused += 1;
        }
        Ok(())
    }

    /// At the end, when nothing is in flight any more.
    pub fn at_the_end(&self) -> Verdict {
        for (key, counter) in &self.counters {
            let (least, most) = (counter.acked.len(), counter.asked - counter.refused);
            let count = counter.executed.len();
            if count < least || count > most {
                let key = show(key);
                return Err(format!(
                    "{key} was counted {count} times: {least} acknowledged, at most {most} possible"
                ));
            }
        }
        Ok(())
    }

    pub fn describe(&self, number: usize) -> String {
        let asked = &self.asked[number];
        format!(
            "command {number} of client {} ({:?})",
            asked.client, asked.op
        )
    }
}

fn integer(reply: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(reply.strip_prefix(b":")?).ok()?;
    text.trim_end().parse().ok()
}

/// How a message begins.
fn head(proto: Proto) -> u8 {
    match proto {
        Proto::Two => b'*',
        Proto::Three => b'>',
    }
}

/// A subscribed client of RESP2 gets another one.
fn is_pong(asked: &Asked, reply: &[u8]) -> bool {
    reply == b"+PONG\r\n"
        || (asked.proto == Proto::Two && reply == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")
}

fn is_confirmation(asked: &Asked, channel: Channel, subscribes: bool, reply: &[u8]) -> bool {
    let items = wire::elements(reply);
    let word: &[u8] = match (channel.reach, subscribes) {
        (Reach::Everywhere, true) => b"subscribe",
        (Reach::Everywhere, false) => b"unsubscribe",
        (Reach::Shard, true) => b"ssubscribe",
        (Reach::Shard, false) => b"sunsubscribe",
    };
    reply[0] == head(asked.proto)
        && items.len() == 3
        && wire::content(items[0]) == Some(word)
        && wire::content(items[1]) == Some(&asked.keys[0])
}

/// The number that a command carries, if it has one; see `request`.
fn number_of(words: &[Vec<u8>]) -> Option<usize> {
    let digits = |word: &[u8]| {
        let count = word.iter().rev().take_while(|b| b.is_ascii_digit());
        let digits = &word[word.len() - count.count()..];
        std::str::from_utf8(digits).ok()?.parse::<usize>().ok()
    };
    match &words[0][..] {
        b"SET" | b"RPUSH" | b"MSET" | b"PUBLISH" | b"SPUBLISH" | b"BLPOP" | b"WATCH" => {
            digits(&words[2])
        }
        b"GETRANGE" => digits(&words[3]).map(|last| last - RANGE_BASE),
        _ => None,
    }
}

/// What a client may be told where only slots move: not even that no reply came, for then the proxy has lost the request.
#[test]
fn a_request_that_was_lost_is_no_mere_move() {
    let judge = |slow: bool, reply: &str| {
        let mut oracle = Oracle {
            strict: true,
            slow,
            ..Oracle::default()
        };
        let (number, ..) = oracle.ask(0, Op::Set(0), &["{t0}".to_owned()]);
        oracle.now = COMMAND_TIMEOUT_MS;
        oracle.answered(number, reply.as_bytes()).is_ok()
    };
    let lost = "-ERR slotway: no reply in time (timeouts.command, or others); outcome unknown\r\n";
    let moving = "-CLUSTERDOWN slotway: not executed, its slot was on the move for longer than timeouts.command\r\n";
    assert!(!judge(true, lost) && !judge(false, lost));
    assert!(judge(true, moving) && !judge(false, moving));
}
