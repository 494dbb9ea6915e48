//! Follows the replies of a server to one client: which request each belongs to, and how long it is. Keeps nothing of
//! them. Where replies stop being one for each request, in order, it ends.

use crate::command::{Command, Keys};
use crate::resp::{ReplyScanner, Request, Skipped};
use std::collections::VecDeque;

/// So many requests without a reply are remembered; a client with more is not followed.
const OUTSTANDING_MAX: usize = 100_000;

/// What a request asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) command: Box<str>,
    /// Its first key, cut.
    pub(super) key: Option<Box<[u8]>>,
}

impl Asked {
    pub(super) fn new(command: Option<&Command>, request: &Request<'_>, shown: usize) -> Self {
        let key = command.and_then(|command| {
            let mut places = Keys::new();
            command.keys(request, &mut places).ok()?;
            let key = request.arg(*places.first()? as usize);
            Some(key[..key.len().min(shown)].into())
        });
        let name = command.map_or("(unknown)", |command| &command.name);
        Self {
            command: name.into(),
            key,
        }
    }
}

/// Replies to one client, as they come.
#[derive(Debug, Default)]
pub(super) struct Replies {
    outstanding: VecDeque<Asked>,
    scanner: ReplyScanner,
    /// The beginning of something that has not ended yet.
    rest: Vec<u8>,
    /// Bytes of the reply that is coming.
    len: usize,
}

/// Replies are not one for each request any more, or nobody knows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost;

impl Replies {
    /// A request that gets one reply.
    pub(super) fn expect(&mut self, asked: Asked) -> Result<(), Lost> {
        if self.outstanding.len() >= OUTSTANDING_MAX {
            return Err(Lost);
        }
        self.outstanding.push_back(asked);
        Ok(())
    }

    /// Whether a reply is still to come.
    pub(super) fn are_outstanding(&self) -> bool {
        !self.outstanding.is_empty()
    }

    /// Goes on with what came; `each` sees what the replies that ended with it belong to, and how long they are.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&Asked, usize),
    ) -> Result<(), Lost> {
        let mut together = std::mem::take(&mut self.rest);
        let mut buf = match together.is_empty() {
            true => bytes,
            false => {
                together.extend_from_slice(bytes);
                &together[..]
            }
        };
        while let Some(first) = buf.first() {
            if self.len == 0 && *first == b'>' {
                // Out of turn: a client that asked for that is not followed.
                return Err(Lost);
            }
            let before = buf.len();
            match self.scanner.skip(buf).map_err(|_| Lost)? {
                Skipped::All(used) => {
                    self.len += used;
                    buf = &buf[used..];
                    let asked = self.outstanding.pop_front().ok_or(Lost)?;
                    each(&asked, std::mem::take(&mut self.len));
                    self.scanner = ReplyScanner::new();
                }
                Skipped::Part(used) => {
                    self.len += used;
                    self.rest = buf[used..].to_vec();
                    debug_assert!(used <= before);
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(command: &str) -> Asked {
        Asked {
            command: command.into(),
            key: None,
        }
    }

    #[test]
    fn each_reply_belongs_to_its_request_however_it_comes() {
        let long = "x".repeat(1000);
        let replies = format!("+OK\r\n*2\r\n$1000\r\n{long}\r\n:1\r\n$-1\r\n-ERR {long}\r\n_\r\n");
        for piece in [1, 2, 3, 10, 100, 10_000] {
            let mut follower = Replies::default();
            for command in ["a", "b", "c", "d", "e"] {
                follower.expect(asked(command)).unwrap();
            }
            let mut seen = String::new();
            for piece in replies.as_bytes().chunks(piece) {
                follower
                    .feed(piece, |asked, len| {
                        seen.push_str(&format!("{}{len} ", asked.command));
                    })
                    .unwrap();
                assert!(follower.rest.len() < 100);
            }
            assert_eq!(seen, "a5 b1017 c5 d1007 e3 ", "in pieces of {piece}");
            assert!(!follower.are_outstanding());
        }
    }

    #[test]
    fn what_nobody_asked_for_ends_it() {
        for bytes in ["+OK\r\n+OK\r\n", "+OK\r\n>1\r\n+a\r\n", "hello\r\n"] {
            let mut follower = Replies::default();
            follower.expect(asked("a")).unwrap();
            assert_eq!(follower.feed(bytes.as_bytes(), |_, _| ()), Err(Lost));
        }
    }

    #[test]
    fn what_is_outstanding_is_bounded() {
        let mut follower = Replies::default();
        for _ in 0..OUTSTANDING_MAX {
            follower.expect(asked("a")).unwrap();
        }
        assert_eq!(follower.expect(asked("a")), Err(Lost));
    }
}
