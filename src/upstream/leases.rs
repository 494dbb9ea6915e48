//! The leases of a worker: how many there may be, and the idle ones that wait for their next client.

use super::connect::{LEASE_NAME, Within, dial_proved};
use super::gate::Gate;
use super::lanes::{LaneSettings, UpstreamContext};
use super::lease::{Lease, Link};
use super::{Fault, FaultKind};
use crate::cluster::{NodeAddr, SlotMap};
use crate::io::Purse;
use crate::observe::{Limit, NodeMetrics};
use crate::resp::Proto;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A lease that nobody took for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// A node and a RESP version: leases of the same kind stand in for each other.
pub(super) type Key = (NodeAddr, Proto);

/// Why there is no lease.
#[derive(Clone, Debug)]
pub enum NoLease {
    /// `upstream.leases` are in use. Whoever tells a client counts it: some can do without.
    Limit,
    /// The node is not reachable now.
    Down(Fault),
}

/// See the module. One per worker.
pub struct Leases {
    context: Rc<UpstreamContext>,
    idle: RefCell<FxHashMap<Key, Vec<Idle>>>,
    idle_count: Cell<usize>,
    in_use: Cell<usize>,
}

struct Idle {
    link: Link,
    since: Instant,
    metrics: Arc<NodeMetrics>,
}

/// A lease's place among those that may be in use at the same time; free again when it is dropped.
pub(super) struct Place {
    leases: Rc<Leases>,
    key: Key,
    metrics: Arc<NodeMetrics>,
    /// Whether the node's count of connections includes this one.
    connected: Cell<bool>,
    /// Requests that the node's count of those in flight includes.
    in_flight: Cell<usize>,
}

impl Leases {
    /// None yet: they are opened when they are asked for.
    pub fn new(context: Rc<UpstreamContext>) -> Rc<Self> {
        Rc::new(Self {
            context,
            idle: RefCell::default(),
            idle_count: Cell::default(),
            in_use: Cell::default(),
        })
    }

    /// A connection for the caller alone: an idle one, or a new one.
    /// What is kept of its replies is entered in the purse.
    pub async fn take(
        self: &Rc<Self>,
        node: &NodeAddr,
        proto: Proto,
        purse: &Rc<Purse>,
    ) -> Result<Lease, NoLease> {
        let within = self.context.settings.connect.into();
        let gate = self.context.gates.of(node);
        let (link, place) = self.take_within(node, proto, within, Some(gate)).await?;
        Ok(Lease::new(link, place, purse))
    }

    /// The same, for a node that may be busy for longer than `timeouts.connect`.
    pub async fn take_from_busy(
        self: &Rc<Self>,
        node: &NodeAddr,
        proto: Proto,
        purse: &Rc<Purse>,
    ) -> Result<Lease, NoLease> {
        let settings = &self.context.settings;
        let within = Within {
            connect: settings.connect,
            ready: settings.slow_command.max(settings.connect),
        };
        let (link, place) = self.take_within(node, proto, within, None).await?;
        Ok(Lease::new(link, place, purse))
    }

    async fn take_within(
        self: &Rc<Self>,
        node: &NodeAddr,
        proto: Proto,
        within: Within,
        gate: Option<Rc<Gate>>,
    ) -> Result<(Link, Place), NoLease> {
        let key = (node.clone(), proto);
        let limit = self.context.settings.leases;
        if self.in_use.get() >= limit {
            return Err(NoLease::Limit);
        }
        let place = Place::new(self.clone(), key);
        if let Some(link) = self.take_idle(place.key()) {
            place.connected.set(true);
            return Ok((link, place));
        }
        if self.in_use.get() + self.idle_count.get() > limit {
            self.evict();
        }
        let settings = &self.context.settings;
        if let Some(gate) = &gate {
            let turn = gate.turn(&self.context.clock, &settings.backoff);
            turn.await.map_err(NoLease::Down)?;
        }
        let dialled = dial_proved(
            LEASE_NAME,
            node,
            proto,
            &self.context.credentials,
            within,
            settings.unacked,
        )
        .await;
        self.context.clock.tick();
        match dialled {
            Ok((stream, transactions)) => {
                gate.inspect(|gate| gate.open());
                place.connected();
                let link = Link::new(stream, proto, settings.reply_depth, transactions);
                Ok((link, place))
            }
            Err(kind) => {
                let fault = Fault {
                    node: node.clone(),
                    kind,
                };
                let now = self.context.clock.now();
                gate.inspect(|gate| gate.failed(&fault, now, &settings.backoff));
                place.failed(&fault);
                Err(NoLease::Down(fault))
            }
        }
    }

    /// An idle connection that is still there.
    fn take_idle(&self, key: &Key) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let of_node = idle.get_mut(key)?;
        while let Some(last) = of_node.pop() {
            self.idle_count.set(self.idle_count.get() - 1);
            if last.link.is_quiet() {
                return Some(last.link);
            }
            last.metrics.disconnected();
            self.doubt(&key.0);
        }
        None
    }

    /// An idle connection was lost.
    fn doubt(&self, node: &NodeAddr) {
        let fault = Fault {
            node: node.clone(),
            kind: FaultKind::Closed,
        };
        let now = self.context.clock.now();
        self.context.gates.of(node).doubt(&fault, now);
    }

    /// Closes one idle connection, to make room.
    fn evict(&self) {
        if let Some(last) = self.idle.borrow_mut().values_mut().find_map(Vec::pop) {
            self.idle_count.set(self.idle_count.get() - 1);
            last.metrics.disconnected();
        }
    }

    /// Upkeep, about ten times a second: closes what was idle for long, or leads to a node that is gone.
    pub fn check(&self, map: &SlotMap) {
        if self.idle_count.get() == 0 {
            return;
        }
        let now = self.context.clock.now();
        let mut left = 0;
        self.idle.borrow_mut().retain(|(node, _), of_node| {
            let known = map.find(node).is_some();
            of_node.retain(|idle| {
                let wanted = known && now.duration_since(idle.since) < IDLE;
                let there = idle.link.is_quiet();
                if !there {
                    self.doubt(node);
                }
                if !(wanted && there) {
                    idle.metrics.disconnected();
                }
                wanted && there
            });
            left += of_node.len();
            !of_node.is_empty()
        });
        self.idle_count.set(left);
    }

    /// Closes all that are idle, at the end of the worker. Those in use end with their clients.
    pub fn end(&self) {
        for last in self.idle.take().into_values().flatten() {
            last.metrics.disconnected();
        }
        self.idle_count.set(0);
    }

    /// How many are in use.
    pub fn in_use(&self) -> usize {
        self.in_use.get()
    }

    fn set_in_use(&self, n: usize) {
        self.in_use.set(n);
        self.context.metrics.set_leases(n);
    }
}

impl Place {
    fn new(leases: Rc<Leases>, key: Key) -> Self {
        leases.set_in_use(leases.in_use.get() + 1);
        let metrics = leases.context.metrics.node(&key.0);
        Self {
            leases,
            key,
            metrics,
            connected: Cell::default(),
            in_flight: Cell::default(),
        }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn context(&self) -> &UpstreamContext {
        &self.leases.context
    }

    pub(super) fn settings(&self) -> &LaneSettings {
        &self.leases.context.settings
    }

    fn connected(&self) {
        self.connected.set(true);
        self.metrics.connected();
    }

    pub(super) fn sent(&self, requests: usize) {
        self.in_flight.set(self.in_flight.get() + requests);
        self.metrics.sent(requests as u64);
    }

    /// How long it took is not measured: a blocked command's time says nothing about the node.
    pub(super) fn answered(&self, requests: usize) {
        self.in_flight.set(self.in_flight.get() - requests);
        self.metrics.released(requests as u64);
        self.leases.context.clock.tick();
    }

    /// It was connected, and is not any more. Topology hears of it.
    pub(super) fn lost(&self, fault: &Fault) {
        let context = &self.leases.context;
        context
            .gates
            .of(&fault.node)
            .doubt(fault, context.clock.now());
        self.failed(fault);
    }

    fn failed(&self, fault: &Fault) {
        self.metrics.error(fault.kind.counted());
        self.leases.context.lost(fault);
    }

    pub(super) fn limit_hit(&self, limit: Limit) {
        self.leases.context.metrics.limit_hit(limit);
    }

    pub(super) fn give_back(self, link: Link) {
        let leases = &self.leases;
        self.connected.set(false);
        let idle = Idle {
            link,
            since: leases.context.clock.now(),
            metrics: self.metrics.clone(),
        };
        let mut pool = leases.idle.borrow_mut();
        pool.entry(self.key.clone()).or_default().push(idle);
        leases.idle_count.set(leases.idle_count.get() + 1);
    }
}

impl Drop for Place {
    /// It is free for another; what was still connected is closed now.
    fn drop(&mut self) {
        self.metrics.released(self.in_flight.get() as u64);
        if self.connected.get() {
            self.metrics.disconnected();
        }
        self.leases.set_in_use(self.leases.in_use.get() - 1);
    }
}
