//! Finds where a reply ends, in the bytes of one node as they arrive. Never builds a value.
//!
//! Iterative, with a bounded stack: depth costs a node's connection, never our stack. Nothing is allocated from
//! a declared count, and no byte is looked at twice, apart from the one length line that is being waited behind.

use memchr::memchr;

use super::Proto;
use super::error::ReplyError;
use super::number::{fast_length, strict_integer, work};
use super::skip::Inside;

/// Most aggregates inside each other, unless said otherwise: more than a script can give. Servers end it at 7,995 (Lua's
/// `LUAI_MAXCSTACK` of 8,000), and one client's script is not to cost others their connection.
pub const REPLY_DEPTH_MAX: usize = 8192;
/// Longest line or bulk string, in bytes, and most elements of an aggregate.
const REPLY_LENGTH_MAX: u64 = u32::MAX as u64;
/// Longest line that holds a length, in bytes with its type byte: the longest number and some.
pub(super) const LENGTH_LINE_MAX: usize = 24;

/// Finds replies, one after the other, RESP2 and RESP3. Attributes belong to the reply that follows them.
#[derive(Debug)]
pub struct ReplyScanner {
    /// Where the element that is being waited for begins.
    pub(super) pos: usize,
    /// Elements still to come at this level.
    left: u64,
    /// The same for the levels around it.
    outer: Vec<u64>,
    /// Bytes of a line known not to hold its end.
    pub(super) scanned: usize,
    /// Bytes that the bulk string being waited for lacks.
    pub(super) wanted: usize,
    depth_max: usize,
    /// What was agreed on with the node: types of the other version are no replies.
    proto: Proto,
    /// Of the reply that is being skipped.
    pub(super) inside: Inside,
}

/// What is at the beginning of some bytes.
enum Element {
    /// A scalar of so many bytes.
    Scalar(usize),
    /// The header of an aggregate, of `taken` bytes, and what its elements are.
    Aggregate {
        taken: usize,
        children: u64,
        role: Role,
    },
    /// Not all there. The end of the line is not within the first `scanned` bytes; `wanted` bytes are
    /// missing from a bulk string.
    Incomplete { scanned: usize, wanted: usize },
}

/// What an aggregate is to the reply.
enum Role {
    /// One of its elements.
    Element,
    /// Something said about the element that follows.
    Attribute,
}

impl Default for ReplyScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplyScanner {
    /// A scanner at the beginning of a reply, with [`REPLY_DEPTH_MAX`].
    pub const fn new() -> Self {
        Self::with_depth(REPLY_DEPTH_MAX)
    }

    /// A scanner that refuses more than `depth_max` aggregates inside each other.
    pub const fn with_depth(depth_max: usize) -> Self {
        Self {
            pos: 0,
            left: 1,
            outer: Vec::new(),
            scanned: 0,
            wanted: 0,
            depth_max,
            proto: Proto::Resp3,
            inside: Inside::Nothing,
        }
    }

    /// The same for a connection that speaks this version of the protocol; without it that is RESP3, in which all of RESP2 is.
    pub fn speaking(mut self, proto: Proto) -> Self {
        self.proto = proto;
        self
    }

    /// Looks for the end of the reply that begins at `buf[0]`. `Some(n)`: it is `buf[..n]`, and the next call
    /// must see what follows. `None`: more is needed, and the next call must see the same bytes and more.
    /// After an error the connection is to be closed.
    #[inline]
    pub fn scan(&mut self, buf: &[u8]) -> Result<Option<usize>, ReplyError> {
        loop {
            let tail = buf.get(self.pos..).unwrap_or_default();
            match element(tail, self.scanned, self.proto)? {
                Element::Scalar(taken) => {
                    self.pos += taken;
                    self.left -= 1;
                }
                Element::Aggregate {
                    taken,
                    children,
                    role,
                } => self.enter(taken, children, role)?,
                Element::Incomplete { scanned, wanted } => {
                    (self.scanned, self.wanted) = (scanned, wanted);
                    return Ok(None);
                }
            }
            self.scanned = 0;
            while self.left == 0 {
                match self.outer.pop() {
                    Some(left) => self.left = left,
                    None => return Ok(Some(self.finish())),
                }
            }
        }
    }

    /// How many more bytes the bulk string that is being waited for needs at least, 0 if unknown. A hint for
    /// reading, never to be trusted for allocation.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Goes one level down, behind the header of an aggregate.
    fn enter(&mut self, taken: usize, children: u64, role: Role) -> Result<(), ReplyError> {
        if self.outer.len() >= self.depth_max {
            return Err(ReplyError::TooDeep);
        }
        self.pos += taken;
        // An attribute is followed by the element it is about, which is still to come.
        let left = match role {
            Role::Element => self.left - 1,
            Role::Attribute => self.left,
        };
        self.outer.push(left);
        self.left = children;
        Ok(())
    }

    /// One element is over that [`Self::scan`] has not seen the end of. Says whether the reply is.
    pub(super) fn leave(&mut self) -> bool {
        self.left -= 1;
        while self.left == 0 {
            match self.outer.pop() {
                Some(left) => self.left = left,
                None => {
                    self.finish();
                    return true;
                }
            }
        }
        false
    }

    /// Ready for the next reply; where this one ends.
    #[inline]
    fn finish(&mut self) -> usize {
        self.left = 1;
        self.wanted = 0;
        std::mem::take(&mut self.pos)
    }
}

/// The element at the beginning of `tail`.
#[inline]
fn element(tail: &[u8], scanned: usize, proto: Proto) -> Result<Element, ReplyError> {
    let Some(&kind) = tail.first() else {
        return Ok(Element::Incomplete {
            scanned: 0,
            wanted: 0,
        });
    };
    match kind {
        b'$' => bulk(kind, tail),
        b'+' | b'-' | b':' => line(kind, tail, scanned),
        b'*' => aggregate(kind, tail),
        b'!' | b'=' | b',' | b'(' | b'#' | b'_' | b'%' | b'~' | b'>' | b'|' => match proto {
            Proto::Resp2 => Err(ReplyError::OnlyResp3(kind)),
            Proto::Resp3 => element_of_resp3(kind, tail, scanned),
        },
        b';' | b'.' => Err(ReplyError::Streamed),
        other => Err(ReplyError::UnknownType(other)),
    }
}

/// The same, of a type that RESP2 does not have.
fn element_of_resp3(kind: u8, tail: &[u8], scanned: usize) -> Result<Element, ReplyError> {
    match kind {
        b'!' | b'=' => bulk(kind, tail),
        b',' | b'(' | b'#' | b'_' => line(kind, tail, scanned),
        _ => aggregate(kind, tail),
    }
}

/// `$len`, bytes, CRLF, and the two other types that look like it.
#[inline(always)]
fn bulk(kind: u8, tail: &[u8]) -> Result<Element, ReplyError> {
    let (len, taken) = match length(kind, tail)? {
        Length::Incomplete => {
            return Ok(Element::Incomplete {
                scanned: 0,
                wanted: 0,
            });
        }
        Length::Null { taken } if kind == b'$' => return Ok(Element::Scalar(taken)),
        Length::Null { .. } => return Err(ReplyError::InvalidLength(kind)),
        Length::Some { len, taken } => (len as usize, taken),
    };
    let total = taken + len + 2;
    // `=` begins with a format of three letters and a colon.
    if kind == b'=' && (len < 4 || tail.get(taken + 3).is_some_and(|byte| *byte != b':')) {
        return Err(ReplyError::InvalidContent(kind));
    }
    if tail.len() < total {
        return Ok(Element::Incomplete {
            scanned: 0,
            wanted: total - tail.len(),
        });
    }
    if tail[total - 2..total] != *b"\r\n" {
        return Err(ReplyError::MissingCrlf);
    }
    Ok(Element::Scalar(total))
}

/// `*count` and the other aggregates; a map's pairs are two elements each.
fn aggregate(kind: u8, tail: &[u8]) -> Result<Element, ReplyError> {
    match length(kind, tail)? {
        Length::Incomplete => Ok(Element::Incomplete {
            scanned: 0,
            wanted: 0,
        }),
        Length::Null { taken } if kind == b'*' => Ok(Element::Scalar(taken)),
        Length::Null { .. } => Err(ReplyError::InvalidLength(kind)),
        Length::Some { len, taken } => Ok(Element::Aggregate {
            taken,
            children: if matches!(kind, b'%' | b'|') {
                len * 2
            } else {
                len
            },
            role: if kind == b'|' {
                Role::Attribute
            } else {
                Role::Element
            },
        }),
    }
}

/// A line with a length.
enum Length {
    Incomplete,
    /// -1. `taken` is the line's length, as below.
    Null {
        taken: usize,
    },
    Some {
        len: u64,
        taken: usize,
    },
}

#[inline]
fn length(kind: u8, tail: &[u8]) -> Result<Length, ReplyError> {
    match fast_length(&tail[1..]) {
        Some((len, taken)) if len <= REPLY_LENGTH_MAX => {
            work(1 + taken);
            Ok(Length::Some {
                len,
                taken: 1 + taken,
            })
        }
        _ => slow_length(kind, tail),
    }
}

/// A length that the fast path did not take: cut off, null, too large or wrong.
#[cold]
fn slow_length(kind: u8, tail: &[u8]) -> Result<Length, ReplyError> {
    let line = &tail[..tail.len().min(LENGTH_LINE_MAX)];
    work(line.len());
    if line.get(1) == Some(&b'?') {
        return Err(ReplyError::Streamed);
    }
    let Some(end) = memchr(b'\r', line) else {
        return if line.len() < LENGTH_LINE_MAX {
            Ok(Length::Incomplete)
        } else {
            Err(ReplyError::InvalidLength(kind))
        };
    };
    match (tail.get(end + 1), strict_integer(&tail[1..end])) {
        (_, None) => Err(ReplyError::InvalidLength(kind)),
        (None, _) => Ok(Length::Incomplete),
        (Some(b'\n'), Some(-1)) => Ok(Length::Null { taken: end + 2 }),
        (Some(b'\n'), Some(0..)) => Err(ReplyError::TooLarge),
        _ => Err(ReplyError::InvalidLength(kind)),
    }
}

/// A scalar that ends with its line. Simple strings and errors end at the first CRLF: servers pass on what modules say as it
/// is, a lone CR or LF of their client's too, and every client reads it so. To take it for a fault would let one client end a
/// connection that others share.
#[inline(always)]
fn line(kind: u8, tail: &[u8], scanned: usize) -> Result<Element, ReplyError> {
    // The reply to most writes.
    if let [b'+', b'O', b'K', b'\r', b'\n', ..] = tail {
        return Ok(Element::Scalar(5));
    }
    let mut from = scanned.max(1);
    loop {
        let unseen = tail.get(from..).unwrap_or_default();
        let Some(at) = memchr(b'\r', unseen) else {
            work(unseen.len());
            from = tail.len();
            break;
        };
        work(at + 1);
        match tail.get(from + at + 1) {
            Some(b'\n') => {
                let end = from + at;
                check_content(kind, &tail[1..end])?;
                return Ok(Element::Scalar(end + 2));
            }
            Some(_) => from += at + 1,
            None => {
                from += at;
                break;
            }
        }
    }
    if tail.len() as u64 > REPLY_LENGTH_MAX {
        return Err(ReplyError::TooLarge);
    }
    Ok(Element::Incomplete {
        scanned: from,
        wanted: 0,
    })
}

/// Whether `text` can be a scalar of type `kind`.
#[inline]
fn check_content(kind: u8, text: &[u8]) -> Result<(), ReplyError> {
    let fits = match kind {
        // A script says any text it likes in a big number; servers only keep it to one line.
        b'+' | b'-' | b'(' => true,
        b':' => {
            let digits = match text {
                [b'+' | b'-', digits @ ..] => digits,
                digits => digits,
            };
            !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
        }
        b',' => {
            let number =
                |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
            !text.is_empty() && text.iter().all(number)
        }
        b'#' => matches!(text, b"t" | b"f"),
        _ => text.is_empty(),
    };
    if fits {
        Ok(())
    } else {
        Err(ReplyError::InvalidContent(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_ends_where_it_ends() {
        for reply in [
            "+OK\r\n",
            "+\r\n",
            "+a\rb\nc\r\n",
            "-ERR no\r\n",
            ":0\r\n",
            ":-12\r\n",
            "$0\r\n\r\n",
            "$2\r\n\r\n\r\n",
            "$-1\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*2\r\n:1\r\n*1\r\n+a\r\n",
            "_\r\n",
            "#t\r\n",
            "#f\r\n",
            ",1.5e-3\r\n",
            ",-inf\r\n",
            ",nan\r\n",
            "(-123456789012345678901234567890\r\n",
            // By a script.
            "(what it likes\r\n",
            "!3\r\nERR\r\n",
            "=5\r\ntxt:a\r\n",
            "%1\r\n+a\r\n*0\r\n",
            "~1\r\n_\r\n",
            ">1\r\n+a\r\n",
            "|1\r\n+a\r\n+b\r\n:1\r\n",
            "*1\r\n|1\r\n+a\r\n%0\r\n|0\r\n:1\r\n",
        ] {
            let mut scanner = ReplyScanner::new();
            for cut in 0..reply.len() {
                assert_eq!(
                    scanner.scan(&reply.as_bytes()[..cut]),
                    Ok(None),
                    "{reply:?} cut at {cut}"
                );
            }
            let longer = format!("{reply}+next\r\n");
            assert_eq!(
                scanner.scan(longer.as_bytes()),
                Ok(Some(reply.len())),
                "{reply:?}"
            );
            assert_eq!(
                scanner.scan(b"+next\r\n"),
                Ok(Some(7)),
                "ready for the next"
            );
        }
    }
}
