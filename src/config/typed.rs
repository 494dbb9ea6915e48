//! The configuration as the proxy reads it: typed, complete, resolved (`auto` is a number, a `password_file` is
//! a password). Built by `reader`; whether its values fit together is `check`'s.

use super::secret::Secret;
use super::value::ListenAddr;
use crate::cluster::NodeAddr;
use std::net::SocketAddr;
use std::time::Duration;

/// The configuration, one field per section. What each option does is said in the table of options.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "the sections and options are documented in the table of options"
)]
pub struct Config {
    pub listen: Listen,
    pub cluster: Cluster,
    pub upstream: Upstream,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub auth: Auth,
    pub policy: Policy,
    pub observe: Observe,
    pub admin: Admin,
    pub log: Log,
}

/// Section `listen`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Listen {
    pub addresses: Vec<ListenAddr>,
    /// At least 1: `auto` is resolved.
    pub workers: usize,
    pub backlog: u32,
    pub unix_mode: u32,
}

/// Section `cluster`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Cluster {
    pub nodes: Vec<NodeAddr>,
    /// Announced, reached.
    pub address_map: Vec<(NodeAddr, NodeAddr)>,
    pub refresh_interval: Duration,
    pub mode: ClusterMode,
}

/// Section `upstream`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Upstream {
    pub connections: usize,
    pub bulk_from: usize,
    pub bulk_bytes: usize,
    pub leases: usize,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub heartbeat: Duration,
    pub idle_close: Duration,
}

/// Section `limits`; sizes in bytes.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Limits {
    /// `auto` is resolved.
    pub memory: usize,
    pub clients: usize,
    pub client_in_flight: usize,
    pub client_in_flight_bytes: usize,
    pub client_output_hard: usize,
    pub client_output_soft: usize,
    pub client_output_soft_time: Duration,
    pub request: usize,
    pub argument: usize,
    pub arguments: usize,
    pub inline: usize,
    pub preauth_arguments: usize,
    pub preauth_argument: usize,
    pub reply_depth: usize,
    pub lane_in_flight: usize,
    pub lane_in_flight_bytes: usize,
    pub subscribers: usize,
    pub subscriptions: usize,
    pub redirections: usize,
    pub monitors: usize,
    pub monitor_buffer: usize,
    pub blocked_clients: usize,
    pub watchers: usize,
    pub scripts: usize,
    pub script_bytes: usize,
    pub transaction_commands: usize,
    pub transaction_bytes: usize,
}

/// Section `timeouts`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Timeouts {
    pub connect: Duration,
    pub command: Duration,
    pub slow_command: Duration,
    pub unavailable: Unavailable,
    pub queue: Duration,
    pub drain: Duration,
    pub idle: Option<Duration>,
}

/// How long a request waits while its slot has no node that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// By the nodes' own `cluster-node-timeout`.
    Auto,
    /// This long.
    Fixed(Duration),
}

/// Section `auth`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Auth {
    pub mode: AuthMode,
    /// What clients must give; `None`: they need not authenticate.
    pub password: Option<Secret>,
}

/// Whether clients authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// If a password is set.
    Auto,
    /// No, and that was written out.
    None,
}

/// Section `policy`; names in lower case, subcommands as `config|set`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Policy {
    pub allow: Vec<String>,
    pub deny: Vec<String>,
    pub split_writes: bool,
    pub keyless_scripts: KeylessScripts,
    pub cross_slot_transactions: CrossSlotTransactions,
    pub audit: bool,
}

/// What the nodes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterMode {
    /// As they say.
    #[default]
    Auto,
    /// Nodes of a cluster.
    Cluster,
    /// A server without cluster support, and its replicas.
    Standalone,
}

/// What becomes of a script or function that is called without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeylessScripts {
    /// It runs on one primary.
    Any,
    /// It is refused.
    Error,
}

/// What becomes of a transaction whose keys are in several slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossSlotTransactions {
    /// The command that brings in the second slot is refused.
    Refuse,
    /// One transaction for each slot.
    Split,
}

/// Section `observe`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Observe {
    pub hit_rate: bool,
    pub latency: bool,
    pub hot_keys: usize,
    pub slow: Option<Duration>,
    pub big_value: Option<usize>,
    pub groups: Vec<(String, String)>,
}

impl Observe {
    /// As little as can be.
    pub const NOTHING: Self = Self {
        hit_rate: false,
        latency: false,
        hot_keys: 0,
        slow: None,
        big_value: None,
        groups: Vec::new(),
    };

    /// `slow` in microseconds; off: what nothing takes.
    pub fn slow_micros(&self) -> u32 {
        let micros = |slow: Duration| u32::try_from(slow.as_micros()).unwrap_or(u32::MAX);
        self.slow.map_or(u32::MAX, micros)
    }
}

/// Section `admin`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Admin {
    pub listen: Option<SocketAddr>,
}

/// Section `log`.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "documented in the table of options")]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

/// Least important messages that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As the option writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogFormat {
    Text,
    Json,
}
