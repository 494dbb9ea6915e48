//! What was read from a socket and is not consumed yet. Whole messages are consumed straight from the worker's
//! scratch buffer; only the rest of a batch is kept, so an idle connection owns no buffer at all. A large message is
//! collected in pieces, which cost what has arrived of it, and put together when it is there.

use super::ReadHalf;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// Size of the worker's scratch buffer, in bytes: the most that one `recv` brings.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// The least that is reserved ahead of a read into a connection's own buffer, in bytes.
const RESERVE_MIN: usize = SCRATCH_BYTES / 4;

/// The most, in bytes. Between the two it is as much as has arrived already, so that a declared size alone
/// allocates next to nothing (invariant 9).
const RESERVE_MAX: usize = 1024 * 1024;

/// Messages that miss more bytes are collected in pieces of so many: all of one size, so that what one connection gives back
/// serves the next.
const PIECE_BYTES: usize = 64 * 1024;

/// What a connection will need for a moment at the next read is asked for before from so many bytes on. A worker does this
/// for one connection at a time.
const ASK_MIN: usize = 4 * 1024 * 1024;

/// The scratch buffer all connections of a worker read into, one at a time.
pub struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()))
    }
}

/// The unconsumed bytes of one connection.
#[derive(Default)]
pub struct Input {
    carry: BytesMut,
    /// Consumed bytes in front of it that share its memory, less than it is long itself.
    front: usize,
    /// What has arrived behind it, until it is put together.
    pieces: Pieces,
}

/// What has arrived of the large end of a message.
#[derive(Default)]
struct Pieces {
    pieces: Vec<BytesMut>,
    len: usize,
    held: usize,
    /// Bytes that are still to come before they are put together.
    missing: usize,
}

impl Input {
    /// Reads once and hands what is unconsumed to `consume`, which says how many bytes from the front it is
    /// done with. `wanted` hints how many more bytes the message at the front needs; as long as they are collected,
    /// `consume` gets nothing. Of a small message and what follows it no more than `most` bytes are read.
    ///
    /// Ready with the number of bytes read, 0 at the end of the stream; `consume` is not called then.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut ReadHalf,
        scratch: &Scratch,
        wanted: usize,
        most: usize,
        mut consume: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        let is_small =
            self.carry.len() + wanted <= SCRATCH_BYTES / 2 || self.carry.len() < RESERVE_MIN;
        if is_small && self.pieces.len == 0 {
            let mut scratch = scratch.0.borrow_mut();
            let end = (self.carry.len() + most).min(SCRATCH_BYTES);
            let mut into = ReadBuf::new(&mut scratch[..end]);
            into.put_slice(&self.carry);
            ready!(socket.poll_read(cx, &mut into))?;
            let bytes = into.filled();
            let read = bytes.len() - self.carry.len();
            if read > 0 {
                let used = consume(bytes);
                self.keep(&bytes[used..]);
            }
            return Poll::Ready(Ok(read));
        }
        let spare = self.carry.capacity() - self.carry.len();
        if wanted >= PIECE_BYTES.max(spare) && wanted > self.pieces.len {
            let read = ready!(self.pieces.poll_read(cx, socket, wanted))?;
            match (read, self.pieces.missing) {
                (0, _) => {}
                (_, 0) => {
                    self.join();
                    let used = consume(&self.carry);
                    self.consume(used);
                }
                _ => drop(consume(&[])),
            }
            return Poll::Ready(Ok(read));
        }
        self.join();
        self.reserve(wanted.min(self.carry.len()).clamp(RESERVE_MIN, RESERVE_MAX));
        // What a socket holds may be much more than what `limits.memory` is asked for at a time.
        let mut into = (&mut self.carry).limit(RESERVE_MAX);
        let read = ready!(socket.poll_read_buf(cx, &mut into))?;
        if read > 0 {
            let used = consume(&self.carry);
            self.consume(used);
        }
        Poll::Ready(Ok(read))
    }

    /// Hands the unconsumed bytes to `consume` again, without reading; it says how many it is done with. Nothing of a
    /// message that is being collected can be.
    pub fn again(&mut self, consume: impl FnOnce(&[u8]) -> usize) {
        if !self.carry.is_empty() && self.pieces.len == 0 {
            let used = consume(&self.carry);
            self.consume(used);
        }
    }

    /// Takes the first `len` bytes out, which `consume` has seen and not used. The smaller part is copied, so that neither
    /// keeps much of the other's memory: of many small messages not everything that is behind each.
    pub fn detach(&mut self, len: usize) -> Bytes {
        if self.carry.len() - len > len {
            let message = Bytes::copy_from_slice(&self.carry[..len]);
            self.carry.advance(len);
            self.front += len;
            if self.carry.len() < self.front {
                (self.carry, self.front) = (BytesMut::from(&self.carry[..]), 0);
            }
            return message;
        }
        let rest = BytesMut::from(&self.carry[len..]);
        let mut message = std::mem::replace(&mut self.carry, rest);
        self.front = 0;
        message.truncate(len);
        message.freeze()
    }

    /// How many bytes of the message at the front are being collected, which `consume` has not seen yet.
    pub fn collected(&self) -> usize {
        self.pieces.len
    }

    /// Throws away whatever there is.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Unconsumed bytes, but for those that are being collected.
    pub fn as_slice(&self) -> &[u8] {
        &self.carry
    }

    /// How many unconsumed bytes there are.
    pub fn unconsumed(&self) -> usize {
        self.carry.len() + self.pieces.len
    }

    /// How many bytes of memory it takes, or will take for a moment at the next read: what it grows by is asked for
    /// before it grows.
    #[inline]
    pub fn held(&self) -> usize {
        let held = self.front + self.carry.capacity();
        match held {
            0 => 0,
            _ => held + self.pieces.held + self.next_growth(),
        }
    }

    #[cold]
    fn next_growth(&self) -> usize {
        let spare = self.carry.capacity() - self.carry.len();
        let growth = if self.pieces.len == 0 && spare < RESERVE_MIN {
            2 * self.carry.capacity()
        } else if self.pieces.len > 0 && self.pieces.missing <= RESERVE_MAX {
            self.unconsumed() + self.pieces.missing
        } else {
            0
        };
        if growth < ASK_MIN { 0 } else { growth }
    }

    /// Puts what was collected behind the rest.
    fn join(&mut self) {
        if self.pieces.len > 0 {
            let pieces = std::mem::take(&mut self.pieces);
            self.reserve(pieces.len);
            for piece in pieces.pieces {
                self.carry.extend_from_slice(&piece);
            }
        }
    }

    fn reserve(&mut self, more: usize) {
        let at = self.carry.as_ptr();
        self.carry.reserve(more);
        if self.carry.as_ptr() != at {
            self.front = 0;
        }
    }

    fn consume(&mut self, used: usize) {
        let rest = self.carry.split_off(used);
        let front = self.front + used;
        if used == 0 || rest.len() >= SCRATCH_BYTES.max(front) {
            (self.carry, self.front) = (rest, front);
        } else {
            // A view would keep the whole consumed front alive: what is behind it is smaller, so it moves.
            self.carry = BytesMut::from(&rest[..]);
            self.front = 0;
        }
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() || self.front > 0 {
            (self.carry, self.front) = (BytesMut::from(rest), 0);
        } else {
            self.carry.clear();
            self.carry.extend_from_slice(rest);
        }
    }
}

impl Pieces {
    /// Reads once, of `wanted` bytes those that are missing and, in the last piece, what follows them.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut ReadHalf,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        self.missing = wanted - self.len;
        let room = self.pieces.last().map_or(0, |p| p.capacity() - p.len());
        if room == 0 {
            let piece = BytesMut::with_capacity(PIECE_BYTES);
            self.held += piece.capacity();
            self.pieces.push(piece);
        }
        let Some(piece) = self.pieces.last_mut() else {
            return Poll::Ready(Ok(0));
        };
        let read = ready!(socket.poll_read_buf(cx, piece))?;
        self.len += read;
        self.missing = self.missing.saturating_sub(read);
        Poll::Ready(Ok(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::split_unix;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    const MB: usize = 1 << 20;

    /// Messages of these lengths, one after the other, as a decoder would read them that knows how long each is as soon as
    /// it sees its beginning. Says how much memory was held at most beyond what had arrived.
    fn read_all(lengths: &'static [usize]) -> usize {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
            .unwrap();
        runtime.block_on(async {
            let (near, mut far) = UnixStream::pair().unwrap();
            tokio::task::spawn_local(async move {
                for (n, length) in lengths.iter().enumerate() {
                    let message: Vec<u8> = (0..*length).map(|at| (n + at / 3) as u8).collect();
                    far.write_all(&message).await.unwrap();
                }
            });
            let (mut read, _write) = split_unix(near);
            let (mut input, scratch) = (Input::default(), Scratch::default());
            let (mut wanted, mut n, mut most) = (0, 0, 0);
            while n < lengths.len() {
                let mut taken = 0;
                let read = poll_fn(|cx| {
                    input.poll_read(cx, &mut read, &scratch, wanted, SCRATCH_BYTES, |bytes| {
                        let mut used = 0;
                        while n < lengths.len() && bytes.len() - used >= lengths[n] {
                            let message = &bytes[used..used + lengths[n]];
                            let right = |(at, byte): (usize, &u8)| *byte == (n + at / 3) as u8;
                            assert!(message.iter().enumerate().all(right), "message {n}");
                            (used, n) = (used + lengths[n], n + 1);
                        }
                        taken = used;
                        if !bytes.is_empty() {
                            wanted = match bytes.len() - used {
                                0 => 0,
                                begun => lengths[n] - begun,
                            };
                        }
                        used
                    })
                });
                assert!(read.await.unwrap() > 0);
                if taken == 0 && input.pieces.missing > RESERVE_MAX {
                    most = most.max(input.held().saturating_sub(input.unconsumed()));
                }
                input.again(|_| 0);
            }
            assert_eq!((input.unconsumed(), input.held()), (0, 0));
            most
        })
    }

    #[test]
    fn messages_come_whole_and_in_order() {
        read_all(&[
            5,
            100,
            40_000,
            3,
            MB,
            70_000,
            70_000,
            1,
            2 * MB + 7,
            32_769,
            9,
        ]);
    }

    /// A client that stalls in the middle of a value costs what it has sent, and one piece more.
    #[test]
    fn a_large_message_costs_what_has_arrived_of_it() {
        let most = read_all(&[20 * MB]);
        assert!(most > 0 && most <= RESERVE_MAX, "{most}");
    }

    /// Many small messages that were read at once are taken out one by one: what is behind them moves a few times, not for
    /// each.
    #[test]
    fn small_messages_are_taken_out_of_many() {
        let bytes: Vec<u8> = (0..60_000u32).map(|at| (at / 6) as u8).collect();
        let mut input = Input::default();
        input.keep(&bytes);
        let mut moves = 0;
        for message in bytes.chunks(6) {
            let next = input.carry.as_ptr().wrapping_add(6);
            assert_eq!(input.detach(6), message);
            moves += usize::from(!input.carry.is_empty() && input.carry.as_ptr() != next);
            assert!(input.held() <= 2 * bytes.len(), "{}", input.held());
        }
        assert!(moves <= 20, "moved {moves} times");
        assert_eq!((input.unconsumed(), input.held()), (0, 0));
    }

    /// What has been taken out is not counted for what is read behind it.
    #[test]
    fn what_is_read_anew_is_all_that_is_held() {
        let mut input = Input::default();
        input.keep(&[0; 60_000]);
        assert_eq!(input.detach(6), &[0; 6][..]);
        assert!(input.front > 0, "the rest has not moved");
        input.keep(b"rest");
        assert_eq!(input.as_slice(), b"rest");
        assert!(input.held() < 1_000, "{}", input.held());
    }
}
