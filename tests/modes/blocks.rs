//! Transactions: the counter and the list of a block belong together, whatever happens, and a block that was acknowledged
//! is there once. And optimistic ones (WATCH): no two of them decide on the same value.

use super::cast::{Actor, Book, Tag};
use super::diary::{Diary, Done};
use crate::rig::findings::{Findings, Outcome, Wrong};
use crate::rig::load::Durability;
use crate::rig::reply::Reply;
use crate::support::{RawClient, encode};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What became of a block, as its client knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Acknowledged,
    Unknown,
    /// Nil, or an error that says that it was not executed.
    Not,
}

/// What the clients know of their blocks; each adds its name to the list, and one to the counter.
pub struct Transactions {
    counter: String,
    list: String,
    durability: Durability,
    told: Mutex<HashMap<String, Told>>,
}

impl Transactions {
    /// In the slot of that tag.
    pub fn new((tag, durability): &Tag) -> Self {
        Self {
            counter: format!("{tag}:blocks"),
            list: format!("{tag}:names"),
            durability: *durability,
            told: Mutex::default(),
        }
    }
}

impl Book for Transactions {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn close(&self, client: &mut RawClient, findings: &mut Findings) {
        let counted = Reply::parse(&client.command(&["GET", &self.counter]));
        let list = Reply::parse(&client.command(&["LRANGE", &self.list, "0", "-1"]));
        let Reply::Array(list) = list else {
            panic!("{}: {list:?}", self.list);
        };
        if counted != Reply::Text(list.len().to_string()) {
            let text = format!("{}: {counted:?}, but {} names", self.counter, list.len());
            findings.wrong(Wrong::Twice, format!("a block is not whole: {text}"));
        }
        let mut there: HashMap<String, u32> = HashMap::new();
        for name in list {
            if let Reply::Text(name) = name {
                *there.entry(name).or_default() += 1;
            }
        }
        let told = self.told.lock().expect("nobody panics with it");
        for (name, times) in &there {
            match told.get(name) {
                Some(Told::Acknowledged | Told::Unknown) if *times == 1 => {}
                other => findings.wrong(Wrong::Twice, format!("{name}: {times} ×, {other:?}")),
            }
        }
        for (name, told) in &*told {
            if *told == Told::Acknowledged && !there.contains_key(name) {
                findings.wrong(Wrong::Stale, format!("block {name} lost"));
            }
        }
    }
}

/// One block after the other; every other one arrives in one piece.
pub struct Transactor {
    client: RawClient,
    book: Arc<Transactions>,
    number: usize,
    turn: u64,
}

impl Transactor {
    pub fn new(addr: SocketAddr, book: &Arc<Transactions>, number: usize) -> Self {
        Self {
            client: RawClient::connect(addr),
            book: book.clone(),
            number,
            turn: 0,
        }
    }

    fn told(&self, name: &str, told: Told) {
        let mut book = self.book.told.lock().expect("nobody panics with it");
        book.insert(name.to_owned(), told);
    }
}

impl Actor for Transactor {
    const KIND: &'static str = "transactions";

    fn act(&mut self, diary: &mut Diary) -> Done {
        self.turn += 1;
        let book = self.book.clone();
        let name = format!("{}:{}", self.number, self.turn);
        let lines = [
            &["MULTI"][..],
            &["INCR", &book.counter],
            &["RPUSH", &book.list, &name],
            &["EXEC"],
        ];
        let lines = lines.map(encode);
        let sent = Instant::now();
        let replies: Vec<Vec<u8>> = if self.turn.is_multiple_of(2) {
            self.client.send(&lines.concat());
            self.client.replies(lines.len())
        } else {
            let one = |line: &Vec<u8>| {
                self.client.send(line);
                self.client.reply()
            };
            lines.iter().map(one).collect()
        };
        if replies[..3].concat() != b"+OK\r\n+QUEUED\r\n+QUEUED\r\n" {
            let text = String::from_utf8_lossy(&replies.concat()).into_owned();
            diary.wrong.wrong(Wrong::Crossed, text);
        }
        match Reply::parse(&replies[3]) {
            Reply::Array(numbers) if numbers.len() == 2 => {
                // One counts what the other holds.
                if numbers[0] != numbers[1] {
                    let text = format!("a block is not whole: {numbers:?}");
                    diary.wrong.wrong(Wrong::Twice, text);
                }
                self.told(&name, Told::Acknowledged);
                Done::Yes
            }
            Reply::Error(text) => {
                let told = match diary.error(&text, sent, &mut self.client) {
                    Outcome::Unknown => Told::Unknown,
                    _ => Told::Not,
                };
                self.told(&name, told);
                Done::No
            }
            other => diary.strange("EXEC", &other),
        }
    }
}

/// A number that several clients count up by GET and SET, under WATCH.
pub struct Optimists {
    key: String,
    durability: Durability,
    told: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    /// How often a value was acknowledged.
    values: HashMap<i64, u32>,
    acknowledged: i64,
    unknown: i64,
}

impl Optimists {
    /// In the slot of that tag.
    pub fn new((tag, durability): &Tag) -> Self {
        Self {
            key: format!("{tag}:watched"),
            durability: *durability,
            told: Mutex::default(),
        }
    }
}

impl Book for Optimists {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn close(&self, client: &mut RawClient, findings: &mut Findings) {
        let told = self.told.lock().expect("nobody panics with it");
        let value = number(&Reply::parse(&client.command(&["GET", &self.key])));
        let value = value.unwrap_or_default();
        let (acknowledged, unknown) = (told.acknowledged, told.unknown);
        let text = format!("{}: {value}, {acknowledged} + {unknown}", self.key);
        if value < acknowledged {
            findings.wrong(Wrong::Stale, text.clone());
        }
        if value > acknowledged + unknown {
            findings.wrong(Wrong::Twice, text);
        }
        let again = told.values.iter().filter(|(_, times)| **times > 1);
        for (value, times) in again {
            // What the cluster has lost is counted again.
            let what = match self.durability {
                Durability::Kept => Wrong::Twice,
                Durability::MayLose => Wrong::Stale,
            };
            let key = &self.key;
            findings.wrong(what, format!("{key}: {value} decided on {times} times"));
        }
    }
}

/// One of them.
pub struct Optimist {
    client: RawClient,
    book: Arc<Optimists>,
}

impl Optimist {
    /// Every other one speaks RESP3.
    pub fn new(addr: SocketAddr, book: &Arc<Optimists>, number: usize) -> Self {
        let mut client = RawClient::connect(addr);
        if number % 2 == 1 {
            client.command(&["HELLO", "3"]);
        }
        Self {
            client,
            book: book.clone(),
        }
    }
}

impl Actor for Optimist {
    const KIND: &'static str = "watched transactions";

    fn act(&mut self, diary: &mut Diary) -> Done {
        let book = self.book.clone();
        let sent = Instant::now();
        // WATCH may find nobody to ask: nothing has begun then.
        match diary.ask(&mut self.client, &encode(&["WATCH", &book.key])) {
            Ok(Reply::Ok) => {}
            Ok(other) => return diary.strange("WATCH", &other),
            Err(_) => return Done::No,
        }
        let read = Reply::parse(&self.client.command(&["GET", &book.key]));
        let Some(before) = number(&read) else {
            if let Reply::Error(text) = &read {
                self.client.expect("UNWATCH", b"+OK\r\n");
                diary.error(text, sent, &mut self.client);
                return Done::No;
            }
            return diary.strange("GET", &read);
        };
        let next = before + 1;
        self.client.expect("MULTI", b"+OK\r\n");
        let set = format!("SET {} {next}", book.key);
        self.client.expect(&set, b"+QUEUED\r\n");
        let reply = diary.ask(&mut self.client, &encode(&["EXEC"]));
        let told = || book.told.lock().expect("nobody panics with it");
        match reply {
            Ok(Reply::Array(done)) if done == [Reply::Ok] => {
                let mut told = told();
                told.acknowledged += 1;
                *told.values.entry(next).or_default() += 1;
                Done::Yes
            }
            Ok(Reply::Nil) => {
                diary.nils += 1;
                diary.no_block_is_left(&mut self.client);
                Done::No
            }
            Ok(other) => diary.strange("EXEC", &other),
            Err(Outcome::Unknown) => {
                told().unknown += 1;
                Done::No
            }
            Err(_) => Done::No,
        }
    }
}

fn number(reply: &Reply) -> Option<i64> {
    match reply {
        Reply::Nil => Some(0),
        Reply::Text(text) => text.parse().ok(),
        _ => None,
    }
}
