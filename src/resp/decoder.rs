//! Finds requests in the bytes of one client, as they arrive. Owns what a half-arrived request needs to be
//! continued, and nothing else: the bytes stay in the session's read buffer.
//!
//! Invariants 8 and 9 are kept here: a declared count or length allocates nothing, and every limit is applied as
//! soon as it is known to be exceeded. No byte of a half-arrived request is looked at twice, apart from the
//! one length line that is being waited behind.

use memchr::memchr2;

use super::error::ProtocolError;
use super::inline;
use super::length::{Line, count_line, length_line};
use super::limits::RequestLimits;
use super::number::work;
use super::request::{Request, Span, Spans};

/// Spans for more arguments than this are given back by [`RequestDecoder::shrink`].
const SPANS_KEPT_MAX: usize = 64;

/// What the decoder found at the beginning of the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// The request has not arrived completely.
    Incomplete,
    /// Nothing to answer: a blank line, `*0`, `*-5`.
    Nothing {
        /// Bytes to take off the buffer.
        consumed: usize,
    },
    /// A request: ask for it with [`RequestDecoder::request`].
    Request {
        /// Bytes to take off the buffer when the request has been dealt with.
        consumed: usize,
    },
}

/// Finds requests, one after the other. Small, and without heap memory for commands of up to four arguments.
#[derive(Debug)]
pub struct RequestDecoder {
    /// The arguments found so far.
    spans: Spans,
    /// The canonical form of the last request, if it was an inline one.
    inline: Option<Box<Canonical>>,
    /// Where the element that is being waited for begins; after a request: where the request ends.
    pos: u32,
    /// Arguments still to come.
    left: u32,
    stage: Stage,
}

/// What is being waited for.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// The first byte of a request.
    Idle,
    /// The end of the line `*N`, which is not within its first `scanned` bytes.
    Count { scanned: u32 },
    /// The end of a line `$n`, which is not within its first `scanned` bytes.
    Length { scanned: u32 },
    /// The end of an argument: `wanted` more bytes.
    Bulk { wanted: u32 },
    /// The end of an inline request, which is not within its first `scanned` bytes.
    Inline { scanned: u32 },
}

/// An inline request's canonical form. (A struct, so that the decoder holds one word for it.)
#[derive(Debug, Default)]
struct Canonical {
    bytes: Vec<u8>,
}

impl Default for RequestDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestDecoder {
    /// A decoder at the beginning of a request.
    pub const fn new() -> Self {
        Self {
            spans: Spans::new_const(),
            inline: None,
            pos: 0,
            left: 0,
            stage: Stage::Idle,
        }
    }

    /// Looks for a request at the beginning of `buf`. After `Incomplete`, the next call must see the same
    /// bytes and more. After `Request` and `Nothing` the next call must see what follows `consumed`. After an
    /// error the client is to be closed.
    #[inline]
    pub fn decode(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Decoded, ProtocolError> {
        if let Stage::Idle = self.stage {
            match buf.first() {
                None => return Ok(Decoded::Incomplete),
                Some(b'*') => self.begin(Stage::Count { scanned: 0 }),
                Some(_) => self.begin(Stage::Inline { scanned: 0 }),
            }
        }
        let decoded = match self.stage {
            Stage::Inline { scanned } => self.inline(buf, scanned as usize, limits),
            _ => self.multibulk(buf, limits),
        };
        if decoded.is_err() {
            self.stage = Stage::Idle;
        }
        decoded
    }

    /// The request just decoded from `buf`; valid until the next `decode` or `shrink`. For inline commands its
    /// bytes are the re-encoded canonical form, else they are the client's own.
    #[inline]
    pub fn request<'a>(&'a self, buf: &'a [u8]) -> Request<'a> {
        let bytes = match &self.inline {
            None => &buf[..self.pos as usize],
            Some(canonical) => &canonical.bytes,
        };
        Request::new(bytes, &self.spans)
    }

    /// Gives back memory that a large request needed. To be called between requests.
    pub fn shrink(&mut self) {
        if let Stage::Idle = self.stage {
            self.inline = None;
            if self.spans.capacity() > SPANS_KEPT_MAX {
                self.spans = Spans::new();
            }
        }
    }

    /// How many more bytes the argument that is being waited for needs at least, 0 if unknown. The client
    /// said so: a hint for reading, never to be trusted for allocation.
    pub fn wanted(&self) -> usize {
        match self.stage {
            Stage::Bulk { wanted } => wanted as usize,
            _ => 0,
        }
    }

    /// How much heap memory it holds.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        let spans = if self.spans.spilled() {
            self.spans.capacity() * size_of::<Span>()
        } else {
            0
        };
        let inline = self.inline.as_ref().map_or(0, |canonical| {
            size_of::<Canonical>() + canonical.bytes.capacity()
        });
        spans + inline
    }

    #[inline]
    fn begin(&mut self, stage: Stage) {
        self.spans.clear();
        self.pos = 0;
        self.left = 0;
        self.stage = stage;
    }

    /// Remembers where to go on, and that more is needed.
    #[inline]
    fn pause(&mut self, pos: usize, left: u32, stage: Stage) -> Decoded {
        self.pos = pos as u32;
        self.left = left;
        self.stage = stage;
        Decoded::Incomplete
    }

    /// One pass over what has arrived of `*N`, then N times `$len`, bytes, CRLF.
    fn multibulk(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Decoded, ProtocolError> {
        let (mut pos, mut left) = (self.pos as usize, self.left);
        let mut scanned = 0;
        match self.stage {
            Stage::Count { scanned } => match count_line(buf, scanned as usize)? {
                Line::Incomplete { scanned } => {
                    return Ok(self.pause(0, 0, Stage::Count { scanned }));
                }
                Line::Value { value, taken } if value <= 0 => {
                    self.stage = Stage::Idle;
                    return Ok(Decoded::Nothing { consumed: taken });
                }
                Line::Value { value, taken } => {
                    limits.check_arguments(value.unsigned_abs())?;
                    (pos, left) = (taken, value as u32);
                    self.inline = None;
                }
            },
            Stage::Length { scanned: before } => scanned = before as usize,
            _ => {}
        }
        while left > 0 {
            let tail = buf.get(pos..).unwrap_or_default();
            let (len, taken) = match length_line(tail, scanned)? {
                Line::Incomplete { scanned } => {
                    return Ok(self.pause(pos, left, Stage::Length { scanned }));
                }
                Line::Value { value, taken } => (value as u64, taken),
            };
            scanned = 0;
            limits.check_argument(len)?;
            let start = pos + taken;
            let after = start as u64 + len + 2;
            limits.check_request(after)?;
            let missing = after.saturating_sub(buf.len() as u64);
            if missing > 0 {
                return Ok(self.pause(
                    pos,
                    left,
                    Stage::Bulk {
                        wanted: missing as u32,
                    },
                ));
            }
            // From here on everything is within the buffer and, by `check_request`, within 32 bits.
            let end = start + len as usize;
            if buf[end..end + 2] != *b"\r\n" {
                return Err(ProtocolError::MissingCrlf);
            }
            self.spans.push(Span {
                start: start as u32,
                end: end as u32,
            });
            pos = end + 2;
            left -= 1;
        }
        self.pos = pos as u32;
        self.stage = Stage::Idle;
        refuse_cross_protocol(&buf[self.spans[0].start as usize..self.spans[0].end as usize])?;
        Ok(Decoded::Request { consumed: pos })
    }

    /// A request that does not begin with `*`.
    #[cold]
    fn inline(
        &mut self,
        buf: &[u8],
        scanned: usize,
        limits: &RequestLimits,
    ) -> Result<Decoded, ProtocolError> {
        let unseen = buf.get(scanned..).unwrap_or_default();
        // Redis looks for the line end with `strchr`: behind a zero byte it finds none. So do we.
        let stop = memchr2(b'\n', 0, unseen).map(|at| scanned + at);
        work(stop.map_or(unseen.len(), |at| at + 1 - scanned));
        let newline = match stop {
            Some(at) if at > limits.inline as usize => return Err(ProtocolError::InlineTooBig),
            Some(at) if buf[at] == b'\n' => at,
            _ if buf.len() > limits.inline as usize => return Err(ProtocolError::InlineTooBig),
            found => {
                let scanned = found.unwrap_or(buf.len()) as u32;
                return Ok(self.pause(0, 0, Stage::Inline { scanned }));
            }
        };
        let line = &buf[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut canonical = self.inline.take().unwrap_or_default();
        inline::canonical(line, limits, &mut canonical.bytes, &mut self.spans)?;
        self.stage = Stage::Idle;
        let consumed = newline + 1;
        let Some(name) = self.spans.first() else {
            return Ok(Decoded::Nothing { consumed });
        };
        refuse_cross_protocol(&canonical.bytes[name.start as usize..name.end as usize])?;
        self.inline = Some(canonical);
        Ok(Decoded::Request { consumed })
    }
}

/// Somebody makes a browser send us commands in the body of a POST: its headers come first.
#[inline]
fn refuse_cross_protocol(name: &[u8]) -> Result<(), ProtocolError> {
    if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
        return Err(ProtocolError::CrossProtocol);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        arguments: 1_048_576,
        argument: 512 * 1024 * 1024,
        request: 512 * 1024 * 1024,
        inline: 64 * 1024,
        preauth: false,
    };

    fn decode(buf: &[u8]) -> Result<Decoded, ProtocolError> {
        RequestDecoder::new().decode(buf, &LIMITS)
    }

    #[track_caller]
    fn request(buf: &[u8], args: &[&[u8]], canonical: &[u8]) {
        let mut decoder = RequestDecoder::new();
        let Ok(Decoded::Request { consumed }) = decoder.decode(buf, &LIMITS) else {
            panic!("no request in {}", buf.escape_ascii());
        };
        assert_eq!(consumed, buf.len());
        let request = decoder.request(buf);
        assert_eq!(request.args().collect::<Vec<_>>(), args);
        assert_eq!(request.bytes(), canonical);
    }

    #[test]
    fn both_forms_of_a_request() {
        let get = b"*2\r\n$3\r\nGET\r\n$3\r\nk\r\n\r\n";
        request(get, &[b"GET", b"k\r\n"], get);
        request(
            b"GET a\r\n",
            &[b"GET", b"a"],
            b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
        );
        request(
            b" SET 'a b' \"\\x00\"\n",
            &[b"SET", b"a b", b"\0"],
            b"*3\r\n$3\r\nSET\r\n$3\r\na b\r\n$1\r\n\0\r\n",
        );
    }

    #[test]
    fn nothing_to_answer() {
        for (buf, consumed) in [
            (&b"\r\nPING\r\n"[..], 2),
            (b"\nPING", 1),
            (b" \t\r\n", 4),
            (b"*0\r\n", 4),
            (b"*-5\r\nx", 5),
        ] {
            assert_eq!(
                decode(buf),
                Ok(Decoded::Nothing { consumed }),
                "{}",
                buf.escape_ascii()
            );
        }
    }
}
