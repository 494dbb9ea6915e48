//! Inline commands: what a person types into telnet. Splits a line into arguments exactly as `sdssplitargs` of
//! Redis does, and writes them in canonical form, which is the only one that goes upstream.
//!
//! Called by the decoder when a request does not begin with `*`. Rare, so clarity comes before speed.

use super::encode;
use super::error::ProtocolError;
use super::limits::RequestLimits;
use super::request::{Span, Spans};

/// Writes the arguments of `line` (without its line end) to `out` in canonical form, and their places in `out`
/// to `spans`. None at all for a blank line: then both are empty.
pub(super) fn canonical(
    line: &[u8],
    limits: &RequestLimits,
    out: &mut Vec<u8>,
    spans: &mut Spans,
) -> Result<(), ProtocolError> {
    out.clear();
    spans.clear();
    let words = split(line).ok_or(ProtocolError::UnbalancedQuotes)?;
    if words.is_empty() {
        return Ok(());
    }
    limits.check_arguments(words.len() as u64)?;
    encode::array(out, words.len());
    for word in &words {
        limits.check_argument(word.len() as u64)?;
        encode::bulk(out, word);
        limits.check_request(out.len() as u64)?;
        let end = out.len() - 2;
        spans.push(Span {
            start: (end - word.len()) as u32,
            end: end as u32,
        });
    }
    Ok(())
}

/// The words of `line`, or `None` when its quotes are not balanced.
fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| is_space(**byte)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Some(words);
        }
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after;
    }
}

/// The word at the beginning of `rest`, and what follows it. A quote may begin in mid-word, but ends the word.
fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            // Fewer bytes end a word than separate words: `a\x0bb` is one word, as in Redis.
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest)),
            [b'"', quoted @ ..] => {
                let after = double_quoted(quoted, &mut word)?;
                return Some((word, after));
            }
            [b'\'', quoted @ ..] => {
                let after = single_quoted(quoted, &mut word)?;
                return Some((word, after));
            }
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// Appends what is between double quotes, escapes resolved, and returns what follows the closing quote.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [b'"', after @ ..] => return ends_word(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), after)
            }
            [b'\\', escaped, after @ ..] => (unescape(*escaped), after),
            [byte, after @ ..] => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

/// Appends what is between single quotes, where only `\'` is an escape, and returns what follows.
fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [b'\'', after @ ..] => return ends_word(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

/// A closing quote must be followed by a blank or by nothing at all.
fn ends_word(after: &[u8]) -> Option<&[u8]> {
    after
        .first()
        .is_none_or(|byte| is_space(*byte))
        .then_some(after)
}

/// C's `isspace`: unlike Rust's, vertical tabs are among them.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        split(line)
    }

    #[track_caller]
    fn splits(line: &[u8], expected: &[&[u8]]) {
        assert_eq!(words(line).unwrap(), expected, "{}", line.escape_ascii());
    }

    #[test]
    fn words_are_split_at_blanks() {
        splits(b"", &[]);
        splits(b" \t\r\x0b\x0c ", &[]);
        splits(b"PING", &[b"PING"]);
        splits(b"  SET  a\tb ", &[b"SET", b"a", b"b"]);
        splits(b"a\rb", &[b"a", b"b"]);
        splits(b"a\x0bb\x0c", &[b"a\x0bb\x0c"]);
        splits(b"\x0ba", &[b"a"]);
        splits(b"\xff\xa0\x85", &[b"\xff\xa0\x85"]);
    }

    #[test]
    fn double_quotes_take_escapes() {
        splits(br#"SET a "b c""#, &[b"SET", b"a", b"b c"]);
        splits(br#""""#, &[b""]);
        splits(br#"a"b""#, &[b"ab"]);
        splits(br#""\n\r\t\b\a\q\\\"""#, &[b"\n\r\t\x08\x07q\\\""]);
        splits(br#""\x00\xfF\x4a""#, &[b"\x00\xff\x4a"]);
        splits(br#""\xg0\x1""#, &[b"xg0x1"]);
        splits(b"\"a\"\x0b\"b\"", &[b"a", b"b"]);
        splits(br#""'""#, &[b"'"]);
    }

    #[test]
    fn single_quotes_take_one_escape() {
        splits(br"'a b' c", &[b"a b", b"c"]);
        splits(br"'it\'s'", &[b"it's"]);
        splits(br"'\n\x41\\ '", &[br"\n\x41\\ "]);
        splits(br#"'"'"#, &[b"\""]);
        splits(br"\n", &[br"\n"]);
    }

    #[test]
    fn unbalanced_quotes_are_refused() {
        for line in [
            &br#"""#[..],
            br#"a "b"#,
            br#""a"b"#,
            br#""a""b""#,
            br#""a\""#,
            br#""a\"#,
            b"'",
            b"'a'b",
            br"'a\'",
        ] {
            assert_eq!(words(line), None, "{}", line.escape_ascii());
        }
    }
}
