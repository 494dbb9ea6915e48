//! The yardstick: a client that knows the cluster itself (the `redis` crate's), without a proxy, under the same fault.

use super::scene::ms;
use redis::cluster::{ClusterClientBuilder, ClusterConnection};
use slotway::demo::Cluster;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// It would wait for replies for ever otherwise.
const RESPONSE_MAX: Duration = Duration::from_secs(5);

/// How long it dials, as slotway does by default.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// How often it tries a command again by itself.
const RETRIES: u32 = 2;

/// It is given up after this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module. Its connections are there before the fault.
pub struct Direct {
    connection: ClusterConnection,
    key: String,
}

impl Direct {
    /// Connects, and writes once.
    pub fn connect(cluster: &Cluster, tag: &str) -> Self {
        let seeds = cluster
            .addrs()
            .iter()
            .map(|addr| format!("redis://{addr}"))
            .collect::<Vec<_>>();
        let client = ClusterClientBuilder::new(seeds)
            .connection_timeout(CONNECT_MAX)
            .response_timeout(RESPONSE_MAX)
            .retries(RETRIES)
            .build()
            .unwrap();
        let mut connection = client.get_connection().unwrap();
        let key = format!("{tag}:direct");
        let () = redis::cmd("SET")
            .arg(&key)
            .arg(1)
            .query(&mut connection)
            .unwrap();
        Self { connection, key }
    }

    /// Writes until that works, and says how long it took since the fault.
    pub fn serves(mut self, since: Instant) -> JoinHandle<String> {
        std::thread::spawn(move || {
            while since.elapsed() < PATIENCE {
                let written: redis::RedisResult<()> = redis::cmd("SET")
                    .arg(&self.key)
                    .arg(1)
                    .query(&mut self.connection);
                if written.is_ok() {
                    return ms(since.elapsed());
                }
            }
            format!("{} ms at least", PATIENCE.as_millis())
        })
    }
}
