//! What the sessions of a worker share.

use super::bulk::Bulky;
use super::inquiries::Inquiries;
use super::recent::Recent;
use super::retry::Occasion;
use super::scripts::{Scripts, sha_from};
use super::seat::Among;
use super::worker_scripts::WorkerScripts;
use super::{Mailbox, Monitors, Session, errors};
use crate::audit::Audit;
use crate::cluster::{NodeAddr, Said, Slot, SlotMap};
use crate::command::CommandTable;
use crate::config::Config;
use crate::io::{Clock, Flusher, Ledger, Scratch};
use crate::local::Env;
use crate::observe::{Limit, WorkerMetrics};
use crate::resp::RequestLimits;
use crate::route::ScanOrder;
use crate::topology::{Report, ServerInfo, Topology, TopologyStatus};
use crate::upstream::{Lanes, Leases};
use arc_swap::ArcSwap;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::cell::{Cell, Ref, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant, SystemTime};

/// What the whole process shares; given to each worker.
#[derive(Clone)]
pub struct Shared {
    /// The configuration.
    pub config: Arc<Config>,
    /// The published map.
    pub map: Arc<ArcSwap<SlotMap>>,
    /// Clients of all workers.
    pub clients: Arc<AtomicUsize>,
    /// The command table, with what the nodes say of their commands.
    pub table: Arc<ArcSwap<CommandTable>>,
    /// What the nodes say of themselves.
    pub server: Arc<ArcSwap<ServerInfo>>,
    /// How topology stands.
    pub status: Arc<ArcSwap<TopologyStatus>>,
    /// Clients with subscriptions, of all workers.
    pub subscribers: Arc<AtomicUsize>,
    /// Where trouble is reported.
    pub topology: Topology,
    /// Clients that watch what all others do.
    pub monitors: Arc<Monitors>,
    /// How to ask all workers something.
    pub mailbox: Mailbox,
    /// The scripts that clients have sent.
    pub scripts: Arc<Scripts>,
    /// What would fail or change on a cluster (`policy.audit`).
    pub audit: Option<Arc<Audit>>,
}

/// See the module. Owned by the worker.
pub struct SessionContext {
    pub(super) config: Arc<Config>,
    pub(super) shared: Shared,
    pub(super) clients: Arc<AtomicUsize>,
    pub(super) clock: Rc<Clock>,
    pub(super) scratch: Rc<Scratch>,
    pub(super) flusher: Rc<Flusher>,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) lanes: Rc<Lanes>,
    pub(super) leases: Rc<Leases>,
    pub(super) request_limits: RequestLimits,
    pub(super) preauth_limits: RequestLimits,
    map: RefCell<Arc<SlotMap>>,
    table: RefCell<Arc<CommandTable>>,
    scan_order: RefCell<Option<ScanOrder>>,
    pub(super) recent: RefCell<Recent>,
    /// `upstream.bulk_from`: from so many bytes on a request or a reply is large.
    pub(super) bulk_from: usize,
    /// `observe.slow`.
    pub(super) slow_micros: u32,
    /// `observe.big_value`.
    pub(super) big_value: usize,
    /// Slots with large values.
    pub(super) bulky: Bulky,
    /// Clients on the bulk lanes.
    bulk_clients: Cell<usize>,
    pub(super) scripts: Rc<WorkerScripts>,
    sessions: RefCell<FxHashMap<u64, Weak<Session>>>,
    /// Sessions with subscriptions: they follow the map.
    subscribers: RefCell<FxHashMap<u64, Weak<Session>>>,
    /// Sessions with something to retry, and when.
    retries: RefCell<Vec<(Instant, Weak<Session>)>>,
    pub(super) retry_task: tokio::sync::Notify,
    /// Nodes that were promoted although the map does not say so yet: the failed primary and its heir.
    pub(super) heirs: RefCell<FxHashMap<NodeAddr, NodeAddr>>,
    /// When a replica of an unreachable primary was last asked whether it was promoted.
    pub(super) scouted: Cell<Option<Instant>>,
    /// Clients in blocking commands.
    blocked: Cell<usize>,
    /// What clients in WAIT ask.
    pub(super) inquiries: Inquiries,
    /// Clients that watch keys.
    watching: Cell<usize>,
    /// What this worker's clients and lanes hold, against `limits.memory`.
    pub(super) memory: Rc<Ledger>,
}

impl SessionContext {
    /// The context of one worker.
    pub fn new(
        shared: Shared,
        clock: Rc<Clock>,
        scratch: Rc<Scratch>,
        flusher: Rc<Flusher>,
        metrics: Arc<WorkerMetrics>,
        lanes: Rc<Lanes>,
        leases: Rc<Leases>,
    ) -> Rc<Self> {
        let memory = lanes.context().memory.clone();
        let limits = &shared.config.limits;
        let request_limits = RequestLimits {
            arguments: limits.arguments as u32,
            argument: limits.argument as u32,
            request: limits.request as u32,
            inline: limits.inline as u32,
            preauth: false,
        };
        let preauth_limits = RequestLimits {
            arguments: limits.preauth_arguments as u32,
            argument: limits.preauth_argument as u32,
            preauth: true,
            ..request_limits
        };
        Rc::new(Self {
            bulk_from: shared.config.upstream.bulk_from,
            slow_micros: shared.config.observe.slow_micros(),
            big_value: shared.config.observe.big_value.unwrap_or(usize::MAX),
            bulky: Bulky::default(),
            bulk_clients: Cell::new(0),
            config: shared.config.clone(),
            clients: shared.clients.clone(),
            map: RefCell::new(shared.map.load_full()),
            table: RefCell::new(shared.table.load_full()),
            clock,
            scratch,
            flusher,
            scripts: WorkerScripts::new(shared.scripts.clone(), metrics.clone()),
            metrics,
            lanes,
            leases,
            request_limits,
            preauth_limits,
            scan_order: RefCell::default(),
            recent: RefCell::default(),
            sessions: RefCell::default(),
            subscribers: RefCell::default(),
            retries: RefCell::default(),
            retry_task: tokio::sync::Notify::new(),
            heirs: RefCell::default(),
            scouted: Cell::new(None),
            blocked: Cell::new(0),
            inquiries: Inquiries::default(),
            watching: Cell::new(0),
            memory,
            shared,
        })
    }

    /// Tells topology of a MOVED that has just come, to a request that was sent at that moment or later.
    pub(super) fn moved(&self, slot: Slot, to: &NodeAddr, from: &NodeAddr, sent: Instant) {
        self.report(Report::Moved {
            slot,
            to: to.clone(),
            from: from.clone(),
            said: Said {
                after: sent,
                before: self.clock.now(),
            },
        });
    }

    /// The map as of the last notification.
    #[inline]
    pub(super) fn map(&self) -> Ref<'_, Arc<SlotMap>> {
        self.map.borrow()
    }

    /// The command table as of the last notification.
    #[inline]
    pub(super) fn table(&self) -> Ref<'_, Arc<CommandTable>> {
        self.table.borrow()
    }

    /// Takes over what topology has published, and lets waiting sessions try again. Called by the worker when it
    /// is notified.
    pub fn refresh(&self) {
        let before = self.map.replace(self.shared.map.load_full());
        *self.table.borrow_mut() = self.shared.table.load_full();
        self.heirs.borrow_mut().clear();
        let map = self.map().clone();
        self.lanes.prune(&map, &map.primaries());
        self.clock.tick();
        let waiting = std::mem::take(&mut *self.retries.borrow_mut());
        let moved = match waiting.is_empty() && self.subscribers.borrow().is_empty() {
            true => Vec::new(),
            false => map.moved_since(&before),
        };
        let waiting = waiting.iter().filter_map(|(_, s)| s.upgrade());
        let mut waiting: Vec<_> = waiting.collect();
        // Each once, however many moments it waits for.
        waiting.sort_by_key(|session| session.id());
        waiting.dedup_by_key(|session| session.id());
        for session in waiting {
            session.retry(Occasion::Map(&moved));
        }
        let subscribers = std::mem::take(&mut *self.subscribers.borrow_mut());
        for (id, session) in subscribers {
            if session.upgrade().is_some_and(|s| s.resubscribe(&moved)) {
                self.subscribers.borrow_mut().insert(id, session);
            }
        }
    }

    /// Retries what is due, for ever; one task per worker.
    pub async fn run_retries(self: Rc<Self>) {
        loop {
            let next = self.retries.borrow().iter().map(|(at, _)| *at).min();
            match next {
                None => self.retry_task.notified().await,
                Some(at) => {
                    let sleep = tokio::time::sleep_until(at.into());
                    tokio::select! {
                        biased;
                        () = sleep => {}
                        () = self.retry_task.notified() => continue,
                    }
                }
            }
            self.clock.tick();
            for session in self.take_due() {
                session.retry(Occasion::Time);
            }
        }
    }

    fn take_due(&self) -> Vec<Rc<Session>> {
        let now = self.clock.now();
        let mut due = Vec::new();
        self.retries.borrow_mut().retain(|(at, session)| {
            if *at > now {
                return true;
            }
            due.extend(session.upgrade());
            false
        });
        due
    }

    /// Has `session.retry` called at `at`, or earlier if the map changes.
    pub(super) fn retry_at(&self, at: Instant, session: Weak<Session>) {
        // Several slots of one session often wait together: a millisecond apart is the same wake-up.
        let at = at.max(self.clock.now() + Duration::from_millis(1));
        self.retries.borrow_mut().push((at, session));
        self.retry_task.notify_one();
    }

    /// In which order SCAN goes through the shards of the map.
    pub(super) fn scan_order(&self) -> Ref<'_, ScanOrder> {
        let version = self.map().version();
        let known = self.scan_order.borrow().as_ref().map(ScanOrder::version);
        if known != Some(version) {
            *self.scan_order.borrow_mut() = Some(ScanOrder::of(&self.map()));
        }
        Ref::map(self.scan_order.borrow(), |order| {
            order.as_ref().expect("set two lines above if it was not")
        })
    }

    /// What answers of ours need to know.
    pub(super) fn env<'a>(&'a self, server: &'a ServerInfo) -> Env<'a> {
        Env {
            server,
            password: self.config.auth.password.as_ref(),
            now: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
        }
    }

    pub(super) fn report(&self, report: Report) {
        self.shared.topology.report(report);
    }

    /// How many places are taken.
    pub(super) fn taken(&self, among: Among) -> &Cell<usize> {
        match among {
            Among::Blocked => &self.blocked,
            Among::Watchers => &self.watching,
        }
    }

    /// So many clients more, or fewer, take the bulk lanes.
    pub(super) fn count_bulk_clients(&self, more: isize) {
        let clients = self.bulk_clients.get().saturating_add_signed(more);
        self.bulk_clients.set(clients);
        self.metrics.set_bulk_clients(clients);
    }

    /// Whether a request of so many bytes is refused because memory is scarce.
    #[inline]
    pub(super) fn is_too_large_now(&self, bytes: usize) -> bool {
        self.memory.refuses(bytes) && self.refused_for_memory()
    }

    /// Always: it is counted.
    #[cold]
    pub(super) fn refused_for_memory(&self) -> bool {
        self.metrics.limit_hit(Limit::Memory);
        true
    }

    /// What a client is told who needs a connection of its own, and gets none because of `upstream.leases`: it is counted.
    #[cold]
    pub(super) fn no_lease(&self) -> Bytes {
        self.metrics.limit_hit(Limit::Leases);
        errors::no_lease()
    }

    pub(super) fn register(&self, id: u64, session: &Rc<Session>) {
        self.sessions
            .borrow_mut()
            .insert(id, Rc::downgrade(session));
    }

    /// Has the session told when the map changes, as long as it is subscribed.
    pub(super) fn subscribed(&self, id: u64, session: &Rc<Session>) {
        let session = Rc::downgrade(session);
        self.subscribers.borrow_mut().insert(id, session);
    }

    pub(super) fn unregister(&self, id: u64) {
        self.sessions.borrow_mut().remove(&id);
        self.subscribers.borrow_mut().remove(&id);
    }

    /// The session with this number, if it is one of this worker's.
    pub(super) fn session(&self, id: u64) -> Option<Rc<Session>> {
        self.sessions.borrow().get(&id)?.upgrade()
    }

    /// The script that a client has sent and that EVALSHA calls so, if it is still kept.
    pub fn script_body(&self, sha: &[u8]) -> Option<Bytes> {
        self.scripts.body(&sha_from(sha)?)
    }

    /// The sessions that are there now.
    pub fn sessions(&self) -> Vec<Rc<Session>> {
        let sessions = self.sessions.borrow();
        sessions.values().filter_map(Weak::upgrade).collect()
    }
}
