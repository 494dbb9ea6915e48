//! Finds the end of a reply that nobody can keep, without keeping it.

use super::error::ReplyError;
use super::reply::{LENGTH_LINE_MAX, ReplyScanner};
use memchr::memmem;

const CRLF: &[u8] = b"\r\n";

/// What of the reply is being skipped, beyond what a scanner knows.
#[derive(Debug, Default)]
pub(super) enum Inside {
    /// It goes on with an element.
    #[default]
    Nothing,
    /// So many bytes of a bulk string, its CRLF included, are still to come.
    Bulk(usize),
    /// A line that is longer than any length.
    Line,
}

/// What became of some bytes of a reply that is skipped.
#[derive(Debug, PartialEq, Eq)]
pub enum Skipped {
    /// So many are of no more use; the rest is to be seen again, with more.
    Part(usize),
    /// The reply ended with so many.
    All(usize),
}

impl ReplyScanner {
    /// Skips the bulk string that is being waited for, of which `behind` more bytes have come than were scanned: all that has
    /// come is of no more use. `false` if there is none: then what was scanned is for [`Self::skip`] to see.
    pub fn leap(&mut self, behind: usize) -> bool {
        let is_inside = self.wanted > behind;
        if is_inside {
            self.inside = Inside::Bulk(self.wanted - behind);
            (self.pos, self.scanned, self.wanted) = (0, 0, 0);
        }
        is_inside
    }

    /// Goes on with a reply, at its beginning or where [`Self::scan`] has left it, and keeps nothing of it. Strings are not
    /// looked at.
    pub fn skip(&mut self, buf: &[u8]) -> Result<Skipped, ReplyError> {
        let mut used = 0;
        loop {
            let rest = &buf[used..];
            match self.inside {
                Inside::Nothing => {
                    if let Some(len) = self.scan(rest)? {
                        return Ok(Skipped::All(used + len));
                    }
                    used += std::mem::take(&mut self.pos);
                    if self.leap(0) {
                        return Ok(Skipped::Part(buf.len()));
                    }
                    if buf.len() - used <= LENGTH_LINE_MAX {
                        return Ok(Skipped::Part(used));
                    }
                    self.scanned = 0;
                    self.inside = Inside::Line;
                    continue;
                }
                Inside::Bulk(left) if left > rest.len() => {
                    self.inside = Inside::Bulk(left - rest.len());
                    return Ok(Skipped::Part(buf.len()));
                }
                Inside::Bulk(left) => used += left,
                Inside::Line => match memmem::find(rest, CRLF) {
                    Some(at) => used += at + CRLF.len(),
                    None => {
                        let half = usize::from(rest.ends_with(&CRLF[..1]));
                        return Ok(Skipped::Part(buf.len() - half));
                    }
                },
            }
            self.inside = Inside::Nothing;
            if self.leave() {
                return Ok(Skipped::All(used));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Skips what comes in pieces of so many bytes; says what was behind the reply.
    fn skipped(bytes: &[u8], piece: usize, scanned: usize) -> Vec<u8> {
        let mut scanner = ReplyScanner::new();
        assert_eq!(scanner.scan(&bytes[..scanned]), Ok(None));
        let (mut kept, mut at) = (bytes[..scanned].to_vec(), scanned);
        if scanner.leap(0) {
            kept.clear();
        }
        loop {
            match scanner.skip(&kept).unwrap() {
                Skipped::Part(used) => drop(kept.drain(..used)),
                Skipped::All(used) => {
                    kept.drain(..used);
                    kept.extend_from_slice(&bytes[at..]);
                    assert_eq!(scanner.scan(&kept), Ok(Some(kept.len())), "the next one");
                    return kept;
                }
            }
            assert!(
                kept.len() <= LENGTH_LINE_MAX,
                "{} bytes are kept",
                kept.len()
            );
            let end = (at + piece).min(bytes.len());
            kept.extend_from_slice(&bytes[at..end]);
            at = end;
        }
    }

    #[test]
    fn a_reply_ends_where_it_ends_however_it_comes() {
        let long = "x".repeat(100);
        for reply in [
            format!("$100\r\n{long}\r\n"),
            format!("+{long}\r\n"),
            format!("+{long}\r{long}\r\n"),
            format!("*3\r\n$100\r\n{long}\r\n:1\r\n-{long}\r\n"),
            format!("%1\r\n+a\r\n*2\r\n=104\r\ntxt:{long}\r\n|1\r\n+b\r\n+c\r\n$-1\r\n"),
            "*2\r\n*2\r\n:1\r\n+\r\n$0\r\n\r\n".to_owned(),
        ] {
            let bytes = format!("{reply}+next\r\n");
            for scanned in 0..reply.len() {
                for piece in [1, 2, 7, 60, 1000] {
                    let behind = skipped(bytes.as_bytes(), piece, scanned);
                    assert_eq!(
                        behind, b"+next\r\n",
                        "{reply:?} in pieces of {piece} from {scanned}"
                    );
                }
            }
        }
    }

    /// What came behind the scanned bytes and was never looked at.
    #[test]
    fn what_was_collected_is_leapt_over() {
        let mut scanner = ReplyScanner::new();
        assert_eq!(scanner.scan(b"*2\r\n$100\r\nxx"), Ok(None));
        assert!(scanner.leap(90));
        assert_eq!(scanner.skip(b"xxxxxxx"), Ok(Skipped::Part(7)));
        assert_eq!(scanner.skip(b"x\r\n:1\r\n+next\r\n"), Ok(Skipped::All(7)));
        assert_eq!(scanner.scan(b"+next\r\n"), Ok(Some(7)));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let mut scanner = ReplyScanner::new();
        assert_eq!(scanner.scan(b"*2\r\n$9\r\nxx"), Ok(None));
        assert!(scanner.leap(0));
        assert!(scanner.skip(b"xxxxxxx\r\nwhat\r\n").is_err());
    }
}
