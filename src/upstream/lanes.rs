//! The lanes of a worker: which there are, which one leads to a node of the current map, and their upkeep.

use super::window::Load;
use super::{Credentials, Fault, FaultKind, Gates, Lane, LaneId};
use crate::cluster::{NodeAddr, NodeIndex, SlotMap};
use crate::config::Config;

use crate::io::{Clock, Flusher, Jitter, Ledger, Scratch};
use crate::observe::WorkerMetrics;
use crate::resp::Proto;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a node may be silent with requests in flight before topology hears of it.
const SILENT_REPORT: Duration = Duration::from_millis(500);

/// How long before it is probed over a second connection.
const SILENT_PROBE: Duration = Duration::from_millis(2_000);

/// How long the probe may take: with [`SILENT_PROBE`] a dead node is noticed within 5 s.
const PROBE: Duration = Duration::from_millis(2_000);

/// After this long without an acknowledgement the kernel gives a connection up (TCP_USER_TIMEOUT).
const UNACKED: Duration = Duration::from_millis(4_000);

/// The same while a slow command may be what keeps the node from taking more bytes: the kernel counts the time in which
/// the window is closed, too. For longer its own cluster does not wait (`cluster-node-timeout`, 15 s) either.
const BUSY_UNACKED: Duration = Duration::from_millis(20_000);

/// The settings of all lanes of a worker. Bounds count per lane.
pub struct LaneSettings {
    /// Lanes per node and RESP version, without the bulk lane.
    pub(super) connections: usize,
    /// Leases of a worker in use at the same time.
    pub(super) leases: usize,
    /// Of replies on their way over a bulk lane.
    pub(super) bulk_bytes: usize,
    pub(super) in_flight_max: usize,
    pub(super) in_flight_bytes_max: usize,
    pub(super) reply_depth: usize,
    pub(super) noted: Noted,
    pub(super) connect: Duration,
    pub(super) queue: Duration,
    pub(super) command: Duration,
    pub(super) slow_command: Duration,
    pub(super) heartbeat: Duration,
    pub(super) idle_close: Duration,
    pub(super) silent_report: Duration,
    pub(super) silent_probe: Duration,
    pub(super) probe: Duration,
    pub(super) unacked: Duration,
    pub(super) busy_unacked: Duration,
    pub(super) backoff: Backoff,
}

impl LaneSettings {
    /// What the configuration says, for one of `workers` workers.
    pub fn new(config: &Config, workers: usize) -> Self {
        Self {
            connections: config.upstream.connections,
            leases: config.upstream.leases,
            bulk_bytes: config.upstream.bulk_bytes,
            in_flight_max: config.limits.lane_in_flight,
            in_flight_bytes_max: config.limits.lane_in_flight_bytes,
            reply_depth: config.limits.reply_depth,
            noted: Noted::new(config),
            connect: config.timeouts.connect,
            queue: config.timeouts.queue,
            command: config.timeouts.command,
            slow_command: config.timeouts.slow_command,
            heartbeat: config.upstream.heartbeat,
            idle_close: config.upstream.idle_close,
            silent_report: SILENT_REPORT,
            silent_probe: SILENT_PROBE.min(config.timeouts.command),
            probe: PROBE,
            unacked: UNACKED,
            busy_unacked: BUSY_UNACKED,
            backoff: Backoff::new(workers),
        }
    }
}

/// Which requests come back with their replies because those are late or large.
#[derive(Clone, Copy)]
pub(super) struct Noted {
    /// `observe.slow`, in microseconds.
    pub(super) micros: u32,
    /// `observe.big_value`.
    pub(super) bytes: usize,
}

impl Noted {
    fn new(config: &Config) -> Self {
        Self {
            micros: config.observe.slow_micros(),
            bytes: config.observe.big_value.unwrap_or(usize::MAX),
        }
    }
}

/// Pauses between dials to a node that does not answer: doubling, with jitter, so that all workers of a process
/// together stay below 10 dials a second, those of the topology's own connection included.
pub(super) struct Backoff {
    first: Duration,
    cap: Duration,
    jitter: Jitter,
}

impl Backoff {
    pub(super) fn new(workers: usize) -> Self {
        let workers = workers as u32;
        Self {
            first: Duration::from_millis(50) * workers,
            cap: (Duration::from_millis(150) * workers).max(Duration::from_millis(250)),
            jitter: Jitter::default(),
        }
    }

    /// The pause after that many failures in a row; none after the first loss of a connection that worked.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            n => {
                let pause = (self.first * (1 << (n - 1).min(8))).min(self.cap);
                pause.mul_f64(self.jitter.between(0.8, 1.2))
            }
        }
    }
}

/// What upstream tells the layers above about nodes.
pub enum NodeEvent<'a> {
    /// A connection was lost or could not be made.
    Lost(&'a Fault),
    /// Requests are in flight and nothing comes back.
    Silent(&'a NodeAddr),
}

/// What all lanes of a worker share.
pub struct UpstreamContext {
    /// How often any lane has lost what went over it before ([`Lane::losses`]).
    pub losses: Cell<u32>,
    /// Bounds and times.
    pub settings: LaneSettings,
    /// None yet.
    pub gates: Gates,
    /// For the nodes.
    pub credentials: Credentials,
    /// The worker's.
    pub clock: Rc<Clock>,
    /// The worker's.
    pub scratch: Rc<Scratch>,
    /// The worker's.
    pub flusher: Rc<Flusher>,
    /// The worker's.
    pub metrics: Arc<WorkerMetrics>,
    /// The worker's.
    pub memory: Rc<Ledger>,
    /// Who hears of trouble with nodes.
    pub on_event: Box<dyn Fn(NodeEvent<'_>)>,
}

impl UpstreamContext {
    pub(super) fn lost(&self, fault: &Fault) {
        if let Some(limit) = fault.kind.limit() {
            self.metrics.limit_hit(limit);
        }
        if fault.kind != FaultKind::Retired {
            tracing::debug!(%fault, "lane lost");
            (self.on_event)(NodeEvent::Lost(fault));
        }
    }

    pub(super) fn silent(&self, node: &NodeAddr) {
        (self.on_event)(NodeEvent::Silent(node));
    }
}

/// Which of the lanes to a node, of one RESP version, a session takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Stripe(pub(super) usize);

/// See the module. One per worker.
pub struct Lanes {
    context: Rc<UpstreamContext>,
    by_node: RefCell<FxHashMap<(NodeAddr, Proto, Stripe), Rc<Lane>>>,
    /// How many stripes there are: those of `upstream.connections`, and the bulk lane.
    stripes: usize,
    /// Lanes by node index, version and stripe, for the map with that version.
    current: RefCell<(u64, Vec<Option<Rc<Lane>>>)>,
    next_id: std::cell::Cell<u32>,
}

impl Lanes {
    /// No lane yet: they open on first use.
    pub fn new(context: Rc<UpstreamContext>) -> Self {
        Self {
            stripes: context.settings.connections + 1,
            context,
            by_node: RefCell::default(),
            current: RefCell::default(),
            next_id: Default::default(),
        }
    }

    /// The stripe of a session with that number.
    pub fn stripe(&self, number: u64) -> Stripe {
        Stripe(number as usize % self.context.settings.connections)
    }

    /// That of large values, which hold up nobody else's on it.
    #[inline]
    pub fn bulk(&self) -> Stripe {
        Stripe(self.context.settings.connections)
    }

    /// The lane to a node of `map` for a session with that stripe: always the same one.
    #[inline]
    pub fn to_node(
        &self,
        map: &SlotMap,
        node: NodeIndex,
        proto: Proto,
        stripe: Stripe,
    ) -> Rc<Lane> {
        let at = (node.get() * 2 + proto as usize) * self.stripes + stripe.0;
        let mut current = self.current.borrow_mut();
        if current.0 != map.version() {
            let size = map.nodes().len() * 2 * self.stripes;
            *current = (map.version(), vec![None; size]);
        }
        match &current.1[at] {
            Some(lane) => lane.clone(),
            None => {
                let lane = self.to_addr(&map.node(node).addr, proto, stripe);
                current.1[at] = Some(lane.clone());
                lane
            }
        }
    }

    pub(super) fn to_addr(&self, node: &NodeAddr, proto: Proto, stripe: Stripe) -> Rc<Lane> {
        let mut lanes = self.by_node.borrow_mut();
        let lane = lanes
            .entry((node.clone(), proto, stripe))
            .or_insert_with(|| {
                let id = self.next_id.get();
                self.next_id.set(id.wrapping_add(1));
                let load = match stripe == self.bulk() {
                    true => Load::Bulk,
                    false => Load::Any,
                };
                Lane::new(LaneId(id), node.clone(), proto, load, self.context.clone())
            });
        lane.clone()
    }

    /// The lane with that identity, if it is still there.
    pub fn by_id(&self, id: LaneId) -> Option<Rc<Lane>> {
        let lanes = self.by_node.borrow();
        lanes.values().find(|lane| lane.id() == id).cloned()
    }

    /// Every lane to that node.
    pub(super) fn of(&self, node: &NodeAddr) -> Vec<Rc<Lane>> {
        let lanes = self.by_node.borrow();
        lanes
            .values()
            .filter(|lane| lane.node() == node)
            .cloned()
            .collect()
    }

    /// What they share, for connections that are no lanes.
    pub fn context(&self) -> &Rc<UpstreamContext> {
        &self.context
    }

    /// Upkeep, about ten times a second.
    pub fn check(&self) {
        let lanes: Vec<_> = self.by_node.borrow().values().cloned().collect();
        for lane in lanes {
            lane.check();
        }
    }

    /// For so long nobody has read what comes: that time is none of the nodes'.
    pub fn was_away(&self, away: Duration) {
        for lane in self.by_node.borrow().values() {
            lane.was_away(away);
        }
    }

    /// After a new map: lanes learn whether their node is still among its primaries, and those to nodes that it does not
    /// name are closed once nothing is in flight on them.
    pub fn prune(&self, map: &SlotMap, primaries: &[NodeIndex]) {
        let current = &mut *self.current.borrow_mut();
        if current.0 != map.version() {
            // A worker without clients would keep the lanes of an old map for ever, and their metrics with them.
            *current = Default::default();
        }
        self.by_node.borrow_mut().retain(|(node, ..), lane| {
            if let Some(node) = map.find(node) {
                lane.place(Some(primaries.contains(&node)));
                return true;
            }
            lane.place(None);
            if lane.in_flight() == 0 {
                lane.close(FaultKind::Retired);
            }
            !(lane.is_idle() && lane.in_flight() == 0)
        });
        self.context.gates.prune(map, self.context.clock.now());
    }

    /// Bytes of memory that all lanes hold: requests in flight, and replies that have not come to their end.
    pub fn held(&self) -> usize {
        self.by_node.borrow().values().map(|l| l.held()).sum()
    }

    /// Has all of them read on.
    pub fn resume(&self) {
        self.by_node.borrow().values().for_each(|lane| lane.wake());
    }

    /// Ends all of them, with the worker.
    pub fn end(&self) {
        let lanes: Vec<_> = self.by_node.borrow().values().cloned().collect();
        lanes.iter().for_each(|lane| lane.end());
    }
}

#[cfg(test)]
impl Lanes {
    /// A worker's lanes without a worker: nobody hears of what happens to them.
    pub(super) fn detached(settings: LaneSettings) -> Self {
        let memory = crate::io::Budget::new(usize::MAX, 0, 1);
        Self::new(Rc::new(UpstreamContext {
            losses: Cell::default(),
            settings,
            gates: super::Gates::default(),
            credentials: super::Credentials::default(),
            clock: Rc::default(),
            scratch: Rc::default(),
            flusher: Rc::default(),
            metrics: crate::observe::WorkerMetrics::detached(),
            memory: Rc::new(crate::io::Ledger::new(memory, 0, usize::MAX)),
            on_event: Box::new(|_| {}),
        }))
    }
}
