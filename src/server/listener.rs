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
                socket.set_nonblocking(true)?;
                socket.bind(&(*addr).into())?;
                socket.listen(config.listen.backlog as i32)?;
                Ok(Self::Tcp(TcpListener::from_std(socket.into())?))
            }
            ListenAddr::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
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
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, address)) => tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = self.hand_over(socket, address, index) => {}
                },
                Err(error) if is_of_one_client(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept");
                    self.metrics.client_rejected(Rejected::FileDescriptors);
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    }

    /// Waits for a worker that has more new clients than it can welcome: the next ones stay with the kernel meanwhile
    /// (`listen.backlog`), and none is turned away for that.
    async fn hand_over(&self, socket: Socket, address: Address, listener: usize) {
        let load = |w: &WorkerHandle| w.clients.load(Ordering::Relaxed);
        let clients: usize = self.workers.iter().map(load).sum();
        if clients >= self.clients_max {
            self.metrics.client_rejected(Rejected::Clients);
            self.metrics.limit_hit(Limit::Clients);
            return turn_away(socket);
        }
        let Some(worker) = self.workers.iter().min_by_key(|w| load(w)) else {
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

    const CLIENTS: usize = 10;
    /// Within this time a client that is waited for is handed over.
    const WITHIN: Duration = Duration::from_secs(30);

    /// A listener, and a worker that has room for one new client and does not look.
    struct Scene {
        reception: Arc<Reception>,
        inbox: Receiver<ToWorker>,
        task: JoinHandle<()>,
        clients: Vec<TcpStream>,
        address: String,
    }

    impl Scene {
        async fn begin() -> Self {
            let (mailbox, inbox) = mpsc::channel(1);
            let worker = WorkerHandle {
                mailbox,
                clients: Arc::default(),
            };
            let reception = Arc::new(Reception {
                workers: vec![worker],
                ids: AtomicU64::new(1),
                clients_max: CLIENTS,
                metrics: Metrics::new(vec!["a".to_owned()]).unwrap().writer(),
                stop: CancellationToken::new(),
            });
            let any = ListenAddr::Tcp("127.0.0.1:0".parse().unwrap());
            let listener = Listener::bind(&any, &Config::default()).unwrap();
            let address = listener.address();
            let task = tokio::spawn(reception.clone().receive(listener, 0));
            let connect = |_| TcpStream::connect(&address).unwrap();
            let clients = (0..CLIENTS).map(connect).collect();
            // One is in the mailbox, and the listener waits with the next.
            while reception.ids.load(Ordering::Relaxed) < 3 {
                yield_now().await;
            }
            Self {
                reception,
                inbox,
                task,
                clients,
                address,
            }
        }
    }

    #[tokio::test]
    async fn nobody_is_turned_away_because_a_worker_is_busy() {
        let mut scene = Scene::begin().await;
        let mut served = Vec::new();
        for id in 1..=CLIENTS as u64 {
            let next = tokio::time::timeout(WITHIN, scene.inbox.recv()).await;
            let Ok(Some(ToWorker::Client(client))) = next else {
                panic!("client {id} was turned away")
            };
            assert_eq!(client.id, id);
            served.push(client.socket);
        }
        // `limits.clients` holds as before.
        let mut next = TcpStream::connect(&scene.address).unwrap();
        let mut text = [0; 4];
        let read = tokio::task::spawn_blocking(move || next.read_exact(&mut text).map(|()| text));
        assert_eq!(&read.await.unwrap().unwrap(), b"-ERR");
        assert_eq!(served.len(), scene.clients.len());
    }

    #[tokio::test]
    async fn a_listener_that_waits_for_a_worker_stops_when_told() {
        let scene = Scene::begin().await;
        scene.reception.stop.cancel();
        scene.task.await.unwrap();
    }
}
