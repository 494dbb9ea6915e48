//! One client as CLIENT INFO and CLIENT LIST show it: a line of fields, in the words and the order of the servers
//! behind us.

use super::client::{Address, Switch};
use super::{Client, Env, is_valkey, server_version};
use crate::resp::Proto;
use std::fmt::Write as _;
use std::time::Duration;

/// What the session knows of its client besides what the client has said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activity<'a> {
    /// For how long nothing has come from it or gone to it.
    pub idle: Duration,
    /// Its last command, `client|list` for subcommands.
    pub command: &'a str,
    /// Commands so far.
    pub commands: u64,
    /// Bytes that came from it.
    pub received: u64,
    /// Bytes that were written to it.
    pub sent: u64,
    /// Bytes of a command that is not complete.
    pub input: usize,
    /// Bytes that are not written yet.
    pub output: usize,
    /// Channels, patterns and sharded channels it is subscribed to.
    pub subscribed: [usize; 3],
    /// Commands queued behind its MULTI, if it has said that.
    pub queued: Option<usize>,
    /// Keys it watches.
    pub watched: usize,
    /// Whether it waits in a blocking command.
    pub blocked: bool,
    /// Whether it has said MONITOR.
    pub monitor: bool,
}

/// A client with all that is shown of it.
#[derive(Clone, Copy, Debug)]
pub struct Portrait<'a> {
    pub(super) client: &'a Client,
    pub(super) activity: Activity<'a>,
    /// The time of day, since 1970.
    pub(super) now: Duration,
}

/// What clients are sorted by where the servers have `TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Pubsub,
    /// Primaries and replicas: a proxy has none among its clients.
    Other,
}

impl<'a> Portrait<'a> {
    /// The portrait of `client`.
    pub fn of(client: &'a Client, activity: Activity<'a>, now: Duration) -> Self {
        Self {
            client,
            activity,
            now,
        }
    }

    pub(super) fn age(&self) -> Duration {
        self.now.saturating_sub(self.client.since())
    }

    pub(super) fn kind(&self) -> Kind {
        match self.activity.subscribed {
            [0, 0, 0] => Kind::Normal,
            _ => Kind::Pubsub,
        }
    }

    pub(super) fn flags(&self) -> String {
        let client = self.client;
        let activity = &self.activity;
        let unix = matches!(client.address(), Address::Unix(_));
        let set = [
            (activity.monitor, 'O'),
            (self.kind() == Kind::Pubsub, 'P'),
            (activity.queued.is_some(), 'x'),
            (activity.blocked, 'b'),
            (unix, 'U'),
            (client.no_evict == Switch::On, 'e'),
            (client.no_touch == Switch::On, 'T'),
        ];
        let set = set.iter().filter(|(set, _)| *set);
        let flags: String = set.map(|(_, flag)| *flag).collect();
        if flags.is_empty() {
            return "N".to_owned();
        }
        flags
    }

    /// Appends the line, with its line end.
    pub fn line(&self, env: &Env<'_>, out: &mut String) {
        let (client, activity) = (self.client, &self.activity);
        let (addr, laddr) = self.client.ends();
        let fields = Fields::of(env);
        let [channels, patterns, shards] = activity.subscribed;
        let _ = write!(
            out,
            "id={} addr={addr} laddr={laddr} fd=0 name={} age={} idle={} flags={} ",
            client.id(),
            client.name.as_deref().unwrap_or_default(),
            self.age().as_secs(),
            activity.idle.as_secs(),
            self.flags(),
        );
        if fields.capa {
            out.push_str(match client.redirect {
                Switch::On => "capa=r ",
                Switch::Off => "capa= ",
            });
        }
        let _ = write!(
            out,
            "db=0 sub={channels} psub={patterns} ssub={shards} multi="
        );
        let _ = match activity.queued {
            Some(queued) => write!(out, "{queued} "),
            None => write!(out, "-1 "),
        };
        if fields.watch {
            let _ = write!(out, "watch={} ", activity.watched);
        }
        let _ = write!(
            out,
            "qbuf={input} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={output} oll=0 omem=0 tot-mem={} \
             events={} cmd={} user=default redir=-1 resp={}",
            activity.input + activity.output,
            if activity.output > 0 { "rw" } else { "r" },
            activity.command,
            if client.proto() == Proto::Resp3 { 3 } else { 2 },
            input = activity.input,
            output = activity.output,
        );
        let (library, version) = (&client.lib_name, &client.lib_version);
        if fields.library || library.is_some() || version.is_some() {
            let _ = write!(
                out,
                " lib-name={} lib-ver={}",
                library.as_deref().unwrap_or_default(),
                version.as_deref().unwrap_or_default(),
            );
        }
        if fields.totals {
            let _ = write!(
                out,
                " tot-net-in={} tot-net-out={} tot-cmds={}",
                activity.received, activity.sent, activity.commands
            );
        }
        out.push('\n');
    }
}

/// Which fields the servers behind us have besides those of redis 7.0.
struct Fields {
    capa: bool,
    watch: bool,
    library: bool,
    totals: bool,
}

impl Fields {
    fn of(env: &Env<'_>) -> Self {
        let mut numbers = server_version(env)
            .split('.')
            .map(|n| n.parse().unwrap_or(0));
        let version: (u32, u32) = (
            numbers.next().unwrap_or_default(),
            numbers.next().unwrap_or_default(),
        );
        let valkey = is_valkey(env);
        Self {
            capa: valkey && version >= (8, 1),
            watch: version >= if valkey { (8, 0) } else { (7, 4) },
            library: valkey || version >= (7, 2),
            totals: version >= if valkey { (8, 1) } else { (8, 0) },
        }
    }
}
