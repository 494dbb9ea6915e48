//! One command of the table: its facts, and what slotway does with it.

use std::sync::Arc;

use super::classify::classify;
use super::facts::{Facts, Flags};
use super::key_spec::KeySpec;
use super::keys::{Rule, has_block, msetex_is_conditional};
use super::names::Names;
use super::policy::{Mode, Policy, Split};
use super::policy_rows;
use crate::resp::{Request, strict_integer};

/// How many different commands are told apart by metrics; later ones count as [`CommandId::OTHER`].
pub const COMMANDS_MAX: usize = 1024;

/// A small number for a command: an index into per-command counters. Stays the same in all tables that are overlaid
/// on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub(super) u16);

impl CommandId {
    /// Unknown commands, and those past [`COMMANDS_MAX`].
    pub const OTHER: Self = Self(0);

    /// Its number, below [`COMMANDS_MAX`].
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a reply says about hits and misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing.
    None,
    /// One value or nil.
    Value,
    /// An array of values and nils.
    Elements,
    /// How many of the keys exist.
    Count,
}

/// A command, or a subcommand.
#[derive(Clone, Debug)]
pub struct Command {
    /// Lowercase, `config|set` for subcommands.
    pub name: Arc<str>,
    /// Its number in metrics.
    pub metric: CommandId,
    /// Exact number of arguments, or the least one as a negative number; the name counts.
    pub arity: i32,
    /// What the server says about it.
    pub flags: Flags,
    /// What slotway does with it. Some requests are exceptions: ask [`Command::policy_for`].
    pub policy: Policy,
    /// What its replies say about hits and misses.
    pub lookup: Lookup,
    pub(super) specs: Box<[KeySpec]>,
    pub(super) rule: Rule,
    /// What it becomes when `policy.allow` names it.
    pub(super) allowed: Option<Policy>,
    pub(super) subcommands: Option<Box<Names>>,
    speed: Speed,
    first_key: Option<u32>,
    only_key: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speed {
    Normal,
    Slow,
}

impl Command {
    pub(super) fn new(facts: Facts, metric: CommandId) -> Self {
        let row = classify(&facts);
        let rule = Rule::of(&facts.name);
        let speed = match rule == Rule::Script || policy_rows::SLOW.contains(&&*facts.name) {
            true => Speed::Slow,
            false => Speed::Normal,
        };
        let first_key = facts.specs.first().and_then(KeySpec::first);
        let only_key = match &*facts.specs {
            [spec] if !rule.finds_keys() => spec.fixed(),
            _ => None,
        };
        Self {
            metric,
            arity: facts.arity,
            flags: facts.flags,
            policy: row.policy,
            allowed: row.allowed,
            lookup: lookup_of(&facts.name),
            rule,
            subcommands: None,
            speed,
            first_key: first_key.filter(|_| !rule.finds_keys()),
            only_key,
            name: facts.name.into(),
            specs: facts.specs.into(),
        }
    }

    /// Whether a request with `args` arguments, the name included, has the right number of them.
    #[inline]
    pub fn arity_ok(&self, args: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        let enough = if self.arity >= 0 {
            args == least
        } else {
            args >= least
        };
        enough && (self.rule != Rule::Pairs || args % 2 == 1)
    }

    /// Whether all that is wrong with the number of arguments is that the last key has no value (MSET): servers find that
    /// when they execute the command, so inside MULTI they queue it.
    pub fn lacks_a_value(&self, args: usize) -> bool {
        let least = self.arity.unsigned_abs() as usize;
        self.rule == Rule::Pairs && args >= least && args.is_multiple_of(2)
    }

    /// The servers' text for a wrong number of arguments.
    #[cold]
    pub fn arity_error(&self) -> String {
        let text = format!("wrong number of arguments for '{}' command", self.name);
        match &*self.name {
            "exec" => format!("EXECABORT Transaction discarded because of: {text}"),
            _ => format!("ERR {text}"),
        }
    }

    /// What slotway does with this request: [`Command::policy`], except where an argument decides.
    #[inline]
    pub fn policy_for(&self, request: &Request<'_>) -> Policy {
        match self.rule {
            Rule::Script | Rule::Stream | Rule::Msetex => self.policy_by_arguments(request),
            _ => self.policy,
        }
    }

    fn policy_by_arguments(&self, request: &Request<'_>) -> Policy {
        match (self.rule, self.policy) {
            (Rule::Stream, Policy::Route) if has_block(request) => Policy::Mode(Mode::Blocking),
            (Rule::Script, Policy::Route) if request.get(2).and_then(strict_integer) == Some(0) => {
                Policy::KeylessScript
            }
            (Rule::Msetex, Policy::Split(Split::Msetex)) if msetex_is_conditional(request) => {
                Policy::Route
            }
            (_, policy) => policy,
        }
    }

    /// The error for a request that is not served, by [`Policy::Refused`]: whose error it is,
    /// why, and what to do.
    #[cold]
    pub fn refusal(&self, why: &str) -> String {
        format!("ERR slotway: '{}' {why}", self.name.replace('|', " "))
    }

    /// Whether `policy.allow` can have it served, where it is refused.
    pub fn is_allowable(&self) -> bool {
        self.allowed.is_some()
    }

    /// Only reads: harmless to send again.
    #[inline]
    pub fn is_readonly(&self) -> bool {
        self.flags.contains(Flags::READONLY)
    }

    /// May change data: declared so, or a script that does not promise otherwise.
    #[inline]
    pub fn is_write(&self) -> bool {
        self.flags.contains(Flags::WRITE) || (self.is_script() && !self.is_readonly())
    }

    /// Takes time in proportion to data that the request does not show, or runs a script: the longer timeout.
    #[inline]
    pub fn is_slow(&self) -> bool {
        self.speed == Speed::Slow
    }

    /// Runs a client's script, which may return any error text: redirections need confirmation.
    #[inline]
    pub fn is_script(&self) -> bool {
        self.rule == Rule::Script
    }

    /// The place of the first key, where it does not depend on the request (GET: 1). There may be more keys.
    #[inline]
    pub fn first_key(&self) -> Option<usize> {
        self.first_key.map(|at| at as usize)
    }

    /// The place of the key of a command that never has another one: no need for [`Command::keys`] if a request has an
    /// argument there.
    #[inline]
    pub fn only_key(&self) -> Option<usize> {
        self.only_key.map(|at| at as usize)
    }

    /// Whether the server has it find keys by code, and does not say where they are.
    pub(super) fn keys_undescribed(&self) -> bool {
        self.specs.is_empty() && self.flags.contains(Flags::MOVABLE_KEYS)
    }

    /// Whether requests of it have keys at all.
    pub fn has_keys(&self) -> bool {
        !self.specs.is_empty() || self.rule.finds_keys() || self.flags.contains(Flags::MOVABLE_KEYS)
    }
}

fn lookup_of(name: &str) -> Lookup {
    match name {
        "get" | "getex" | "getdel" | "hget" => Lookup::Value,
        "mget" | "hmget" => Lookup::Elements,
        "exists" | "touch" => Lookup::Count,
        _ => Lookup::None,
    }
}
