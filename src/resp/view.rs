//! Looks into the few replies that must be understood: those to be merged, counted or read by the proxy itself.
//!
//! All of it takes a whole reply, as the scanner found it. An attribute in front is skipped.

use std::ops::Range;

use super::number::{fast_length, strict_integer};
use super::reply::ReplyScanner;

/// The shortest element is `_\r\n`, in bytes.
const ELEMENT_MIN: usize = 3;

/// The byte ranges of an aggregate's elements (`*`, `~`, `>`; of a `%` keys and values alternate). `None` if
/// `reply` is not one whole aggregate.
pub fn elements(reply: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut pos = attributes(reply)?;
    let (kind, rest) = reply[pos..].split_first()?;
    let (count, taken) = fast_length(rest)?;
    let count = match kind {
        b'*' | b'~' | b'>' => count,
        b'%' => count * 2,
        _ => return None,
    };
    pos += 1 + taken;
    // As many as can be in what is here, whatever the count says.
    let room = (reply.len() - pos) / ELEMENT_MIN;
    let mut ranges = Vec::with_capacity(room.min(usize::try_from(count).ok()?));
    let mut scanner = ReplyScanner::new();
    for _ in 0..count {
        let len = scanner.scan(&reply[pos..]).ok()??;
        ranges.push(pos..pos + len);
        pos += len;
    }
    (pos == reply.len()).then_some(ranges)
}

/// The element of an array of one, of a reply that is known to be whole: no need to look at it.
#[inline]
pub fn only_element(reply: &[u8]) -> Option<&[u8]> {
    reply.strip_prefix(b"*1\r\n")
}

/// The value of `:n`.
pub fn integer(reply: &[u8]) -> Option<i64> {
    strict_integer(content(reply)?.strip_prefix(b":")?.strip_suffix(b"\r\n")?)
}

/// The bytes of a bulk string, a simple string, or a verbatim string without its format. `None` for null and
/// everything else.
pub fn bulk(reply: &[u8]) -> Option<&[u8]> {
    let (kind, rest) = content(reply)?.split_first()?;
    if *kind == b'+' {
        return rest.strip_suffix(b"\r\n");
    }
    let skipped = match kind {
        b'$' => 0,
        b'=' => "txt:".len(),
        _ => return None,
    };
    let (len, taken) = fast_length(rest)?;
    let text = rest[taken..].strip_suffix(b"\r\n")?;
    (text.len() as u64 == len).then_some(text.get(skipped..)?)
}

/// Whether this is a null: `$-1`, `*-1` or `_`.
pub fn is_null(reply: &[u8]) -> bool {
    matches!(content(reply), Some(b"$-1\r\n" | b"*-1\r\n" | b"_\r\n"))
}

/// The type byte of the reply itself, behind attributes.
#[inline]
pub fn kind(reply: &[u8]) -> Option<u8> {
    content(reply)?.first().copied()
}

/// The reply without attributes in front of it.
#[inline]
fn content(reply: &[u8]) -> Option<&[u8]> {
    match reply.first() {
        Some(b'|') => reply.get(attributes(reply)?..),
        _ => Some(reply),
    }
}

/// How many bytes of attributes are in front of the reply.
fn attributes(reply: &[u8]) -> Option<usize> {
    let mut pos = 0;
    while reply.get(pos) == Some(&b'|') {
        let (pairs, taken) = fast_length(&reply[pos + 1..])?;
        pos += 1 + taken;
        let mut scanner = ReplyScanner::new();
        for _ in 0..pairs.checked_mul(2)? {
            pos += scanner.scan(&reply[pos..]).ok()??;
        }
    }
    Some(pos)
}
