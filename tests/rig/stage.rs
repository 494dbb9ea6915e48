//! Where the faults play: a cluster, the proxy in front of it, and tags whose slots the test knows.

use super::findings::Findings;
use super::load::PATIENCE;
use super::pulse::Pauses;
use crate::support::{Metrics, Proxy, Scenario, ServerKind, cluster_options, seed};
use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions, Stop, wait_until};
use std::collections::HashSet;
use std::time::Duration;

/// How long a cluster may take to fail over and be healthy again; a busy machine has its time.
pub const CLUSTER_MAX: Duration = Duration::from_secs(90);

/// How long one attempt of a handover may take.
const HANDOVER_MAX: Duration = Duration::from_secs(8);

/// See the module.
pub struct Stage {
    /// For messages.
    pub kind: ServerKind,
    /// Three primaries, three replicas, node timeout 2 s.
    pub cluster: Cluster,
    /// With two workers.
    pub proxy: Proxy,
    /// Of the random choices of this run: `SLOTWAY_SEED`, or drawn.
    pub seed: u64,
}

impl Stage {
    /// Boots all of it.
    pub fn set(kind: &ServerKind) -> Self {
        let patient = patient();
        Self::set_with(kind, &patient.each_ref().map(String::as_str))
    }

    /// The same with more arguments for the proxy.
    pub fn set_with(kind: &ServerKind, args: &[&str]) -> Self {
        Self::set_on(kind, &cluster_options(kind), args)
    }

    /// The same with another cluster.
    pub fn set_on(kind: &ServerKind, options: &ClusterOptions, args: &[&str]) -> Self {
        let cluster =
            Cluster::boot(options).unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        Self::of(kind, cluster, args)
    }

    /// The same with a cluster that is there.
    pub fn of(kind: &ServerKind, cluster: Cluster, args: &[&str]) -> Self {
        let proxy = Proxy::start(&cluster, &[&["--workers", "2"], args].concat());
        let seed = seed(kind.name);
        Self {
            kind: kind.clone(),
            cluster,
            proxy,
            seed,
        }
    }

    /// Counts of `slotway_redirections_total`.
    pub fn redirections(&self, kind: &str) -> f64 {
        let metrics: Metrics = self.proxy.metrics();
        metrics.sum("slotway_redirections_total", &[("type", kind)])
    }

    /// Begins a row of the table.
    pub fn begin(&self, number: u8, what: &str, seed: u64) -> Scenario {
        let mut row = Scenario::begin(number, what, self.kind.name);
        row.seeded(seed);
        row
    }

    /// The figures that every row has.
    pub fn note(&self, row: &mut Scenario, findings: &Findings, pauses: Pauses) {
        row.figure("longest pause", ms(pauses.proxied));
        row.figure("of a direct client", ms(pauses.direct));
        row.figure("slowest reply", ms(findings.slowest));
        row.figure("errors", findings.errors_by_kind());
        row.figure("RSS", format!("{} MB", self.proxy.rss() >> 20));
    }

    /// Prints a figure of this run.
    pub fn say(&self, what: &str) {
        eprintln!("{}: {what}", self.kind.name);
    }

    /// Waits until the cluster is healthy.
    #[track_caller]
    pub fn wait_healthy(&self) {
        self.cluster.wait_healthy(CLUSTER_MAX).unwrap();
    }

    /// Empties the cluster for the next round, replicas included. A replica whose link is up may still be without
    /// its primary's stream for a second: promoted then, it would bring the last round's data back.
    #[track_caller]
    pub fn flush(&self) {
        self.wait_healthy();
        for node in 0..self.cluster.len() {
            if self.cluster.is_primary(node).unwrap() {
                let mut client = self.cluster.connect(node).unwrap();
                assert_eq!(client.command(&["FLUSHALL"]).unwrap().text(), "OK");
                if self.cluster.len() == self.cluster.primaries() {
                    continue;
                }
                let what = format!("the replica of node {node} follows");
                let followed = wait_until(&what, CLUSTER_MAX, &Stop::default(), || {
                    match client.command(&["WAIT", "1", "1000"]) {
                        Ok(reply) if reply.integer() == Some(1) => Ok(()),
                        other => Err(format!("{other:?}")),
                    }
                });
                followed.unwrap();
            }
        }
    }

    /// CLUSTER FAILOVER to the replica that `primary` has now. A server gives an attempt up after 5 s in which it
    /// answers no write; then it is asked again. That is the servers' own: under the same load from clients that are
    /// connected to the nodes themselves, Redis 7.0 gave up about one attempt in four, and its `+OK` to a SET came
    /// 5.0 s late. A proxy with the default `timeouts.command`, 5 s as well, tells its clients of some of these.
    #[track_caller]
    pub fn fail_over(&self, primary: usize) -> Handover {
        let replica = self.cluster.replica_of(primary).expect("it has a replica");
        let mut attempts = 0;
        let what = format!("node {replica} takes over from node {primary}");
        wait_until(&what, CLUSTER_MAX, &Stop::default(), || {
            // The attempt before may have come to its end later than was waited for.
            if attempts > 0 && self.cluster.is_primary(replica).unwrap_or(false) {
                return Ok(());
            }
            let reply = self.cluster.ask(replica, &["CLUSTER", "FAILOVER"]);
            let reply = reply.map_err(|error| error.to_string())?;
            attempts += 1;
            self.cluster
                .wait_promoted(replica, HANDOVER_MAX)
                .map_err(|error| format!("{reply:?}, then {error}"))
        })
        .unwrap();
        Handover {
            to: replica,
            attempts,
        }
    }
}

/// What came of a CLUSTER FAILOVER.
pub struct Handover {
    /// The new primary.
    pub to: usize,
    /// How many attempts the servers made.
    pub attempts: u32,
}

/// Arguments that have the proxy wait for [`PATIENCE`]: for a reply, and for a node that does not serve.
pub fn patient() -> [String; 4] {
    let [command, unavailable] = ["command", "unavailable"]
        .map(|timeout| format!("timeouts.{timeout}={}s", PATIENCE.as_secs()));
    ["--set".into(), command, "--set".into(), unavailable]
}

/// As a figure of the table.
pub fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// So many tags like `{12}` with different slots, all of which are among these.
pub fn tags_in(count: usize, slots: impl Fn(u16) -> bool) -> Vec<String> {
    let mut taken = HashSet::new();
    (0..)
        .map(|n| format!("{{{n}}}"))
        .filter(|tag| slots(slot_of(tag)) && taken.insert(slot_of(tag)))
        .take(count)
        .collect()
}

/// The slot of keys with this tag.
pub fn slot_of(tag: &str) -> u16 {
    Slot::of(tag.as_bytes()).number()
}
