//! Connections in memory, for deterministic simulation (feature `simulation`). The proxy's end of one is a
//! [`NodeStream`] or, for a client, a pair of halves; the other end is a [`Socket`] in the hands of a test, which decides
//! what arrives, when, and in which pieces. Nothing here waits or chooses: all chance is the test's.

mod halves;

pub use halves::{OwnedReadHalf, OwnedWriteHalf};

use super::{ReadHalf, WriteHalf};
use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Who is told of what the proxy does with its connections. One per thread, see [`enter`].
pub trait Network: Send + Sync {
    /// The proxy dials. The test says later what becomes of it: [`Socket::accept`], [`Socket::refuse`], or nothing.
    fn dialled(&self, to: SocketAddr, socket: Socket);

    /// The proxy has written to, shut down or dropped the connection with that number.
    fn touched(&self, socket: u64);
}

thread_local! {
    static NETWORK: RefCell<Option<Arc<dyn Network>>> = const { RefCell::new(None) };
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    static SEED: Cell<u64> = const { Cell::new(0) };
    static WORD: Cell<u64> = const { Cell::new(0) };
}

/// From now on this thread's connections are made by `network`, and its jitter comes from `seed`.
pub fn enter(network: Arc<dyn Network>, seed: u64) {
    NETWORK.with_borrow_mut(|current| *current = Some(network));
    NUMBER.set(0);
    SEED.set(seed);
    WORD.set(0);
}

/// The end of that.
pub fn leave() {
    NETWORK.with_borrow_mut(|current| *current = None);
}

/// The seed of the next generator.
pub(super) fn next_seed() -> u64 {
    SEED.set(SEED.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
    SEED.get() | 1
}

/// A number that no other call of this simulation has got.
pub(super) fn next_word() -> u64 {
    WORD.replace(WORD.get() + 1) + 1
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Dialling,
    Refused,
    Open,
    Reset,
}

/// What the proxy does to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProxyEnd {
    /// It may write.
    Open,
    /// It will not write any more.
    ShutDown,
    /// It does not read any more either.
    Dropped,
}

struct Wire {
    number: u64,
    network: Arc<dyn Network>,
    phase: Phase,
    /// Arrived at the proxy, and not read by it.
    incoming: BytesMut,
    /// The other side sends no more.
    ended: bool,
    /// Written by the proxy, and not taken by the test.
    outgoing: BytesMut,
    /// Bytes the proxy may still write.
    room: usize,
    proxy: ProxyEnd,
    /// Halves and streams of the proxy's end that are there.
    holders: u8,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The test's end of a connection, and a name for it. Cheap to copy.
#[derive(Clone)]
pub struct Socket(Arc<Mutex<Wire>>);

impl Socket {
    fn new(phase: Phase) -> Option<Self> {
        let network = NETWORK.with_borrow(Clone::clone)?;
        NUMBER.set(NUMBER.get() + 1);
        Some(Self(Arc::new(Mutex::new(Wire {
            number: NUMBER.get(),
            network,
            phase,
            incoming: BytesMut::new(),
            ended: false,
            outgoing: BytesMut::new(),
            room: usize::MAX,
            proxy: ProxyEnd::Open,
            holders: 0,
            reader: None,
            writer: None,
        }))))
    }

    /// A client's connection: the test's end, and the halves that the proxy serves.
    ///
    /// # Panics
    /// Outside of a simulation.
    pub fn client() -> (Self, ReadHalf, WriteHalf) {
        let socket = Self::new(Phase::Open).expect("called after enter");
        let (read, write) = split(NodeStream(Hold::new(socket.clone())));
        (socket, read, write)
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its number: connections are numbered in the order in which they are made.
    pub fn number(&self) -> u64 {
        self.wire().number
    }

    /// The dial succeeds.
    pub fn accept(&self) {
        self.turn(Phase::Open);
    }

    /// The dial fails.
    pub fn refuse(&self) {
        self.turn(Phase::Refused);
    }

    /// The connection is reset: what was not read is lost.
    pub fn reset(&self) {
        self.turn(Phase::Reset);
    }

    fn turn(&self, phase: Phase) {
        let wakers = {
            let mut wire = self.wire();
            wire.phase = phase;
            wire.wakers()
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// These bytes arrive at the proxy.
    pub fn arrive(&self, bytes: &[u8]) {
        let waker = {
            let mut wire = self.wire();
            wire.incoming.extend_from_slice(bytes);
            wire.reader.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// The end of the stream arrives at the proxy.
    pub fn end(&self) {
        let waker = {
            let mut wire = self.wire();
            wire.ended = true;
            wire.reader.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// What the proxy has written since the last time.
    pub fn take(&self) -> BytesMut {
        std::mem::take(&mut self.wire().outgoing)
    }

    /// How much the proxy may write from now on before the connection is full.
    pub fn set_room(&self, room: usize) {
        self.wire().room = room;
    }

    /// It may write so much more.
    pub fn grant(&self, bytes: usize) {
        let waker = {
            let mut wire = self.wire();
            wire.room = wire.room.saturating_add(bytes);
            wire.writer.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// What the proxy has done to its end.
    pub fn proxy_end(&self) -> ProxyEnd {
        self.wire().proxy
    }
}

impl Wire {
    fn wakers(&mut self) -> [Option<Waker>; 2] {
        [self.reader.take(), self.writer.take()]
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.phase {
            Phase::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
            _ if self.proxy != ProxyEnd::Open => return Err(io::ErrorKind::BrokenPipe.into()),
            _ => {}
        }
        let count = bytes.len().min(self.room);
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.room != usize::MAX {
            self.room -= count;
        }
        self.outgoing.extend_from_slice(&bytes[..count]);
        self.network.touched(self.number);
        Ok(count)
    }

    fn retire(&mut self, to: ProxyEnd) {
        if self.proxy < to {
            self.proxy = to;
            self.network.touched(self.number);
        }
    }
}

/// The proxy's end, or a half of it. The connection is closed when the last one is dropped.
struct Hold(Socket);

impl Hold {
    fn new(socket: Socket) -> Self {
        socket.wire().holders += 1;
        Self(socket)
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.wire()
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.wire();
        if wire.room == 0 && wire.phase == Phase::Open {
            wire.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut wire = self.wire();
        wire.holders -= 1;
        if wire.holders == 0 {
            wire.retire(ProxyEnd::Dropped);
        }
    }
}

/// Stands in for a TCP connection to a node.
pub struct NodeStream(Hold);

impl NodeStream {
    /// Dials. Ends when the test says what becomes of it.
    pub async fn connect(to: impl Into<Target>) -> io::Result<Self> {
        let Target(to) = to.into();
        let to = to.ok_or(io::ErrorKind::NotFound)?;
        let socket = Socket::new(Phase::Dialling).ok_or(io::ErrorKind::NetworkUnreachable)?;
        let stream = Self(Hold::new(socket.clone()));
        let network = socket.wire().network.clone();
        network.dialled(to, socket.clone());
        poll_fn(|cx| {
            let mut wire = socket.wire();
            match wire.phase {
                Phase::Dialling => {
                    wire.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
                Phase::Open => Poll::Ready(Ok(())),
                Phase::Refused | Phase::Reset => {
                    let refused = io::ErrorKind::ConnectionRefused;
                    Poll::Ready(Err(io::Error::from(refused)))
                }
            }
        })
        .await?;
        Ok(stream)
    }

    /// As for TCP; nothing to do here.
    pub fn set_nodelay(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// As for TCP.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let write = OwnedWriteHalf(Hold::new(self.0.0.clone()));
        (self, write)
    }
}

/// An address in figures; there are no names in a simulation.
pub struct Target(Option<SocketAddr>);

impl From<SocketAddr> for Target {
    fn from(to: SocketAddr) -> Self {
        Self(Some(to))
    }
}

impl From<(&str, u16)> for Target {
    fn from((host, port): (&str, u16)) -> Self {
        Self(host.parse().ok().map(|ip| SocketAddr::new(ip, port)))
    }
}

/// As tokio's, for addresses in figures.
pub async fn lookup_host(to: (&str, u16)) -> io::Result<impl Iterator<Item = SocketAddr>> {
    let Target(found) = to.into();
    Ok(found.into_iter())
}

/// Whether a connection is still there and silent.
pub fn is_quiet(stream: &NodeStream) -> bool {
    stream.0.is_quiet()
}

/// As for TCP; nothing to do here.
pub fn tune_tcp(_: &NodeStream, _: Duration) -> io::Result<()> {
    Ok(())
}

/// Splits a connection.
pub fn split(stream: NodeStream) -> (ReadHalf, WriteHalf) {
    let (read, write) = stream.into_split();
    (ReadHalf::Simulated(read), WriteHalf::Simulated(write))
}

impl AsyncRead for NodeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = self.0.wire();
        if wire.phase == Phase::Reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if wire.incoming.is_empty() && !wire.ended {
            wire.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = wire.incoming.len().min(into.remaining());
        into.put_slice(&wire.incoming.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.wire();
        match wire.try_write(bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                wire.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.wire().retire(ProxyEnd::ShutDown);
        Poll::Ready(Ok(()))
    }
}
