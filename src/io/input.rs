//! What was read from a socket and is not consumed yet. Whole messages are consumed straight from the worker's
//! scratch buffer; only the rest of a batch is kept, so an idle connection owns no buffer at all.

use super::ReadHalf;
use bytes::BytesMut;
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
}

impl Input {
    /// Reads once and hands what is unconsumed to `consume`, which says how many bytes from the front it is
    /// done with. `wanted` hints how many more bytes the message at the front needs.
    ///
    /// Ready with the number of bytes read, 0 at the end of the stream; `consume` is not called then.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut ReadHalf,
        scratch: &Scratch,
        wanted: usize,
        mut consume: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        if self.carry.len() + wanted <= SCRATCH_BYTES / 2 {
            let mut scratch = scratch.0.borrow_mut();
            let mut into = ReadBuf::new(&mut scratch);
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
        let arrived = self.carry.len();
        let at = self.carry.as_ptr();
        self.carry
            .reserve(wanted.min(arrived).clamp(RESERVE_MIN, RESERVE_MAX));
        if self.carry.as_ptr() != at {
            self.front = 0;
        }
        let read = ready!(socket.poll_read_buf(cx, &mut self.carry))?;
        if read > 0 {
            let used = consume(&self.carry);
            self.consume(used);
        }
        Poll::Ready(Ok(read))
    }

    /// Hands the unconsumed bytes to `consume` again, without reading; it says how many it is done with.
    pub fn again(&mut self, consume: impl FnOnce(&[u8]) -> usize) {
        if !self.carry.is_empty() {
            let used = consume(&self.carry);
            self.consume(used);
        }
    }

    /// Unconsumed bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.carry
    }

    /// How many bytes of memory it holds. What is reserved and was never written to is none.
    pub fn held(&self) -> usize {
        self.front + self.carry.len()
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
        if rest.is_empty() {
            self.carry = BytesMut::new();
        } else {
            self.carry.clear();
            self.carry.extend_from_slice(rest);
        }
    }
}
