//! Puts the replies of a command's parts together: those of a split command, and those of a command that
//! went to several nodes. Pure: the session sends the parts, hands each final reply to [`Gathering::put`]
//! (redirections and retries are over by then) and takes the one reply from [`Gathering::finish`].
//!
//! Replies stay bytes: elements are moved, never decoded and encoded again. What cannot be merged with
//! certainty is an error, never a guess.

mod choice;
mod config_get;
mod elements;
mod info;
mod info_fields;
mod numbers;
mod running;

use super::split::SplitPlan;
use crate::command::{Merge, Split};
use crate::resp::{self, Request, encode};
use choice::{first_success, random_key};
use elements::{Duplicates, concat, newest, splice};
use numbers::{each, existing, fold, ok, sum_per_name};
use std::ops::Range;

/// The replies of one command's parts, until all are there.
#[derive(Debug)]
pub struct Gathering {
    rule: Rule,
    /// The replies, one after the other as they came.
    bytes: Vec<u8>,
    /// Where each part's reply is in `bytes`; empty while it is missing, as no reply is.
    replies: Vec<Range<usize>>,
    missing: usize,
}

/// What some merged replies contain besides what the nodes said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Clients that are connected to the proxy.
    pub clients: usize,
    /// How many may be (`limits.clients`).
    pub clients_max: usize,
    /// The port the client reached us on; 0 for a Unix socket.
    pub port: u16,
    /// A random number, for RANDOMKEY.
    pub random: u64,
}

impl Gathering {
    /// For the parts of a split command. The plan is kept: its parts may have to be sent again.
    pub fn of_split(plan: SplitPlan) -> Self {
        let parts = plan.len();
        Self::new(Rule::Split(plan), parts)
    }

    /// For a command that goes to `targets` nodes; with RANDOMKEY that are two questions, so twice as many
    /// parts, those of a node next to each other (see [`questions`]). `limit` is the most elements that
    /// the client asked for, where the command has such an argument (see [`limit`]).
    pub fn of_fan_out(merge: Merge, targets: usize, limit: usize) -> Self {
        let parts = targets * questions(merge);
        Self::new(Rule::FanOut { merge, limit }, parts)
    }

    /// For parts whose replies somebody else puts together: an array of them, errors included.
    pub fn of_parts(parts: usize) -> Self {
        Self::new(Rule::Keep, parts)
    }

    /// For SCRIPT EXISTS: `known` are the scripts that slotway itself can give every node.
    pub fn of_script_exists(targets: usize, known: Vec<bool>) -> Self {
        Self::new(Rule::ScriptExists { known }, targets)
    }

    fn new(rule: Rule, parts: usize) -> Self {
        Self {
            rule,
            bytes: Vec::new(),
            replies: vec![0..0; parts],
            missing: parts,
        }
    }

    /// How the command was split, if it was.
    pub fn plan(&self) -> Option<&SplitPlan> {
        match &self.rule {
            Rule::Split(plan) => Some(plan),
            Rule::FanOut { .. } | Rule::ScriptExists { .. } | Rule::Keep => None,
        }
    }

    /// Bytes of replies held so far: they count against the client's output limits.
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the final reply of a part; true when all are there. A part's first reply counts.
    pub fn put(&mut self, part: usize, reply: &[u8]) -> bool {
        debug_assert!(!reply.is_empty(), "a reply is never empty");
        let place = &mut self.replies[part];
        debug_assert!(Range::is_empty(place), "part {part} was already answered");
        if Range::is_empty(place) && !reply.is_empty() {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(reply);
            *place = start..self.bytes.len();
            self.missing -= 1;
        }
        self.missing == 0
    }

    /// A part that the merged reply can do without, and that will have no reply; true when all others are there.
    pub fn skip(&mut self, part: usize) -> bool {
        debug_assert!(
            Range::is_empty(&self.replies[part]),
            "part {part} was already answered"
        );
        self.missing -= 1;
        self.missing == 0
    }

    /// Where all must succeed and only some parts have: the first that has not, and how many have.
    pub fn partial(&self) -> Option<(usize, usize)> {
        let all_must = matches!(
            self.rule,
            Rule::FanOut {
                merge: Merge::AllOk,
                ..
            }
        );
        let failed = |reply: &Range<usize>| is_error(&self.bytes[reply.clone()]);
        let mut answered = self.replies.iter().filter(|r| !Range::is_empty(r));
        let done = answered.clone().filter(|reply| !failed(reply)).count();
        if !all_must || done == 0 {
            return None;
        }
        answered.find(|reply| failed(reply))?;
        let part = self.replies.iter().position(failed)?;
        Some((part, done))
    }

    /// Appends the command's one reply. Call it when [`put`](Self::put) has said that all are there.
    pub fn finish(mut self, facts: &Facts, out: &mut Vec<u8>) {
        debug_assert_eq!(self.missing, 0, "a part has not been answered");
        // Those that were skipped.
        self.replies.retain(|reply| !Range::is_empty(reply));
        let parts = Parts {
            bytes: &self.bytes,
            ranges: &self.replies,
        };
        let start = out.len();
        let merged = match &self.rule {
            Rule::FanOut {
                merge: Merge::First,
                ..
            } => first_success(&parts, out),
            Rule::Keep => {
                encode::array(out, parts.len());
                parts.iter().for_each(|reply| out.extend_from_slice(reply));
                Ok(())
            }
            _ if parts.error().is_some() => {
                out.extend_from_slice(parts.error().unwrap_or_default());
                Ok(())
            }
            Rule::Split(plan) => match plan.kind() {
                Split::Mget | Split::JsonMget => splice(plan, &parts, out),
                Split::Mset => ok(&parts, out),
                Split::Count => fold(&parts, out, i64::checked_add),
                Split::Msetex => fold(&parts, out, |a, b| Some(a.min(b))),
            },
            Rule::ScriptExists { known } => existing(&parts, known, out),
            Rule::FanOut { merge, limit } => fan_in(*merge, *limit, &parts, facts, out),
        };
        if let Err(Unexpected(part)) = merged {
            out.truncate(start);
            let text = format!(
                "ERR slotway: the nodes' replies cannot be merged: reply {} of {} has an unexpected form; \
                 ask the nodes one by one",
                part + 1,
                self.replies.len()
            );
            encode::error(out, &text);
        }
    }
}

/// How many requests each target gets: RANDOMKEY is asked together with DBSIZE, in this order, so that the
/// choice among the shards can follow their sizes.
pub fn questions(merge: Merge) -> usize {
    match merge {
        Merge::RandomKey => 2,
        _ => 1,
    }
}

/// The most elements that the client asked for, where the command has such an argument: `SLOWLOG GET [count]`
/// and `COMMANDLOG GET count type`. A count that is no such number is the nodes' to refuse.
pub fn limit(merge: Merge, request: &Request<'_>) -> usize {
    match (merge, request.get(2)) {
        (Merge::Slowlog, None) => SLOWLOG_COUNT,
        (Merge::Slowlog, Some(count)) => resp::strict_integer(count)
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(usize::MAX),
        _ => usize::MAX,
    }
}

/// How many entries SLOWLOG GET answers when no count is given.
const SLOWLOG_COUNT: usize = 10;

#[derive(Debug)]
enum Rule {
    Split(SplitPlan),
    FanOut { merge: Merge, limit: usize },
    ScriptExists { known: Vec<bool> },
    Keep,
}

/// All replies, in the order of the parts.
struct Parts<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Parts<'a> {
    fn len(&self) -> usize {
        self.ranges.len()
    }

    fn get(&self, part: usize) -> &'a [u8] {
        &self.bytes[self.ranges[part].clone()]
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.ranges.iter().map(|range| &self.bytes[range.clone()])
    }

    /// The first part's error, by the order of the parts.
    fn error(&self) -> Option<&'a [u8]> {
        self.iter().find(|reply| is_error(reply))
    }

    /// Each part's elements; every part must be an aggregate.
    fn elements(&self) -> Result<Vec<Vec<&'a [u8]>>, Unexpected> {
        self.iter()
            .enumerate()
            .map(|(part, reply)| elements(reply).ok_or(Unexpected(part)))
            .collect()
    }
}

/// The reply of this part is not what the command answers.
struct Unexpected(usize);

fn is_error(reply: &[u8]) -> bool {
    matches!(resp::kind(reply), Some(b'-' | b'!'))
}

fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let ranges = resp::elements(reply)?;
    Some(ranges.into_iter().map(|range| &reply[range]).collect())
}

fn fan_in(
    merge: Merge,
    limit: usize,
    parts: &Parts<'_>,
    facts: &Facts,
    out: &mut Vec<u8>,
) -> Result<(), Unexpected> {
    match merge {
        Merge::Sum => fold(parts, out, i64::checked_add),
        Merge::Min => fold(parts, out, |a, b| Some(a.min(b))),
        Merge::Max => fold(parts, out, |a, b| Some(a.max(b))),
        Merge::And => each(parts, out, |a, b| i64::from(a != 0 && b != 0)),
        Merge::ScriptExists => existing(parts, &[], out),
        Merge::FunctionStats => running::stats(parts, out),
        Merge::Or => each(parts, out, |a, b| i64::from(a != 0 || b != 0)),
        Merge::Concat => concat(parts, out, Duplicates::Kept),
        Merge::Union => concat(parts, out, Duplicates::Dropped),
        Merge::NumSub => sum_per_name(parts, out),
        Merge::Slowlog => newest(parts, limit, out),
        Merge::RandomKey => random_key(parts, facts.random, out),
        Merge::Info => info::merge(parts.iter(), facts, out).map_err(Unexpected),
        Merge::ConfigGet => config_get::present(parts.get(0), facts, out).ok_or(Unexpected(0)),
        Merge::First => first_success(parts, out),
        // Errors have been seen to: every reply is a success.
        Merge::AllOk => {
            out.extend_from_slice(parts.get(0));
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
