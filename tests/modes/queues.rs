//! Elements that are pushed by some and popped by others, who block: what was pushed and acknowledged is popped exactly
//! once, but for pops whose outcome the client could not be told.

use super::cast::{Actor, Book, Tag};
use super::diary::{Diary, Done};
use crate::rig::findings::{Findings, Outcome, Wrong};
use crate::rig::load::Durability;
use crate::rig::reply::Reply;
use crate::support::{RawClient, encode};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Lists that are waited for together, and what is known of their elements.
pub struct Queue {
    lists: Vec<String>,
    /// Where BLMOVE moves them.
    moved: String,
    durability: Durability,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    pushed: HashMap<String, Pushed>,
    popped: HashMap<String, u32>,
    /// Those that BLMOVE gave.
    moved: HashSet<String>,
    /// Pops whose outcome nobody knows.
    unknown: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pushed {
    Acknowledged,
    Refused,
    Unknown,
}

impl Queue {
    /// Two lists in the slot of that tag.
    pub fn on((tag, durability): &Tag) -> Self {
        let lists = ["one", "two"].map(|name| format!("{tag}:queue:{name}"));
        Self::new(lists.to_vec(), *durability)
    }

    /// One list per tag: pops sweep over all of them.
    pub fn over(tags: &[Tag]) -> Self {
        let lists = tags.iter().map(|(tag, _)| format!("{tag}:swept"));
        let may_lose = tags.iter().any(|(_, d)| *d == Durability::MayLose);
        let durability = match may_lose {
            true => Durability::MayLose,
            false => Durability::Kept,
        };
        Self::new(lists.collect(), durability)
    }

    fn new(lists: Vec<String>, durability: Durability) -> Self {
        Self {
            moved: format!("{}:moved", lists[0]),
            lists,
            durability,
            ledger: Mutex::default(),
        }
    }

    fn pushed(&self, element: &str, what: Pushed) {
        let mut ledger = self.ledger.lock().expect("nobody panics with it");
        ledger.pushed.insert(element.to_owned(), what);
    }

    /// What is left in the lists, and what BLMOVE has moved for clients that were not told.
    fn drain(&self, ledger: &mut Ledger, client: &mut RawClient) {
        for list in &self.lists {
            while let Reply::Text(element) = Reply::parse(&client.command(&["LPOP", list])) {
                *ledger.popped.entry(element).or_default() += 1;
            }
        }
        let all = Reply::parse(&client.command(&["LRANGE", &self.moved, "0", "-1"]));
        let Reply::Array(all) = all else {
            panic!("{}: {all:?}", self.moved);
        };
        for element in all {
            let Reply::Text(element) = element else {
                panic!("{}: {element:?}", self.moved);
            };
            // Told of once; a second time it is there twice.
            if !ledger.moved.remove(&element) {
                *ledger.popped.entry(element).or_default() += 1;
            }
        }
    }
}

impl Book for Queue {
    fn durability(&self) -> Durability {
        self.durability
    }

    fn close(&self, client: &mut RawClient, findings: &mut Findings) {
        let ledger = &mut *self.ledger.lock().expect("nobody panics with it");
        self.drain(ledger, client);
        // A pop that the cluster has lost happens again.
        let most = match self.durability {
            Durability::Kept => 1,
            Durability::MayLose => 2,
        };
        for (element, times) in &ledger.popped {
            match ledger.pushed.get(element) {
                None => findings.wrong(Wrong::Crossed, format!("{element} from nowhere")),
                Some(Pushed::Refused) => {
                    let text = format!("{element}: pushed, though refused");
                    findings.wrong(Wrong::Twice, text);
                }
                Some(_) if *times > most => {
                    findings.wrong(Wrong::Twice, format!("{element} popped {times} times"));
                }
                Some(_) if *times > 1 => {
                    findings.wrong(Wrong::Stale, format!("{element} popped again"));
                }
                Some(_) => {}
            }
        }
        let pushed = ledger.pushed.iter();
        let missing: Vec<_> = pushed
            .filter(|(e, what)| **what == Pushed::Acknowledged && !ledger.popped.contains_key(*e))
            .collect();
        if missing.len() > ledger.unknown {
            let (name, unknown) = (&self.lists[0], ledger.unknown);
            let text = format!("{name}: {} missing, {unknown} unknown pops", missing.len());
            findings.wrong(Wrong::Stale, text);
        }
    }
}

/// Pushes one element after the other.
pub struct Pusher {
    client: RawClient,
    queue: Arc<Queue>,
    turn: usize,
}

impl Pusher {
    pub fn new(addr: SocketAddr, queue: &Arc<Queue>) -> Self {
        Self {
            client: RawClient::connect(addr),
            queue: queue.clone(),
            turn: 0,
        }
    }
}

impl Actor for Pusher {
    const KIND: &'static str = "pushes";

    fn act(&mut self, diary: &mut Diary) -> Done {
        let queue = self.queue.clone();
        let list = &queue.lists[self.turn % queue.lists.len()];
        self.turn += 1;
        let element = format!("{list}/{}", self.turn);
        // It may be popped before its push is acknowledged.
        queue.pushed(&element, Pushed::Unknown);
        match diary.ask(&mut self.client, &encode(&["RPUSH", list, &element])) {
            Ok(Reply::Int(_)) => {
                queue.pushed(&element, Pushed::Acknowledged);
                Done::Yes
            }
            Ok(other) => diary.strange("RPUSH", &other),
            Err(Outcome::Refused) => {
                queue.pushed(&element, Pushed::Refused);
                Done::No
            }
            Err(_) => Done::No,
        }
    }
}

/// Pops what comes.
pub struct Popper {
    client: RawClient,
    queue: Arc<Queue>,
    way: &'static str,
    request: Vec<u8>,
}

impl Popper {
    /// By that command; `patience` in seconds.
    pub fn new(addr: SocketAddr, queue: &Arc<Queue>, way: &'static str, patience: &str) -> Self {
        let lists = queue.lists.iter().map(String::as_str);
        let count = queue.lists.len().to_string();
        let words: Vec<&str> = match way {
            "BLMPOP" => [way, patience, &count]
                .into_iter()
                .chain(lists)
                .chain(["LEFT"])
                .collect(),
            "BLMOVE" => vec![
                way,
                &queue.lists[0],
                &queue.moved,
                "LEFT",
                "RIGHT",
                patience,
            ],
            _ => [way].into_iter().chain(lists).chain([patience]).collect(),
        };
        Self {
            client: RawClient::connect(addr),
            request: encode(&words),
            queue: queue.clone(),
            way,
        }
    }

    fn popped(&self, element: &str) {
        let mut ledger = self.queue.ledger.lock().expect("nobody panics with it");
        *ledger.popped.entry(element.to_owned()).or_default() += 1;
        if self.way == "BLMOVE" {
            ledger.moved.insert(element.to_owned());
        }
    }
}

impl Actor for Popper {
    const KIND: &'static str = "pops";

    fn act(&mut self, diary: &mut Diary) -> Done {
        match diary.ask(&mut self.client, &self.request) {
            Ok(Reply::Nil) => Done::No,
            Ok(reply) => match element(&reply) {
                Some(element) => {
                    self.popped(element);
                    Done::Yes
                }
                None => diary.strange(self.way, &reply),
            },
            Err(Outcome::Unknown) => {
                let mut ledger = self.queue.ledger.lock().expect("nobody panics with it");
                ledger.unknown += 1;
                Done::No
            }
            Err(_) => Done::No,
        }
    }
}

/// The element, if it says that it comes from the list that the reply names.
fn element(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::Text(element) => Some(element),
        Reply::Array(parts) => match &parts[..] {
            [Reply::Text(list), Reply::Text(element)] => {
                element.starts_with(&format!("{list}/")).then_some(element)
            }
            [Reply::Text(list), Reply::Array(elements)] => match &elements[..] {
                [Reply::Text(element)] => {
                    element.starts_with(&format!("{list}/")).then_some(element)
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}
