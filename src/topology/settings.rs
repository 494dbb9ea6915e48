//! What the topology task needs to know, apart from where it comes from: the configuration is turned into this.

use crate::cluster::NodeAddr;
use std::fmt;
use std::time::Duration;

/// Settings of the topology task.
#[derive(Clone, Debug)]
pub struct TopologySettings {
    /// `cluster.nodes`: asked first, and when nobody else answers.
    pub seeds: Vec<NodeAddr>,
    /// `cluster.address_map`: what a node announces → where it is reached.
    pub address_map: Vec<(NodeAddr, NodeAddr)>,
    /// `cluster.refresh_interval`: the longest time between two refreshes, ±20 %.
    pub refresh_interval: Duration,
    /// `timeouts.connect`.
    pub connect_timeout: Duration,
    /// `upstream.username` and `upstream.password_file`.
    pub credentials: Option<Credentials>,
}

/// What the proxy authenticates to the nodes with. Never printed.
#[derive(Clone)]
pub struct Credentials {
    /// ACL user; the default user if there is none.
    pub username: Option<String>,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .field("password", &"…")
            .finish()
    }
}

impl TopologySettings {
    /// Default of `cluster.refresh_interval`.
    pub const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
    /// Default of `timeouts.connect`.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// Defaults, with these seeds.
    pub fn new(seeds: impl IntoIterator<Item = NodeAddr>) -> Self {
        Self {
            seeds: seeds.into_iter().collect(),
            address_map: Vec::new(),
            refresh_interval: Self::REFRESH_INTERVAL,
            connect_timeout: Self::CONNECT_TIMEOUT,
            credentials: None,
        }
    }
}
