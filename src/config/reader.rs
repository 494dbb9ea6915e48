//! Builds the typed configuration from settings: the one place that names every option and the field it becomes.

use super::memory;
use super::problem::Problem;
use super::secret::Secret;
use super::settings::Settings;
use super::typed::{
    Admin, Auth, AuthMode, Cluster, ClusterMode, Config, CrossSlotTransactions, KeylessScripts,
    Limits, Listen, Log, LogFormat, LogLevel, Observe, Policy, Timeouts, Unavailable, Upstream,
};
use super::value::{ListenAddr, Value};
use crate::cluster::NodeAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

/// Workers that `listen.workers = "auto"` starts at most: each opens its own lanes to every node.
const AUTO_WORKERS_MAX: usize = 4;

/// The scripts that are kept take this part of `limits.memory` at most: clients cannot be closed for them.
const SCRIPT_SHARE: usize = 8;

impl Default for Config {
    /// Every option at its default: no seed node, `auto` resolved for this machine.
    fn default() -> Self {
        Self::build(&Settings::defaults(), &mut Vec::new())
    }
}

impl Config {
    /// Builds it from settings, reading the secrets they name; what is wrong with those goes to `problems`.
    pub(super) fn build(settings: &Settings, problems: &mut Vec<Problem>) -> Self {
        let of = Reader(settings);
        Self {
            listen: Listen {
                addresses: of.listeners("listen.addresses"),
                workers: of.workers("listen.workers"),
                backlog: of.integer("listen.backlog") as u32,
                unix_mode: of.mode("listen.unix_mode"),
            },
            cluster: Cluster {
                nodes: of.nodes("cluster.nodes"),
                address_map: of.pairs("cluster.address_map"),
                refresh_interval: of.duration("cluster.refresh_interval"),
                mode: match of.word("cluster.mode") {
                    "cluster" => ClusterMode::Cluster,
                    "standalone" => ClusterMode::Standalone,
                    _ => ClusterMode::Auto,
                },
            },
            upstream: Upstream {
                connections: of.integer("upstream.connections"),
                bulk_from: of.size("upstream.bulk_from"),
                bulk_bytes: of.size("upstream.bulk_bytes"),
                leases: of.integer("upstream.leases"),
                username: of.text("upstream.username"),
                password: of.secret("upstream.password_file", problems),
                heartbeat: of.duration("upstream.heartbeat"),
                idle_close: of.duration("upstream.idle_close"),
            },
            limits: of.limits(),
            timeouts: of.timeouts(),
            auth: Auth {
                mode: match of.word("auth.mode") {
                    "none" => AuthMode::None,
                    _ => AuthMode::Auto,
                },
                password: of.secret("auth.password_file", problems),
            },
            policy: Policy {
                allow: of.commands("policy.allow"),
                deny: of.commands("policy.deny"),
                split_writes: of.bool("policy.split_writes"),
                audit: of.bool("policy.audit"),
                keyless_scripts: match of.word("policy.keyless_scripts") {
                    "error" => KeylessScripts::Error,
                    _ => KeylessScripts::Any,
                },
                cross_slot_transactions: match of.word("policy.cross_slot_transactions") {
                    "split" => CrossSlotTransactions::Split,
                    _ => CrossSlotTransactions::Refuse,
                },
            },
            observe: Observe {
                hit_rate: of.bool("observe.hit_rate"),
                latency: of.bool("observe.latency"),
                hot_keys: of.integer("observe.hot_keys"),
                slow: of.duration_or_word("observe.slow"),
                big_value: of.size_or_word("observe.big_value"),
                groups: of.groups("observe.groups"),
            },
            admin: Admin {
                listen: of.address("admin.listen"),
            },
            log: Log {
                level: match of.word("log.level") {
                    "error" => LogLevel::Error,
                    "warn" => LogLevel::Warn,
                    "debug" => LogLevel::Debug,
                    "trace" => LogLevel::Trace,
                    _ => LogLevel::Info,
                },
                format: match of.word("log.format") {
                    "json" => LogFormat::Json,
                    _ => LogFormat::Text,
                },
            },
        }
    }
}

/// Reads settings as the type their option has. An option that is not in the table, or has another type, is
/// a mistake in this file that the first test finds: hence the panics.
struct Reader<'a>(&'a Settings);

macro_rules! readers {
    ($($method:ident: $variant:ident => $type:ty),*) => {
        $(fn $method(&self, name: &str) -> $type {
            match &self.0.of(name).value {
                Value::$variant(value) => value.clone().into(),
                other => panic!("{name} is {other:?}"),
            }
        })*
    };
}

impl Reader<'_> {
    readers! {
        bool: Bool => bool,
        mode: Mode => u32,
        duration: Duration => Duration,
        path: Path => PathBuf,
        listeners: Listeners => Vec<ListenAddr>,
        nodes: Nodes => Vec<NodeAddr>,
        pairs: NodePairs => Vec<(NodeAddr, NodeAddr)>,
        commands: Commands => Vec<String>,
        groups: Groups => Vec<(String, String)>,
        word: Word => &'static str
    }

    fn integer(&self, name: &str) -> usize {
        match self.0.of(name).value {
            Value::Integer(n) | Value::Size(n) => usize::try_from(n).unwrap_or(usize::MAX),
            ref other => panic!("{name} is {other:?}"),
        }
    }

    fn size(&self, name: &str) -> usize {
        self.integer(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        match &self.0.of(name).value {
            Value::Text(text) => (!text.is_empty()).then(|| text.clone()),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn address(&self, name: &str) -> Option<SocketAddr> {
        match self.0.of(name).value {
            Value::Address(addr) => Some(addr),
            Value::Word(_) => None,
            ref other => panic!("{name} is {other:?}"),
        }
    }

    /// The duration, or `None` for the word allowed instead.
    fn duration_or_word(&self, name: &str) -> Option<Duration> {
        match self.0.of(name).value {
            Value::Word(_) => None,
            _ => Some(self.duration(name)),
        }
    }

    fn size_or_word(&self, name: &str) -> Option<usize> {
        match self.0.of(name).value {
            Value::Word(_) => None,
            _ => Some(self.size(name)),
        }
    }

    fn secret(&self, name: &str, problems: &mut Vec<Problem>) -> Option<Secret> {
        let path = self.path(name);
        if path.as_os_str().is_empty() {
            return None;
        }
        Secret::read(&path)
            .map_err(|error| {
                problems.push(Problem::new(
                    &self.0.of(name).origin,
                    format!("{name}: {error}"),
                ))
            })
            .ok()
    }

    fn workers(&self, name: &str) -> usize {
        match self.0.of(name).value {
            Value::Word(_) | Value::Integer(0) => {
                available_parallelism().map_or(1, |n| n.get().min(AUTO_WORKERS_MAX))
            }
            _ => self.integer(name),
        }
    }

    fn limits(&self) -> Limits {
        let memory = match self.0.of("limits.memory").value {
            Value::Word(_) => usize::try_from(memory::auto()).unwrap_or(usize::MAX),
            _ => self.size("limits.memory"),
        };
        Limits {
            memory,
            clients: self.integer("limits.clients"),
            client_in_flight: self.integer("limits.client_in_flight"),
            client_in_flight_bytes: self.size("limits.client_in_flight_bytes"),
            client_output_hard: self.size("limits.client_output_hard"),
            client_output_soft: self.size("limits.client_output_soft"),
            client_output_soft_time: self.duration("limits.client_output_soft_time"),
            request: self.size("limits.request"),
            argument: self.size("limits.argument"),
            arguments: self.integer("limits.arguments"),
            inline: self.size("limits.inline"),
            preauth_arguments: self.integer("limits.preauth_arguments"),
            preauth_argument: self.size("limits.preauth_argument"),
            reply_depth: self.integer("limits.reply_depth"),
            lane_in_flight: self.integer("limits.lane_in_flight"),
            lane_in_flight_bytes: self.size("limits.lane_in_flight_bytes"),
            subscribers: self.integer("limits.subscribers"),
            subscriptions: self.integer("limits.subscriptions"),
            redirections: self.integer("limits.redirections"),
            monitors: self.integer("limits.monitors"),
            monitor_buffer: self.size("limits.monitor_buffer"),
            blocked_clients: self.integer("limits.blocked_clients"),
            watchers: self.integer("limits.watchers"),
            scripts: self.integer("limits.scripts"),
            script_bytes: self.size("limits.script_bytes").min(memory / SCRIPT_SHARE),
            transaction_commands: self.integer("limits.transaction_commands"),
            transaction_bytes: self.size("limits.transaction_bytes"),
        }
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts {
            connect: self.duration("timeouts.connect"),
            command: self.duration("timeouts.command"),
            slow_command: self.duration("timeouts.slow_command"),
            unavailable: self
                .duration_or_word("timeouts.unavailable")
                .map_or(Unavailable::Auto, Unavailable::Fixed),
            queue: self.duration("timeouts.queue"),
            drain: self.duration("timeouts.drain"),
            idle: self.duration_or_word("timeouts.idle"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_design() {
        let config = Config::default();
        assert_eq!(
            config.listen.addresses,
            [ListenAddr::parse("0.0.0.0:6379").unwrap()]
        );
        assert!((1..=4).contains(&config.listen.workers));
        assert_eq!(config.admin.listen, Some("127.0.0.1:9379".parse().unwrap()));
        assert_eq!(
            (config.limits.argument, config.limits.arguments),
            (512 << 20, 1 << 20)
        );
        assert_eq!(
            config.limits.client_output_soft_time,
            Duration::from_secs(60)
        );
        assert_eq!(config.timeouts.unavailable, Unavailable::Auto);
        assert_eq!(
            (config.timeouts.command, config.timeouts.idle),
            (Duration::from_secs(5), None)
        );
        assert!(config.policy.split_writes && config.upstream.password.is_none());
    }
    #[test]
    fn every_option_of_the_table_is_read() {
        let source = include_str!("reader.rs");
        for option in crate::config::OPTIONS {
            let quoted = format!("\"{}\"", option.name);
            assert!(source.contains(&quoted), "nobody reads {}", option.name);
        }
    }
}
