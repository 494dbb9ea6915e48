//! The account of what was found: rows by client name, command and kind, bounded whatever clients send. Shared by all
//! workers; its lock is taken only where something is found, and by whoever asks for a report.

use super::judge::{Finding, Found, Judge, KEY_BYTES_SHOWN, Rules, big_value};
use super::kinds::{Kind, Severity};
use crate::command::Command;
use crate::resp::Request;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// So many rows are kept; what would need another one is counted under "(others)".
pub const ROWS_MAX: usize = 1000;

/// So many examples are kept of a row.
pub const EXAMPLES_MAX: usize = 3;

/// So much of a client's name is shown.
pub const NAME_CHARS_SHOWN: usize = 64;

/// A client that has not said its name (CLIENT SETNAME).
const UNNAMED: &str = "(no name)";

/// A command that no server knows.
const UNKNOWN: &str = "(unknown)";

/// Whom rows belong to for which there was no room.
const OTHERS: &str = "(others)";

/// What is audited, and what was found.
#[derive(Debug)]
pub struct Audit {
    rules: Rules,
    started: Duration,
    commands: AtomicU64,
    not_judged: AtomicU64,
    account: Mutex<Account>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    rows: HashMap<Who, Seen>,
    /// Requests by the worst that was found in them.
    requests: [u64; 3],
}

/// A row belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Who {
    pub(super) kind: Kind,
    pub(super) client: Box<str>,
    pub(super) command: Box<str>,
}

/// A row: how often, when first and last (since 1970), and examples, printable.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) count: u64,
    pub(super) first: Duration,
    pub(super) last: Duration,
    pub(super) examples: Vec<Box<str>>,
}

/// What a report is made of.
pub(super) struct Told {
    pub(super) started: Duration,
    pub(super) commands: u64,
    /// Requests, or what is none, that could not be judged.
    pub(super) not_judged: u64,
    /// Requests by the worst that was found in them.
    pub(super) requests: [u64; 3],
    /// The rows, by kind, those with most requests first.
    pub(super) rows: Vec<(Who, Seen)>,
}

impl Audit {
    /// Nothing was seen yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            started: now(),
            commands: AtomicU64::new(0),
            not_judged: AtomicU64::new(0),
            account: Mutex::default(),
        }
    }

    /// A client's request is carried out; `None`: its command is not known.
    pub fn look(
        &self,
        judge: &mut Judge,
        client: Option<&str>,
        command: Option<&Command>,
        request: &Request<'_>,
    ) {
        self.commands.fetch_add(1, Ordering::Relaxed);
        let found = judge.look(command, request, &self.rules);
        if !found.is_empty() {
            let command = command.map_or(UNKNOWN, |command| &command.name);
            self.enter(client, command, found);
        }
    }

    /// Whether a value of so many bytes is a large one (`observe.big_value`).
    pub fn is_big(&self, bytes: usize) -> bool {
        bytes >= self.rules.big_value
    }

    /// A large value was seen, of this command and key.
    pub fn big_value(&self, client: Option<&str>, command: &str, key: Option<&[u8]>) {
        self.enter(client, command, big_value(key));
    }

    /// What a client sent could not be judged: too long, or not RESP.
    pub fn not_judged(&self) {
        self.not_judged.fetch_add(1, Ordering::Relaxed);
    }

    #[cold]
    fn enter(&self, client: Option<&str>, command: &str, found: Found) {
        let name = match client {
            Some(name) => name.chars().take(NAME_CHARS_SHOWN).collect(),
            None => UNNAMED.into(),
        };
        let command: Box<str> = command.replace('|', " ").into();
        let now = now();
        let account = &mut *self.account();
        let worst = found.iter().map(|f| f.kind.row().severity).min();
        if let Some(worst) = worst {
            account.requests[worst as usize] += 1;
        }
        for finding in found {
            let who = Who {
                kind: finding.kind,
                client: Box::clone(&name),
                command: Box::clone(&command),
            };
            account.add(who, &finding, now);
        }
    }

    pub(super) fn told(&self) -> Told {
        let account = self.account().clone();
        let mut rows: Vec<_> = account.rows.into_iter().collect();
        let place = |kind: Kind| super::KINDS.iter().position(|row| row.kind == kind);
        rows.sort_by(|(a, x), (b, y)| {
            let key = |who: &Who, seen: &Seen| (place(who.kind), std::cmp::Reverse(seen.count));
            key(a, x).cmp(&key(b, y)).then_with(|| a.cmp(b))
        });
        Told {
            started: self.started,
            commands: self.commands.load(Ordering::Relaxed),
            not_judged: self.not_judged.load(Ordering::Relaxed),
            requests: account.requests,
            rows,
        }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// Requests in which nothing was worse.
    pub(super) fn of(&self, severity: Severity) -> u64 {
        self.requests[severity as usize]
    }

    /// Requests that would be served as by one server.
    pub(super) fn unchanged(&self) -> u64 {
        let found = self.of(Severity::Fails) + self.of(Severity::Changes);
        self.commands.saturating_sub(found)
    }
}

impl Account {
    fn add(&mut self, who: Who, finding: &Finding, now: Duration) {
        let who = match self.rows.len() < ROWS_MAX || self.rows.contains_key(&who) {
            true => who,
            // One more row for each kind at most.
            false => Who {
                client: OTHERS.into(),
                command: OTHERS.into(),
                ..who
            },
        };
        let seen = self.rows.entry(who).or_insert_with(|| Seen {
            count: 0,
            first: now,
            last: now,
            examples: Vec::new(),
        });
        (seen.count, seen.last) = (seen.count + 1, now);
        if seen.examples.len() < EXAMPLES_MAX
            && let Some(example) = example(finding)
            && !seen.examples.contains(&example)
        {
            seen.examples.push(example);
        }
    }
}

/// The keys, or the reason.
fn example(finding: &Finding) -> Option<Box<str>> {
    if let Some(why) = &finding.why {
        // Whose error it is goes without saying.
        let why = why.split_once(": ").map_or(&why[..], |(_, why)| why);
        return Some(why.into());
    }
    let keys: Vec<String> = finding.keys.iter().map(|key| shown(key)).collect();
    (!keys.is_empty()).then(|| keys.join(" and ").into())
}

/// Printable, and cut.
fn shown(key: &[u8]) -> String {
    let start = &key[..key.len().min(KEY_BYTES_SHOWN)];
    let more = if start.len() < key.len() { "…" } else { "" };
    format!("{}{more}", start.escape_ascii())
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandTable;
    use crate::config::{CrossSlotTransactions, KeylessScripts};
    use crate::resp::{encode, parse_request};

    fn audit() -> Audit {
        Audit::new(Rules {
            split_writes: true,
            keyless_scripts: KeylessScripts::Any,
            cross_slot_transactions: CrossSlotTransactions::Refuse,
            big_value: usize::MAX,
        })
    }

    fn say(audit: &Audit, client: Option<&str>, words: &[&[u8]]) {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        let table = CommandTable::builtin();
        let command = table.lookup(&request).ok();
        audit.look(&mut Judge::default(), client, command, &request);
    }

    #[test]
    fn rows_count_and_requests_count_once() {
        let audit = audit();
        say(&audit, Some("web"), &[b"SINTER", b"a", b"b"]);
        say(&audit, Some("web"), &[b"SINTER", b"a", b"b"]);
        say(&audit, Some("web"), &[b"SINTER", b"a", b"\xff"]);
        say(&audit, None, &[b"MGET", b"a", b"b"]);
        say(&audit, None, &[b"KEYS", b"*"]);
        say(&audit, None, &[b"GET", b"a"]);
        let told = audit.told();
        assert_eq!(
            (told.commands, told.requests, told.unchanged()),
            (6, [3, 1, 1], 2)
        );
        let (who, seen) = &told.rows[0];
        assert_eq!(
            (&*who.client, &*who.command, seen.count),
            ("web", "sinter", 3)
        );
        assert_eq!(seen.examples.join(", "), "a and b, a and \\xff");
        assert_eq!(&*told.rows[1].0.client, UNNAMED);
    }

    #[test]
    fn a_hostile_client_gets_no_more_than_its_share() {
        let audit = audit();
        let long = vec![b'x'; 1 << 20];
        for n in 0..2 * ROWS_MAX {
            let name = format!("{n}{}", "n".repeat(200));
            say(&audit, Some(&name), &[b"SINTER", &long, b"b"]);
            say(&audit, Some(&name), &[name.as_bytes()]);
        }
        let told = audit.told();
        assert!(told.rows.len() <= ROWS_MAX + super::super::KINDS.len());
        assert_eq!(
            told.rows.iter().map(|(_, seen)| seen.count).sum::<u64>(),
            4 * ROWS_MAX as u64
        );
        for (who, seen) in &told.rows {
            assert!(who.client.chars().count() <= NAME_CHARS_SHOWN);
            assert!(
                seen.examples
                    .iter()
                    .all(|e| e.len() < 5 * 2 * KEY_BYTES_SHOWN)
            );
        }
        let others = told.rows.iter().filter(|(who, _)| &*who.client == OTHERS);
        assert_eq!(others.count(), 2);
    }
}
