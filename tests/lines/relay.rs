//! A bad line in user space (this kernel has no netem): every byte of a connection arrives, in order, but late. A
//! delay is what a distance costs. A loss is what TCP makes of it: the segment comes again after a retransmission
//! timeout, and all that was sent behind it waits for it.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What one read takes at most: losses hit segments, so reads are not large.
const SEGMENT: usize = 16 << 10;

/// Segments on their way, in each direction of a connection. More wait in the kernel, as behind a full window.
const WINDOW: usize = 1024;

/// The time until a lost segment comes again: Linux's shortest, `TCP_RTO_MIN`.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// How bad the line is.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Each way.
    pub delay: Duration,
    /// Of a thousand segments.
    pub lost: u32,
}

/// A line to one node. It ends, with its connections, when it is dropped.
pub struct Relay {
    addr: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

struct State {
    target: SocketAddr,
    line: Mutex<Line>,
    ended: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
    accepted: AtomicU64,
    lost: AtomicU64,
}

impl Relay {
    /// A good line until [`Self::become_like`] is called.
    pub fn to(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            target,
            line: Mutex::new(Line {
                delay: Duration::ZERO,
                lost: 0,
            }),
            ended: AtomicBool::new(false),
            connections: Mutex::default(),
            accepted: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        let acceptor = {
            let state = Arc::clone(&state);
            std::thread::spawn(move || state.accept(&listener, seed))
        };
        Self {
            addr,
            state,
            acceptor: Some(acceptor),
        }
    }

    /// Where the node seems to be.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For all segments that come from now on.
    pub fn become_like(&self, line: Line) {
        *self.state.line.lock().expect("nobody panics with it") = line;
    }

    /// Segments that had to come again so far.
    pub fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        let connections = std::mem::take(&mut *self.state.connections.lock().expect("as above"));
        for stream in connections {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect(self.addr);
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

impl State {
    fn accept(self: &Arc<Self>, listener: &TcpListener, seed: u64) {
        let mut directions = Vec::new();
        for near in listener.incoming().map_while(Result::ok) {
            if self.ended.load(Ordering::Relaxed) {
                break;
            }
            let number = self.accepted.fetch_add(1, Ordering::Relaxed);
            let Ok(far) = TcpStream::connect(self.target) else {
                continue;
            };
            for (way, (from, to)) in [(&near, &far), (&far, &near)].into_iter().enumerate() {
                let _ = from.set_nodelay(true);
                let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                self.connections.lock().expect("as above").push(clone(from));
                let rng = StdRng::seed_from_u64(seed + 2 * number + way as u64);
                directions.extend(self.carry(clone(from), clone(to), rng));
            }
        }
        for direction in directions {
            let _ = direction.join();
        }
    }

    /// One direction of a connection: a thread that takes segments and one that delivers them when they are due.
    fn carry(self: &Arc<Self>, from: TcpStream, to: TcpStream, rng: StdRng) -> [JoinHandle<()>; 2] {
        let (sender, receiver) = sync_channel(WINDOW);
        let state = Arc::clone(self);
        [
            std::thread::spawn(move || state.take(from, &sender, rng)),
            std::thread::spawn(move || deliver(&receiver, to)),
        ]
    }

    fn take(&self, mut from: TcpStream, sender: &SyncSender<(Instant, Vec<u8>)>, mut rng: StdRng) {
        let mut segment = vec![0; SEGMENT];
        while let Ok(n @ 1..) = from.read(&mut segment) {
            let line = *self.line.lock().expect("as above");
            let mut due = Instant::now() + line.delay;
            if rng.random_range(0..1000) < line.lost {
                self.lost.fetch_add(1, Ordering::Relaxed);
                due += RETRANSMISSION.max(2 * line.delay);
            }
            if sender.send((due, segment[..n].to_vec())).is_err() {
                return;
            }
        }
    }
}

/// Ends with the sender: then the other side hears of the end, behind all that was sent.
fn deliver(receiver: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, segment) in receiver {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&segment).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
