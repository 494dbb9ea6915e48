//! The one writer of the slot map: asks the nodes, weighs their answers (`cluster::Belief`), applies MOVED patches and
//! publishes. It runs on the control thread; workers hold a [`Topology`] handle, read the map without a lock
//! and report what they see. It knows nothing of clients.
//!
//! `pace` says when to ask, `task` whom; `ask` is one question, `link` the connection it goes over.

mod ask;
mod backoff;
mod commands;
mod journal;
mod link;
mod pace;
mod profile;
mod settings;
mod status;
mod task;

pub use crate::observe::Trigger;
pub use pace::Mood;
pub use profile::{Module, ServerInfo};
pub use settings::{Credentials, TopologySettings};
pub use status::{LastError, MigrationStatus, NodeStatus, RangeStatus, TopologyStatus};

use crate::cluster::{NodeAddr, Said, Slot, SlotMap};
use crate::command::CommandTable;
use crate::observe::TopologyMetrics;
use arc_swap::{ArcSwap, Guard};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc, watch};

/// Reports that wait for the topology task. More are dropped: the refresh they ask for happens anyway.
const REPORTS_MAX: usize = 4096;

/// Handle to the topology task, for every thread. The task ends when the last handle is dropped.
#[derive(Clone)]
pub struct Topology {
    shared: Arc<Shared>,
    reports: mpsc::Sender<Report>,
    rounds: watch::Receiver<Rounds>,
}

/// What a worker tells the topology task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// `from` answered a request for `slot` with `MOVED slot to`.
    Moved {
        /// The request's slot.
        slot: Slot,
        /// Whom it named.
        to: NodeAddr,
        /// Who said so: asked first.
        from: NodeAddr,
        /// When.
        said: Said,
    },
    /// A connection to `node` was lost or refused, or it does not answer.
    Suspect {
        /// The node.
        node: NodeAddr,
        /// What happened.
        why: Trigger,
    },
    /// `from` may have said something that a fresh look would settle, if it is asked as well.
    Hint {
        /// Who.
        from: NodeAddr,
        /// What it is about.
        why: Trigger,
    },
    /// Something else that a fresh look would settle.
    Refresh(Trigger),
}

/// Refreshes counted, so that one can wait for one that began late enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// Refreshes that began.
    pub started: u64,
    /// Refreshes that ended, with or without an answer. Equal to `started` when none is in flight.
    pub finished: u64,
    /// The last refresh that ended with an answer, by its number (the first is 1).
    pub answered: u64,
}

/// What the task publishes.
pub(crate) struct Shared {
    map: Arc<ArcSwap<SlotMap>>,
    table: Arc<ArcSwap<CommandTable>>,
    server: Arc<ArcSwap<ServerInfo>>,
    status: Arc<ArcSwap<TopologyStatus>>,
    /// A node has listed its commands, or would not.
    listed: AtomicBool,
    subscribers: Mutex<Vec<Arc<Notify>>>,
}

impl Topology {
    /// Starts the task on the current tokio runtime. `commands` is the table until nodes have listed theirs; what the
    /// operator allows and denies in it is kept.
    pub fn spawn(
        settings: TopologySettings,
        commands: CommandTable,
        metrics: Arc<TopologyMetrics>,
    ) -> Self {
        let shared = Arc::new(Shared {
            map: Arc::new(ArcSwap::from_pointee(SlotMap::empty())),
            table: Arc::new(ArcSwap::from_pointee(commands)),
            server: Arc::default(),
            status: Arc::default(),
            listed: AtomicBool::new(false),
            subscribers: Mutex::default(),
        });
        let (reports, inbox) = mpsc::channel(REPORTS_MAX);
        let (counter, rounds) = watch::channel(Rounds::default());
        let task = task::Task::new(settings, Arc::clone(&shared), counter, metrics);
        tokio::spawn(task.run(inbox));
        Self {
            shared,
            reports,
            rounds,
        }
    }

    /// The map as it is now. Take it once per batch of commands.
    pub fn map(&self) -> Guard<Arc<SlotMap>> {
        self.shared.map.load()
    }

    /// Where the map is published, for `arc_swap::Cache`.
    pub fn shared_map(&self) -> Arc<ArcSwap<SlotMap>> {
        Arc::clone(&self.shared.map)
    }

    /// The command table, as the nodes have it.
    pub fn table(&self) -> Arc<ArcSwap<CommandTable>> {
        Arc::clone(&self.shared.table)
    }

    /// What the servers are.
    pub fn server(&self) -> Arc<ArcSwap<ServerInfo>> {
        Arc::clone(&self.shared.server)
    }

    /// For `/topology` and `/readyz`.
    pub fn status(&self) -> Arc<ArcSwap<TopologyStatus>> {
        Arc::clone(&self.shared.status)
    }

    /// Whether a node has listed its commands, or would not: before that, commands of modules are unknown.
    pub fn knows_commands(&self) -> bool {
        self.shared.listed.load(Ordering::Relaxed)
    }

    /// Registers a worker: the result is notified after each newly published map or command table.
    pub fn subscribe(&self) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        let mut subscribers = self
            .shared
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subscribers.push(Arc::clone(&notify));
        notify
    }

    /// Tells the task something. Never waits; dropped when too much is waiting already.
    pub fn report(&self, report: Report) {
        let _ = self.reports.try_send(report);
    }

    /// How many refreshes there were.
    pub fn rounds(&self) -> Rounds {
        *self.rounds.borrow()
    }

    /// Waits until a refresh that began after now has ended, and says whether a node answered in it. Cancel safe.
    /// What needs confirmation (a redirection that a script returned) looks at the map after this.
    pub async fn confirm(&self, trigger: Trigger) -> bool {
        let mut rounds = self.rounds.clone();
        let after = rounds.borrow().started;
        self.report(Report::Refresh(trigger));
        match rounds.wait_for(|r| r.finished > after).await {
            Ok(rounds) => rounds.answered > after,
            Err(_) => false,
        }
    }
}

impl Shared {
    /// Publishes a map and wakes the workers.
    fn publish(&self, map: SlotMap) {
        self.map.store(Arc::new(map));
        self.wake();
    }

    /// Wakes the workers: a map or a command table is new.
    fn wake(&self) {
        let subscribers = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        subscribers.iter().for_each(|s| s.notify_one());
    }
}
