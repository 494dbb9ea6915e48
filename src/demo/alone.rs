//! One server without cluster support, and replicas of it: `slotway demo --standalone`.

use super::cluster::{ClusterOptions, reserve_port};
use super::dir::Dir;
use super::node::{Server, find_server};
use super::{Error, Reply};
use crate::cluster::NodeAddr;

/// Running servers; dropped, they end and their files are gone.
#[derive(Debug)]
pub(super) struct Alone {
    /// The primary first.
    servers: Vec<Server>,
    // Dropped behind what works in it.
    _dir: Dir,
}

impl Alone {
    /// Boots them: of `options` all but `primaries` counts. The replicas are told whom to copy; they need not have begun.
    pub(super) fn boot(options: &ClusterOptions) -> Result<Self, Error> {
        let program = match &options.server {
            Some(path) => path.clone(),
            None => find_server()?,
        };
        let dir = match &options.dir {
            Some(path) => Dir::use_or_create(path)?,
            None => Dir::temporary()?,
        };
        let mut alone = Self {
            servers: Vec::new(),
            _dir: dir,
        };
        for index in 0..=options.replicas {
            let port = reserve_port(options.base_port, index)?;
            let own = Dir::create(alone._dir.path().join(port.port().to_string()))?;
            let mut server = Server::new(&program, port, own);
            if let Some(password) = &options.password {
                server.set(&[("requirepass", password), ("masterauth", password)]);
            }
            server.start()?;
            server.wait_for_answer(&options.stop)?;
            alone.servers.push(server);
        }
        let (primary, replicas) = alone.servers.split_at(1);
        let port = primary[0].addr().port().to_string();
        for replica in replicas {
            let told = replica.command(&["REPLICAOF", "127.0.0.1", &port]);
            let told =
                told.map_err(|source| Error::io("telling a replica whom to copy", source))?;
            if let Reply::Error(text) = told {
                return Err(Error::Shape(text));
            }
        }
        Ok(alone)
    }

    /// Where the primary is.
    pub(super) fn seeds(&self) -> Vec<NodeAddr> {
        let addr = self.servers[0].addr();
        vec![NodeAddr::new(addr.ip().to_string(), addr.port())]
    }

    /// A line for each, and what can be tried with a replica.
    pub(super) fn introduction(&self) -> (Vec<String>, Option<String>) {
        let addr = self.servers[0].addr();
        let mut lines = vec![format!(
            "  {addr} is one server without a cluster: one shard with all slots"
        )];
        let replicas = || self.servers[1..].iter().map(Server::addr);
        lines.extend(replicas().map(|replica| format!("  {replica} is a replica of it")));
        let hint = replicas().next().map(|replica| {
            format!(
                "  redis-cli -p {} REPLICAOF NO ONE; redis-cli -p {} REPLICAOF 127.0.0.1 {}   # a promotion by hand",
                replica.port(),
                addr.port(),
                replica.port()
            )
        });
        (lines, hint)
    }
}
