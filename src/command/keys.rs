//! Where a request's keys are: the servers' key specifications, and our own rules where those are incomplete.

use smallvec::SmallVec;

use super::entry::Command;
use crate::resp::{Request, strict_integer};

/// Places of keys among a request's arguments.
pub type Keys = SmallVec<[u32; 8]>;

/// Why a request's keys cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The request is malformed (a number of keys that is no number, too few arguments). Any node may get it: it
    /// finds no keys either, and its own error is the answer.
    #[error("invalid arguments")]
    Malformed,
    /// The server does not describe where this command's keys are.
    #[error("the server does not say where the keys of this command are")]
    Undescribed,
}

/// A rule of ours for commands whose key specifications do not say everything about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The key specifications are complete.
    None,
    /// SORT, SORT_RO: the key, and the destination behind STORE.
    Sort,
    /// MIGRATE: one key, or those behind KEYS.
    Migrate,
    /// XREAD, XREADGROUP: specifications are complete; BLOCK makes it blocking.
    Stream,
    /// EVAL …, FCALL …: specifications are complete; without keys it has no slot.
    Script,
    /// MSETEX: specifications are complete; NX and XX are conditions over all keys.
    Msetex,
    /// MSET, MSETNX: specifications are complete; the values must be complete as well.
    Pairs,
    /// JSON.MGET: all but the path at the end.
    AllButLast,
    /// CMS.MERGE, TDIGEST.MERGE: the destination, and as many sources as the number behind it says. RedisBloom declares
    /// the destination only, and a node would look for the sources among its own keys, whatever their slots.
    Merge,
}

impl Rule {
    /// The rule for the command with this name.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "sort" | "sort_ro" => Self::Sort,
            "migrate" => Self::Migrate,
            "xread" | "xreadgroup" => Self::Stream,
            "eval" | "eval_ro" | "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro" => Self::Script,
            "msetex" => Self::Msetex,
            "mset" | "msetnx" => Self::Pairs,
            "json.mget" => Self::AllButLast,
            "cms.merge" | "tdigest.merge" => Self::Merge,
            _ => Self::None,
        }
    }

    /// Whether it finds the keys itself, instead of the key specifications.
    pub(super) fn finds_keys(self) -> bool {
        matches!(
            self,
            Self::Sort | Self::Migrate | Self::AllButLast | Self::Merge
        )
    }
}

impl Command {
    /// Appends the places of all keys of `request`, in no particular order but the first key first. Nothing found
    /// and no error: this request has no keys.
    pub fn keys(&self, request: &Request<'_>, out: &mut Keys) -> Result<(), KeyError> {
        let start = out.len();
        let found = if self.rule.finds_keys() {
            self.keys_by_rule(request, out)
        } else {
            self.keys_by_specs(request, out)
        };
        if found.is_err() {
            out.truncate(start);
        }
        found
    }

    fn keys_by_specs(&self, request: &Request<'_>, out: &mut Keys) -> Result<(), KeyError> {
        let start = out.len();
        let mut undescribed = self.keys_undescribed();
        for spec in &self.specs {
            match spec.apply(request, out) {
                // The node knows the rest; it refuses keys in other slots than those that are found.
                Err(KeyError::Undescribed) => undescribed = true,
                other => other?,
            }
        }
        if undescribed && out.len() == start {
            return Err(KeyError::Undescribed);
        }
        Ok(())
    }

    fn keys_by_rule(&self, request: &Request<'_>, out: &mut Keys) -> Result<(), KeyError> {
        match self.rule {
            Rule::Sort => push(request, out, 1).map(|()| out.extend(sort_store(request))),
            Rule::Migrate => migrate(request, out),
            // Without a path: its node, which sees a key there, has an error for it.
            Rule::AllButLast if request.len() < 3 => push(request, out, 1),
            Rule::AllButLast => {
                out.extend(1..request.len() as u32 - 1);
                Ok(())
            }
            Rule::Merge => push(request, out, 1).map(|()| out.extend(merge_sources(request))),
            Rule::None | Rule::Stream | Rule::Script | Rule::Msetex | Rule::Pairs => Ok(()),
        }
    }
}

fn push(request: &Request<'_>, out: &mut Keys, at: usize) -> Result<(), KeyError> {
    request.get(at).ok_or(KeyError::Malformed)?;
    out.push(at as u32);
    Ok(())
}

/// The destination of SORT: behind the last STORE that is not another option's value.
fn sort_store(request: &Request<'_>) -> Option<u32> {
    let mut store = None;
    let mut at = 2;
    while at < request.len() {
        let word = request.arg(at);
        let values = if word.eq_ignore_ascii_case(b"LIMIT") {
            2
        } else if word.eq_ignore_ascii_case(b"GET") || word.eq_ignore_ascii_case(b"BY") {
            1
        } else if word.eq_ignore_ascii_case(b"STORE") && at + 1 < request.len() {
            store = Some(at as u32 + 1);
            1
        } else {
            0
        };
        at += 1 + values;
    }
    store
}

/// The sources of `CMS.MERGE destination number source … [WEIGHTS …]`; none if there are not so many: the node refuses.
fn merge_sources(request: &Request<'_>) -> std::ops::Range<u32> {
    let sources = request.len().saturating_sub(3) as i64;
    let number = request.get(2).and_then(strict_integer);
    let number = number.filter(|n| (1..=sources).contains(n)).unwrap_or(0);
    3..3 + number as u32
}

/// `MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH password] [AUTH2 user password] [KEYS key …]`
fn migrate(request: &Request<'_>, out: &mut Keys) -> Result<(), KeyError> {
    let mut at = 6;
    while at < request.len() {
        let word = request.arg(at);
        if word.eq_ignore_ascii_case(b"KEYS") && request.get(3).is_some_and(<[u8]>::is_empty) {
            out.extend(at as u32 + 1..request.len() as u32);
            return Ok(());
        }
        at += if word.eq_ignore_ascii_case(b"AUTH2") {
            3
        } else if word.eq_ignore_ascii_case(b"AUTH") {
            2
        } else {
            1
        };
    }
    push(request, out, 3)
}

/// Whether an XREAD or XREADGROUP has the BLOCK option, in front of STREAMS and not as another option's value.
pub(super) fn has_block(request: &Request<'_>) -> bool {
    let mut at = 1;
    while at < request.len() {
        let word = request.arg(at);
        let is = |option: &[u8]| word.eq_ignore_ascii_case(option);
        if is(b"BLOCK") || is(b"STREAMS") {
            return is(b"BLOCK");
        }
        at += if is(b"GROUP") {
            3
        } else if is(b"COUNT") {
            2
        } else {
            1
        };
    }
    false
}

/// Whether an MSETEX has a condition (NX or XX) behind its keys and values. A malformed one counts as conditional: it
/// is not to be cut into parts.
pub(super) fn msetex_is_conditional(request: &Request<'_>) -> bool {
    let number = request.get(1).and_then(strict_integer);
    let Some(options) = number
        .filter(|n| (1..=request.len() as i64 / 2).contains(n))
        .map(|n| 2 + 2 * n as usize)
        .filter(|options| *options <= request.len())
    else {
        return true;
    };
    request
        .args()
        .skip(options)
        .any(|word| word.eq_ignore_ascii_case(b"NX") || word.eq_ignore_ascii_case(b"XX"))
}
