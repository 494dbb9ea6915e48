//! What the checkers found: what must never be, which errors clients saw, and figures for the record.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How many examples of each kind are shown.
const EXAMPLES_MAX: usize = 5;

/// What must not be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Wrong {
    /// A reply that belongs to another request or client, or is of the wrong shape.
    Crossed,
    /// A command executed twice, or although its client was told that it did not.
    Twice,
    /// A value older than the last acknowledged one: a write lost, or executed in another order than sent.
    Stale,
    /// MOVED or ASK, or TRYAGAIN for a single key: the cluster shows through.
    Leaked,
}

/// How many keys a command names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Keys {
    /// One.
    One,
    /// One, in a script: its errors may be the script's own words, so less is done about them.
    Script,
    /// More than one.
    Several,
}

/// What became of a command, as its client knows it.
#[derive(Debug)]
pub enum Outcome {
    /// It executed.
    Done(super::reply::Reply),
    /// It did not.
    Refused,
    /// It may have.
    Unknown,
}

/// See the module. Each checker has its own; they are added up.
#[derive(Debug, Default)]
pub struct Findings {
    /// Replies heard.
    pub replies: u64,
    /// The slowest of them.
    pub slowest: Duration,
    /// TRYAGAIN for several keys before `timeouts.command` was over: passed on to keep the order.
    pub passed_on: u64,
    /// Commands that may have executed or not.
    pub unknown: u64,
    wrong: BTreeMap<Wrong, (u64, Vec<String>)>,
    errors: BTreeMap<(Keys, String), u64>,
}

impl Findings {
    /// Notes something that must not be.
    pub fn wrong(&mut self, what: Wrong, example: String) {
        let (count, examples) = self.wrong.entry(what).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(example);
        }
    }

    /// Notes an error that a client saw, and says what became of its command.
    pub fn error(
        &mut self,
        keys: Keys,
        text: &str,
        after: Duration,
        patience: Duration,
    ) -> Outcome {
        let kind = kind(text);
        *self.errors.entry((keys, kind.clone())).or_default() += 1;
        match (kind.as_str(), keys) {
            ("MOVED" | "ASK", _) | ("TRYAGAIN", Keys::One | Keys::Script) => {
                self.wrong(Wrong::Leaked, text.to_owned());
            }
            ("TRYAGAIN", Keys::Several) if after < patience => self.passed_on += 1,
            _ => {}
        }
        if text.contains("outcome unknown") {
            self.unknown += 1;
            Outcome::Unknown
        } else {
            Outcome::Refused
        }
    }

    /// Adds another checker's.
    pub fn add(&mut self, other: Self) {
        self.replies += other.replies;
        self.slowest = self.slowest.max(other.slowest);
        self.passed_on += other.passed_on;
        self.unknown += other.unknown;
        for (what, (count, examples)) in other.wrong {
            let mine = self.wrong.entry(what).or_default();
            mine.0 += count;
            mine.1.extend(examples);
            mine.1.truncate(EXAMPLES_MAX);
        }
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
    }

    /// How often this was found.
    pub fn count(&self, what: Wrong) -> u64 {
        self.wrong.get(&what).map_or(0, |(count, _)| *count)
    }

    /// Errors that commands with so many keys got.
    pub fn errors(&self, keys: &[Keys]) -> u64 {
        let of = self.errors.iter().filter(|((k, _), _)| keys.contains(k));
        of.map(|(_, count)| count).sum()
    }

    /// Errors that clients saw, by kind.
    pub fn errors_by_kind(&self) -> String {
        let shown = self.errors.iter().map(|((keys, kind), count)| {
            let keys = match keys {
                Keys::One => "one key",
                Keys::Script => "script",
                Keys::Several => "several keys",
            };
            format!("{count} × {kind} ({keys})")
        });
        let shown: Vec<String> = shown.collect();
        match shown.is_empty() {
            true => "none".to_owned(),
            false => shown.join(", "),
        }
    }

    /// Fails if any of these was found.
    #[track_caller]
    pub fn assert_none(&self, what: &[Wrong]) {
        for kind in what {
            assert_eq!(self.count(*kind), 0, "{kind:?}:\n{self}");
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slowest = self.slowest.as_millis();
        let errors = self.errors_by_kind();
        let replies = self.replies;
        write!(
            f,
            "{replies} replies, slowest {slowest} ms; errors: {errors}"
        )?;
        for (what, (count, examples)) in &self.wrong {
            write!(f, "\n  {what:?}: {count}")?;
            for example in examples {
                write!(f, "\n    {example}")?;
            }
        }
        Ok(())
    }
}

/// The errors of slotway itself by what they say, all others by their first word.
fn kind(text: &str) -> String {
    const OWN: &[&str] = &[
        "connection",
        "no reply in time",
        "not sent",
        "is unreachable",
        "no primary serves",
        "too many requests",
    ];
    let first = text.split(' ').next().unwrap_or_default();
    if !text.contains("slotway:") {
        return first.to_owned();
    }
    let own = OWN.iter().find(|own| text.contains(**own));
    format!("{first} slotway: {}", own.unwrap_or(&text))
}
