//! From a configuration to a running process and back: binds, starts the workers and the control thread's tasks,
//! waits for a signal, drains.

use super::listener::{Listener, Reception};
use super::show::{admin_state, clients, explain, sample};
use super::worker::{MAILBOX_MAX, WorkerHandle, WorkerSetup, work};
use crate::admin;
use crate::audit::{Audit, Rules};
use crate::cluster::NodeAddr;
use crate::command::CommandTable;
use crate::config::{Config, Loaded, Settings};
use crate::io::Budget;
use crate::observe::{History, Metrics, TopologyMetrics, resident_bytes};
use crate::session::{Errands, Mailbox, Scripts, Shared};
use crate::topology::{Topology, TopologySettings};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// File descriptors that are not clients: lanes, control connections, listeners, logs.
pub(super) const SPARE_FILES: u64 = 256;

/// How often it is looked for nodes that nobody names any more.
const LOOK_FOR_GONE_EVERY: Duration = Duration::from_secs(2);

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener's address could not be bound.
    #[error("cannot listen on {address}: {error}; is something else using it?")]
    Listen {
        /// As configured.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// A thread, runtime or signal handler could not be made.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The metrics' names clash; a defect.
    #[error("cannot register metrics: {0}")]
    Metrics(String),
}

/// What is running, and where it is reached.
#[derive(Clone, Debug)]
pub struct Running {
    /// Every listener, with the real port where 0 was configured.
    pub listeners: Vec<String>,
    /// The admin endpoint.
    pub admin: Option<String>,
    /// What is audited (`policy.audit`).
    pub audit: Option<Arc<Audit>>,
}

/// Runs until SIGTERM or SIGINT, then drains: no new connection, every reply in flight is delivered, at most
/// `timeouts.drain`. A second signal ends it at once; SIGHUP ends nothing. `ready` is called once everything is bound.
pub fn run(loaded: Loaded, ready: impl FnOnce(&Running)) -> Result<(), RunError> {
    let Loaded { config, settings } = loaded;
    without_huge_pages();
    raise_file_limit(config.limits.clients as u64 + SPARE_FILES);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())?;
    let ended = runtime.block_on(async move {
        // First of all: from here on a signal drains, however early it comes.
        let signals = Signals::expect()?;
        let server = Server::start(Arc::new(config), settings)?;
        ready(&server.running);
        server.until(signals).await
    });
    // A second signal does not wait for the workers, nor for a name that is still being resolved.
    runtime.shutdown_background();
    ended
}

/// The signals that end the process, and the one that would if nobody listened for it.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn expect() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The name of the next one that ends the process.
    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // Its default is to end the process at once, with everything that is in flight.
                Some(()) = self.hang_up.recv() => tracing::warn!(
                    "SIGHUP: the configuration stays as it is; restart slotway to change it"
                ),
            }
        }
    }
}

/// Everything that runs. Owned by the control thread.
struct Server {
    running: Running,
    reception: Arc<Reception>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Server {
    fn start(config: Arc<Config>, settings: Settings) -> Result<Self, RunError> {
        let listeners = bind_all(&config)?;
        let admin = config.admin.listen.map(bind_admin).transpose()?;
        let mut running = Running {
            listeners: listeners.iter().map(Listener::address).collect(),
            admin: match &admin {
                Some(listener) => Some(listener.local_addr()?.to_string()),
                None => None,
            },
            audit: None,
        };
        let metrics = Metrics::observing(running.listeners.clone(), config.observe.clone())
            .map_err(|e| RunError::Metrics(e.to_string()))?;
        let topology_metrics = Arc::new(TopologyMetrics::new());
        metrics.add_source(topology_metrics.clone());
        let mut table = CommandTable::builtin();
        for problem in table.apply(&config.policy.allow, &config.policy.deny) {
            tracing::warn!(problem, "policy.allow, policy.deny");
        }
        let topology = Topology::spawn(TopologySettings::from(&*config), table, topology_metrics);
        let (shared, errands) = share(config.clone(), topology.clone());
        running.audit = shared.audit.clone();
        let table = shared.table.clone();
        metrics.name_commands(Box::new(move || {
            let table = table.load();
            table.iter().map(|c| (c.metric, c.name.clone())).collect()
        }));
        tokio::task::spawn_local(forget_nodes(metrics.clone(), topology.clone()));
        let (workers, threads) = start_workers(&shared, &metrics, errands)?;
        let reception = Arc::new(Reception {
            workers,
            ids: AtomicU64::new(1),
            clients_max: config.limits.clients,
            metrics: metrics.writer(),
            stop: CancellationToken::new(),
        });
        for (index, listener) in listeners.into_iter().enumerate() {
            tokio::task::spawn_local(reception.clone().receive(listener, index));
        }
        if let Some(listener) = admin {
            let history = Arc::<History>::default();
            tokio::task::spawn_local(sample(metrics.clone(), history.clone()));
            let state = admin_state(metrics, topology, reception.stop.clone());
            let state = state.with(settings, history);
            let mailbox = shared.mailbox.clone();
            let state = state.with_explain(explain(&shared));
            let state = state.with_audit(shared.audit.clone());
            let state = state.with_clients(move |most| clients(mailbox.clone(), most));
            tokio::task::spawn_local(admin::serve(listener, Arc::new(state)));
        }
        tracing::info!(
            listen = ?running.listeners,
            admin = running.admin,
            workers = threads.len(),
            version = env!("CARGO_PKG_VERSION"),
            "slotway is running"
        );
        Ok(Self {
            running,
            reception,
            threads,
        })
    }

    async fn until(self, mut signals: Signals) -> Result<(), RunError> {
        let name = signals.next().await;
        tracing::info!(
            signal = name,
            "draining: no new connections, replies in flight are delivered"
        );
        self.reception.stop.cancel();
        let drained = drain(self.reception, self.threads);
        tokio::select! {
            () = drained => tracing::info!("drained"),
            _ = signals.next() => tracing::warn!("second signal: ending at once"),
        }
        Ok(())
    }
}

/// What the workers of a process share, and their ends of the mailbox.
pub(super) fn share(config: Arc<Config>, topology: Topology) -> (Shared, Vec<Errands>) {
    let (mailbox, errands) = Mailbox::new(config.listen.workers);
    let shared = Shared {
        map: topology.shared_map(),
        clients: Arc::default(),
        subscribers: Arc::default(),
        table: topology.table(),
        server: topology.server(),
        status: topology.status(),
        topology,
        monitors: Arc::default(),
        mailbox,
        scripts: Arc::new(Scripts::new(
            config.limits.scripts,
            config.limits.script_bytes,
        )),
        audit: config
            .policy
            .audit
            .then(|| Arc::new(Audit::new(Rules::of(&config)))),
        config,
    };
    (shared, errands)
}

/// Ends the workers; returns when they have ended.
pub(super) async fn drain(reception: Arc<Reception>, threads: Vec<JoinHandle<io::Result<()>>>) {
    for worker in &reception.workers {
        // A full mailbox holds clients, whose sessions are finished when the mailbox closes.
        let _ = worker.mailbox.try_send(super::worker::ToWorker::Drain);
    }
    // A mailbox closes when nobody can post any more: the listeners have let go of it or are about to.
    drop(reception);
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    });
    if joined.await.is_err() {
        tracing::error!("waiting for the workers failed");
    }
}

/// Takes nodes that left the cluster out of the metrics: one that has failed serves nobody, but stays until the others
/// forget it. Ends with the process.
async fn forget_nodes(metrics: Metrics, topology: Topology) {
    let (changed, status) = (topology.subscribe(), topology.status());
    let mut known: Vec<NodeAddr> = Vec::new();
    loop {
        // That the last one names a failed node no more is no news for clients.
        let _ = timeout(LOOK_FOR_GONE_EVERY, changed.notified()).await;
        let (map, status) = (topology.map(), status.load());
        let is_named = |addr: &NodeAddr| {
            let text = addr.to_string();
            map.find(addr).is_some() || status.nodes.iter().any(|node| node.addr == text)
        };
        let (still, gone): (Vec<_>, Vec<_>) = known.into_iter().partition(is_named);
        gone.iter().for_each(|addr| metrics.forget(addr));
        known = still;
        for node in map.nodes() {
            if !known.contains(&node.addr) {
                known.push(node.addr.clone());
            }
        }
    }
}

pub(super) fn bind_all(config: &Config) -> Result<Vec<Listener>, RunError> {
    let bind = |addr| {
        Listener::bind(addr, config).map_err(|error| RunError::Listen {
            address: format!("{addr}"),
            error,
        })
    };
    config.listen.addresses.iter().map(bind).collect()
}

pub(super) fn bind_admin(addr: std::net::SocketAddr) -> Result<TcpListener, RunError> {
    let bind = || {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    bind().map_err(|error| RunError::Listen {
        address: format!("{addr} (admin.listen)"),
        error,
    })
}

type Workers = (Vec<WorkerHandle>, Vec<JoinHandle<io::Result<()>>>);

fn start_workers(
    shared: &Shared,
    metrics: &Metrics,
    errands: Vec<Errands>,
) -> Result<Workers, RunError> {
    let mut handles = Vec::new();
    let mut threads = Vec::new();
    let limit = shared.config.limits.memory;
    let memory = Budget::measured(limit, resident_bytes(), errands.len());
    for (handle, setup) in set_up_workers(shared, metrics, errands, &memory) {
        let thread = std::thread::Builder::new()
            .name(format!("worker-{}", setup.index))
            .spawn(move || work(setup))?;
        threads.push(thread);
        handles.push(handle);
    }
    Ok((handles, threads))
}

/// What each worker is made of, and how it is reached.
pub(super) fn set_up_workers(
    shared: &Shared,
    metrics: &Metrics,
    errands: Vec<Errands>,
    memory: &Arc<Budget>,
) -> impl Iterator<Item = (WorkerHandle, WorkerSetup)> {
    errands
        .into_iter()
        .enumerate()
        .map(move |(index, errands)| {
            let (mailbox, inbox) = mpsc::channel(MAILBOX_MAX);
            let clients = Arc::new(AtomicUsize::new(0));
            let setup = WorkerSetup {
                index,
                shared: shared.clone(),
                metrics: metrics.writer(),
                map_changed: shared.topology.subscribe(),
                memory: memory.clone(),
                clients: clients.clone(),
                mailbox: inbox,
                errands,
            };
            (WorkerHandle { mailbox, clients }, setup)
        })
}

/// A huge page is resident as a whole, whatever little of it is in use: with them, half of what a burst left behind would
/// stay with the process.
fn without_huge_pages() {
    // A system that does not know them has none.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Raises the limit of open files to what the system allows, and says so if `limits.clients` needs more.
pub(super) fn raise_file_limit(needed: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    if current.is_some_and(|files| files < needed) {
        tracing::warn!(
            files = current,
            needed,
            "limits.clients needs more open files than the system allows: raise LimitNOFILE (ulimit -n) or lower it"
        );
    }
}
