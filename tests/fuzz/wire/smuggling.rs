//! What must come out of the proxy for the bytes that go in: each authorised command as often as the client has sent it,
//! and nothing else, whatever the bytes are and wherever they are cut.

use std::collections::{BTreeMap, BTreeSet};

use slotway::cluster::Slot;
use slotway::command::{CommandTable, Mode, Policy, Split};
use slotway::resp::{Request, encode, parse_request};
use slotway::route::{Plan, plan, split};

use super::reading::{Next, next};
use crate::support::node::Call;
use crate::support::show;

type Words = Vec<Vec<u8>>;

pub const PASSWORD: &str = "open sesame";

/// How often a command must come out, and how often it may.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Times {
    least: usize,
    most: usize,
}

/// One client, as far as what it is allowed is concerned.
pub struct Model<'a> {
    table: &'a CommandTable,
    password: bool,
    authenticated: bool,
    /// Queued behind MULTI: the commands, and whether each goes to one node.
    queued: Option<Vec<(Words, Option<Slot>)>>,
    /// Queued commands that were refused: nothing of the transaction is executed.
    aborted: bool,
    /// Watching, subscribed, monitoring, or of unknown standing: what comes then may be refused.
    unsure: bool,
    expected: BTreeMap<Words, Times>,
    /// Commands that the proxy makes others of: any number of these may come out.
    beside: Vec<String>,
    /// Names of commands that take a connection of their own: they may be sent when their client has gone.
    late: Vec<String>,
}

impl<'a> Model<'a> {
    pub fn new(table: &'a CommandTable, password: bool) -> Self {
        Self {
            table,
            password,
            authenticated: !password,
            queued: None,
            aborted: false,
            unsure: false,
            expected: BTreeMap::new(),
            beside: Vec::new(),
            late: Vec::new(),
        }
    }

    /// Takes all of a client's bytes; it closes behind them.
    pub fn client(&mut self, bytes: &[u8]) {
        let mut at = 0;
        loop {
            match next(&bytes[at..], self.authenticated) {
                Next::Nothing(taken) => at += taken,
                Next::Incomplete | Next::Broken => return,
                Next::Request(words, taken) => {
                    at += taken;
                    if !self.request(words) {
                        return;
                    }
                }
            }
        }
    }

    /// False when nothing that follows is read.
    fn request(&mut self, words: Words) -> bool {
        let name = words[0].to_ascii_uppercase();
        match name.as_slice() {
            b"QUIT" => return false,
            b"AUTH" | b"HELLO" => {
                self.authenticate(&words);
                return true;
            }
            b"RESET" if words.len() == 1 => {
                self.authenticated = !self.password;
                self.discard();
                return true;
            }
            _ if !self.authenticated => return true,
            // It may close, pause or silence itself.
            b"CLIENT" => self.unsure = true,
            _ => {}
        }
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).expect("encoded");
        let Ok(command) = self.table.lookup(&request) else {
            self.refused();
            return true;
        };
        let plan = plan(command, &request, true);
        if let Policy::Split(kind) = command.policy_for(&request)
            && let Plan::Split(_) = plan
        {
            return self.split(kind, &request);
        }
        self.planned(plan, words);
        true
    }

    fn planned(&mut self, plan: Plan, words: Words) {
        match plan {
            // An EXEC that is wrong in itself ends the transaction.
            Plan::Refuse(..) if words[0].eq_ignore_ascii_case(b"EXEC") => self.discard(),
            Plan::Refuse(..) => self.refused(),
            Plan::Local(_) => {}
            Plan::Mode(Mode::Multi) => {
                // Refused to who is subscribed: what follows may come out as it is.
                if self.queued.is_none() {
                    self.queued = (!self.unsure).then(Vec::new);
                    self.beside
                        .extend(["MULTI", "EXEC", "DISCARD"].map(str::to_owned));
                }
            }
            Plan::Mode(Mode::Discard) => self.discard(),
            Plan::Mode(Mode::Exec) => self.execute(),
            Plan::Slot(slot) if self.queued.is_some() => self.queue(words, Some(slot)),
            _ if self.queued.is_some() => self.queue(words, None),
            Plan::Slot(_) | Plan::AnyNode => self.expect(words, 1),
            // To all nodes, in the form that each needs.
            Plan::Gather(_) | Plan::Scan | Plan::Home | Plan::KeylessScript => {
                let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
                self.beside
                    .extend([name, "DBSIZE".to_owned(), "SCRIPT".to_owned()]);
            }
            Plan::Mode(_) | Plan::Split(_) => {
                self.unsure = true;
                let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
                // Over several slots a blocking command is one that does not block, again and again.
                self.late.extend(name.strip_prefix('B').map(str::to_owned));
                self.late.push(name);
                let others = ["MULTI", "EXEC", "DISCARD", "CLIENT", "SCRIPT"];
                self.late.extend(others.map(str::to_owned));
            }
        }
    }

    fn refused(&mut self) {
        self.aborted |= self.queued.is_some();
    }

    fn discard(&mut self) {
        self.queued = None;
        self.aborted = false;
    }

    fn queue(&mut self, words: Words, slot: Option<Slot>) {
        self.queued
            .as_mut()
            .expect("behind MULTI")
            .push((words, slot));
    }

    /// All of it once, or nothing: nothing if something was refused, if it is in several slots, or if slotway says so.
    fn execute(&mut self) {
        let queued = self.queued.take().unwrap_or_default();
        if std::mem::take(&mut self.aborted) {
            return;
        }
        let first = queued.first().and_then(|(_, slot)| *slot);
        let sure = first.is_some() && queued.iter().all(|(_, slot)| *slot == first);
        for (words, _) in queued {
            self.expect(words, usize::from(sure));
        }
    }

    fn split(&mut self, kind: Split, request: &Request<'_>) -> bool {
        let Ok(plan) = split(kind, request) else {
            self.refused();
            return true;
        };
        if self.queued.is_some() {
            self.aborted = true;
            return true;
        }
        for part in 0..plan.len() {
            let mut spans = Vec::new();
            let part = parse_request(plan.command(part), &mut spans).expect("canonical");
            self.expect(part.args().map(<[u8]>::to_vec).collect(), 1);
        }
        true
    }

    fn expect(&mut self, words: Words, least: usize) {
        let least = if self.unsure { 0 } else { least };
        let times = self.expected.entry(words).or_default();
        times.least += least;
        times.most += 1;
    }

    fn authenticate(&mut self, words: &[Vec<u8>]) {
        let said = |words: &[Vec<u8>]| words.last().is_some_and(|last| last == PASSWORD.as_bytes());
        match words {
            [name, _] if name.eq_ignore_ascii_case(b"AUTH") && said(words) => {
                self.authenticated = true
            }
            _ if self.password && words.iter().any(|word| word == PASSWORD.as_bytes()) => {
                // One of the many forms, right or wrong: taken for right, and nothing has to come out.
                self.authenticated = true;
                self.unsure = true;
            }
            _ => {}
        }
    }

    /// What may still come out when the client has gone.
    pub fn late(self) -> Vec<String> {
        self.late
    }

    /// Compares with what came out; `late` is what clients before this one have left.
    pub fn compare(&self, input: &[u8], calls: &[Call], late: &BTreeSet<String>, answer: &[u8]) {
        let mut came: BTreeMap<Words, usize> = BTreeMap::new();
        for call in calls.iter().filter(|call| !late.contains(&call.name())) {
            *came.entry(call.args.clone()).or_default() += 1;
        }
        for (words, times) in &self.expected {
            let count = came.remove(words).unwrap_or(0);
            let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
            let fits = (times.least..=times.most).contains(&count) || late.contains(&name);
            assert!(
                fits || self.is_beside(words),
                "{} came {count} times, expected {times:?}; sent: {}; answered: {}",
                tell(words),
                show(input),
                show(answer)
            );
        }
        for (words, count) in came {
            assert!(
                self.is_beside(&words),
                "{} came {count} times and was not to; sent: {}; answered: {}",
                tell(&words),
                show(input),
                show(answer)
            );
        }
    }

    fn is_beside(&self, words: &Words) -> bool {
        let name = words[0].to_ascii_uppercase();
        let mut beside = self.beside.iter().chain(&self.late);
        beside.any(|beside| beside.as_bytes() == name)
    }
}

fn tell(words: &[Vec<u8>]) -> String {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.escape_ascii().to_string())
        .collect();
    words.join(" ")
}
