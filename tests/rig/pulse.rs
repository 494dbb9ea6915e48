//! Two clients that write one key each, again and again: one through the proxy, one as a client of the cluster that
//! follows redirections itself. Their longest pauses stand next to each other in the table.

use super::stage::{CLUSTER_MAX, Stage};
use crate::support::{RawClient, encode};
use redis::cluster::{ClusterClient, ClusterConnection};
use slotway::demo::Cluster;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two writes.
const EVERY: Duration = Duration::from_millis(2);

/// How long the direct client tries to connect to a node.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// How long it waits for a reply: as `timeouts.command` of the proxy by default.
const REPLY_MAX: Duration = Duration::from_secs(5);

/// How long it waits at most before it tries again, in milliseconds.
const RETRY_WAIT_MAX_MS: u64 = 100;

/// See the module.
pub struct Pulse {
    stop: Arc<AtomicBool>,
    proxied: Option<JoinHandle<Duration>>,
    direct: Option<JoinHandle<Duration>>,
}

/// The longest times without a write that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// Through the proxy.
    pub proxied: Duration,
    /// Without it.
    pub direct: Duration,
}

impl Pulse {
    /// Both write from now on, each a key with this tag.
    pub fn start(stage: &Stage, tag: &str) -> Self {
        Self::start_at(stage.proxy.addr(), &stage.cluster, tag)
    }

    /// The same without a stage.
    pub fn start_at(proxy: SocketAddr, cluster: &Cluster, tag: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut proxied = Proxied::new(proxy, format!("{tag}:pulse:proxied"));
        let mut direct = Direct::new(cluster, format!("{tag}:pulse:direct"));
        Self {
            proxied: Some(beat(&stop, move || proxied.write())),
            direct: Some(beat(&stop, move || direct.write())),
            stop,
        }
    }

    /// Ends when both have written once more.
    pub fn finish(mut self) -> Pauses {
        self.stop.store(true, Ordering::Relaxed);
        let join = |thread: Option<JoinHandle<_>>| thread.expect("once").join();
        Pauses {
            proxied: join(self.proxied.take()).expect("the client at the proxy"),
            direct: join(self.direct.take()).expect("the client of the cluster"),
        }
    }
}

/// When the test has failed.
impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in [self.proxied.take(), self.direct.take()] {
            let _ = thread.map(JoinHandle::join);
        }
    }
}

/// Writes until it is told to stop and has written once more. Gives the longest pause.
fn beat(
    stop: &Arc<AtomicBool>,
    mut write: impl FnMut() -> bool + Send + 'static,
) -> JoinHandle<Duration> {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            let written = write();
            if written {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            if stopping && written {
                return longest;
            }
            assert!(last.elapsed() < CLUSTER_MAX, "no write for so long");
            std::thread::sleep(EVERY);
        }
    })
}

struct Proxied {
    client: RawClient,
    write: Vec<u8>,
}

impl Proxied {
    fn new(proxy: SocketAddr, key: String) -> Self {
        Self {
            client: RawClient::connect(proxy),
            write: encode(&["SET", &key, "1"]),
        }
    }

    fn write(&mut self) -> bool {
        self.client.send(&self.write);
        self.client.reply() == b"+OK\r\n"
    }
}

/// As an application would: the library repeats what it repeats, and after an error there is a new connection.
struct Direct {
    client: ClusterClient,
    connection: Option<ClusterConnection>,
    key: String,
}

impl Direct {
    fn new(cluster: &Cluster, key: String) -> Self {
        let urls = cluster.addrs().into_iter();
        let client = ClusterClient::builder(urls.map(|addr| format!("redis://{addr}")))
            .connection_timeout(CONNECT_MAX)
            .response_timeout(REPLY_MAX)
            .min_retry_wait(1)
            .max_retry_wait(RETRY_WAIT_MAX_MS)
            .build();
        Self {
            client: client.expect("addresses are as they should be"),
            connection: None,
            key,
        }
    }

    fn write(&mut self) -> bool {
        if self.connection.is_none() {
            self.connection = self.client.get_connection().ok();
        }
        let Some(connection) = &mut self.connection else {
            return false;
        };
        let mut set = redis::cmd("SET");
        let written: redis::RedisResult<()> = set.arg(&self.key).arg("1").query(connection);
        if written.is_err() {
            self.connection = None;
        }
        written.is_ok()
    }
}
