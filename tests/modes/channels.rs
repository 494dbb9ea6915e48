//! Channels: messages are numbers that rise. Around a fault some are lost, as they are without a proxy, and some are late:
//! what was published at the old home comes to the new one over the cluster's own connections, which take up to 40 ms for
//! it, and in that time newer ones are published at the new home. From when the subscription is where it belongs again and
//! the late ones are there, every message comes, in order and once. While no node is lost, none comes twice at any time.

use super::cast::Actor;
use super::diary::{Diary, Done};
use crate::rig::findings::Wrong;
use crate::rig::reply::Reply;
use crate::rig::stage::{CLUSTER_MAX, Stage, slot_of};
use crate::support::{RawClient, encode, show};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Whoever owns this slot is the home of ordinary channels.
const HOME_SLOT: u16 = 8191;

/// A look for a message takes so long.
const LOOK: Duration = Duration::from_millis(200);

/// What the last message of a node begins with that may be late.
const LAST: &str = "last of ";

/// A channel, and how it is doing.
#[derive(Default)]
pub struct Channel {
    name: String,
    publish: &'static str,
    subscribers: AtomicU64,
    /// Messages from [`LAST`] that they have heard.
    heard: AtomicU64,
    /// Odd while every message must arrive.
    calm: AtomicU64,
    /// Messages that came behind newer ones.
    late: AtomicU64,
    /// Messages that came twice around a fault.
    twice: AtomicU64,
}

/// How a client listens to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// SUBSCRIBE
    Plain,
    /// PSUBSCRIBE
    Pattern,
    /// SSUBSCRIBE
    Sharded,
}

impl Channel {
    /// One for all shards.
    pub fn common() -> Self {
        Self {
            name: "news".to_owned(),
            publish: "PUBLISH",
            ..Self::default()
        }
    }

    /// One in the slot of that tag.
    pub fn sharded(tag: &str) -> Self {
        Self {
            name: format!("{tag}:news"),
            publish: "SPUBLISH",
            ..Self::default()
        }
    }

    /// Something is done to the cluster: messages may be lost.
    pub fn trouble(&self) {
        let calm = self.calm.load(Ordering::Relaxed);
        self.calm.store(calm + calm % 2, Ordering::Relaxed);
    }

    /// Waits until those who listen to it do so at the node where it belongs, and there alone. No message
    /// may be lost from now on.
    #[track_caller]
    pub fn wait_home(&self, stage: &Stage) {
        let is_common = self.publish == "PUBLISH";
        let slot = match is_common {
            true => HOME_SLOT,
            false => slot_of(&self.name),
        };
        let questions: &[&[&str]] = match is_common {
            true => &[&["PUBSUB", "NUMSUB", &self.name], &["PUBSUB", "NUMPAT"]],
            false => &[&["PUBSUB", "SHARDNUMSUB", &self.name]],
        };
        let what = format!("{} is listened to at its home", self.name);
        stage.proxy.wait_for(&what, CLUSTER_MAX, || {
            let home = stage.cluster.owner_of(slot).ok_or("no owner")?;
            for node in 0..stage.cluster.len() {
                for question in questions {
                    let reply = stage.cluster.ask(node, question);
                    let reply = reply.map_err(|error| error.to_string())?;
                    let listeners = reply
                        .integer()
                        .or_else(|| reply.elements().get(1)?.integer());
                    if (listeners > Some(0)) != (node == home) {
                        return Err(format!("node {node} of {home}: {question:?} {reply:?}"));
                    }
                }
            }
            Ok(())
        });
        self.wait_late(stage);
        self.calm.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until everything has come that any node published before: what one node sends keeps its order.
    #[track_caller]
    fn wait_late(&self, stage: &Stage) {
        let before = self.heard.load(Ordering::Relaxed);
        let mut last = 0;
        for node in 0..stage.cluster.len() {
            let text = format!("{LAST}{node}");
            let words = [self.publish, &self.name, &text];
            let reply = stage.cluster.command(node, &words);
            // Sharded ones are published in their shard only.
            last += u64::from(!reply.unwrap().is_error());
        }
        let expected = before + last * self.subscribers.load(Ordering::Relaxed);
        stage.proxy.wait_for("late messages", CLUSTER_MAX, || {
            match self.heard.load(Ordering::Relaxed) {
                heard if heard >= expected => Ok(()),
                heard => Err(format!("{heard} of {expected}")),
            }
        });
    }

    /// Messages that came behind newer ones, and those that came twice.
    pub fn late_and_twice(&self) -> (u64, u64) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.late), count(&self.twice))
    }
}

/// Publishes numbers.
pub struct Publisher {
    client: RawClient,
    channel: Arc<Channel>,
    turn: u64,
}

impl Publisher {
    pub fn new(addr: SocketAddr, channel: &Arc<Channel>) -> Self {
        Self {
            client: RawClient::connect(addr),
            channel: channel.clone(),
            turn: 0,
        }
    }
}

impl Actor for Publisher {
    const KIND: &'static str = "publishes";

    fn act(&mut self, diary: &mut Diary) -> Done {
        self.turn += 1;
        let words = [
            self.channel.publish,
            &self.channel.name,
            &self.turn.to_string(),
        ];
        match diary.ask(&mut self.client, &encode(&words)) {
            Ok(Reply::Int(_)) => Done::Yes,
            Ok(other) => diary.strange("PUBLISH", &other),
            Err(_) => Done::No,
        }
    }
}

/// Listens.
pub struct Subscriber {
    client: RawClient,
    channel: Arc<Channel>,
    proto: usize,
    /// What a message looks like, up to its text.
    head: Vec<String>,
    unsubscribe: &'static str,
    last: u64,
    /// The channel's `calm` when that came.
    calm: u64,
    seen: HashSet<u64>,
}

impl Subscriber {
    pub fn new(addr: SocketAddr, channel: &Arc<Channel>, way: Way, proto: usize) -> Self {
        let mut client = RawClient::connect(addr);
        if proto == 3 {
            client.command(&["HELLO", "3"]);
        }
        let name = channel.name.clone();
        let pattern = format!("{name}*");
        let (subscribe, unsubscribe, to, head) = match way {
            Way::Plain => ("SUBSCRIBE", "UNSUBSCRIBE", name.clone(), vec!["message"]),
            Way::Pattern => (
                "PSUBSCRIBE",
                "PUNSUBSCRIBE",
                pattern.clone(),
                vec!["pmessage", &pattern],
            ),
            Way::Sharded => ("SSUBSCRIBE", "SUNSUBSCRIBE", name.clone(), vec!["smessage"]),
        };
        let head: Vec<String> = head
            .into_iter()
            .chain([&name[..]])
            .map(str::to_owned)
            .collect();
        client.send(&encode(&[subscribe, &to]));
        let told = client.reply();
        assert!(told.ends_with(b":1\r\n"), "{}", show(&told));
        client.wait_at_most(LOOK);
        channel.subscribers.fetch_add(1, Ordering::Relaxed);
        Self {
            client,
            channel: channel.clone(),
            proto,
            head,
            unsubscribe,
            last: 0,
            calm: 0,
            seen: HashSet::new(),
        }
    }

    /// What it says.
    fn text(&self, message: &[u8]) -> Option<String> {
        let message = String::from_utf8_lossy(message).into_owned();
        let text = message.trim_end().rsplit("\r\n").next()?.to_owned();
        let words = self.head.iter().map(String::as_str).chain([&text[..]]);
        let mut bytes = encode(&words.collect::<Vec<_>>());
        if self.proto == 3 {
            bytes[0] = b'>';
        }
        (bytes == message.as_bytes()).then_some(text)
    }

    fn hear(&mut self, message: &[u8], diary: &mut Diary) -> Done {
        let calm = self.channel.calm.load(Ordering::Relaxed);
        let name = &self.channel.name;
        let text = self.text(message).unwrap_or_default();
        if text.starts_with(LAST) {
            self.channel.heard.fetch_add(1, Ordering::Relaxed);
            return Done::No;
        }
        let Ok(number) = text.parse() else {
            let text = format!("no message of {name}: {}", show(message));
            diary.wrong.wrong(Wrong::Crossed, text);
            return Done::No;
        };
        let text = format!("{name}, {:?}: {number} after {}", self.head, self.last);
        if !self.seen.insert(number) {
            self.channel.twice.fetch_add(1, Ordering::Relaxed);
        } else if number < self.last {
            self.channel.late.fetch_add(1, Ordering::Relaxed);
        }
        if number != self.last + 1 && calm % 2 == 1 && calm == self.calm {
            diary.wrong.wrong(Wrong::Stale, text);
        }
        (self.last, self.calm) = (number, calm);
        Done::Yes
    }
}

impl Actor for Subscriber {
    const KIND: &'static str = "messages";

    fn act(&mut self, diary: &mut Diary) -> Done {
        match self.client.try_replies(1).pop() {
            Some(message) => self.hear(&message, diary),
            None => Done::No,
        }
    }

    /// What comes then is what comes to any other client.
    fn leave(&mut self, diary: &mut Diary) {
        self.client.wait_at_most(CLUSTER_MAX);
        self.client.send(&encode(&[self.unsubscribe]));
        let word = self.unsubscribe.to_ascii_lowercase();
        loop {
            let message = self.client.reply();
            if String::from_utf8_lossy(&message).contains(&word) {
                break;
            }
            self.hear(&message, diary);
        }
        diary.no_block_is_left(&mut self.client);
    }
}
