//! What one client has seen: how often it got what it wanted, its longest wait for that, the errors it was told of, and
//! what must not be.

use crate::rig::findings::{Findings, Keys, Outcome, Wrong};
use crate::rig::load::PATIENCE;
use crate::rig::reply::Reply;
use crate::support::{RawClient, encode, show};
use std::time::{Duration, Instant};

/// Whether a client got what it wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// It did.
    Yes,
    /// Nothing came in time, somebody else was faster, or there was an error.
    No,
}

/// See the module.
pub struct Diary {
    /// What must not be.
    pub wrong: Findings,
    told: Findings,
    /// EXEC answered nil.
    pub nils: u64,
    done: u64,
    last: Instant,
    longest: Duration,
}

impl Default for Diary {
    fn default() -> Self {
        Self {
            wrong: Findings::default(),
            told: Findings::default(),
            nils: 0,
            done: 0,
            last: Instant::now(),
            longest: Duration::ZERO,
        }
    }
}

impl Diary {
    /// It got what it wanted.
    pub fn succeeded(&mut self) {
        self.done += 1;
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
    }

    /// A request and its reply, or what an error tells about it.
    pub fn ask(&mut self, client: &mut RawClient, request: &[u8]) -> Result<Reply, Outcome> {
        let sent = Instant::now();
        client.send(request);
        match Reply::parse(&client.reply()) {
            Reply::Error(text) => Err(self.error(&text, sent, client)),
            reply => Ok(reply),
        }
    }

    /// It was told of an error. What comes next is answered as if nothing had been.
    pub fn error(&mut self, text: &str, sent: Instant, client: &mut RawClient) -> Outcome {
        if ["MOVED ", "ASK ", "UNBLOCKED"]
            .iter()
            .any(|word| text.contains(word))
        {
            self.wrong.wrong(Wrong::Leaked, text.to_owned());
        }
        let outcome = self.told.error(Keys::One, text, sent.elapsed(), PATIENCE);
        self.no_block_is_left(client);
        outcome
    }

    /// Neither MULTI nor a watch nor a reply is left of what came to nothing.
    pub fn no_block_is_left(&mut self, client: &mut RawClient) {
        let nonce = format!("nonce {:?}", self.last);
        client.send(&encode(&["EXEC"]));
        client.send(&encode(&["ECHO", &nonce]));
        let replies = client.replies(2);
        let echoed = format!("${}\r\n{nonce}\r\n", nonce.len());
        if replies[0] != b"-ERR EXEC without MULTI\r\n" || replies[1] != echoed.as_bytes() {
            let text = format!("EXEC, ECHO: {}", show(&replies.concat()));
            self.wrong.wrong(Wrong::Crossed, text);
        }
    }

    /// A reply that no such command has.
    pub fn strange(&mut self, what: &str, reply: &Reply) -> Done {
        self.wrong
            .wrong(Wrong::Crossed, format!("{what}: {reply:?}"));
        Done::No
    }
}

/// The diaries of all clients of one kind.
#[derive(Default)]
pub struct Acts {
    /// Errors they were told of.
    pub told: Findings,
    /// EXEC answered nil.
    pub nils: u64,
    /// Times that one of them got what it wanted.
    pub done: u64,
    /// The longest wait of one of them.
    pub longest: Duration,
}

impl Acts {
    /// One more.
    pub fn add(&mut self, diary: Diary) {
        self.told.add(diary.told);
        self.nils += diary.nils;
        self.done += diary.done;
        self.longest = self.longest.max(diary.longest);
    }
}
