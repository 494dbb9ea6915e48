//! What is to be written to a client: replies are copied together into pieces of one size, so that what one client gives
//! back serves the next. A piece is given back as soon as it is written: a client that is always a little behind costs what
//! it is behind.

use super::WriteHalf;
use bytes::Bytes;
use std::collections::VecDeque;
use std::io::{self, IoSlice};

/// From this size on, in bytes, a reply is queued as it is instead of being copied behind the others.
const SHARED_MIN: usize = 16 * 1024;

/// Replies are copied together into pieces of so many bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How many pieces one `writev` takes.
const PIECES_MAX: usize = 16;

/// A buffer larger than this, in bytes, is given back once it is written.
const KEEP_MAX: usize = 16 * 1024;

/// Bytes on their way to one client.
#[derive(Default)]
pub struct Output {
    /// Finished pieces, oldest first.
    pieces: VecDeque<Piece>,
    /// The memory behind them.
    pieces_held: usize,
    /// What comes after them.
    tail: Vec<u8>,
    /// How much of the oldest piece (or of the tail, if there is none) is written.
    written: usize,
    len: usize,
    /// The largest reply that was appended since the output was last empty.
    largest: usize,
}

struct Piece {
    bytes: Bytes,
    /// The memory behind it, which may be more than it is long.
    held: usize,
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

    /// Bytes of memory it takes: what is not written, and what is kept with it.
    pub fn held(&self) -> usize {
        self.pieces_held + self.tail.capacity()
    }

    /// Appends a copy.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.largest = self.largest.max(bytes.len());
        if self.tail.len() + bytes.len() > PIECE_BYTES {
            return self.extend_pieces(bytes);
        }
        self.tail.extend_from_slice(bytes);
    }

    #[cold]
    fn extend_pieces(&mut self, mut bytes: &[u8]) {
        loop {
            let room = PIECE_BYTES.saturating_sub(self.tail.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.tail.reserve_exact(room);
            self.tail.extend_from_slice(now);
            if later.is_empty() {
                return;
            }
            self.finish_piece();
            bytes = later;
        }
    }

    fn finish_piece(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            let held = tail.capacity();
            self.push_piece(Bytes::from(tail), held);
        }
    }

    /// Appends without copying, if that is worth it.
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_MIN {
            return self.extend(&bytes);
        }
        self.len += bytes.len();
        self.largest = self.largest.max(bytes.len());
        self.finish_piece();
        let held = bytes.len();
        self.push_piece(bytes, held);
    }

    fn push_piece(&mut self, bytes: Bytes, held: usize) {
        self.pieces_held += held;
        self.pieces.push_back(Piece { bytes, held });
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
        let pieces = self.pieces.iter().map(|piece| &piece.bytes[..]);
        let pieces = pieces.chain([&self.tail[..]]);
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
            if self.written < first.bytes.len() {
                return;
            }
            self.written -= first.bytes.len();
            self.pieces_held -= first.held;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes in order, as they would be written.
    fn content(output: &Output) -> Vec<u8> {
        let pieces = output.pieces.iter().map(|piece| &piece.bytes[..]);
        let all: Vec<&[u8]> = pieces.chain([&output.tail[..]]).collect();
        all.concat()[output.written..].to_vec()
    }

    /// A client that reads as fast as replies come, and is always a little behind.
    #[test]
    fn what_is_written_is_not_kept() {
        let mut output = Output::default();
        output.extend(&[b'v'; 1000]);
        for _ in 0..10_000 {
            output.extend(&[b'v'; 1000]);
            output.advance(1000);
            assert!(output.held() <= 3 * PIECE_BYTES, "{}", output.held());
        }
        assert_eq!(output.len(), 1000);
    }

    /// A client that does not read costs what it does not read, whatever the replies are like.
    #[test]
    fn little_more_is_held_than_was_appended() {
        for size in [10, 1000, 30_000, 70_000, 1 << 20] {
            let mut output = Output::default();
            while output.len() < 8 << 20 {
                output.extend(&vec![b'v'; size]);
                let more = output.held() - output.len();
                assert!(more <= 2 * PIECE_BYTES, "{size}: {more}");
            }
            output.advance(output.len());
            assert!(output.is_empty() && output.held() <= KEEP_MAX, "{size}");
        }
    }

    #[test]
    fn pieces_are_written_in_order() {
        let (mut output, mut expected) = (Output::default(), Vec::new());
        for (n, size) in [10, PIECE_BYTES, 5, 200_000, 40_000, 40_000, 1]
            .iter()
            .enumerate()
        {
            let reply = vec![n as u8; *size];
            expected.extend_from_slice(&reply);
            match n % 3 {
                0 => output.push(Bytes::from(reply)),
                _ => output.extend(&reply),
            }
        }
        for step in [1, 9, 100_000, 3, 150_000, 1000] {
            assert!(content(&output) == expected);
            output.advance(step);
            expected.drain(..step);
        }
        assert!(content(&output) == expected && output.len() == expected.len());
    }
}
