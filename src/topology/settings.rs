//! What the topology task needs to know, apart from where it comes from: the configuration is turned into this.

use crate::cluster::NodeAddr;
use crate::config::{ClusterMode, Config, Secret};
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
    /// `cluster.mode`
    pub mode: ClusterMode,
    /// `timeouts.connect`.
    pub connect_timeout: Duration,
    /// `upstream.username` and `upstream.password_file`.
    pub credentials: Option<Credentials>,
}

/// What the proxy authenticates to the nodes with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// ACL user; the default user if there is none.
    pub username: Option<String>,
    /// Its password.
    pub password: Secret,
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
            mode: ClusterMode::Auto,
            connect_timeout: Self::CONNECT_TIMEOUT,
            credentials: None,
        }
    }
}

impl From<&Config> for TopologySettings {
    fn from(config: &Config) -> Self {
        let upstream = &config.upstream;
        Self {
            seeds: config.cluster.nodes.clone(),
            address_map: config.cluster.address_map.clone(),
            refresh_interval: config.cluster.refresh_interval,
            mode: config.cluster.mode,
            connect_timeout: config.timeouts.connect,
            credentials: upstream.password.clone().map(|password| Credentials {
                username: upstream.username.clone(),
                password,
            }),
        }
    }
}
