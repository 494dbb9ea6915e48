//! `slotway audit` in front of one server: listens as the proxy does, and has a tap serve the clients.

use super::listener::{Listener, Reception};
use super::run::{
    RunError, Running, SPARE_FILES, Signals, bind_admin, bind_all, drain, raise_file_limit,
};
use super::worker::{MAILBOX_MAX, NewClient, ToWorker, WorkerHandle, open};
use crate::admin::{self, AdminState};
use crate::audit::{Audit, Rules};
use crate::cluster::NodeAddr;
use crate::command::CommandTable;
use crate::config::Config;
use crate::observe::{Metrics, WorkerMetrics};
use crate::tap::Tap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Serves clients with a connection of their own to `upstream`, whose commands `table` knows, until SIGTERM or SIGINT;
/// then each is closed once it has its replies, at the latest after `timeouts.drain`. `ready` is called once everything
/// is bound.
pub fn tap(
    config: &Config,
    upstream: NodeAddr,
    table: CommandTable,
    ready: impl FnOnce(&Running),
) -> Result<(), RunError> {
    raise_file_limit(2 * config.limits.clients as u64 + SPARE_FILES);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::expect()?;
        let tap = Arc::new(Tap {
            upstream,
            connect: config.timeouts.connect,
            drain: config.timeouts.drain,
            table: Arc::new(table),
            audit: Arc::new(Audit::new(Rules::of(config))),
            stop: CancellationToken::new(),
        });
        let listeners = bind_all(config)?;
        let admin = config.admin.listen.map(bind_admin).transpose()?;
        let running = Running {
            listeners: listeners.iter().map(Listener::address).collect(),
            admin: match &admin {
                Some(listener) => Some(listener.local_addr()?.to_string()),
                None => None,
            },
            audit: Some(tap.audit.clone()),
        };
        let metrics = Metrics::new(running.listeners.clone())
            .map_err(|e| RunError::Metrics(e.to_string()))?;
        let (workers, threads) = start_workers(&tap, config.listen.workers, &metrics)?;
        let reception = Arc::new(Reception {
            workers,
            ids: AtomicU64::new(1),
            clients_max: config.limits.clients,
            metrics: metrics.writer(),
            stop: tap.stop.clone(),
        });
        for (index, listener) in listeners.into_iter().enumerate() {
            tokio::spawn(reception.clone().receive(listener, index));
        }
        if let Some(listener) = admin {
            let state = AdminState::new(metrics, || Ok(()), Default::default, |_| None);
            let state = state.with_audit(Some(tap.audit.clone())).only_audit();
            tokio::spawn(admin::serve(listener, Arc::new(state)));
        }
        tracing::info!(
            listen = ?running.listeners,
            admin = running.admin,
            upstream = %tap.upstream,
            version = env!("CARGO_PKG_VERSION"),
            "slotway audits what passes"
        );
        ready(&running);
        let name = signals.next().await;
        tracing::info!(
            signal = name,
            "no new connections, replies on their way are delivered"
        );
        tap.stop.cancel();
        tokio::select! {
            () = drain(reception, threads) => {}
            _ = signals.next() => tracing::warn!("second signal: ending at once"),
        }
        Ok(())
    });
    runtime.shutdown_background();
    ended
}

type Workers = (Vec<WorkerHandle>, Vec<JoinHandle<io::Result<()>>>);

fn start_workers(tap: &Arc<Tap>, count: usize, metrics: &Metrics) -> io::Result<Workers> {
    let mut workers = (Vec::new(), Vec::new());
    for index in 0..count {
        let (mailbox, inbox) = mpsc::channel(MAILBOX_MAX);
        let clients = Arc::<AtomicUsize>::default();
        let (tap, clients_of, metrics) = (tap.clone(), clients.clone(), metrics.writer());
        let thread = std::thread::Builder::new()
            .name(format!("tap-{index}"))
            .spawn(move || work(tap, inbox, clients_of, metrics))?;
        workers.0.push(WorkerHandle { mailbox, clients });
        workers.1.push(thread);
    }
    Ok(workers)
}

/// Serves the clients it is given until nobody gives it any, and those it has until they are done.
fn work(
    tap: Arc<Tap>,
    mut inbox: mpsc::Receiver<ToWorker>,
    clients: Arc<AtomicUsize>,
    metrics: Arc<WorkerMetrics>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())?;
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(ToWorker::Client(client)) => {
                        let counted = Counted::new(&clients, &metrics, client.listener);
                        let client = attend(tap.clone(), client, counted);
                        tasks.spawn_local(client);
                    }
                    // The mailbox closes next.
                    Some(ToWorker::Drain) => {}
                    None => break,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        // Those that are late are cut.
        let _ = timeout(tap.drain, all).await;
    });
    Ok(())
}

async fn attend(tap: Arc<Tap>, client: NewClient, _counted: Counted) {
    match open(client.socket) {
        Ok(halves) => tap.serve(halves).await,
        Err(error) => tracing::debug!(%error, "a client was gone before it was served"),
    }
}

/// A client that counts.
struct Counted {
    of_worker: Arc<AtomicUsize>,
    metrics: Arc<WorkerMetrics>,
    listener: usize,
}

impl Counted {
    fn new(of_worker: &Arc<AtomicUsize>, metrics: &Arc<WorkerMetrics>, listener: usize) -> Self {
        metrics.client_opened(listener);
        Self {
            of_worker: of_worker.clone(),
            metrics: metrics.clone(),
            listener,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.client_closed(self.listener);
        self.of_worker.fetch_sub(1, Ordering::Relaxed);
    }
}
