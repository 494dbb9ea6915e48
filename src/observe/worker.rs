//! What one worker counts. Sessions and lanes of that worker write, in a few plain stores per command; the
//! collector reads at any time. Nothing here is shared between two writers but the error prefixes, which
//! only grow.

use super::big_values::{BigValues, Direction};
use super::cell::Cell64;
use super::error_log::ErrorLog;
use super::histogram::Histogram;
use super::hot_keys::HotKeys;
use super::key_groups::KeyGroups;
use super::labels::{CrossSlot, ErrorSource, Exec, Limit, Redirection, Rejected, RetryReason};
use super::node::{NodeMetrics, NodeTable};
use super::prefixes::{PREFIXES_MAX, Prefixes};
use super::slow_log::{Cause, SlowCommand, SlowLog};
use crate::cluster::NodeAddr;
use crate::command::{COMMANDS_MAX, CommandId};
use crate::config::Observe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The counters of one writer: a worker, or the thread that accepts connections.
///
/// Only that one thread may call the methods that count; they do not take `&mut self` because everything on
/// a worker shares them. Made by [`Metrics::writer`](super::Metrics::writer).
#[derive(Debug)]
#[repr(align(128))] // two writers never share a cache line, nor the neighbour that is prefetched with it
pub struct WorkerMetrics {
    /// By command; a command's counters exist from its first use, so that an idle worker stays small.
    commands: Box<[OnceLock<Box<CommandMetrics>>]>,
    /// By source and prefix, the last one being `other`.
    pub(super) errors: [[Cell64; PREFIXES_MAX + 1]; ErrorSource::COUNT],
    prefixes: Arc<Prefixes>,
    pub(super) redirections: [Cell64; Redirection::COUNT],
    pub(super) retries: [Cell64; RetryReason::COUNT],
    pub(super) unknown_outcomes: Cell64,
    pub(super) limit_hits: [Cell64; Limit::COUNT],
    pub(super) subscribers_came: Cell64,
    pub(super) subscribers_went: Cell64,
    pub(super) received_bytes: Cell64,
    pub(super) sent_bytes: Cell64,
    pub(super) backpressure_micros: Cell64,
    /// In use now.
    pub(super) leases: Cell64,
    /// Kept now, in bytes.
    pub(super) memory: Cell64,
    pub(super) script_memory: Cell64,
    /// Blocked now.
    pub(super) blocked_clients: Cell64,
    pub(super) pushed_back: Cell64,
    /// On the lanes of large values now.
    pub(super) bulk_clients: Cell64,
    /// Watching keys now.
    pub(super) watchers: Cell64,
    pub(super) watches_lost: Cell64,
    pub(super) transactions: [Cell64; Exec::COUNT],
    pub(super) rejected: [Cell64; Rejected::COUNT],
    /// By listener, as `listen.addresses` orders them.
    pub(super) listeners: Box<[ListenerMetrics]>,
    nodes: NodeTable,
    pub(super) hot_keys: HotKeys,
    pub(super) key_groups: Arc<KeyGroups>,
    /// `observe.slow`.
    slow_micros: u32,
    pub(super) slow_log: SlowLog,
    pub(super) big_values: BigValues,
    pub(super) error_log: ErrorLog,
}

/// One command's counters.
#[derive(Debug, Default)]
pub(super) struct CommandMetrics {
    pub(super) duration: Histogram,
    /// Commands whose duration was not measured.
    pub(super) untimed: Cell64,
    /// By group of keys.
    pub(super) lookups: Box<[Lookups]>,
    pub(super) slow: Cell64,
    pub(super) big: Cell64,
    pub(super) cross_slot: [Cell64; CrossSlot::COUNT],
}

/// Keys or fields that were looked up.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    pub(super) hits: Cell64,
    pub(super) misses: Cell64,
}

/// One listener's connections. What is open is the difference, so that one thread may open and another close.
#[derive(Debug, Default)]
pub(super) struct ListenerMetrics {
    pub(super) opened: Cell64,
    pub(super) closed: Cell64,
}

impl WorkerMetrics {
    pub(super) fn new(
        listeners: usize,
        prefixes: Arc<Prefixes>,
        observe: &Observe,
        key_groups: Arc<KeyGroups>,
        slow_log: SlowLog,
    ) -> Arc<Self> {
        Arc::new(Self {
            commands: (0..COMMANDS_MAX).map(|_| OnceLock::new()).collect(),
            errors: std::array::from_fn(|_| std::array::from_fn(|_| Cell64::default())),
            prefixes,
            redirections: Default::default(),
            retries: Default::default(),
            unknown_outcomes: Cell64::default(),
            limit_hits: std::array::from_fn(|_| Cell64::default()),
            subscribers_came: Cell64::default(),
            subscribers_went: Cell64::default(),
            received_bytes: Cell64::default(),
            sent_bytes: Cell64::default(),
            backpressure_micros: Cell64::default(),
            leases: Cell64::default(),
            memory: Cell64::default(),
            script_memory: Cell64::default(),
            blocked_clients: Cell64::default(),
            pushed_back: Cell64::default(),
            bulk_clients: Cell64::default(),
            watchers: Cell64::default(),
            watches_lost: Cell64::default(),
            transactions: Default::default(),
            rejected: Default::default(),
            listeners: (0..listeners).map(|_| ListenerMetrics::default()).collect(),
            nodes: NodeTable::default(),
            hot_keys: HotKeys::new(observe.hot_keys),
            slow_micros: observe.slow_micros(),
            key_groups,
            slow_log,
            big_values: BigValues::default(),
            error_log: ErrorLog::default(),
        })
    }

    /// A worker's counters that no scrape will ever see.
    pub fn detached() -> Arc<Self> {
        let groups = Arc::default();
        Self::new(
            1,
            Arc::default(),
            &Observe::NOTHING,
            groups,
            SlowLog::default(),
        )
    }

    /// A command was answered, `micros` after its last byte had arrived.
    #[inline]
    pub fn command(&self, id: CommandId, micros: u32) {
        let command = self.of(id);
        command.duration.observe(micros);
        if micros >= self.slow_micros {
            command.slow.add(1);
        }
    }

    /// A command was answered, and nobody looked at the clock (`observe.latency = false`).
    #[inline]
    pub fn command_untimed(&self, id: CommandId) {
        self.of(id).untimed.add(1);
    }

    /// Whether the keys of this command are to be looked at ([`saw_keys`](Self::saw_keys)): to be asked once for each.
    #[inline]
    pub fn looks_at_keys(&self) -> bool {
        self.hot_keys.is_due()
    }

    /// These are its keys.
    #[cold]
    pub fn saw_keys(&self, keys: &[&[u8]], now: Instant) {
        self.hot_keys.saw(keys, now);
    }

    /// Whether a slow command, answered by that node at that moment, is to be listed ([`list_slow`](Self::list_slow)).
    pub fn admits_slow(&self, node: &NodeAddr, at: Instant, cause: Cause) -> bool {
        self.slow_log.admit(node, at, cause)
    }

    /// Lists a slow command; its `id` does not matter.
    pub fn list_slow(&self, command: SlowCommand) {
        self.slow_log.put(command);
    }

    /// The slow commands that all workers list, the last one first.
    pub fn slow_commands(&self) -> Vec<SlowCommand> {
        self.slow_log.all().slow()
    }

    /// Forgets those of all workers.
    pub fn forget_slow_commands(&self) {
        self.slow_log.all().forget();
    }

    /// A value of `observe.big_value` or more went through.
    pub fn big_value(
        &self,
        (id, name): (CommandId, &Arc<str>),
        key: &[u8],
        size: usize,
        direction: Direction,
        now: Duration,
    ) {
        self.of(id).big.add(1);
        self.big_values.saw(key, size, direction, name, now);
    }

    /// A command's keys lay in several slots.
    pub fn cross_slot(&self, id: CommandId, outcome: CrossSlot) {
        self.of(id).cross_slot[outcome.index()].add(1);
    }

    /// A client got an error: the whole reply (`-ERR …`, `!12\r\n…`) or its text.
    pub fn error(&self, source: ErrorSource, reply: &[u8]) {
        self.error_of(source, reply, CommandId::OTHER, || None);
    }

    /// The same, with its command, and whose that was: address, and name if it has one. That is asked for now and then only.
    #[cold]
    pub fn error_of(
        &self,
        source: ErrorSource,
        reply: &[u8],
        command: CommandId,
        client: impl FnOnce() -> Option<(String, Option<String>)>,
    ) {
        self.errors[source.index()][self.prefixes.index(reply)].add(1);
        self.error_log.saw(source, reply, command, client);
    }

    /// A node redirected or refused a request.
    pub fn redirection(&self, kind: Redirection) {
        self.redirections[kind.index()].add(1);
    }

    /// A request was sent again.
    pub fn retry(&self, reason: RetryReason) {
        self.retries[reason.index()].add(1);
    }

    /// A client was told that nobody knows whether its command was executed.
    pub fn unknown_outcome(&self) {
        self.unknown_outcomes.add(1);
    }

    /// A bound of the configuration was reached.
    #[cold]
    pub fn limit_hit(&self, limit: Limit) {
        self.limit_hits[limit.index()].add(1);
    }

    /// A client has its first subscription.
    pub fn subscriber_came(&self) {
        self.subscribers_came.add(1);
    }

    /// A client that was counted by [`subscriber_came`](Self::subscriber_came) has none any more.
    pub fn subscriber_went(&self) {
        self.subscribers_went.add(1);
    }

    /// Bytes were read from clients.
    #[inline]
    pub fn received(&self, bytes: usize) {
        self.received_bytes.add(bytes as u64);
    }

    /// Bytes were written to clients.
    #[inline]
    pub fn sent(&self, bytes: usize) {
        self.sent_bytes.add(bytes as u64);
    }

    /// A client was not read for so long because a bound was reached.
    pub fn backpressure(&self, micros: u64) {
        self.backpressure_micros.add(micros);
    }

    /// How many leases are in use now.
    pub fn set_leases(&self, n: usize) {
        self.leases.set(n as u64);
    }

    /// How much memory is kept for clients and nodes now, in bytes.
    pub fn set_memory(&self, bytes: usize) {
        self.memory.set(bytes as u64);
    }

    /// How much memory the scripts take that are kept for the process, as this worker tells it.
    pub fn set_script_memory(&self, bytes: usize) {
        self.script_memory.set(bytes as u64);
    }

    /// How many clients are blocked now.
    pub fn set_blocked_clients(&self, n: usize) {
        self.blocked_clients.set(n as u64);
    }

    /// An element was pushed back, because the client it was popped for is gone.
    pub fn pushed_back(&self) {
        self.pushed_back.add(1);
    }

    /// How many clients take the lanes of large values now.
    pub fn set_bulk_clients(&self, n: usize) {
        self.bulk_clients.set(n as u64);
    }

    /// How many clients watch keys now.
    pub fn set_watchers(&self, n: usize) {
        self.watchers.set(n as u64);
    }

    /// EXEC answered nil because its watch was lost: its connection, or its slot.
    pub fn watch_lost(&self) {
        self.watches_lost.add(1);
    }

    /// EXEC was answered.
    pub fn transaction(&self, outcome: Exec) {
        self.transactions[outcome.index()].add(1);
    }

    /// A client connected to the listener with that index.
    pub fn client_opened(&self, listener: usize) {
        if let Some(of) = self.listeners.get(listener) {
            of.opened.add(1);
        }
    }

    /// A client that was counted by [`client_opened`](Self::client_opened), here or by another writer, is gone.
    pub fn client_closed(&self, listener: usize) {
        if let Some(of) = self.listeners.get(listener) {
            of.closed.add(1);
        }
    }

    /// A client was turned away.
    pub fn client_rejected(&self, reason: Rejected) {
        self.rejected[reason.index()].add(1);
    }

    /// The counters for a node. To be asked for once per lane, not per request: it takes a lock.
    pub fn node(&self, addr: &NodeAddr) -> Arc<NodeMetrics> {
        self.nodes.resolve(addr)
    }

    pub(super) fn nodes(&self) -> &NodeTable {
        &self.nodes
    }

    /// The commands that were used, by index of their id.
    pub(super) fn used(&self) -> impl Iterator<Item = (usize, &CommandMetrics)> {
        let slots = self.commands.iter().enumerate();
        slots.filter_map(|(i, slot)| Some((i, &**slot.get()?)))
    }

    #[inline]
    pub(super) fn of(&self, id: CommandId) -> &CommandMetrics {
        let slot = self.commands.get(id.index()).unwrap_or(&self.commands[0]);
        slot.get_or_init(|| {
            let lookups = (0..self.key_groups.len()).map(|_| Lookups::default());
            Box::new(CommandMetrics {
                lookups: lookups.collect(),
                ..CommandMetrics::default()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::HistogramSum;
    use super::*;

    #[test]
    fn a_command_costs_memory_only_once_used() {
        let worker = WorkerMetrics::detached();
        assert_eq!(worker.used().count(), 0);
        worker.command(CommandId::OTHER, 7);
        worker.command_untimed(CommandId::OTHER);
        let (index, command) = worker.used().next().unwrap();
        assert_eq!((index, worker.used().count()), (0, 1));
        let mut duration = HistogramSum::default();
        duration.add(&command.duration);
        assert_eq!((duration.count(), command.untimed.value()), (1, 1));
    }

    #[test]
    fn a_listener_that_does_not_exist_is_not_counted() {
        let worker = WorkerMetrics::detached();
        worker.client_opened(7);
        worker.client_closed(7);
        assert_eq!(worker.listeners[0].opened.value(), 0);
    }
}
