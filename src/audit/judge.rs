//! What one request would meet. Pure: asks what the data path asks, and remembers of a client what its next requests
//! depend on: that it is between MULTI and EXEC, and what it watches.

use super::kinds::Kind;
use crate::cluster::Slot;
use crate::command::{Command, Gather, Keys, Local, Mode, Targets};
use crate::config::{Config, CrossSlotTransactions, KeylessScripts};
use crate::modes::Blocking;
use crate::resp::{Request, strict_integer};
use crate::route::{Plan, RefusedBy, plan, route};
use smallvec::SmallVec;

/// The options that decide.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `policy.split_writes`
    pub split_writes: bool,
    /// `policy.keyless_scripts`
    pub keyless_scripts: KeylessScripts,
    /// `policy.cross_slot_transactions`
    pub cross_slot_transactions: CrossSlotTransactions,
    /// `observe.big_value`, in bytes.
    pub big_value: usize,
}

impl Rules {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            split_writes: config.policy.split_writes,
            keyless_scripts: config.policy.keyless_scripts,
            cross_slot_transactions: config.policy.cross_slot_transactions,
            big_value: config.observe.big_value.unwrap_or(usize::MAX),
        }
    }
}

/// So much of a key is shown, in bytes.
pub const KEY_BYTES_SHOWN: usize = 64;

/// What is remembered of one client: of keys no more than is shown.
#[derive(Debug, Default)]
pub struct Judge {
    /// Between MULTI and EXEC: the first key, if there was one.
    transaction: Option<Option<Key>>,
    /// The first key that is watched.
    watched: Option<Key>,
}

/// A key, as far as it matters.
#[derive(Debug)]
struct Key {
    slot: Slot,
    start: Box<[u8]>,
}

impl Key {
    fn of(key: &[u8]) -> Self {
        Self {
            slot: Slot::of(key),
            start: start(key),
        }
    }
}

/// A byte more than is shown, so that it can be told that there is more.
fn start(key: &[u8]) -> Box<[u8]> {
    key[..key.len().min(KEY_BYTES_SHOWN + 1)].into()
}

/// What was found, with keys that show it.
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) keys: SmallVec<[Box<[u8]>; 2]>,
    /// Why, where the kind does not say it.
    pub(super) why: Option<String>,
}

pub(super) type Found = SmallVec<[Finding; 2]>;

fn find(kind: Kind, keys: &[&[u8]]) -> Finding {
    Finding {
        kind,
        keys: keys.iter().map(|&key| start(key)).collect(),
        why: None,
    }
}

/// A large value of this key.
pub(super) fn big_value(key: Option<&[u8]>) -> Found {
    let keys = key.as_slice();
    [find(Kind::BigValue, keys)].into_iter().collect()
}

impl Judge {
    /// Judges a request that is carried out now; `None`: its command is not known.
    pub(super) fn look(
        &mut self,
        command: Option<&Command>,
        request: &Request<'_>,
        rules: &Rules,
    ) -> Found {
        let mut found = Found::new();
        let Some(command) = command else {
            found.push(find(Kind::Unknown, &[request.arg(0)]));
            return found;
        };
        let plan = plan(command, request, rules.split_writes);
        if matches!(plan, Plan::Refuse(_, RefusedBy::Arguments)) {
            // Every server says so.
            return found;
        }
        if request.bytes().len() >= rules.big_value
            && request.args().any(|arg| arg.len() >= rules.big_value)
        {
            let keys = keys_of(command, request);
            found.push(find(Kind::BigValue, &keys[..keys.len().min(1)]));
        }
        match &plan {
            Plan::Mode(Mode::Multi) if self.transaction.is_none() => self.transaction = Some(None),
            Plan::Mode(Mode::Exec | Mode::Discard) | Plan::Local(Local::Reset | Local::Quit) => {
                *self = Self::default();
            }
            Plan::Mode(Mode::Unwatch) if self.transaction.is_none() => self.watched = None,
            _ if self.transaction.is_some() => {
                found.extend(self.inside(command, request, plan, rules));
            }
            _ => found.extend(self.outside(command, request, plan, rules)),
        }
        found.extend(whatever_is_around(command, request));
        found
    }

    /// Between MULTI and EXEC.
    fn inside(
        &mut self,
        command: &Command,
        request: &Request<'_>,
        plan: Plan,
        rules: &Rules,
    ) -> Option<Finding> {
        let plan = match plan {
            // Inside MULTI nothing blocks.
            Plan::Mode(Mode::Blocking) => route(command, request),
            plan => plan,
        };
        match plan {
            Plan::Slot(slot) => {
                let key = *keys_of(command, request).first()?;
                let watched = self.watched.as_ref();
                if let Some(other) = watched.filter(|watched| watched.slot != slot) {
                    return Some(find(Kind::CrossSlotWatch, &[&other.start, key]));
                }
                let first = self.transaction.as_mut()?;
                let first = first.get_or_insert_with(|| Key::of(key));
                let kind = match rules.cross_slot_transactions {
                    CrossSlotTransactions::Refuse => Kind::CrossSlotTransaction,
                    CrossSlotTransactions::Split => Kind::TransactionSplit,
                };
                (first.slot != slot).then(|| find(kind, &[&first.start, key]))
            }
            Plan::Split(_) => Some(find(
                Kind::CrossSlotTransaction,
                &differing(command, request),
            )),
            Plan::Gather(_) | Plan::Scan | Plan::Mode(Mode::Subscription | Mode::Monitor) => {
                Some(find(Kind::NotInTransaction, &[]))
            }
            Plan::Local(
                Local::ClientReply | Local::ClientList | Local::ClientKill | Local::ClientUnblock,
            ) => Some(find(Kind::NotInTransaction, &[])),
            // Every server refuses it, or leaves it without effect.
            Plan::Mode(_) => None,
            other => stateless(command, request, other, rules),
        }
    }

    fn outside(
        &mut self,
        command: &Command,
        request: &Request<'_>,
        plan: Plan,
        rules: &Rules,
    ) -> Option<Finding> {
        match plan {
            Plan::Mode(Mode::Watch) => {
                let first = self.watched.get_or_insert_with(|| Key::of(request.arg(1)));
                let mut keys = request.args().skip(1);
                let other = keys.find(|key| Slot::of(key) != first.slot)?;
                Some(find(Kind::CrossSlotWatch, &[&first.start, other]))
            }
            Plan::Mode(Mode::Blocking) => {
                let keys = differing(command, request);
                if keys.is_empty() {
                    return None;
                }
                let kind = match Blocking::new(&command.name, request).can_sweep() {
                    true => Kind::BlockingSweep,
                    false => Kind::CrossSlotBlocking,
                };
                Some(find(kind, &keys))
            }
            other => stateless(command, request, other, rules),
        }
    }
}

/// What does not depend on the requests before.
fn stateless(
    command: &Command,
    request: &Request<'_>,
    plan: Plan,
    rules: &Rules,
) -> Option<Finding> {
    match plan {
        Plan::Split(_) => {
            let kind = match command.is_write() {
                true => Kind::SplitWrite,
                false => Kind::SplitRead,
            };
            Some(find(kind, &differing(command, request)))
        }
        Plan::Gather(Gather { to, .. }) if to != Targets::One => Some(find(Kind::AllNodes, &[])),
        Plan::Scan => Some(find(Kind::AllNodes, &[])),
        Plan::KeylessScript => {
            let kind = match rules.keyless_scripts {
                KeylessScripts::Any => Kind::KeylessScript,
                KeylessScripts::Error => Kind::KeylessRefused,
            };
            Some(find(kind, &[]))
        }
        Plan::Refuse(_, RefusedBy::CrossSlot) => {
            let kind = match command.is_script() {
                true => Kind::CrossSlotScript,
                false => Kind::CrossSlot,
            };
            Some(find(kind, &differing(command, request)))
        }
        Plan::Refuse(_, RefusedBy::Policy) if matches!(&*command.name, "move" | "swapdb") => {
            Some(find(Kind::OtherDatabase, &[]))
        }
        Plan::Refuse(why, RefusedBy::Policy) => Some(Finding {
            why: Some(why),
            ..find(Kind::Refused, &[])
        }),
        _ => None,
    }
}

/// Inside MULTI as outside: what a node would refuse, and SELECT.
fn whatever_is_around(command: &Command, request: &Request<'_>) -> Option<Finding> {
    let number = |at: usize| request.get(at).and_then(strict_integer);
    match &*command.name {
        "select" => match number(1) {
            Some(0) | None => None,
            Some(_) => Some(find(Kind::Select, &[])),
        },
        "copy" => {
            let mut options = 3..request.len();
            let at = options.find(|&at| request.arg(at).eq_ignore_ascii_case(b"db"))?;
            let other = number(at + 1).is_some_and(|db| db != 0);
            other.then(|| find(Kind::OtherDatabase, &[request.arg(1)]))
        }
        "sort" | "sort_ro" => {
            let follows = |word: &[u8], at: usize| request.arg(at).eq_ignore_ascii_case(word);
            let mut options = 2..request.len() - 1;
            // Redis denies GET whatever follows, Valkey only patterns.
            let denied = options.any(|at| {
                follows(b"get", at) || (follows(b"by", at) && request.arg(at + 1).contains(&b'*'))
            });
            denied.then(|| find(Kind::SortPattern, &[request.arg(1)]))
        }
        _ => None,
    }
}

fn keys_of<'a>(command: &Command, request: &Request<'a>) -> SmallVec<[&'a [u8]; 8]> {
    let mut places = Keys::new();
    let _ = command.keys(request, &mut places);
    places.iter().map(|&at| request.arg(at as usize)).collect()
}

/// The first key and one in another slot; none if there is none.
fn differing<'a>(command: &Command, request: &Request<'a>) -> SmallVec<[&'a [u8]; 2]> {
    let keys = keys_of(command, request);
    let Some((first, rest)) = keys.split_first() else {
        return SmallVec::new();
    };
    let slot = Slot::of(first);
    let other = rest.iter().find(|key| Slot::of(key) != slot);
    other.map_or_else(SmallVec::new, |other| {
        [*first, *other].into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandTable;
    use crate::resp::{encode, parse_request};

    const RULES: Rules = Rules {
        split_writes: true,
        keyless_scripts: KeylessScripts::Any,
        cross_slot_transactions: CrossSlotTransactions::Refuse,
        big_value: 1_000,
    };

    fn judged(judge: &mut Judge, line: &str, rules: &Rules) -> Vec<Kind> {
        let words: Vec<&str> = line.split(' ').collect();
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        let table = CommandTable::builtin();
        let found = judge.look(table.lookup(&request).ok(), &request, rules);
        found.iter().map(|f| f.kind).collect()
    }

    #[test]
    fn single_commands() {
        use Kind::*;
        let cases: &[(&str, &[Kind])] = &[
            ("GET a", &[]),
            ("GET", &[]),
            ("SET a b", &[]),
            ("MGET a b", &[SplitRead]),
            ("MGET {t}a {t}b", &[]),
            ("MSET a 1 b 2", &[SplitWrite]),
            ("SINTER a b", &[CrossSlot]),
            ("SINTER {t}a {t}b", &[]),
            ("RENAME a b", &[CrossSlot]),
            ("EVAL s 2 a b", &[CrossSlotScript]),
            ("EVAL s 0", &[KeylessScript]),
            ("EVAL s 1 a", &[]),
            ("SELECT 1", &[Select]),
            ("SELECT 0", &[]),
            ("MOVE a 1", &[OtherDatabase]),
            ("SWAPDB 0 1", &[OtherDatabase]),
            ("COPY {t}a {t}b DB 1", &[OtherDatabase]),
            ("COPY {t}a {t}b DB 0", &[]),
            ("SORT a BY w_*", &[SortPattern]),
            ("SORT a BY nosort", &[]),
            ("SORT a GET #", &[SortPattern]),
            ("SORT_RO a GET o_*", &[SortPattern]),
            ("KEYS *", &[AllNodes]),
            ("SCAN 0", &[AllNodes]),
            ("DBSIZE", &[AllNodes]),
            ("CONFIG GET maxmemory", &[]),
            ("BLPOP a b 0", &[BlockingSweep]),
            ("BLPOP a 0", &[]),
            ("BLMOVE a b LEFT LEFT 0", &[CrossSlotBlocking]),
            ("SHUTDOWN", &[Refused]),
            ("MONITOR", &[Refused]),
            ("NOSUCH a", &[Unknown]),
            ("WATCH a b", &[CrossSlotWatch]),
            ("PUBLISH c m", &[]),
            ("SUBSCRIBE c", &[]),
        ];
        for (line, expected) in cases {
            let found = judged(&mut Judge::default(), line, &RULES);
            assert_eq!(found, *expected, "{line}");
        }
        let large = format!("SET a {}", "x".repeat(1_000));
        assert_eq!(judged(&mut Judge::default(), &large, &RULES), [BigValue]);
    }

    #[test]
    fn transactions_and_watches() {
        use Kind::*;
        let conversations: &[&[(&str, &[Kind])]] = &[
            &[
                ("MULTI", &[]),
                ("SET a 1", &[]),
                ("SET a 2", &[]),
                ("SET b 1", &[CrossSlotTransaction]),
                ("EXEC", &[]),
                ("SET b 1", &[]),
            ],
            &[
                ("MULTI", &[]),
                ("MGET a b", &[CrossSlotTransaction]),
                ("KEYS *", &[NotInTransaction]),
                ("CLIENT LIST", &[NotInTransaction]),
                ("BLPOP {a}1 {a}2 0", &[]),
                ("SELECT 3", &[Select]),
                ("DISCARD", &[]),
                ("MGET a b", &[SplitRead]),
            ],
            &[
                ("WATCH a", &[]),
                ("GET b", &[]),
                ("MULTI", &[]),
                ("SET b 1", &[CrossSlotWatch]),
                ("EXEC", &[]),
                ("WATCH b", &[]),
                ("UNWATCH", &[]),
                ("WATCH a", &[]),
                ("WATCH b", &[CrossSlotWatch]),
                ("RESET", &[]),
                ("WATCH b", &[]),
            ],
        ];
        for conversation in conversations {
            let mut judge = Judge::default();
            for (line, expected) in *conversation {
                assert_eq!(judged(&mut judge, line, &RULES), *expected, "{line}");
            }
        }
    }

    #[test]
    fn options_decide() {
        use Kind::*;
        let rules = Rules {
            split_writes: false,
            keyless_scripts: KeylessScripts::Error,
            cross_slot_transactions: CrossSlotTransactions::Split,
            big_value: usize::MAX,
        };
        let judge = &mut Judge::default();
        assert_eq!(judged(judge, "MSET a 1 b 2", &rules), [CrossSlot]);
        assert_eq!(judged(judge, "MGET a b", &rules), [SplitRead]);
        assert_eq!(judged(judge, "EVAL s 0", &rules), [KeylessRefused]);
        judged(judge, "MULTI", &rules);
        judged(judge, "SET a 1", &rules);
        assert_eq!(judged(judge, "SET b 1", &rules), [TransactionSplit]);
    }
}
