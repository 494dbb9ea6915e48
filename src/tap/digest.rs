//! Keeps of each request what is needed to judge it: its arguments, long ones cut. So a client may send whatever its
//! server takes, and costs no more than [`DIGEST_BYTES_MAX`] here.

use crate::resp::{
    Decoded, Request, RequestDecoder, RequestLimits, Span, encode, parse_request, strict_integer,
};

/// So much of an argument is kept, in bytes: more than keys have.
pub(super) const ARGUMENT_BYTES_KEPT: usize = 16 * 1024;

/// So much of a request is kept; what is longer is not judged.
pub(super) const DIGEST_BYTES_MAX: usize = 1024 * 1024;

/// A digest of more is given back once it was looked at.
const DIGEST_BYTES_KEPT: usize = 4 * 1024;

/// Longest inline request, as servers have it.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// For inline requests; all others are read here.
const INLINE_LIMITS: RequestLimits = RequestLimits {
    arguments: INLINE_BYTES_MAX as u32,
    argument: INLINE_BYTES_MAX as u32,
    request: u32::MAX,
    inline: INLINE_BYTES_MAX as u32,
    preauth: false,
};

/// Longest line that says how many or how long.
const LENGTH_LINE_MAX: usize = 32;

/// What a client sends, as it comes.
#[derive(Debug, Default)]
pub(super) struct Digest {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The request so far.
    kept: Vec<u8>,
    spans: Vec<Span>,
    awaits: Awaits,
    /// Length of the longest argument.
    longest: usize,
    is_too_long: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Awaits {
    /// The first line of a request.
    #[default]
    Request,
    /// The length of an argument, of so many that are to come.
    Length(u64),
    /// An argument: so many bytes of it to keep, then so many, its line end included, to leave; arguments to come after it.
    Argument {
        keep: usize,
        leave: usize,
        then: u64,
    },
}

/// A request that ended.
pub(super) enum Ended<'a> {
    /// Its arguments, and the length of the longest before it was cut.
    Request(Request<'a>, usize),
    /// It was too long to be kept.
    TooLong,
}

/// It is no request: a server closes the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRequest;

impl Digest {
    /// Goes on with what came. `each` sees the requests that ended with it.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Ended<'_>),
    ) -> Result<(), NoRequest> {
        while !bytes.is_empty() {
            match self.awaits {
                Awaits::Request => {
                    let inline = self.line.first().or(bytes.first()) != Some(&b'*');
                    let most = if inline {
                        INLINE_BYTES_MAX
                    } else {
                        LENGTH_LINE_MAX
                    };
                    if self.take_line(&mut bytes, most)? {
                        match inline {
                            true => self.inline(&mut each)?,
                            false => self.begin()?,
                        }
                        self.line.clear();
                    }
                }
                Awaits::Length(left) => {
                    if self.take_line(&mut bytes, LENGTH_LINE_MAX)? {
                        let len = usize::try_from(self.number(b'$')?).map_err(|_| NoRequest)?;
                        self.line.clear();
                        self.argument(len, left - 1);
                    }
                }
                Awaits::Argument { keep, leave, then } => {
                    let kept = keep.min(bytes.len());
                    if !self.is_too_long {
                        self.kept.extend_from_slice(&bytes[..kept]);
                    }
                    let left = leave.min(bytes.len() - kept);
                    bytes = &bytes[kept + left..];
                    let (keep, leave) = (keep - kept, leave - left);
                    self.awaits = Awaits::Argument { keep, leave, then };
                    if leave == 0 {
                        self.end_argument(then, &mut each);
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a request has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        !matches!(self.awaits, Awaits::Request) || !self.line.is_empty()
    }

    /// Adds to the line; `true` when it has ended.
    fn take_line(&mut self, bytes: &mut &[u8], most: usize) -> Result<bool, NoRequest> {
        let end = memchr::memchr(b'\n', bytes).map(|at| at + 1);
        let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        if self.line.len() + line.len() > most {
            return Err(NoRequest);
        }
        self.line.extend_from_slice(line);
        *bytes = rest;
        Ok(end.is_some())
    }

    /// The number of the line, behind its type.
    fn number(&self, kind: u8) -> Result<i64, NoRequest> {
        let text = self.line.strip_prefix(&[kind]);
        let text = text.and_then(|text| text.strip_suffix(b"\r\n"));
        text.and_then(strict_integer).ok_or(NoRequest)
    }

    /// `*3`
    fn begin(&mut self) -> Result<(), NoRequest> {
        let count = self.number(b'*')?;
        // None is nothing to answer.
        if let Ok(arguments @ 1..) = u64::try_from(count) {
            encode::array(&mut self.kept, count as usize);
            self.awaits = Awaits::Length(arguments);
        }
        Ok(())
    }

    /// `$5`
    fn argument(&mut self, len: usize, then: u64) {
        self.longest = self.longest.max(len);
        let keep = len.min(ARGUMENT_BYTES_KEPT);
        if self.kept.len() + keep > DIGEST_BYTES_MAX {
            self.is_too_long = true;
            self.kept = Vec::new();
        }
        if !self.is_too_long {
            self.kept
                .extend_from_slice(format!("${keep}\r\n").as_bytes());
        }
        let leave = len - keep + b"\r\n".len();
        self.awaits = Awaits::Argument { keep, leave, then };
    }

    fn end_argument(&mut self, then: u64, each: &mut impl FnMut(Ended<'_>)) {
        if !self.is_too_long {
            self.kept.extend_from_slice(b"\r\n");
        }
        if then > 0 {
            self.awaits = Awaits::Length(then);
            return;
        }
        match self.is_too_long {
            true => each(Ended::TooLong),
            false => {
                if let Some(request) = parse_request(&self.kept, &mut self.spans) {
                    each(Ended::Request(request, self.longest));
                }
            }
        }
        self.kept.clear();
        self.kept.shrink_to(DIGEST_BYTES_KEPT);
        self.spans = Vec::new();
        (self.awaits, self.longest, self.is_too_long) = (Awaits::Request, 0, false);
    }

    /// Words in a line.
    fn inline(&mut self, each: &mut impl FnMut(Ended<'_>)) -> Result<(), NoRequest> {
        let mut decoder = RequestDecoder::new();
        match decoder.decode(&self.line, &INLINE_LIMITS) {
            Ok(Decoded::Request { .. }) => {
                let request = decoder.request(&self.line);
                let longest = request.args().map(<[u8]>::len).max();
                each(Ended::Request(request, longest.unwrap_or(0)));
                Ok(())
            }
            Ok(Decoded::Nothing { .. }) => Ok(()),
            Ok(Decoded::Incomplete) | Err(_) => Err(NoRequest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is seen of bytes that come in pieces: the words of each request, and how long the longest was.
    fn seen(bytes: &[u8], piece: usize) -> Result<Vec<(Vec<usize>, String, usize)>, NoRequest> {
        let mut digest = Digest::default();
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            digest.feed(piece, |ended| match ended {
                Ended::Request(request, longest) => all.push((
                    request.args().map(<[u8]>::len).collect(),
                    String::from_utf8_lossy(request.arg(0)).into_owned(),
                    longest,
                )),
                Ended::TooLong => all.push((Vec::new(), "too long".to_owned(), 0)),
            })?;
            assert!(digest.kept.len() <= DIGEST_BYTES_MAX + ARGUMENT_BYTES_KEPT);
        }
        assert!(!digest.is_inside());
        Ok(all)
    }

    #[test]
    fn requests_are_found_however_they_come() {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &["SET", "a", "\r\n$3\r\n"]);
        bytes.extend_from_slice(b"GET \"a b\"\r\n\r\n*0\r\n*-1\r\nPING\n");
        let long = "x".repeat(100_000);
        encode::command(&mut bytes, &["APPEND", &long, ""]);
        encode::command(&mut bytes, &["DBSIZE"]);
        for piece in [1, 2, 3, 7, 1000, 1 << 20] {
            let found = seen(&bytes, piece).unwrap();
            let expected = [
                (vec![3, 1, 6], "SET", 6),
                (vec![3, 3], "GET", 3),
                (vec![4], "PING", 4),
                (vec![6, ARGUMENT_BYTES_KEPT, 0], "APPEND", 100_000),
                (vec![6], "DBSIZE", 6),
            ];
            let expected = expected.map(|(words, name, longest)| (words, name.to_owned(), longest));
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_too_long_is_said_so_and_the_next_is_seen() {
        let long = "x".repeat(ARGUMENT_BYTES_KEPT);
        let mut words = vec!["MSET"];
        words.extend(std::iter::repeat_n(&long[..], 100));
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &words);
        encode::command(&mut bytes, &["PING"]);
        for piece in [1000, 1 << 22] {
            let found = seen(&bytes, piece).unwrap();
            let names: Vec<&str> = found.iter().map(|(_, name, _)| &name[..]).collect();
            assert_eq!(names, ["too long", "PING"]);
        }
    }

    #[test]
    fn what_servers_refuse_is_no_request() {
        let long = "x".repeat(INLINE_BYTES_MAX + 1);
        let number = format!("*{}\r\n", "1".repeat(LENGTH_LINE_MAX));
        for bytes in [
            "*x\r\n",
            "*1\r\n:1\r\n",
            "*1\r\n$-1\r\n",
            "GET \"a\r\n",
            &long,
            &number,
        ] {
            assert_eq!(seen(bytes.as_bytes(), 5), Err(NoRequest), "{bytes:.20}");
        }
    }
}
