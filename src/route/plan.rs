//! What is to happen to one command: pure, from the command's row in the table, its keys, and the options.
//! The session carries plans out; `slotway explain` prints them.

use crate::cluster::Slot;
use crate::command::{Command, Gather, KeyError, Keys, Local, Mode, Policy, Split};
use crate::resp::Request;
use std::fmt::Write as _;

/// The most bytes of a key that an error message quotes.
const QUOTED_BYTES_MAX: usize = 64;

/// What is to happen to a command.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Answered by the proxy.
    Local(Local),
    /// Sent whole to the owner of that slot.
    Slot(Slot),
    /// Sent whole to any primary.
    AnyNode,
    /// To the primary where everything is published and heard.
    Home,
    /// Sent whole to the primary of the client's own choice, unless `policy.keyless_scripts` refuses it.
    KeylessScript,
    /// Split into one command per slot, replies merged.
    Split(Split),
    /// Sent to several nodes, replies merged.
    Gather(Gather),
    /// One step of a scan over the cluster.
    Scan,
    /// Part of something that lasts longer than one command.
    Mode(Mode),
    /// Answered with this error (without the leading `-`).
    Refuse(String, Why),
}

/// Whose decision a refusal is; for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Wrong arguments: the server would say the same.
    Arguments,
    /// Keys in several slots.
    CrossSlot,
    /// The command table says so.
    Policy,
}

/// Plans one command. `split_writes` is `policy.split_writes`. Checks arity, not authentication.
#[inline(always)] // every request passes here, and the callers that are not in its way would keep it out of line
pub fn plan(command: &Command, request: &Request<'_>, split_writes: bool) -> Plan {
    if !command.arity_ok(request.len()) {
        return Plan::Refuse(command.arity_error(), Why::Arguments);
    }
    match command.policy_for(request) {
        Policy::Route => route(command, request),
        Policy::Split(split) => self::split(split, command, request, split_writes),
        Policy::AllShards(gather) => Plan::Gather(gather),
        Policy::AnyNode => Plan::AnyNode,
        Policy::Home => Plan::Home,
        Policy::KeylessScript => Plan::KeylessScript,
        Policy::Scan => Plan::Scan,
        Policy::Local(local) => Plan::Local(local),
        Policy::Mode(mode) => Plan::Mode(mode),
        Policy::Refused(why) => Plan::Refuse(command.refusal(why), Why::Policy),
    }
}

/// Where a request goes by its keys alone, whatever its command's policy.
#[inline(always)] // as above
pub fn route(command: &Command, request: &Request<'_>) -> Plan {
    // A module may describe a key where its arity asks for none.
    if let Some(key) = command.only_key().and_then(|at| request.get(at)) {
        return Plan::Slot(Slot::of(key));
    }
    let mut keys = Keys::new();
    if let Err(error) = command.keys(request, &mut keys) {
        return without_keys(error);
    }
    match one_slot(request, &keys) {
        Ok(Some(slot)) => Plan::Slot(slot),
        Ok(None) => Plan::AnyNode,
        Err((a, b)) => Plan::Refuse(
            cross_slot(
                request.arg(a),
                request.arg(b),
                "give keys that belong together one hash tag, as in {tag}key",
            ),
            Why::CrossSlot,
        ),
    }
}

fn split(split: Split, command: &Command, request: &Request<'_>, split_writes: bool) -> Plan {
    let mut keys = Keys::new();
    if let Err(error) = command.keys(request, &mut keys) {
        return without_keys(error);
    }
    match one_slot(request, &keys) {
        Ok(Some(slot)) => Plan::Slot(slot),
        Ok(None) => Plan::AnyNode,
        Err((a, b)) if command.is_write() && !split_writes => Plan::Refuse(
            cross_slot(
                request.arg(a),
                request.arg(b),
                "policy.split_writes = true would split it",
            ),
            Why::CrossSlot,
        ),
        Err(_) => Plan::Split(split),
    }
}

/// What becomes of a request whose keys cannot be told.
fn without_keys(error: KeyError) -> Plan {
    match error {
        // A node finds no keys in it either, so it does not ask whose they are, and says what is wrong.
        KeyError::Malformed => Plan::AnyNode,
        KeyError::Undescribed => Plan::Refuse(format!("ERR slotway: {error}"), Why::Policy),
    }
}

/// The slot of all keys; `None` without keys; `Err` with two arguments whose slots differ.
fn one_slot(request: &Request<'_>, keys: &[u32]) -> Result<Option<Slot>, (usize, usize)> {
    let Some((&first, rest)) = keys.split_first() else {
        return Ok(None);
    };
    let slot = Slot::of(request.arg(first as usize));
    for &key in rest {
        if Slot::of(request.arg(key as usize)) != slot {
            return Err((first as usize, key as usize));
        }
    }
    Ok(Some(slot))
}

/// The server's own text, and behind it what would help.
pub fn cross_slot(a: &[u8], b: &[u8], hint: &str) -> String {
    let mut text = "CROSSSLOT Keys in request don't hash to the same slot (slotway: ".to_owned();
    quote(&mut text, a);
    text.push_str(" and ");
    quote(&mut text, b);
    let _ = write!(text, "; {hint})");
    text
}

fn quote(text: &mut String, key: &[u8]) {
    let shown = &key[..key.len().min(QUOTED_BYTES_MAX)];
    let more = if shown.len() < key.len() { "…" } else { "" };
    let _ = write!(text, "'{}{more}'", shown.escape_ascii());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::CommandTable;
    use crate::resp::{encode, parse_request};

    fn planned(words: &[&str]) -> Plan {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        let table = CommandTable::builtin();
        plan(table.lookup(&request).unwrap(), &request, true)
    }

    /// The server says what is wrong, not we: any node if it finds no keys either, else the owner of those it finds.
    #[test]
    fn malformed_requests_go_where_they_are_answered_and_not_redirected() {
        let anywhere: &[&[&str]] = &[
            &["EVAL", "s", "9", "a"],
            &["ZUNIONSTORE", "a", "9", "b"],
            &["EVAL", "s", "x", "a"],
            &["ZUNION", "-1", "a"],
            &["SINTERCARD", "", "a"],
            &["XREAD", "COUNT", "1", "STREAMS"],
        ];
        for words in anywhere {
            assert!(
                matches!(planned(words), Plan::AnyNode),
                "{words:?}: {:?}",
                planned(words)
            );
        }
        let to_a: &[&[&str]] = &[
            &["PFMERGE", "a"],
            &["EVAL", "s", " 1", "a"],
            &["EVAL", "s", "1.5", "a"],
            &["GEORADIUS", "a", "0", "0", "1", "km", "STORE"],
        ];
        for words in to_a {
            let planned = planned(words);
            assert!(
                matches!(planned, Plan::Slot(slot) if slot == Slot::of(b"a")),
                "{words:?}: {planned:?}"
            );
        }
    }

    #[test]
    fn a_wrong_number_of_arguments_is_told_in_the_words_of_the_server() {
        let text = |words: &[&str]| match planned(words) {
            Plan::Refuse(text, Why::Arguments) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            text(&["GET"]),
            "ERR wrong number of arguments for 'get' command"
        );
        assert_eq!(
            text(&["EXEC", "now"]),
            "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"
        );
    }
}
