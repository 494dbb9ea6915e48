//! The two halves of a stream socket, TCP or Unix.

use bytes::BufMut;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

/// Keepalive of every TCP connection: first probe after this long.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The half that is read.
///
/// It is read through tokio's `poll_read`, which takes a short read as the sign that the socket is empty;
/// `try_read` would not, and would cost one more `recv` for each request.
pub enum ReadHalf {
    /// Of a TCP connection.
    Tcp(tcp::OwnedReadHalf),
    /// Of a Unix socket.
    Unix(unix::OwnedReadHalf),
    /// Of a connection in memory.
    #[cfg(feature = "simulation")]
    Simulated(super::simulated::OwnedReadHalf),
}

impl ReadHalf {
    /// As `AsyncRead::poll_read`.
    #[inline]
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => Pin::new(half).poll_read(cx, into),
            Self::Unix(half) => Pin::new(half).poll_read(cx, into),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => Pin::new(half).poll_read(cx, into),
        }
    }

    /// Whether the other side is known to send no more, whatever is still to be read.
    pub fn is_closed(&self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let ready = match self {
            Self::Tcp(half) => pin!(half.ready(Interest::READABLE)).poll(cx),
            Self::Unix(half) => pin!(half.ready(Interest::READABLE)).poll(cx),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => return half.is_closed(),
        };
        match ready {
            Poll::Ready(Ok(ready)) => ready.is_read_closed(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    /// Whether it is still connected and nothing is to be read.
    pub fn is_quiet(&self) -> bool {
        let socket = match self {
            Self::Tcp(half) => socket2::SockRef::from(half.as_ref()),
            Self::Unix(half) => socket2::SockRef::from(half.as_ref()),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => return super::simulated::is_quiet(half),
        };
        is_quiet(&socket)
    }

    /// Reads into the spare room of `into`; 0 is the end of the stream.
    pub fn poll_read_buf(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(half) => tokio_util::io::poll_read_buf(Pin::new(half), cx, into),
            Self::Unix(half) => tokio_util::io::poll_read_buf(Pin::new(half), cx, into),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => tokio_util::io::poll_read_buf(Pin::new(half), cx, into),
        }
    }
}

/// The half that is written. Dropping it shuts the connection down for writing.
pub enum WriteHalf {
    /// Of a TCP connection.
    Tcp(tcp::OwnedWriteHalf),
    /// Of a Unix socket.
    Unix(unix::OwnedWriteHalf),
    /// Of a connection in memory.
    #[cfg(feature = "simulation")]
    Simulated(super::simulated::OwnedWriteHalf),
}

impl WriteHalf {
    /// Writes without waiting; `WouldBlock` when the socket is full.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(bytes),
            Self::Unix(half) => half.try_write(bytes),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => half.try_write(bytes),
        }
    }

    /// Writes all of it, as soon as the socket takes it.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            poll_fn(|cx| self.poll_writable(cx)).await?;
            match self.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes several pieces without waiting.
    pub fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write_vectored(pieces),
            Self::Unix(half) => half.try_write_vectored(pieces),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => {
                half.try_write(pieces.iter().find(|p| !p.is_empty()).map_or(&[], |p| p))
            }
        }
    }

    /// Whether it is still connected and nothing is to be read, asked of the kernel.
    pub fn is_quiet(&self) -> bool {
        let socket = match self {
            Self::Tcp(half) => socket2::SockRef::from(half.as_ref()),
            Self::Unix(half) => socket2::SockRef::from(half.as_ref()),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => return half.is_quiet(),
        };
        is_quiet(&socket)
    }

    /// No more will be written: the other side sees the end, whoever still holds this half.
    pub fn shut_down(&self) {
        let socket = match self {
            Self::Tcp(half) => socket2::SockRef::from(half.as_ref()),
            Self::Unix(half) => socket2::SockRef::from(half.as_ref()),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => return half.shut_down(),
        };
        // It may be shut down already, by the other side.
        let _ = socket.shutdown(Shutdown::Write);
    }

    /// From now on the kernel ends a TCP connection after so long without an acknowledgement (`tune_tcp`).
    pub fn set_unacked(&self, unacked: Duration) {
        if let Self::Tcp(half) = self {
            // Where it fails the connection ends by the time that was set before.
            let _ = socket2::SockRef::from(half.as_ref()).set_tcp_user_timeout(Some(unacked));
        }
    }

    /// Once it is closed, nothing more of what was written goes to the other side: a TCP connection is reset.
    pub fn abort(&self) {
        if let Self::Tcp(half) = self {
            let socket = socket2::SockRef::from(half.as_ref());
            // A socket that refuses this is closed already.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Ready when the socket takes bytes again.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(half) => half.as_ref().poll_write_ready(cx),
            Self::Unix(half) => half.as_ref().poll_write_ready(cx),
            #[cfg(feature = "simulation")]
            Self::Simulated(half) => half.poll_writable(cx),
        }
    }
}

fn is_quiet(socket: &socket2::Socket) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = socket.peek(&mut byte);
    matches!(peeked, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
}

/// Splits a TCP connection.
pub fn split_tcp(stream: TcpStream) -> (ReadHalf, WriteHalf) {
    let (read, write) = stream.into_split();
    (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
}

/// Splits a Unix connection.
pub fn split_unix(stream: UnixStream) -> (ReadHalf, WriteHalf) {
    let (read, write) = stream.into_split();
    (ReadHalf::Unix(read), WriteHalf::Unix(write))
}

/// Sets what every TCP connection wants: no delay, keepalive, and an end after `unacked` without any
/// acknowledgement of sent bytes (a half-open connection is noticed by the kernel itself).
pub fn tune_tcp(stream: &TcpStream, unacked: Duration) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 6)
        .with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(unacked))
}
