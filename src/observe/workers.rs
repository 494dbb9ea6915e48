//! Sums what all writers counted, for one scrape. Reads cells that are being written: each is a little older
//! or newer than the next, which a scrape tolerates; what must agree is derived from one cell.

use super::big_values::{BigValue, biggest};
use super::error_log::{RecentError, recent};
use super::families::{Families, Source};
use super::histogram::{HistogramSum, seconds};
use super::hot_keys::{Hottest, hottest};
use super::key_groups::KeyGroups;
use super::labels::{
    CrossSlot, ErrorSource, Exec, Limit, NodeError, Redirection, Rejected, RetryReason,
};
use super::node::{Health, NODES_MAX, NodeMetrics};
use super::prefixes::{PREFIXES_MAX, Prefixes};
use super::slow_log::{SlowCommand, SlowLogs};
use super::table::Metric;
use super::totals::Totals;
use super::worker::{CommandMetrics, WorkerMetrics};
use crate::cluster::NodeAddr;
use crate::command::{CommandId, is_meant_to_wait};
use crate::config::Observe;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tells the name of every command there is: an id and what the label `cmd` says for it.
pub type CommandNames = Box<dyn Fn() -> Vec<(CommandId, Arc<str>)> + Send + Sync>;

/// What a command without a known name is called.
const OTHER: &str = "other";

/// All writers and what their numbers are called.
pub(super) struct Workers {
    observe: Observe,
    key_groups: Arc<KeyGroups>,
    slow_logs: SlowLogs,
    listeners: Vec<String>,
    prefixes: Arc<Prefixes>,
    writers: Mutex<Vec<Arc<WorkerMetrics>>>,
    names: Mutex<Names>,
}

/// A name once told is kept, since a command that left the table keeps its counters.
#[derive(Default)]
struct Names {
    ask: Option<CommandNames>,
    known: BTreeMap<usize, Arc<str>>,
}

impl Workers {
    pub(super) fn new(listeners: Vec<String>, observe: Observe) -> Self {
        Self {
            key_groups: Arc::new(KeyGroups::new(&observe.groups)),
            observe,
            slow_logs: SlowLogs::default(),
            listeners,
            prefixes: Arc::default(),
            writers: Mutex::default(),
            names: Mutex::default(),
        }
    }

    pub(super) fn writer(&self) -> Arc<WorkerMetrics> {
        let writer = WorkerMetrics::new(
            self.listeners.len(),
            Arc::clone(&self.prefixes),
            &self.observe,
            self.key_groups.clone(),
            self.slow_logs.log(),
        );
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        writers.push(Arc::clone(&writer));
        writer
    }

    pub(super) fn name_commands(&self, names: CommandNames) {
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ask = Some(names);
    }

    pub(super) fn forget(&self, addr: &NodeAddr) {
        for writer in self.all() {
            writer.nodes().forget(addr);
        }
    }

    pub(super) fn hottest(&self, now: Instant) -> Hottest {
        hottest(self.all().iter().map(|w| &w.hot_keys), now)
    }

    pub(super) fn totals(&self) -> Totals {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.refresh();
        Totals::of(&self.all(), |index| is_meant_to_wait(&names.of(index)))
    }

    pub(super) fn observe(&self) -> &Observe {
        &self.observe
    }

    pub(super) fn slow(&self) -> Vec<SlowCommand> {
        self.slow_logs.slow()
    }

    pub(super) fn forget_slow(&self) {
        self.slow_logs.forget();
    }

    /// Each with the name of its command.
    pub(super) fn errors_lately(&self) -> Vec<(RecentError, Arc<str>)> {
        let all = recent(self.all().iter().map(|w| &w.error_log));
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.refresh();
        let named = all.into_iter().map(|error| {
            let name = names.of(error.command.index());
            (error, name)
        });
        named.collect()
    }

    pub(super) fn biggest(&self, now: Duration) -> Vec<BigValue> {
        biggest(self.all().iter().map(|w| &w.big_values), now)
    }

    fn all(&self) -> Vec<Arc<WorkerMetrics>> {
        self.writers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Source for Workers {
    fn collect(&self, families: &mut Families) {
        let writers = self.all();
        self.clients(families, &writers);
        self.commands(families, &writers);
        self.errors(families, &writers);
        refusals(families, &writers);
        nodes(families, &writers);
    }
}

impl Workers {
    fn clients(&self, families: &mut Families, writers: &[Arc<WorkerMetrics>]) {
        for (i, listener) in self.listeners.iter().enumerate() {
            let closed = total(writers, |w| w.listeners[i].closed.value());
            let opened = total(writers, |w| w.listeners[i].opened.value());
            families.add(Metric::ClientConnectionsTotal, &[listener], opened as f64);
            families.add(
                Metric::ClientConnections,
                &[listener],
                opened.saturating_sub(closed) as f64,
            );
        }
        for reason in Rejected::ALL {
            let n = total(writers, |w| w.rejected[reason.index()].value());
            families.add(
                Metric::ClientConnectionsRejected,
                &[reason.label()],
                n as f64,
            );
        }
        let received = total(writers, |w| w.received_bytes.value());
        families.add(Metric::ClientReceivedBytes, &[], received as f64);
        let sent = total(writers, |w| w.sent_bytes.value());
        families.add(Metric::ClientSentBytes, &[], sent as f64);
        let held = total(writers, |w| w.backpressure_micros.value());
        families.add(Metric::Backpressure, &[], seconds(held));
        let blocked = total(writers, |w| w.blocked_clients.value());
        families.add(Metric::BlockedClients, &[], blocked as f64);
        let pushed_back = total(writers, |w| w.pushed_back.value());
        families.add(Metric::BlockedPushedBack, &[], pushed_back as f64);
        let bulk = total(writers, |w| w.bulk_clients.value());
        families.add(Metric::BulkClients, &[], bulk as f64);
        let watchers = total(writers, |w| w.watchers.value());
        families.add(Metric::Watchers, &[], watchers as f64);
        for outcome in Exec::ALL {
            let n = total(writers, |w| w.transactions[outcome.index()].value());
            families.add(Metric::Transactions, &[outcome.label()], n as f64);
        }
        let lost = total(writers, |w| w.watches_lost.value());
        families.add(Metric::WatchesLost, &[], lost as f64);
        let leases = total(writers, |w| w.leases.value());
        families.add(Metric::Leases, &[], leases as f64);
        let memory = total(writers, |w| w.memory.value());
        families.add(Metric::Memory, &[], memory as f64);
        let scripts = total(writers, |w| w.script_memory.value());
        families.add(Metric::ScriptMemory, &[], scripts as f64);
    }

    fn commands(&self, families: &mut Families, writers: &[Arc<WorkerMetrics>]) {
        let mut sums = BTreeMap::<Arc<str>, CommandSum>::new();
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.refresh();
        for (index, command) in writers.iter().flat_map(|w| w.used()) {
            sums.entry(names.of(index)).or_default().add(command);
        }
        for (name, sum) in &sums {
            sum.collect(families, name, self.key_groups.names());
        }
    }

    fn errors(&self, families: &mut Families, writers: &[Arc<WorkerMetrics>]) {
        for source in ErrorSource::ALL {
            for prefix in 0..=PREFIXES_MAX {
                let n = total(writers, |w| w.errors[source.index()][prefix].value());
                if n > 0 {
                    let labels = [self.prefixes.label(prefix), source.label()];
                    families.add(Metric::CommandErrors, &labels, n as f64);
                }
            }
        }
    }
}

fn refusals(families: &mut Families, writers: &[Arc<WorkerMetrics>]) {
    for kind in Redirection::ALL {
        let n = total(writers, |w| w.redirections[kind.index()].value());
        families.add(Metric::Redirections, &[kind.label()], n as f64);
    }
    for reason in RetryReason::ALL {
        let n = total(writers, |w| w.retries[reason.index()].value());
        families.add(Metric::Retries, &[reason.label()], n as f64);
    }
    for limit in Limit::ALL {
        let n = total(writers, |w| w.limit_hits[limit.index()].value());
        families.add(Metric::LimitHits, &[limit.label()], n as f64);
    }
    let unknown = total(writers, |w| w.unknown_outcomes.value());
    families.add(Metric::UnknownOutcomes, &[], unknown as f64);
    let came = total(writers, |w| w.subscribers_came.value());
    let went = total(writers, |w| w.subscribers_went.value());
    families.add(Metric::PubsubClients, &[], came.saturating_sub(went) as f64);
}

fn nodes(families: &mut Families, writers: &[Arc<WorkerMetrics>]) {
    let mut sums = BTreeMap::<Option<NodeAddr>, NodeSum>::new();
    for (addr, metrics) in writers.iter().flat_map(|w| w.nodes().snapshot()) {
        let named = sums.contains_key(&addr) || sums.len() < NODES_MAX;
        sums.entry(addr.filter(|_| named))
            .or_default()
            .add(&metrics);
    }
    for (addr, sum) in &sums {
        match addr {
            Some(addr) => sum.collect(families, &addr.to_string()),
            None => sum.collect(families, OTHER),
        }
    }
}

fn total(writers: &[Arc<WorkerMetrics>], of: impl Fn(&WorkerMetrics) -> u64) -> u64 {
    writers.iter().map(|w| of(w)).sum()
}

impl Names {
    fn refresh(&mut self) {
        let Some(ask) = &self.ask else { return };
        // Many commands may share OTHER; none of them gives it its name.
        let named = ask().into_iter().filter(|(id, _)| *id != CommandId::OTHER);
        self.known
            .extend(named.map(|(id, name)| (id.index(), name)));
    }

    fn of(&self, index: usize) -> Arc<str> {
        self.known
            .get(&index)
            .cloned()
            .unwrap_or_else(|| OTHER.into())
    }
}

#[derive(Default)]
struct CommandSum {
    duration: HistogramSum,
    untimed: u64,
    /// Hits and misses by group.
    lookups: Vec<(u64, u64)>,
    slow: u64,
    big: u64,
    cross_slot: [u64; CrossSlot::COUNT],
}

impl CommandSum {
    fn add(&mut self, command: &CommandMetrics) {
        self.duration.add(&command.duration);
        self.untimed += command.untimed.value();
        let groups = command.lookups.len();
        self.lookups.resize(self.lookups.len().max(groups), (0, 0));
        for (sum, of) in self.lookups.iter_mut().zip(&command.lookups) {
            sum.0 += of.hits.value();
            sum.1 += of.misses.value();
        }
        self.slow += command.slow.value();
        self.big += command.big.value();
        for (sum, cell) in self.cross_slot.iter_mut().zip(&command.cross_slot) {
            *sum += cell.value();
        }
    }

    /// `groups` are the names of the groups of keys, if there are any.
    fn collect(&self, families: &mut Families, name: &str, groups: &[Box<str>]) {
        let timed = self.duration.count();
        families.add(Metric::Commands, &[name], (timed + self.untimed) as f64);
        if timed > 0 {
            families.add_histogram(Metric::CommandDuration, &[name], &self.duration);
        }
        for (group, &(hits, misses)) in self.lookups.iter().enumerate() {
            if hits + misses > 0 {
                let group = groups.get(group).map_or("", |group| group);
                families.add(Metric::Lookups, &[name, "hit", group], hits as f64);
                families.add(Metric::Lookups, &[name, "miss", group], misses as f64);
            }
        }
        if self.slow > 0 {
            families.add(Metric::SlowCommands, &[name], self.slow as f64);
        }
        if self.big > 0 {
            families.add(Metric::BigValues, &[name], self.big as f64);
        }
        if self.cross_slot.iter().any(|&n| n > 0) {
            for outcome in CrossSlot::ALL {
                let n = self.cross_slot[outcome.index()];
                families.add(Metric::CrossSlots, &[name, outcome.label()], n as f64);
            }
        }
    }
}

#[derive(Default)]
struct NodeSum {
    opened: u64,
    closed: u64,
    requests: u64,
    unmeasured: u64,
    duration: HistogramSum,
    errors: [u64; NodeError::COUNT],
    up: usize,
    down: usize,
}

impl NodeSum {
    fn add(&mut self, node: &NodeMetrics) {
        // What ends comes before what begins, so that a difference is never negative.
        self.closed += node.closed.value();
        self.opened += node.opened.value();
        self.unmeasured += node.unmeasured.value();
        self.duration.add(&node.duration);
        self.requests += node.requests.value();
        for (sum, cell) in self.errors.iter_mut().zip(&node.errors) {
            *sum += cell.value();
        }
        match node.health() {
            Health::Unknown => {}
            Health::Down => self.down += 1,
            Health::Up => self.up += 1,
        }
    }

    fn collect(&self, families: &mut Families, node: &str) {
        let open = self.opened.saturating_sub(self.closed);
        families.add(Metric::UpstreamConnections, &[node], open as f64);
        families.add(Metric::UpstreamRequests, &[node], self.requests as f64);
        let answered = self.duration.count();
        let in_flight = self.requests.saturating_sub(answered + self.unmeasured);
        families.add(Metric::UpstreamInFlight, &[node], in_flight as f64);
        if answered > 0 {
            families.add_histogram(Metric::UpstreamDuration, &[node], &self.duration);
        }
        for kind in NodeError::ALL {
            let n = self.errors[kind.index()];
            families.add(Metric::UpstreamErrors, &[node, kind.label()], n as f64);
        }
        if self.up + self.down > 0 {
            let up = if self.up > 0 { 1.0 } else { 0.0 };
            families.add(Metric::UpstreamUp, &[node], up);
        }
    }
}
