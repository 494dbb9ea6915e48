//! Integers as they stand on the wire: the strict rule, and the fast path for the lengths that begin with `*` and `$`.
//!
//! Both scanners use it. It owns no state and knows nothing of limits.

/// The longest length the fast path reads, in digits: enough for every length a `u32` limit allows.
const FAST_DIGITS_MAX: usize = 10;

/// An integer as Redis reads it: an optional `-`, no `+`, no leading zeros except `0` itself, no overflow.
pub fn strict_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    // Counted down, because the negative range is the larger one.
    let mut value = 0i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// Reads `digits CRLF` at the beginning of `tail`: the value, and the bytes it took with its CRLF. Most lengths have one
/// digit or two.
/// `None` says nothing about why: cut off, negative, too long or wrong. The caller then looks slowly.
#[inline]
pub(super) fn fast_length(tail: &[u8]) -> Option<(u64, usize)> {
    match *tail {
        [one @ b'0'..=b'9', b'\r', b'\n', ..] => Some((u64::from(one - b'0'), 3)),
        [ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((u64::from(ten - b'0') * 10 + u64::from(one - b'0'), 4))
        }
        _ => longer_length(tail),
    }
}

/// [`fast_length`] of any number of digits.
fn longer_length(tail: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (at, &byte) in tail.iter().enumerate().take(FAST_DIGITS_MAX + 1) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            let strict = at == 1 || (at > 1 && tail[0] != b'0');
            let ended = byte == b'\r' && tail.get(at + 1) == Some(&b'\n');
            return (strict && ended).then_some((value, at + 2));
        }
        value = value * 10 + u64::from(digit);
    }
    None
}

/// Counts the bytes looked at, so that the tests can prove that the work is linear. Nothing outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn work(_bytes: usize) {}

#[cfg(test)]
pub(super) use counted::{take_work, work};

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static WORK: Cell<usize> = const { Cell::new(0) };
    }

    pub(in crate::resp) fn work(bytes: usize) {
        WORK.set(WORK.get() + bytes);
    }

    /// What this thread has counted since the last call.
    pub(in crate::resp) fn take_work() -> usize {
        WORK.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_integers_are_those_of_redis() {
        for (text, value) in [
            ("0", 0),
            ("1", 1),
            ("-1", -1),
            ("10", 10),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(strict_integer(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            "+1",
            "-0",
            "00",
            "01",
            "-01",
            " 1",
            "1 ",
            "1a",
            "0x1",
            "--1",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(strict_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_fast_path_takes_only_what_is_strict_and_complete() {
        assert_eq!(fast_length(b"0\r\n"), Some((0, 3)));
        assert_eq!(fast_length(b"5\r\nhello"), Some((5, 3)));
        assert_eq!(fast_length(b"4294967295\r\n"), Some((4_294_967_295, 12)));
        assert_eq!(fast_length(b"9999999999\r\n"), Some((9_999_999_999, 12)));
        for text in [
            "",
            "\r\n",
            "5",
            "5\r",
            "5\n",
            "5\r\r",
            "05\r\n",
            "00\r\n",
            "+5\r\n",
            "-5\r\n",
            "5 \r\n",
            "10000000000\r\n",
        ] {
            assert_eq!(fast_length(text.as_bytes()), None, "{text:?}");
        }
    }
}
