//! The bytes a lane was given, kept from the moment they are appended until their reply has been read.
//!
//! They are one stream with three positions: `released` ≤ `written` ≤ `appended`. What is in front of `written`
//! was handed to the kernel and may have been executed; what is behind it never left (invariant 5). Keeping the
//! bytes is what makes a refused request resendable without a copy per request on the hot path.

use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

/// Requests are collected in segments of about this many bytes; a larger request has a segment of its own.
const SEGMENT_BYTES: usize = 64 * 1024;

/// How many emptied segments are kept for reuse.
const SPARE_MAX: usize = 2;

/// How many segments one `writev` takes.
const PIECES_MAX: usize = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Outbox {
    segments: VecDeque<Segment>,
    spare: Vec<Vec<u8>>,
    released: u64,
    written: u64,
    appended: u64,
}

struct Segment {
    bytes: Vec<u8>,
    /// Stream position of its first byte.
    base: u64,
}

impl Segment {
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }
}

impl Outbox {
    /// Appends one request.
    #[inline]
    pub(super) fn append(&mut self, request: &[u8]) {
        let fits = self
            .segments
            .back()
            .is_some_and(|s| s.bytes.len() + request.len() <= SEGMENT_BYTES);
        if !fits {
            let mut bytes = self.spare.pop().unwrap_or_default();
            if request.len() > SEGMENT_BYTES {
                bytes.reserve_exact(request.len());
            }
            self.segments.push_back(Segment {
                bytes,
                base: self.appended,
            });
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes.extend_from_slice(request);
        }
        self.appended += request.len() as u64;
    }

    /// Bytes that were appended and not yet released.
    pub(super) fn retained(&self) -> usize {
        (self.appended - self.released) as usize
    }

    /// Whether everything was written.
    pub(super) fn is_written(&self) -> bool {
        self.written == self.appended
    }

    /// How many of the retained bytes were handed to the kernel.
    pub(super) fn handed_over(&self) -> usize {
        self.written.saturating_sub(self.released) as usize
    }

    /// Hands unwritten pieces to `write` until all is written or the socket is full. Returns the bytes written.
    pub(super) fn write_with(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let before = self.written;
        while self.written < self.appended {
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let mut count = 0;
            let unwritten = self.segments.iter().filter(|s| s.end() > self.written);
            for (piece, segment) in pieces.iter_mut().zip(unwritten) {
                let skip = self.written.saturating_sub(segment.base) as usize;
                *piece = IoSlice::new(&segment.bytes[skip..]);
                count += 1;
            }
            match write(&pieces[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n as u64,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok((self.written - before) as usize)
    }

    /// A copy of the oldest retained request, which is `len` bytes long.
    pub(super) fn copy_front(&self, len: usize) -> Bytes {
        let mut at = self.released;
        let end = at + len as u64;
        let mut copy = Vec::with_capacity(len);
        for segment in &self.segments {
            if at < end && at < segment.end() {
                let from = (at - segment.base) as usize;
                let to = (end.min(segment.end()) - segment.base) as usize;
                copy.extend_from_slice(&segment.bytes[from..to]);
                at = segment.base + to as u64;
            }
        }
        Bytes::from(copy)
    }

    /// Lets go of the oldest `len` bytes: their reply has been read, or their outcome has been told.
    #[inline]
    pub(super) fn release(&mut self, len: usize) {
        self.released += len as u64;
        debug_assert!(self.released <= self.appended);
        while let Some(first) = self.segments.front() {
            if first.end() > self.released.min(self.written) {
                break;
            }
            if let Some(segment) = self.segments.pop_front() {
                self.reuse(segment.bytes);
            }
        }
    }

    /// Lets go of the oldest `len` bytes of a lost connection, handed over or not.
    pub(super) fn release_lost(&mut self, len: usize) {
        self.released += len as u64;
        while self
            .segments
            .front()
            .is_some_and(|s| s.end() <= self.released)
        {
            self.segments.pop_front();
        }
    }

    /// Forgets everything; for a connection that is gone, after each request's outcome has been told.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn reuse(&mut self, mut bytes: Vec<u8>) {
        if self.spare.len() < SPARE_MAX && bytes.capacity() <= 2 * SEGMENT_BYTES {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that takes at most `n` bytes at a time and at most `room` altogether.
    fn socket(
        room: usize,
        n: usize,
        into: &mut Vec<u8>,
    ) -> impl FnMut(&[IoSlice<'_>]) -> io::Result<usize> {
        move |pieces| {
            let take = n.min(room - into.len());
            if take == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let all: Vec<u8> = pieces
                .iter()
                .flat_map(|p| p.iter().copied())
                .take(take)
                .collect();
            into.extend_from_slice(&all);
            Ok(all.len())
        }
    }

    #[test]
    fn what_was_not_handed_over_is_known_exactly() {
        let mut outbox = Outbox::default();
        outbox.append(b"first");
        outbox.append(b"second");
        let mut sent = Vec::new();
        outbox.write_with(socket(7, 3, &mut sent)).unwrap();
        assert_eq!(
            (sent.as_slice(), outbox.handed_over(), outbox.is_written()),
            (&b"firstse"[..], 7, false)
        );
        assert_eq!(outbox.copy_front(5), "first");
        outbox.release(5);
        assert_eq!(
            (outbox.handed_over(), outbox.copy_front(6)),
            (2, Bytes::from("second"))
        );
    }

    #[test]
    fn a_request_that_spans_segments_comes_back_whole() {
        let mut outbox = Outbox::default();
        let mut stream = Vec::new();
        let requests: Vec<Vec<u8>> = (0..300)
            .map(|i| vec![i as u8; 1 + (i * 37) % 2_000])
            .collect();
        for request in &requests {
            outbox.append(request);
            outbox
                .write_with(socket(usize::MAX, 777, &mut stream))
                .unwrap();
        }
        let big = vec![7; 3 * SEGMENT_BYTES];
        outbox.append(&big);
        for request in requests.iter().chain([&big]) {
            assert_eq!(&outbox.copy_front(request.len())[..], &request[..]);
            outbox.release(request.len());
        }
        assert_eq!(outbox.retained(), 0);
        assert_eq!(stream, requests.concat());
    }
}
