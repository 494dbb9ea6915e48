//! The one table of options. Defaults, parsing, flag help, names in the environment, `slotway check --print` and
//! the README's table all come from it. Which field of the configuration it becomes is said in `reader`.

use super::kind::Kind;

/// One option.
#[derive(Debug)]
pub struct OptionSpec {
    /// `section.key`, as `--set` takes it.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Its default, written as in the environment (`check --print` shows it as TOML).
    pub default: &'static str,
    /// What a number counts; empty where the type says it.
    pub unit: &'static str,
    /// Whether its bound counts for the process, a worker, a client …
    pub scope: Scope,
    /// What it takes to change it in a running proxy.
    pub change: Change,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// What a bound applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole process.
    Process,
    /// Each worker thread.
    Worker,
    /// Each client connection.
    Client,
    /// Each lane: one connection of a worker to a node.
    Lane,
    /// Each request.
    Request,
}

/// What it takes to change an option in a running proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A reload of the configuration.
    Reload,
    /// A restart of the process.
    Restart,
}

impl OptionSpec {
    /// The part of the name before the dot.
    pub fn section(&self) -> &'static str {
        self.name
            .split_once('.')
            .map_or(self.name, |(section, _)| section)
    }

    /// The part of the name after the dot.
    pub fn key(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(_, key)| key)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!(
            "SLOTWAY_{}",
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }
}

/// The option with that name.
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// What `--help` says about the flag that sets this option.
pub fn help(name: &str) -> String {
    find(name).map_or_else(String::new, |option| match option.default {
        "" => option.doc.to_owned(),
        default => format!("{} [default: {default}]", option.doc),
    })
}

/// Every section there is or will be: in the environment, names of other sections are not ours.
pub(super) const SECTIONS: [&str; 12] = [
    "listen", "cluster", "upstream", "limits", "timeouts", "auth", "tls", "policy", "cache",
    "observe", "admin", "log",
];

impl Scope {
    /// As the table words it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Worker => "worker",
            Self::Client => "client",
            Self::Lane => "lane",
            Self::Request => "request",
        }
    }
}

impl Change {
    /// As the table words it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
        }
    }
}

const KB: u64 = 1024;
const MB: u64 = 1024 * KB;
const GB: u64 = 1024 * MB;
/// Largest size of a single request or buffer for one: positions inside a request are 32 bit.
const REQUEST_BYTES_MAX: u64 = 2 * GB;
const MEMORY_BYTES_MAX: u64 = 1024 * 1024 * GB;

/// What the program takes by itself (13 MB), and as much for clients, which have half of the limit in any case.
const MEMORY_MIN: u64 = 32 * MB;
const MILLISECOND: u64 = 1;
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;

/// A row: the columns in the order of the table in the README.
const fn option(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    unit: &'static str,
    (scope, change): (Scope, Change),
    doc: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        kind,
        default,
        unit,
        scope,
        change,
        doc,
    }
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size {
        min,
        max,
        word: None,
    }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Integer {
        min,
        max,
        word: None,
    }
}

const fn time(min_ms: u64, max_ms: u64) -> Kind {
    Kind::Duration {
        min_ms,
        max_ms,
        word: None,
    }
}

const PROCESS: (Scope, Change) = (Scope::Process, Change::Restart);
const RELOAD: (Scope, Change) = (Scope::Process, Change::Reload);
const WORKER: (Scope, Change) = (Scope::Worker, Change::Restart);
const CLIENT: (Scope, Change) = (Scope::Client, Change::Reload);
const LANE: (Scope, Change) = (Scope::Lane, Change::Reload);
const REQUEST: (Scope, Change) = (Scope::Request, Change::Reload);

/// Every option, in the order in which they are documented.
#[rustfmt::skip] // one row, one option
pub static OPTIONS: &[OptionSpec] = &[
    option("listen.addresses", Kind::Listeners, "0.0.0.0:6379", "", PROCESS,
        "where clients connect: IP:PORT, or unix:/path of a Unix socket"),
    option("listen.workers", Kind::Integer { min: 0, max: 1024, word: Some("auto") }, "auto", "threads", PROCESS,
        "worker threads, each with its own lanes to the nodes; auto (or 0): available cores, at most 4"),
    option("listen.backlog", count(1, 65_535), "4096", "connections", PROCESS,
        "connections the kernel keeps waiting to be accepted, per listener; it caps this at net.core.somaxconn"),
    option("listen.unix_mode", Kind::Mode, "700", "", PROCESS,
        "permissions of Unix sockets, in octal"),

    option("cluster.nodes", Kind::Nodes, "", "", RELOAD,
        "seed nodes, HOST:PORT: asked in turn for the rest of the cluster; names are resolved again at every try"),
    option("cluster.mode", Kind::Choice(&["auto", "cluster", "standalone"]), "auto", "", PROCESS,
        "what cluster.nodes are: nodes of a cluster, or one server without cluster support and its replicas, which is one shard with all slots; auto finds out"),
    option("cluster.address_map", Kind::NodePairs, "", "", RELOAD,
        "for NAT: addresses the nodes announce and where they are reached from here, ANNOUNCED=REACHED"),
    option("cluster.refresh_interval", time(100 * MILLISECOND, HOUR), "10s", "", RELOAD,
        "how often the slot map is asked for when nothing else gives a reason to (±20%)"),

    option("upstream.connections", count(1, 64), "1", "lanes", WORKER,
        "lanes to each node and RESP version: more when one connection is the bottleneck"),
    option("upstream.bulk_from", size(KB, REQUEST_BYTES_MAX), "64KB", "", CLIENT,
        "what a large value is: a client that sends a request or a transaction, or gets a reply, of this size takes, for the next 10 s, lanes that only such clients take (one more to each node and RESP version), so that nobody else waits behind it"),
    option("upstream.bulk_bytes", size(64 * KB, MEMORY_BYTES_MAX), "2MB", "", LANE,
        "replies on their way over one of those lanes, as far as the last ones tell how large they are: a node executes all that has come before it looks at what others have sent, so fewer let others wait less, and more are faster where nodes are far away. Requests whose replies are likely to be large wait in turn for room, at most timeouts.command (then the reply may take timeouts.command again), and get an error"),
    option("upstream.leases", count(1, 1_000_000), "1000", "connections", WORKER,
        "connections of one client's own in use at the same time: blocked commands, WATCH, and for a moment WAITAOF, SCRIPT KILL and the like; more get an error. Those of subscribed clients are not among them (limits.subscribers)"),
    option("upstream.username", Kind::Text, "", "", RELOAD,
        "user name for the nodes (ACL); needs upstream.password_file"),
    option("upstream.password_file", Kind::Path, "", "", RELOAD,
        "file with the password for the nodes"),
    option("upstream.heartbeat", time(100 * MILLISECOND, HOUR), "15s", "", LANE,
        "an idle lane is PINGed this often; keep it below the nodes' own `timeout`"),
    option("upstream.idle_close", time(SECOND, 24 * HOUR), "10m", "", LANE,
        "a lane that carried no request for this long is closed"),

    option("limits.memory", Kind::Size { min: MEMORY_MIN, max: MEMORY_BYTES_MAX, word: Some("auto") }, "auto", "", RELOAD,
        "memory of the process. From 75% on clients are not read while replies to them are outstanding, from 90% on requests over 64KB get an OOM error, beyond it the clients that hold most are closed until there is some room; while what was freed is not given back yet, clients that hold over 8KB are not read; what only requests on their way hold has every command refused. A reply larger than a third of what there is for clients and nodes is not kept: its command gets an error. auto: 70% of what the control group or the machine has"),
    option("limits.clients", count(1, 10_000_000), "10000", "clients", RELOAD,
        "clients connected at the same time; more get `-ERR max number of clients reached`"),
    option("limits.client_in_flight", count(1, 10_000_000), "10000", "commands", CLIENT,
        "commands of one client waiting for replies; then it is not read for a while"),
    option("limits.client_in_flight_bytes", size(KB, MEMORY_BYTES_MAX), "64MB", "", CLIENT,
        "bytes of one client's commands waiting for replies; then it is not read for a while"),
    option("limits.client_output_hard", size(KB, MEMORY_BYTES_MAX), "256MB", "", CLIENT,
        "replies waiting for a client that does not read them; then it is closed"),
    option("limits.client_output_soft", size(KB, MEMORY_BYTES_MAX), "64MB", "", CLIENT,
        "the same, when it stays above this for limits.client_output_soft_time"),
    option("limits.client_output_soft_time", time(SECOND, 24 * HOUR), "60s", "", CLIENT,
        "how long a client may stay above limits.client_output_soft"),
    option("limits.request", size(KB, REQUEST_BYTES_MAX), "512MB", "", REQUEST,
        "one whole request; a larger one gets `ERR Protocol error: …`, and its client is closed"),
    option("limits.argument", size(KB, REQUEST_BYTES_MAX), "512MB", "", REQUEST,
        "one argument of a request; a larger one likewise"),
    option("limits.arguments", count(16, 16 * MB), "1048576", "arguments", REQUEST,
        "arguments in one request; more likewise"),
    option("limits.inline", size(64, 64 * MB), "64KB", "", REQUEST,
        "one request in inline form, as typed into telnet; a longer one likewise"),
    option("limits.preauth_arguments", count(4, 16 * MB), "10", "arguments", REQUEST,
        "arguments in one request of a client that must still authenticate; more likewise"),
    option("limits.preauth_argument", size(64, REQUEST_BYTES_MAX), "16KB", "", REQUEST,
        "one argument of a client that must still authenticate; a larger one likewise"),
    option("limits.reply_depth", count(8, 65_536), "8192", "levels", LANE,
        "nesting of a node's reply; deeper ones close the lane"),
    option("limits.lane_in_flight", count(1, 10_000_000), "100000", "commands", LANE,
        "commands of a lane waiting for replies, or fewer: what a busy node answers within timeouts.queue (and half of timeouts.command); then sessions wait in turn, at most timeouts.queue, and get an error"),
    option("limits.lane_in_flight_bytes", size(KB, MEMORY_BYTES_MAX), "256MB", "", LANE,
        "bytes of a lane's commands waiting for replies; then sessions wait, as above"),
    option("limits.transaction_commands", count(1, 10_000_000), "100000", "commands", CLIENT,
        "commands between MULTI and EXEC; more are refused, and EXEC then executes nothing"),
    option("limits.transaction_bytes", size(KB, MEMORY_BYTES_MAX), "64MB", "", CLIENT,
        "bytes of commands between MULTI and EXEC; more are refused, and EXEC then executes nothing"),
    option("limits.subscribers", count(1, 10_000_000), "1000", "clients", RELOAD,
        "clients with subscriptions at the same time: each has connections to nodes of its own; more get an error"),
    option("limits.subscriptions", count(1, 100_000_000), "100000", "subscriptions", CLIENT,
        "channels and patterns that one client is subscribed to; more get an error"),
    option("limits.redirections", count(1, 100), "5", "hops", REQUEST,
        "redirections followed for one request; then the client gets an error"),
    option("limits.blocked_clients", count(1, 10_000_000), "5000", "clients", WORKER,
        "clients blocked at the same time (BLPOP and the like, WAIT); more get an error. Those whose keys are in one slot need one of upstream.leases"),
    option("limits.watchers", count(1, 10_000_000), "1000", "clients", WORKER,
        "clients that watch keys (WATCH) at the same time, each with one of upstream.leases; more get an error"),
    option("limits.monitors", count(1, 10_000), "16", "clients", RELOAD,
        "clients watching with MONITOR at the same time, which policy.allow must name; more get an error"),
    option("limits.monitor_buffer", size(KB, MEMORY_BYTES_MAX), "8MB", "", CLIENT,
        "lines waiting for a client that has said MONITOR; what does not fit is dropped, and it is told how much"),

    option("limits.scripts", count(1, 1_000_000), "2000", "scripts", PROCESS,
        "scripts of SCRIPT LOAD and EVAL that are kept to give them to nodes that lack them; those of EVAL are dropped first"),
    option("limits.script_bytes", size(KB, MEMORY_BYTES_MAX), "16MB", "", PROCESS,
        "bytes of those scripts, and no more than an eighth of limits.memory"),

    option("timeouts.connect", time(MILLISECOND, HOUR), "2s", "", LANE,
        "connecting to a node, handshake included"),
    option("timeouts.command", time(MILLISECOND, 24 * HOUR), "5s", "", REQUEST,
        "waiting for a node's reply (for a blocking command's, after its own timeout); then the client gets an error"),
    option("timeouts.slow_command", time(MILLISECOND, 24 * HOUR), "60s", "", REQUEST,
        "the same for scripts and commands that walk many keys"),
    option("timeouts.unavailable", Kind::Duration { min_ms: MILLISECOND, max_ms: HOUR, word: Some("auto") }, "auto", "", REQUEST,
        "how long a request waits while its slot has no node that serves it; auto: the nodes' longest cluster-node-timeout, as each said it when slotway last connected to it, + 2s, else 3s"),
    option("timeouts.queue", time(MILLISECOND, HOUR), "1s", "", REQUEST,
        "how long a request waits for room in a full lane (for room among large replies, see upstream.bulk_bytes: timeouts.command); what it has waited for its node before, up to timeouts.unavailable, is not counted"),
    option("timeouts.drain", time(MILLISECOND, HOUR), "10s", "", PROCESS,
        "on SIGTERM: how long requests in flight may take to finish"),
    option("timeouts.idle", Kind::Duration { min_ms: SECOND, max_ms: 1000 * HOUR, word: Some("off") }, "off", "", CLIENT,
        "a client that neither sends nor gets anything for this long is closed, unless it waits for a reply, is subscribed or monitors"),

    option("auth.mode", Kind::Choice(&["auto", "none"]), "auto", "", RELOAD,
        "auto: clients authenticate if auth.password_file is set; none, written out: they do not, even in front of a cluster with a password"),
    option("auth.password_file", Kind::Path, "", "", RELOAD,
        "file with the password clients must give (AUTH, HELLO AUTH)"),

    option("policy.allow", Kind::Commands, "", "", RELOAD,
        "commands clients may use although they are refused by default; subcommands as config|set"),
    option("policy.deny", Kind::Commands, "", "", RELOAD,
        "commands clients may not use; subcommands as config|set"),
    option("policy.split_writes", Kind::Bool, "true", "", RELOAD,
        "whether MSET, DEL, UNLINK … over several slots are split; each part is atomic, the whole is not"),
    option("policy.keyless_scripts", Kind::Choice(&["any", "error"]), "any", "", RELOAD,
        "scripts and functions called without keys: any runs them on one primary, whose keys are all they see; error refuses them"),
    option("policy.cross_slot_transactions", Kind::Choice(&["refuse", "split"]), "refuse", "", RELOAD,
        "MULTI over several slots: refuse, or split into one transaction per slot, atomic each but not the whole"),
    option("policy.audit", Kind::Bool, "false", "", PROCESS,
        "count what fails or changes on a cluster, by client name and command, for /audit, /audit.txt and /audit.html"),

    option("observe.hit_rate", Kind::Bool, "true", "", RELOAD,
        "count hits and misses of lookups from their replies"),
    option("observe.groups", Kind::Groups, "", "", PROCESS,
        "for hit rates by kind of data: groups of keys, NAME=PATTERN with `*`, `?`, `[a-z]` as in KEYS, such as sessions=sess:*; the first that fits counts, at most 64"),
    option("observe.latency", Kind::Bool, "true", "", RELOAD,
        "measure how long each command takes"),
    option("observe.hot_keys", count(0, 4096), "128", "keys", WORKER,
        "how many of the keys that are asked for most are kept for /hotkeys; one command in 32 is looked at; 0: none"),

    option("observe.slow", Kind::Duration { min_ms: MILLISECOND, max_ms: HOUR, word: Some("off") }, "10ms", "", WORKER,
        "commands whose reply takes this long to come from the nodes are counted and listed in /slowlog"),
    option("observe.big_value", Kind::Size { min: KB, max: MEMORY_BYTES_MAX, word: Some("off") }, "64KB", "", WORKER,
        "replies and arguments of this size are counted, and their keys listed in /bigkeys"),

    option("admin.listen", Kind::Address { word: "off" }, "127.0.0.1:9379", "", PROCESS,
        "where /metrics, /readyz … are served, IP:PORT; it has no password: keep it private. off: nowhere"),

    option("log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), "info", "", RELOAD,
        "least important messages that are written"),
    option("log.format", Kind::Choice(&["text", "json"]), "text", "", PROCESS,
        "how messages are written"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Raw;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_in_known_sections() {
        let mut names = HashSet::new();
        let mut variables = HashSet::new();
        for option in OPTIONS {
            assert!(names.insert(option.name), "{} twice", option.name);
            assert!(
                variables.insert(option.variable()),
                "{} twice",
                option.variable()
            );
            assert!(SECTIONS.contains(&option.section()), "{}", option.name);
            assert!(
                !option.key().is_empty() && !option.doc.is_empty(),
                "{}",
                option.name
            );
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_type() {
        for option in OPTIONS {
            let parsed = option.kind.parse(&Raw::Word(option.default.into()));
            assert!(parsed.is_ok(), "{}: {parsed:?}", option.name);
        }
    }

    #[test]
    fn variables_and_help_come_from_the_table() {
        let clients = find("limits.client_in_flight").unwrap();
        assert_eq!(clients.variable(), "SLOTWAY_LIMITS_CLIENT_IN_FLIGHT");
        assert_eq!(
            help("log.level"),
            "least important messages that are written [default: info]"
        );
        assert!(find("limits.nothing").is_none());
    }
}
