//! When two replies are the same. Byte for byte, except for the commands of [`mode`], whose replies say something that
//! no two servers, and no two runs of one, have in common: the order of a hash table, or the time.

use crate::support::reply_end;

/// How far two clocks may be apart: replies that tell of time are taken this long after each other at most, in the
/// unit of the command (seconds or milliseconds).
const CLOCK_MAX: i64 = 60_000;

/// How two replies of one command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Byte for byte.
    Exact,
    /// An aggregate whose elements have no order: a hash table's, and each server seeds its own.
    Elements,
    /// The same, of field and value behind each other.
    Pairs,
    /// A cursor, and an aggregate without order behind it.
    CursorElements,
    /// A cursor, and pairs without order behind it.
    CursorPairs,
    /// Integers that are times left or times of day.
    Clock,
    /// HELLO: the connection's id is the proxy's.
    Hello,
}

/// How the replies of a command are compared.
pub fn mode(args: &[Vec<u8>]) -> Mode {
    let word = |i: usize| {
        args.get(i)
            .map(|arg| arg.to_ascii_lowercase())
            .unwrap_or_default()
    };
    let name = word(0);
    match name.as_slice() {
        b"smembers" | b"sinter" | b"sunion" | b"sdiff" | b"hkeys" | b"hvals" | b"keys"
        | b"spop" | b"srandmember" => Mode::Elements,
        b"hrandfield" | b"zrandmember" if args.len() < 4 => Mode::Elements,
        b"hgetall" | b"hrandfield" | b"zrandmember" => Mode::Pairs,
        b"sscan" => Mode::CursorElements,
        b"hscan" | b"zscan" => Mode::CursorPairs,
        b"ttl" | b"pttl" | b"expiretime" | b"pexpiretime" | b"httl" | b"hpttl" | b"hexpiretime"
        | b"hpexpiretime" | b"xpending" => Mode::Clock,
        b"hello" => Mode::Hello,
        b"object" if word(1) == b"idletime" => Mode::Clock,
        b"xinfo" if matches!(word(1).as_slice(), b"consumers" | b"stream") => Mode::Clock,
        b"function" if word(1) == b"list" => Mode::Elements,
        b"acl" if word(1) == b"cat" => Mode::Elements,
        _ => Mode::Exact,
    }
}

/// Whether two replies say the same.
pub fn same(mode: Mode, a: &[u8], b: &[u8]) -> bool {
    if a == b || mode == Mode::Exact {
        return a == b;
    }
    match mode {
        Mode::Clock => same_but_for_the_time(a, b),
        _ => normal(mode, a) == normal(mode, b),
    }
}

/// The reply's pieces in an order that does not depend on the server.
fn normal(mode: Mode, reply: &[u8]) -> Vec<Vec<u8>> {
    let Some((head, elements)) = aggregate(reply) else {
        return vec![reply.to_vec()];
    };
    let mut pieces: Vec<Vec<u8>> = match mode {
        Mode::Elements => elements.iter().map(|e| e.to_vec()).collect(),
        // RESP3 has the pairs of HRANDFIELD as arrays of their own.
        Mode::Pairs if elements.first().is_some_and(|e| e[0] == b'*') => {
            elements.iter().map(|e| e.to_vec()).collect()
        }
        Mode::Pairs => elements.chunks(2).map(<[&[u8]]>::concat).collect(),
        Mode::CursorElements | Mode::CursorPairs if elements.len() == 2 => {
            let inner = if mode == Mode::CursorPairs {
                Mode::Pairs
            } else {
                Mode::Elements
            };
            let mut pieces = normal(inner, elements[1]);
            pieces.push(elements[0].to_vec());
            pieces
        }
        Mode::Hello => {
            let id = elements
                .iter()
                .position(|e| *e == b"$2\r\nid\r\n")
                .map(|at| at + 1);
            let without = elements
                .iter()
                .enumerate()
                .filter(|(at, _)| Some(*at) != id);
            return without.map(|(_, e)| e.to_vec()).collect();
        }
        _ => vec![reply.to_vec()],
    };
    pieces.sort_unstable();
    pieces.push(head.to_vec());
    pieces
}

fn same_but_for_the_time(a: &[u8], b: &[u8]) -> bool {
    match (aggregate(a), aggregate(b)) {
        (Some((head, a)), Some((other, b))) => {
            head == other
                && a.len() == b.len()
                && a.iter().zip(&b).all(|(a, b)| same_but_for_the_time(a, b))
        }
        (None, None) => match (integer(a), integer(b)) {
            (Some(a), Some(b)) => {
                a == b || a >= 0 && b >= 0 && a.abs_diff(b) <= CLOCK_MAX.unsigned_abs()
            }
            _ => a == b,
        },
        _ => false,
    }
}

fn integer(reply: &[u8]) -> Option<i64> {
    std::str::from_utf8(reply.strip_prefix(b":")?)
        .ok()?
        .trim_end()
        .parse()
        .ok()
}

/// The first line and the elements of an aggregate.
fn aggregate(reply: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    if !matches!(reply.first(), Some(b'*' | b'~' | b'%' | b'>')) {
        return None;
    }
    let mut at = reply.windows(2).position(|w| w == b"\r\n")? + 2;
    let head = &reply[..at];
    let mut elements = Vec::new();
    while at < reply.len() {
        let end = reply_end(reply, at)?;
        elements.push(&reply[at..end]);
        at = end;
    }
    Some((head, elements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_same() {
        let cases: &[(Mode, &[u8], &[u8], bool)] = &[
            (
                Mode::Exact,
                b"*2\r\n:1\r\n:2\r\n",
                b"*2\r\n:2\r\n:1\r\n",
                false,
            ),
            (
                Mode::Elements,
                b"*2\r\n:1\r\n:2\r\n",
                b"*2\r\n:2\r\n:1\r\n",
                true,
            ),
            (
                Mode::Elements,
                b"*2\r\n:1\r\n:2\r\n",
                b"~2\r\n:2\r\n:1\r\n",
                false,
            ),
            (
                Mode::Elements,
                b"*1\r\n:1\r\n",
                b"*2\r\n:1\r\n:1\r\n",
                false,
            ),
            (
                Mode::Pairs,
                b"*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n",
                b"*4\r\n:3\r\n:4\r\n:1\r\n:2\r\n",
                true,
            ),
            (
                Mode::Pairs,
                b"*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n",
                b"*4\r\n:1\r\n:4\r\n:3\r\n:2\r\n",
                false,
            ),
            (Mode::Clock, b":100\r\n", b":99\r\n", true),
            (Mode::Clock, b":-1\r\n", b":99\r\n", false),
            (Mode::Clock, b":0\r\n", b":90000\r\n", false),
            (
                Mode::Hello,
                b"*4\r\n$2\r\nid\r\n:7\r\n:1\r\n:2\r\n",
                b"*4\r\n$2\r\nid\r\n:8\r\n:1\r\n:2\r\n",
                true,
            ),
            (
                Mode::Hello,
                b"*4\r\n$2\r\nid\r\n:7\r\n:1\r\n:2\r\n",
                b"*4\r\n$2\r\nid\r\n:7\r\n:1\r\n:3\r\n",
                false,
            ),
        ];
        for (mode, a, b, expected) in cases {
            assert_eq!(
                same(*mode, a, b),
                *expected,
                "{mode:?} {} {}",
                a.escape_ascii(),
                b.escape_ascii()
            );
        }
    }
}
