//! The words of an explanation: how replies are merged, and arguments as one would type them.

use crate::command::{Merge, Split};
use crate::resp::Request;

/// Bytes of one argument, and arguments of one command, that are shown at most.
const SHOWN_BYTES_MAX: usize = 60;
const SHOWN_ARGUMENTS_MAX: usize = 12;

/// A command as one would type it.
pub(super) fn say(request: &Request<'_>) -> String {
    let mut words: Vec<String> = request
        .args()
        .take(SHOWN_ARGUMENTS_MAX)
        .map(quote)
        .collect();
    if request.len() > SHOWN_ARGUMENTS_MAX {
        words.push("…".to_owned());
    }
    words.join(" ")
}

/// An argument as one would type it: in quotes where it needs them.
pub(super) fn quote(arg: &[u8]) -> String {
    let (shown, cut) = match arg.get(..SHOWN_BYTES_MAX) {
        Some(shown) if arg.len() > SHOWN_BYTES_MAX => (shown, "…"),
        _ => (arg, ""),
    };
    format!("{}{cut}", typed(shown))
}

/// The same of any length.
pub(super) fn typed(arg: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"\"'\\".contains(b);
    match std::str::from_utf8(arg) {
        Ok(text) if !text.is_empty() && arg.iter().all(plain) => text.to_owned(),
        _ => format!("\"{}\"", arg.escape_ascii()),
    }
}

/// How the replies of a split command become one.
pub(super) fn split_merge(kind: Split) -> &'static str {
    match kind {
        Split::Mget | Split::JsonMget => "values come back in the order of the keys",
        Split::Mset => "OK when all are",
        Split::Count => "their numbers are added",
        Split::Msetex => "1 when all are",
    }
}

/// How the replies of several nodes become one.
pub(super) fn merge(merge: Merge) -> &'static str {
    match merge {
        Merge::Sum => "their numbers are added",
        Merge::AllOk => "all must succeed",
        Merge::Concat => "their lists are put one behind the other",
        Merge::Union => "their lists are put together, each name once",
        Merge::And => "1 if all answer 1",
        Merge::Or => "1 if any answers 1",
        Merge::Min => "the smallest number is the answer",
        Merge::Max => "the largest number is the answer",
        Merge::First => "the first that succeeds is the answer",
        Merge::RandomKey => "a shard is chosen by its size, so that every key is as likely",
        Merge::ScriptExists => "a script exists if it does on all of them, or slotway keeps it",
        Merge::FunctionStats => {
            "the script of the node that runs one, the engines of the first node"
        }
        Merge::NumSub => "the numbers of each channel are added",
        Merge::Slowlog => "entries are put in the order of time, newest first",
        Merge::Info => "put together as one standalone server would answer",
        Merge::ConfigGet => "what must look standalone is put in its place",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_where_they_need_it() {
        assert_eq!(quote(b"{user:1}.name"), "{user:1}.name");
        assert_eq!(quote(b"a b"), "\"a b\"");
        assert_eq!(quote(b""), "\"\"");
        assert_eq!(quote(b"\x00\xff\n"), "\"\\x00\\xff\\n\"");
        assert_eq!(quote(&[b'x'; 61]), format!("{}…", "x".repeat(60)));
        assert_eq!(quote(&[b'x'; 60]), "x".repeat(60));
    }
}
