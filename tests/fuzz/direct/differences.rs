//! Where the answer through slotway may be another one than a plain server's: the table, and what no two servers have in
//! common.

use crate::reading::{Next, next};
use crate::support::reply_end;

/// Two answers to the same bytes, from the first reply on that is not the same.
pub struct Case<'a> {
    pub server: &'static str,
    /// What was sent.
    pub input: &'a [u8],
    pub direct: Vec<u8>,
    pub proxied: Vec<u8>,
}

/// A row.
pub struct Difference {
    /// What is different, for the record.
    pub what: &'static str,
    /// The reason.
    #[allow(dead_code, reason = "for the reader")]
    pub why: &'static str,
    is: fn(&Case<'_>) -> bool,
}

/// Everything that is different on purpose. After one the rest of the answer is not compared: the states differ.
const DIFFERENCES: &[Difference] = &[
    Difference {
        what: "an argument without CRLF behind it",
        why: "servers skip two bytes, whatever they are: where the next request begins would be a guess",
        is: |case| {
            case.refuses(b"-ERR Protocol error: expected CRLF after bulk string\r\n")
                && case.fault() == Some(Fault::NoCrlf)
        },
    },
    Difference {
        what: "a length whose CR no LF follows",
        why: "servers skip the byte, whatever it is: the same",
        is: |case| {
            let is_refused = case.refuses(b"-ERR Protocol error: invalid multibulk length\r\n")
                || case.refuses(b"-ERR Protocol error: invalid bulk length\r\n");
            is_refused && case.fault() == Some(Fault::NoLf)
        },
    },
    Difference {
        what: "more behind a closing quote in an inline request",
        why: "Valkey 9.1 takes it for a part of the argument, a form feed too; Redis 7.0 refuses it, and so does slotway",
        is: |case| {
            let is_refused = case.refuses(b"-ERR Protocol error: unbalanced quotes in request\r\n")
                && case.fault().is_some();
            let spaces = [b"\"\x0b", b"\"\x0c", b"'\x0b", b"'\x0c"];
            let has_space = spaces
                .iter()
                .any(|space| find(case.input, *space).is_some());
            case.server == "valkey" && (is_refused || has_space)
        },
    },
    Difference {
        what: "the byte 255 in an inline request",
        why: "Valkey 9.1 leaves it out, in quotes too; Redis 7.0 and slotway keep it",
        is: |case| case.server == "valkey" && case.input.contains(&0xff),
    },
    Difference {
        what: "a zero byte in a length",
        why: "servers take it for the end of what has come, and wait for more, up to 64 KB: nothing could mend it",
        is: |case| {
            let is_refused = case.refuses(b"-ERR Protocol error: ");
            is_refused
                && case.direct.is_empty()
                && case.input.contains(&0)
                && case.fault().is_some()
        },
    },
    Difference {
        what: "the name in a HELLO that is refused",
        why: "Redis 7.0 gives it to the client before it refuses, Valkey 9.1 and slotway do nothing of what they refuse",
        is: |case| {
            case.server == "redis"
                && case.says(b"setname")
                && case.says(b"getname")
                && nameless(&case.direct) == nameless(&case.proxied)
        },
    },
    Difference {
        what: "more than 1,048,576 arguments",
        why: "limits.arguments; servers take up to 2,147,483,647 once a client is authenticated",
        is: |case| {
            case.refuses(b"-ERR Protocol error: invalid multibulk length\r\n")
                && case.fault() == Some(Fault::TooMany)
        },
    },
    Difference {
        what: "an argument of 512 MB",
        why: "limits.request, 512 MB too, counts the whole request",
        is: |case| case.refuses(b"-ERR Protocol error: request larger than limits.request\r\n"),
    },
    Difference {
        what: "replies before a POST or Host:",
        why: "servers drop those that are not written yet; here some may be on their way to the client",
        is: |case| case.direct.is_empty() && (case.says(b"post") || case.says(b"host:")),
    },
    Difference {
        what: "keys of several slots between MULTI and EXEC",
        why: "a transaction runs on one node",
        is: |case| {
            case.refuses(b"-CROSSSLOT Keys in request don't hash to the same slot (slotway: ")
        },
    },
    Difference {
        what: "HELLO with the other version inside MULTI",
        why: "a transaction runs on a connection that all clients of one version share",
        is: |case| case.refuses(b"-ERR slotway: 'hello' cannot switch the protocol inside MULTI;"),
    },
    Difference {
        what: "HELLO with the other version between WATCH and EXEC",
        why: "the watch is on a connection of the version before; EXEC answers nil, as if a key had changed",
        is: |case| {
            let is_nil = case.proxied.starts_with(b"*-1\r\n") || case.proxied.starts_with(b"_\r\n");
            let is_watch = case.says(b"watch") && case.says(b"hello");
            is_nil && case.direct.starts_with(b"*") && is_watch
        },
    },
    Difference {
        what: "SUBSCRIBE and its family inside MULTI",
        why: "a transaction runs on a connection that all clients share",
        is: |case| {
            let text = case.proxied.strip_prefix(b"-ERR slotway: '");
            text.is_some_and(|text| {
                text.windows(8).take(16).any(|word| word == b"ubscribe")
                    && text
                        .windows(28)
                        .any(|words| words == b"cannot be used inside MULTI;")
            })
        },
    },
    Difference {
        what: "CLIENT REPLY inside MULTI",
        why: "it is slotway that keeps replies back, and EXEC's are the server's",
        is: |case| {
            case.refuses(b"-ERR Command not allowed inside a transaction")
                || case.refuses(b"-ERR Command 'client|reply' not allowed inside a transaction")
        },
    },
];

/// The row that explains it.
pub fn of(case: &Case<'_>) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|row| (row.is)(case))
}

/// `limits.arguments`.
const ARGUMENTS_MAX: i32 = 1_048_576;

/// What is wrong with the first request that is none, by the letter of the protocol.
#[derive(PartialEq, Eq)]
enum Fault {
    /// No CRLF behind an argument.
    NoCrlf,
    /// A length whose CR no LF follows.
    NoLf,
    /// More arguments than slotway takes, and fewer than a server does not.
    TooMany,
    /// Anything else.
    Other,
}

impl Case<'_> {
    /// Whether slotway's answer begins with this error, or is this one and nothing else: a text that has its end.
    fn refuses(&self, text: &[u8]) -> bool {
        match text.ends_with(b"\r\n") {
            true => self.proxied == text,
            false => self.proxied.starts_with(text),
        }
    }

    /// Whether a word, in lower case, was sent in any.
    fn says(&self, word: &[u8]) -> bool {
        find(&self.input.to_ascii_lowercase(), word).is_some()
    }

    fn fault(&self) -> Option<Fault> {
        let mut rest = self.input;
        loop {
            // Limits before the password are the same for both.
            match next(rest, true) {
                Next::Request(_, taken) | Next::Nothing(taken) => rest = &rest[taken..],
                Next::Incomplete => return None,
                Next::Broken => return Some(fault_of(rest)),
            }
        }
    }
}

fn fault_of(mut rest: &[u8]) -> Fault {
    while let (Some(kind @ (b'*' | b'$')), Some(end)) = (rest.first(), find(rest, b"\r")) {
        if rest.get(end + 1) != Some(&b'\n') {
            return Fault::NoLf;
        }
        let digits = std::str::from_utf8(&rest[1..end]).unwrap_or_default();
        rest = &rest[end + 2..];
        if *kind == b'*' {
            match digits.parse::<i32>() {
                Ok(count) if count > ARGUMENTS_MAX => return Fault::TooMany,
                _ => continue,
            }
        }
        let Ok(len) = digits.parse::<usize>() else {
            return Fault::Other;
        };
        match rest.get(len..len + 2) {
            Some(b"\r\n") => rest = &rest[len + 2..],
            Some(_) => return Fault::NoCrlf,
            None => return Fault::Other,
        }
    }
    Fault::Other
}

/// A reply without the number of the connection, and without the names in the answers to UNSUBSCRIBE from all, which come
/// in the order of a hash table.
pub fn normal(reply: &[u8]) -> Vec<u8> {
    let mut reply = reply.to_vec();
    replace_line(&mut reply, b"$2\r\nid\r\n:", b"0");
    for kind in ["unsubscribe", "punsubscribe", "sunsubscribe"] {
        let head = format!("${}\r\n{kind}\r\n$1\r\n", kind.len());
        replace_line(&mut reply, head.as_bytes(), b"?");
    }
    reply
}

/// Another line in place of each behind `head`.
fn replace_line(reply: &mut Vec<u8>, head: &[u8], with: &[u8]) {
    let mut at = 0;
    while let Some(found) = find(&reply[at..], head) {
        let start = at + found + head.len();
        let len = reply[start..].windows(2).position(|w| w == b"\r\n");
        let Some(len) = len else { return };
        reply.splice(start..start + len, with.iter().copied());
        at = start;
    }
}

/// The first reply without names of clients, and without what is said in their place.
fn nameless(replies: &[u8]) -> Vec<u8> {
    let names: [&[u8]; 4] = [b"$2\r\nme\r\n", b"$3\r\nyou\r\n", b"$-1\r\n", b"_\r\n"];
    let end = reply_end(replies, 0).unwrap_or(replies.len());
    let mut reply = replies[..end].to_vec();
    for name in names {
        while let Some(at) = find(&reply, name) {
            reply.drain(at..at + name.len());
        }
    }
    reply
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}
