//! A stream: each entry that was acknowledged is read by everybody who waits for entries (XREAD BLOCK), once and in order.

use super::cast::{Actor, Book, Tag};
use super::diary::{Diary, Done};
use crate::rig::findings::{Findings, Outcome, Wrong};
use crate::rig::load::Durability;
use crate::rig::reply::Reply;
use crate::support::{RawClient, encode};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Milliseconds that a reader waits.
const BLOCK: &str = "300";

/// See the module.
pub struct Stream {
    key: String,
    durability: Durability,
    book: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    acknowledged: Vec<String>,
    refused: Vec<String>,
    /// By reader.
    read: Vec<Vec<String>>,
}

impl Stream {
    /// In the slot of that tag.
    pub fn new((tag, durability): &Tag) -> Self {
        Self {
            key: format!("{tag}:stream"),
            durability: *durability,
            book: Mutex::default(),
        }
    }
}

impl Book for Stream {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn close(&self, client: &mut RawClient, findings: &mut Findings) {
        let told = self.book.lock().expect("nobody panics with it");
        let all = Reply::parse(&client.command(&["XRANGE", &self.key, "-", "+"]));
        let there: Vec<String> = entries(&all).into_iter().map(|(_, value)| value).collect();
        let key = &self.key;
        for (at, value) in there.iter().enumerate() {
            if there[..at].contains(value) || told.refused.contains(value) {
                findings.wrong(Wrong::Twice, format!("{key}: {value} added again"));
            }
        }
        let lost = told.acknowledged.iter().filter(|v| !there.contains(v));
        for value in lost {
            findings.wrong(Wrong::Stale, format!("{key}: {value} lost"));
        }
        for read in &told.read {
            // What was added last comes when nobody reads any more.
            if there.get(..read.len()) != Some(read) {
                let text = format!("{key}: {} read, not as they are there", read.len());
                findings.wrong(Wrong::Stale, text);
            }
        }
    }
}

/// Id and value of each entry.
fn entries(reply: &Reply) -> Vec<(String, String)> {
    let Reply::Array(entries) = reply else {
        return Vec::new();
    };
    let entry = |entry: &Reply| match entry {
        Reply::Array(parts) => match &parts[..] {
            [Reply::Text(id), Reply::Array(fields)] => match &fields[..] {
                [Reply::Text(_), Reply::Text(value)] => Some((id.clone(), value.clone())),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    entries.iter().filter_map(entry).collect()
}

/// Adds one entry after the other.
pub struct Adder {
    client: RawClient,
    stream: Arc<Stream>,
    turn: u64,
}

impl Adder {
    pub fn new(addr: SocketAddr, stream: &Arc<Stream>) -> Self {
        Self {
            client: RawClient::connect(addr),
            stream: stream.clone(),
            turn: 0,
        }
    }
}

impl Actor for Adder {
    const KIND: &'static str = "entries";

    fn act(&mut self, diary: &mut Diary) -> Done {
        self.turn += 1;
        let (key, value) = (&self.stream.key, self.turn.to_string());
        let reply = diary.ask(&mut self.client, &encode(&["XADD", key, "*", "n", &value]));
        let book = || self.stream.book.lock().expect("nobody panics with it");
        match reply {
            Ok(Reply::Text(_)) => {
                book().acknowledged.push(value);
                Done::Yes
            }
            Ok(other) => diary.strange("XADD", &other),
            Err(Outcome::Refused) => {
                book().refused.push(value);
                Done::No
            }
            Err(_) => Done::No,
        }
    }
}

/// Waits for entries.
pub struct Reader {
    client: RawClient,
    stream: Arc<Stream>,
    last: String,
    read: Vec<String>,
}

impl Reader {
    pub fn new(addr: SocketAddr, stream: &Arc<Stream>) -> Self {
        Self {
            client: RawClient::connect(addr),
            stream: stream.clone(),
            last: "0-0".to_owned(),
            read: Vec::new(),
        }
    }
}

impl Actor for Reader {
    const KIND: &'static str = "reads";

    fn act(&mut self, diary: &mut Diary) -> Done {
        let key = &self.stream.key;
        let words = ["XREAD", "BLOCK", BLOCK, "STREAMS", key, &self.last];
        let Ok(reply) = diary.ask(&mut self.client, &encode(&words)) else {
            return Done::No;
        };
        let streams = match &reply {
            Reply::Nil => return Done::No,
            Reply::Array(streams) => &streams[..],
            other => return diary.strange("XREAD", other),
        };
        let [Reply::Array(stream)] = streams else {
            return diary.strange("XREAD", &reply);
        };
        let read = match &stream[..] {
            [Reply::Text(name), all] if name == key => entries(all),
            _ => return diary.strange("XREAD", &reply),
        };
        for (id, value) in read {
            self.last = id;
            self.read.push(value);
        }
        Done::Yes
    }

    fn leave(&mut self, _: &mut Diary) {
        let mut book = self.stream.book.lock().expect("nobody panics with it");
        book.read.push(std::mem::take(&mut self.read));
    }
}
