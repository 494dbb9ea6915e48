//! The lines of a request that hold a number: `*N` and `$n`. Strict, and in the words of Redis when they are wrong.
//!
//! Called by the decoder, which remembers how far an unfinished line has been searched.

use memchr::memchr;

use super::error::ProtocolError;
use super::number::{fast_length, strict_integer, work};

/// Longest line that begins with `*` or `$`, in bytes, as in Redis.
const LENGTH_LINE_MAX: usize = 64 * 1024;

/// A line with a length.
pub(super) enum Line {
    /// Its end has not arrived, and is not within its first `scanned` bytes.
    Incomplete { scanned: u32 },
    /// Its value, and its bytes with type byte and CRLF.
    Value { value: i64, taken: usize },
}

/// What is wrong with a line, in general.
enum LineError {
    TooLong,
    Invalid,
}

/// The line `*N` at the beginning of `buf`.
#[inline]
pub(super) fn count_line(buf: &[u8], scanned: usize) -> Result<Line, ProtocolError> {
    if let Some((value, taken)) = fast_length(&buf[1..]) {
        work(1 + taken);
        return Ok(Line::Value {
            value: value as i64,
            taken: 1 + taken,
        });
    }
    slow_line(buf, scanned).map_err(|error| match error {
        LineError::TooLong => ProtocolError::MultibulkCountTooLong,
        LineError::Invalid => ProtocolError::InvalidMultibulkLength,
    })
}

/// The line `$n` at the beginning of `tail`; n is not negative.
#[inline]
pub(super) fn length_line(tail: &[u8], scanned: usize) -> Result<Line, ProtocolError> {
    if let [b'$', digits @ ..] = tail
        && let Some((value, taken)) = fast_length(digits)
    {
        work(1 + taken);
        return Ok(Line::Value {
            value: value as i64,
            taken: 1 + taken,
        });
    }
    let line = match slow_line(tail, scanned) {
        Err(LineError::TooLong) => return Err(ProtocolError::BulkCountTooLong),
        // As in Redis, what the line begins with is looked at once the line is there.
        Err(LineError::Invalid) if tail[0] != b'$' => {
            return Err(ProtocolError::ExpectedBulk(tail[0]));
        }
        Err(LineError::Invalid) => return Err(ProtocolError::InvalidBulkLength),
        Ok(line) => line,
    };
    match line {
        Line::Value { .. } if tail[0] != b'$' => Err(ProtocolError::ExpectedBulk(tail[0])),
        Line::Value { value, .. } if value < 0 => Err(ProtocolError::InvalidBulkLength),
        line => Ok(line),
    }
}

/// A line with a length that the fast path did not take: cut off, negative, too long or wrong.
#[cold]
fn slow_line(tail: &[u8], scanned: usize) -> Result<Line, LineError> {
    let unseen = tail.get(scanned..).unwrap_or_default();
    let Some(at) = memchr(b'\r', unseen) else {
        work(unseen.len());
        if tail.len() > LENGTH_LINE_MAX {
            return Err(LineError::TooLong);
        }
        return Ok(Line::Incomplete {
            scanned: tail.len() as u32,
        });
    };
    work(at + 1);
    let end = scanned + at;
    if end > LENGTH_LINE_MAX {
        return Err(LineError::TooLong);
    }
    match tail.get(end + 1) {
        None => Ok(Line::Incomplete {
            scanned: end as u32,
        }),
        Some(b'\n') => match strict_integer(tail.get(1..end).unwrap_or_default()) {
            Some(value) => Ok(Line::Value {
                value,
                taken: end + 2,
            }),
            None => Err(LineError::Invalid),
        },
        Some(_) => Err(LineError::Invalid),
    }
}
