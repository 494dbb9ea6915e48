//! A complete request: its canonical bytes and where its arguments are in them. Borrowed, never copied.
//!
//! Made by the decoder, read by everything between the session and the lane.

use std::fmt;

use smallvec::SmallVec;

use super::number::fast_length;

/// Where one argument's bytes are in the request's canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Index of its first byte.
    pub start: u32,
    /// Index after its last byte.
    pub end: u32,
}

impl Span {
    #[inline]
    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// Spans as the decoder keeps them: commands of up to four arguments need no heap memory.
pub(super) type Spans = SmallVec<[Span; 4]>;

/// A complete command in canonical form, `*N\r\n$len\r\narg\r\n…`.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Request<'a> {
    /// From canonical bytes and the spans of all its arguments, of which there is at least one.
    #[inline]
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        debug_assert!(!spans.is_empty(), "a request has a name");
        Self { bytes, spans }
    }

    /// How many arguments there are, the name included: never 0.
    #[expect(clippy::len_without_is_empty, reason = "a request is never empty")]
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Argument `i`; 0 is the command's name. Panics when there is none.
    #[inline]
    pub fn arg(&self, i: usize) -> &'a [u8] {
        self.spans[i].of(self.bytes)
    }

    /// Argument `i`, if there is one.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        self.spans.get(i).map(|span| span.of(self.bytes))
    }

    /// All arguments, the name first.
    pub fn args(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.spans.iter().map(move |span| span.of(bytes))
    }

    /// Where the arguments are in [`Self::bytes`].
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// Argument `i` as the bulk string it is on the wire: header, bytes, CRLF. Panics when there is none.
    pub fn raw(&self, i: usize) -> &'a [u8] {
        let start = match i.checked_sub(1) {
            Some(before) => self.spans[before].end as usize + 2,
            // The first one follows the line with the count.
            None => memchr::memchr(b'\n', self.bytes).map_or(0, |newline| newline + 1),
        };
        &self.bytes[start..self.spans[i].end as usize + 2]
    }

    /// The whole request in canonical form.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for arg in self.args() {
            list.entry(&format_args!("\"{}\"", arg.escape_ascii()));
        }
        list.finish()
    }
}

/// Parses bytes that are known to be one whole canonical request (resends, tests). `None` if they are not.
pub fn parse_request<'a>(bytes: &'a [u8], spans: &'a mut Vec<Span>) -> Option<Request<'a>> {
    spans.clear();
    // Spans are 32 bits wide.
    u32::try_from(bytes.len()).ok()?;
    let (count, taken) = fast_length(bytes.strip_prefix(b"*")?)?;
    let mut pos = 1 + taken;
    for _ in 0..count {
        let (len, taken) = fast_length(bytes.get(pos..)?.strip_prefix(b"$")?)?;
        let start = pos + 1 + taken;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        if bytes.get(end..)?.get(..2)? != b"\r\n" {
            return None;
        }
        spans.push(Span {
            start: start as u32,
            end: end as u32,
        });
        pos = end + 2;
    }
    (pos == bytes.len() && count > 0).then(|| Request::new(bytes, spans))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_their_bulk_strings() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n";
        let mut spans = Vec::new();
        let request = parse_request(bytes, &mut spans).unwrap();
        assert_eq!(request.len(), 3);
        assert_eq!(
            request.args().collect::<Vec<_>>(),
            [&b"SET"[..], b"", b"\r\n"]
        );
        assert_eq!(request.raw(0), b"$3\r\nSET\r\n");
        assert_eq!(request.raw(1), b"$0\r\n\r\n");
        assert_eq!(request.raw(2), b"$2\r\n\r\n\r\n");
        assert_eq!(request.get(3), None);
        assert_eq!(request.bytes(), bytes);
        assert_eq!(format!("{request:?}"), r#"["SET", "", "\r\n"]"#);
    }

    #[test]
    fn only_one_whole_canonical_request_is_taken() {
        let mut spans = Vec::new();
        for bytes in [
            &b""[..],
            b"*0\r\n",
            b"*-1\r\n",
            b"PING\r\n",
            b"*1\r\n$4\r\nPING\r\n ",
            b"*1\r\n$4\r\nPING\r",
            b"*1\r\n$4\r\nPINGxx",
            b"*1\r\n$04\r\nPING\r\n",
            b"*2\r\n$4\r\nPING\r\n",
            b"*1\r\n$9999999999\r\nPING\r\n",
            b"*1\r\n:4\r\nPING\r\n",
        ] {
            assert!(
                parse_request(bytes, &mut spans).is_none(),
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
