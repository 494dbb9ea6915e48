//! Accepts connections, enforces `limits.clients`, and hands each socket to the worker with the fewest clients.

use super::worker::{NewClient, Socket, ToWorker, WorkerHandle};
use crate::config::{Config, ListenAddr};
use crate::local::Address;
use crate::observe::{Limit, Rejected, WorkerMetrics};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

/// Pause after a failed accept (no file descriptor left): accepting again at once would only burn CPU.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// A bound listener.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, UnixPath),
}

/// The socket file, removed with the listener.
pub(super) struct UnixPath(PathBuf);

impl Drop for UnixPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Binds an address of the configuration.
    pub(super) fn bind(addr: &ListenAddr, config: &Config) -> io::Result<Self> {
        match addr {
            ListenAddr::Tcp(addr) => {
                let domain = socket2::Domain::for_address(*addr);
                let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
                socket.set_reuse_address(true)?;
                listen(&socket, &(*addr).into(), config)?;
                Ok(Self::Tcp(TcpListener::from_std(socket.into())?))
            }
            ListenAddr::Unix(path) => {
                remove_stale(path)?;
                let socket =
                    socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
                listen(&socket, &socket2::SockAddr::unix(path)?, config)?;
                let listener = UnixListener::from_std(socket.into())?;
                let guard = UnixPath(path.clone());
                let mode = std::fs::Permissions::from_mode(config.listen.unix_mode);
                std::fs::set_permissions(path, mode)?;
                Ok(Self::Unix(listener, guard))
            }
        }
    }

    /// The address it is bound to, with the real port where 0 was asked for.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(addr) => addr.to_string(),
                Err(_) => "?".to_owned(),
            },
            Self::Unix(_, path) => format!("unix:{}", path.0.display()),
        }
    }

    async fn accept(&self) -> io::Result<(Socket, Address)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let local = stream.local_addr()?;
                let stream = stream.into_std()?;
                Ok((Socket::Tcp(stream), Address::Tcp { peer, local }))
            }
            Self::Unix(listener, path) => {
                let (stream, _) = listener.accept().await?;
                let name = path.0.to_string_lossy().into();
                Ok((Socket::Unix(stream.into_std()?), Address::Unix(name)))
            }
        }
    }
}

fn listen(socket: &socket2::Socket, at: &socket2::SockAddr, config: &Config) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.bind(at)?;
    socket.listen(config.listen.backlog as i32)
}

/// A socket file that nobody listens on any more is in the way of a new start.
fn remove_stale(path: &PathBuf) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if meta.file_type().is_socket() && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// What all listeners share.
pub(super) struct Reception {
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) ids: AtomicU64,
    pub(super) clients_max: usize,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) stop: CancellationToken,
}

impl Reception {
    /// Accepts until told to stop. Owned by the control thread.
    pub(super) async fn receive(self: Arc<Self>, listener: Listener, index: usize) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.accept_all(&listener, index) => {}
        }
    }

    async fn accept_all(&self, listener: &Listener, index: usize) {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => self.hand_over(socket, address, index).await,
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    self.metrics.client_rejected(Rejected::FileDescriptors);
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    /// If all workers have more new clients than they can welcome, waits: the next ones stay with the kernel meanwhile
    /// (`listen.backlog`), and none is turned away for that. A worker that panicked is given none, and counts no more.
    async fn hand_over(&self, socket: Socket, address: Address, listener: usize) {
        let load = |w: &WorkerHandle| w.clients.load(Ordering::Relaxed);
        let workers = || self.workers.iter().filter(|w| !w.mailbox.is_closed());
        let clients: usize = workers().map(load).sum();
        if clients >= self.clients_max {
            self.metrics.client_rejected(Rejected::Clients);
            self.metrics.limit_hit(Limit::Clients);
            return turn_away(socket);
        }
        let is_full = |w: &WorkerHandle| w.mailbox.capacity() == 0;
        let Some(worker) = workers().min_by_key(|w| (is_full(w), load(w))) else {
            return;
        };
        worker.clients.fetch_add(1, Ordering::Relaxed);
        let client = NewClient {
            socket,
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            listener,
            address,
        };
        if worker.mailbox.send(ToWorker::Client(client)).await.is_err() {
            worker.clients.fetch_sub(1, Ordering::Relaxed);
            self.metrics.client_rejected(Rejected::Clients);
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied
    )
}

/// As a server does at `maxclients`.
fn turn_away(socket: Socket) {
    const TEXT: &[u8] = b"-ERR max number of clients reached\r\n";
    let _ = match socket {
        Socket::Tcp(mut stream) => stream.write_all(TEXT),
        Socket::Unix(mut stream) => stream.write_all(TEXT),
        #[cfg(feature = "simulation")]
        Socket::Simulated(..) => Ok(()),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Metrics;
    use std::io::Read as _;
    use std::net::TcpStream;
    use tokio::sync::mpsc::{self, Receiver};
    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::timeout;

    const CLIENTS: usize = 10;
    /// Within this time what is waited for happens.
    const WITHIN: Duration = Duration::from_secs(30);

    /// A listener, and workers that do not look, each with room for one new client.
    struct Scene {
        reception: Arc<Reception>,
        inboxes: Vec<Receiver<ToWorker>>,
        task: JoinHandle<()>,
        address: String,
    }

    impl Scene {
        fn begin(workers: usize) -> Self {
            let (mailboxes, inboxes): (Vec<_>, _) = (0..workers).map(|_| mpsc::channel(1)).unzip();
            let worker = |mailbox| WorkerHandle {
                mailbox,
                clients: Arc::default(),
            };
            let reception = Arc::new(Reception {
                workers: mailboxes.into_iter().map(worker).collect(),
                ids: AtomicU64::new(1),
                clients_max: CLIENTS,
                metrics: Metrics::new(vec!["a".to_owned()]).unwrap().writer(),
                stop: CancellationToken::new(),
            });
            let any = ListenAddr::Tcp("127.0.0.1:0".parse().unwrap());
            let listener = Listener::bind(&any, &Config::default()).unwrap();
            let address = listener.address();
            let task = tokio::spawn(reception.clone().receive(listener, 0));
            Self {
                reception,
                inboxes,
                task,
                address,
            }
        }

        fn connect(&self) -> TcpStream {
            let client = TcpStream::connect(&self.address).unwrap();
            client.set_read_timeout(Some(WITHIN)).unwrap();
            client
        }

        /// Until so many clients are handed over, or the listener waits with the last of them.
        async fn until_accepted(&self, clients: u64) {
            let ids = &self.reception.ids;
            let all = async {
                while ids.load(Ordering::Relaxed) <= clients {
                    yield_now().await;
                }
            };
            timeout(WITHIN, all).await.expect("they are accepted");
        }

        /// The next client of a worker, and its number.
        async fn next(&mut self, worker: usize) -> (u64, Socket) {
            let next = timeout(WITHIN, self.inboxes[worker].recv()).await;
            let Ok(Some(ToWorker::Client(client))) = next else {
                panic!("somebody was turned away")
            };
            (client.id, client.socket)
        }
    }

    #[tokio::test]
    async fn nobody_is_turned_away_because_a_worker_is_busy() {
        let mut scene = Scene::begin(1);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scene.connect()).collect();
        // One is in the mailbox, and the listener waits with the next.
        scene.until_accepted(2).await;
        let mut served = Vec::new();
        for id in 1..=CLIENTS as u64 {
            let (next, socket) = scene.next(0).await;
            assert_eq!(next, id);
            served.push(socket);
        }
        // `limits.clients` holds as before.
        let mut more = scene.connect();
        let read = move || {
            let mut text = [0; 4];
            more.read_exact(&mut text).map(|()| text)
        };
        let text = tokio::task::spawn_blocking(read).await.unwrap();
        assert_eq!(&text.unwrap(), b"-ERR");
        drop((served, clients));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_worker_while_another_one_has_room() {
        let mut scene = Scene::begin(2);
        // The first has fewer clients than the second, but does not look.
        scene.reception.workers[1]
            .clients
            .store(5, Ordering::Relaxed);
        let clients = [scene.connect(), scene.connect()];
        scene.until_accepted(2).await;
        assert_eq!(scene.next(1).await.0, 2);
        assert_eq!(scene.next(0).await.0, 1);
        // The first has panicked: its clients are nobody's.
        scene.reception.workers[0]
            .clients
            .store(CLIENTS, Ordering::Relaxed);
        scene.inboxes[0].close();
        let more = scene.connect();
        assert_eq!(scene.next(1).await.0, 3);
        drop((clients, more));
    }

    #[tokio::test]
    async fn a_listener_that_waits_for_a_worker_stops_when_told() {
        let scene = Scene::begin(1);
        let clients = [scene.connect(), scene.connect()];
        scene.until_accepted(2).await;
        scene.reception.stop.cancel();
        timeout(WITHIN, scene.task).await.expect("it ends").unwrap();
        drop(clients);
    }
}
