//! A worker: one OS thread with a runtime of its own and everything its clients and lanes need, shared with nobody.

use super::away::Away;
use crate::config::Config;
use crate::io::{
    Budget, Clock, Flusher, Ledger, ReadHalf, Scratch, WriteHalf, split_tcp, split_unix, tune_tcp,
};
use crate::local::{Address, Client};
use crate::observe::{Limit, Rejected, WorkerMetrics};
use crate::session::{Errands, Session, SessionContext, Shared, serve};
use crate::topology::{Report, Trigger};
use crate::upstream::{
    Credentials, Gates, LaneSettings, Lanes, Leases, NodeEvent, UpstreamContext,
};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

/// How often lanes and sessions are looked after.
const UPKEEP_EVERY: Duration = Duration::from_millis(100);

/// After this long without an acknowledgement of what was sent, a client's connection is given up.
const CLIENT_UNACKED: Duration = Duration::from_secs(60);

/// Sockets on their way from a listener to a worker.
pub(super) const MAILBOX_MAX: usize = 1024;

/// What a worker is told.
pub(super) enum ToWorker {
    /// Serve this client.
    Client(NewClient),
    /// Take no more commands; end when everything is answered.
    Drain,
}

/// A client that was accepted.
pub(super) struct NewClient {
    pub(super) socket: Socket,
    pub(super) id: u64,
    pub(super) listener: usize,
    pub(super) address: Address,
}

/// Its socket, not yet bound to a runtime.
pub(super) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    #[cfg(feature = "simulation")]
    Simulated(ReadHalf, WriteHalf),
}

/// What the listeners know of a worker.
#[derive(Clone)]
pub(super) struct WorkerHandle {
    pub(super) mailbox: mpsc::Sender<ToWorker>,
    /// Clients it has.
    pub(super) clients: Arc<AtomicUsize>,
}

/// What a worker is made of.
pub(super) struct WorkerSetup {
    pub(super) index: usize,
    pub(super) shared: Shared,
    pub(super) metrics: Arc<WorkerMetrics>,
    pub(super) map_changed: Arc<Notify>,
    pub(super) memory: Arc<Budget>,
    pub(super) clients: Arc<AtomicUsize>,
    pub(super) mailbox: mpsc::Receiver<ToWorker>,
    pub(super) errands: Errands,
}

/// The thread's body; returns when the mailbox is closed and every session has ended.
pub(super) fn work(setup: WorkerSetup) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())?;
    runtime.block_on(Worker::new(setup).run());
    runtime.shutdown_background();
    Ok(())
}

/// The same on the runtime of a simulation.
#[cfg(feature = "simulation")]
pub(super) async fn work_here(setup: WorkerSetup) {
    Worker::new(setup).run().await;
}

struct Worker {
    setup: WorkerSetup,
    lanes: Rc<Lanes>,
    leases: Rc<Leases>,
    context: Rc<SessionContext>,
    flusher: Rc<Flusher>,
    clock: Rc<Clock>,
    sessions: TaskTracker,
    away: Away,
}

impl Worker {
    fn new(setup: WorkerSetup) -> Self {
        let config: &Config = &setup.shared.config;
        let clock = Rc::new(Clock::default());
        let scratch = Rc::new(Scratch::default());
        let flusher = Rc::new(Flusher::default());
        let topology = setup.shared.topology.clone();
        let upstream = Rc::new(UpstreamContext {
            losses: Cell::default(),
            gates: Gates::default(),
            settings: LaneSettings::new(config, config.listen.workers),
            credentials: Credentials {
                username: config.upstream.username.clone(),
                password: config.upstream.password.clone(),
            },
            clock: clock.clone(),
            scratch: scratch.clone(),
            flusher: flusher.clone(),
            metrics: setup.metrics.clone(),
            memory: Rc::new(Ledger::new(
                setup.memory.clone(),
                setup.index,
                config.limits.client_in_flight,
            )),
            on_event: Box::new(move |event| {
                let (node, why) = match event {
                    NodeEvent::Lost(fault) => (fault.node.clone(), Trigger::ConnectionLost),
                    NodeEvent::Silent(node) => (node.clone(), Trigger::Silent),
                };
                topology.report(Report::Suspect { node, why });
            }),
        });
        let lanes = Rc::new(Lanes::new(upstream.clone()));
        let leases = Leases::new(upstream);
        let context = SessionContext::new(
            setup.shared.clone(),
            clock.clone(),
            scratch,
            flusher.clone(),
            setup.metrics.clone(),
            lanes.clone(),
            leases.clone(),
        );
        Self {
            setup,
            lanes,
            leases,
            context,
            flusher,
            away: Away::new(clock.now()),
            clock,
            sessions: TaskTracker::new(),
        }
    }

    async fn run(mut self) {
        // These three end with the runtime, that is, with the worker.
        tokio::task::spawn_local(self.flusher.clone().run());
        tokio::task::spawn_local(self.context.clone().run_retries());
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        upkeep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let map_changed = self.setup.map_changed.clone();
        let memory = self.lanes.context().memory.clone();
        loop {
            // What comes seldom first: a full mailbox must not keep it waiting.
            tokio::select! {
                biased;
                _ = upkeep.tick() => self.upkeep(),
                () = memory.look() => self.keep_memory(),
                () = map_changed.notified() => self.context.refresh(),
                Some(errand) = self.setup.errands.recv() => errand(&self.context),
                message = self.setup.mailbox.recv() => match message {
                    Some(ToWorker::Client(client)) => self.welcome(client),
                    Some(ToWorker::Drain) => self.drain(),
                    None => break,
                },
            }
        }
        self.finish().await;
    }

    fn welcome(&self, new: NewClient) {
        let (read, write) = match open(new.socket) {
            Ok(halves) => halves,
            Err(error) => {
                tracing::debug!(%error, "a client was gone before it was served");
                self.setup.clients.fetch_sub(1, Ordering::Relaxed);
                return;
            }
        };
        let metrics = self.setup.metrics.clone();
        let listener = new.listener;
        metrics.client_opened(listener);
        let needs_auth = self.setup.shared.config.auth.password.is_some();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let client = Client::new(new.id, new.address, now, needs_auth);
        let all = self.setup.shared.clients.clone();
        all.fetch_add(1, Ordering::Relaxed);
        let counted = Counted {
            metrics,
            listener,
            of_worker: self.setup.clients.clone(),
            all,
        };
        let session = serve(self.context.clone(), read, write, client);
        self.sessions.spawn_local(async move {
            let _counted = counted;
            session.await;
        });
    }

    fn upkeep(&self) {
        self.clock.tick();
        if let Some(away) = self.away.excuse(self.clock.now()) {
            return self.lanes.was_away(away);
        }
        self.lanes.check();
        let map = self.setup.shared.map.load();
        self.lanes.prune(&map, &map.primaries());
        self.leases.check(&map);
        let idle = self.setup.shared.config.timeouts.idle;
        let sessions = self.context.sessions();
        let held = sessions.iter().filter_map(|session| {
            session.upkeep(idle);
            session.shed_gain()
        });
        let largest = held.max().unwrap_or(0);
        self.lanes.context().memory.largest(largest);
        let memory = &self.lanes.context().memory;
        let scripts = self.setup.shared.scripts.held();
        let mine = memory.measure(scripts);
        self.setup
            .metrics
            .set_script_memory(if mine { scripts } else { 0 });
        self.keep_memory();
        if memory.is_tight() {
            // Some hold less than before.
            self.resume();
        }
    }

    /// Keeps `limits.memory`: closes the clients that hold most, as many as necessary, and has the others read on.
    fn keep_memory(&self) {
        let memory = &self.lanes.context().memory;
        memory.lanes(self.lanes.held());
        let (halted, tight) = (memory.is_halted(), memory.is_tight());
        if memory.excess() > 0 {
            self.shed();
        }
        memory.calm();
        if (halted && !memory.is_halted()) || (tight && !memory.is_tight()) {
            self.resume();
        }
        self.setup.metrics.set_memory(memory.used());
    }

    /// Has everybody look again whether they may read.
    #[cold]
    fn resume(&self) {
        self.context.sessions().iter().for_each(|s| s.resume());
        self.lanes.resume();
        self.lanes.context().memory.resume();
    }

    #[cold]
    fn shed(&self) {
        let memory = &self.lanes.context().memory;
        let sessions = self.context.sessions();
        let mut dying: usize = sessions.iter().map(|s| s.dying()).sum();
        let gain = |session: Rc<Session>| Some((session.shed_gain()?, session));
        let mut largest: Vec<_> = sessions.into_iter().filter_map(gain).collect();
        largest.sort_unstable_by_key(|(gain, _)| *gain);
        let mut closed = false;
        while memory.to_free() > dying {
            let most = largest.last().map_or(0, |(gain, _)| *gain);
            memory.largest(most);
            if !memory.is_next(most) {
                return;
            }
            let Some((gain, session)) = largest.pop() else {
                if memory.excess() > dying {
                    memory.stuck();
                }
                return;
            };
            tracing::warn!(
                client = session.id(),
                held = gain,
                excess = memory.excess(),
                "limits.memory reached: closing the largest client"
            );
            self.setup.metrics.client_rejected(Rejected::Memory);
            self.setup.metrics.limit_hit(Limit::Memory);
            session.shed();
            // The rest goes with its task.
            dying += session.dying();
            closed = true;
        }
        if closed {
            memory.tell_all();
            // Replies on their way to those that are closed are of no more use.
            self.lanes.resume();
        }
        memory.largest(largest.last().map_or(0, |(gain, _)| *gain));
    }

    fn drain(&self) {
        for session in self.context.sessions() {
            session.drain();
        }
    }

    async fn finish(mut self) {
        self.drain();
        self.sessions.close();
        let grace = self.setup.shared.config.timeouts.drain;
        let sessions = self.sessions.clone();
        let map_changed = self.setup.map_changed.clone();
        let upkeep = async {
            let mut due = tokio::time::interval(UPKEEP_EVERY);
            loop {
                tokio::select! {
                    biased;
                    _ = due.tick() => {
                        // A session that was only just welcomed has not heard of it yet.
                        self.drain();
                        self.upkeep();
                    }
                    // What waits for a slot's owner is served as before.
                    () = map_changed.notified() => self.context.refresh(),
                    () = self.lanes.context().memory.look() => self.keep_memory(),
                    Some(errand) = self.setup.errands.recv() => errand(&self.context),
                }
            }
        };
        tokio::select! {
            biased;
            () = sessions.wait() => {}
            () = upkeep => {}
            () = tokio::time::sleep(grace) => {
                self.setup.metrics.limit_hit(Limit::DrainTimeout);
                let left = sessions.len();
                tracing::warn!(left, "timeouts.drain is over: closing the clients that are left");
            }
        }
        self.lanes.end();
        self.leases.end();
        self.lanes.context().memory.leave();
    }
}

/// A client among those that are counted; no more when it is dropped, however its session ended.
struct Counted {
    metrics: Arc<WorkerMetrics>,
    listener: usize,
    of_worker: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.client_closed(self.listener);
        self.of_worker.fetch_sub(1, Ordering::Relaxed);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn open(socket: Socket) -> io::Result<(ReadHalf, WriteHalf)> {
    match socket {
        Socket::Tcp(stream) => {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            tune_tcp(&stream, CLIENT_UNACKED)?;
            Ok(split_tcp(stream))
        }
        Socket::Unix(stream) => {
            let stream = tokio::net::UnixStream::from_std(stream)?;
            Ok(split_unix(stream))
        }
        #[cfg(feature = "simulation")]
        Socket::Simulated(read, write) => Ok((read, write)),
    }
}
