//! What is to be written to a client. Small replies are copied together, large ones are kept as they came, and
//! once everything is written no memory is held.

use super::WriteHalf;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

/// From this size on, in bytes, a reply is queued as it is instead of being copied behind the others.
const SHARED_MIN: usize = 16 * 1024;

/// How many pieces one `writev` takes.
const PIECES_MAX: usize = 16;

/// A buffer larger than this, in bytes, is given back once it is written.
const KEEP_MAX: usize = 16 * 1024;

/// Bytes on their way to one client.
#[derive(Default)]
pub struct Output {
    /// Finished pieces, oldest first.
    pieces: VecDeque<Bytes>,
    /// What comes after them.
    tail: Vec<u8>,
    /// How much of the oldest piece (or of the tail, if there is none) is written.
    written: usize,
    len: usize,
    /// The largest reply that was appended since the output was last empty.
    largest: usize,
}

impl Output {
    /// Bytes that are not written yet.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes that wait to be written, apart from the one reply that may be of any size.
    pub fn waiting(&self) -> usize {
        self.len.saturating_sub(self.largest)
    }

    /// Whether everything is written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
        self.largest = self.largest.max(bytes.len());
    }

    /// Appends what `write` appends to the buffer it gets.
    #[inline]
    pub fn with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.tail.len();
        write(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    /// Appends without copying, if that is worth it.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_MIN {
            return self.extend(&bytes);
        }
        self.len += bytes.len();
        self.largest = self.largest.max(bytes.len());
        if !self.tail.is_empty() {
            self.pieces
                .push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
        self.pieces.push_back(bytes);
    }

    /// Writes what the socket takes. `Ok(n)`: n bytes were written, and if [`Self::is_empty`] is still false the
    /// socket is full.
    pub fn write_to(&mut self, socket: &WriteHalf) -> io::Result<usize> {
        let before = self.len;
        while self.len > 0 {
            let result = if self.pieces.is_empty() {
                socket.try_write(&self.tail[self.written..])
            } else {
                self.write_pieces(socket)
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        Ok(before - self.len)
    }

    fn write_pieces(&self, socket: &WriteHalf) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); PIECES_MAX];
        let pieces = self.pieces.iter().map(|p| &p[..]).chain([&self.tail[..]]);
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            let skip = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&piece[skip..]);
            count += 1;
        }
        socket.try_write_vectored(&slices[..count])
    }

    fn advance(&mut self, n: usize) {
        self.len -= n;
        if self.len == 0 {
            self.largest = 0;
        }
        self.written += n;
        while let Some(first) = self.pieces.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            self.pieces.pop_front();
        }
        if self.written == self.tail.len() {
            self.written = 0;
            if self.tail.capacity() > KEEP_MAX {
                self.tail = Vec::new();
            } else {
                self.tail.clear();
            }
        }
    }

    /// Gives back the memory of a connection that has become idle.
    pub fn release(&mut self) {
        if self.len == 0 {
            self.tail = Vec::new();
            self.pieces = VecDeque::new();
        }
    }
}
