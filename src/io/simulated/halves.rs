//! The halves of a connection in memory, with the names and ways of tokio's.

use super::{Hold, NodeStream, Phase, ProxyEnd};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

/// The half that is read: the whole, which nobody writes to.
pub type OwnedReadHalf = NodeStream;

impl OwnedReadHalf {
    /// Whether the other side is known to send no more.
    pub(in crate::io) fn is_closed(&self) -> bool {
        let wire = self.0.wire();
        wire.ended || wire.phase == Phase::Reset
    }
}

/// The half that is written. Dropping it shuts the connection down for writing.
pub struct OwnedWriteHalf(pub(super) Hold);

impl OwnedWriteHalf {
    /// As for TCP.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.wire().try_write(bytes)
    }

    /// As for TCP.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.0.poll_writable(cx)).await
    }

    pub(in crate::io) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }

    pub(in crate::io) fn is_quiet(&self) -> bool {
        self.0.is_quiet()
    }

    pub(in crate::io) fn shut_down(&self) {
        self.0.wire().retire(ProxyEnd::ShutDown);
    }
}

impl Hold {
    pub(super) fn is_quiet(&self) -> bool {
        let wire = self.wire();
        wire.phase == Phase::Open && wire.incoming.is_empty() && !wire.ended
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        self.shut_down();
    }
}
