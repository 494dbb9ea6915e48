//! The workers and the topology task of a process on the runtime of whoever calls, without listeners, threads or signals:
//! what a simulation drives. See `io::simulated` for its connections.

use super::run::{set_up_workers, share};
use super::worker::{NewClient, Socket as Kind, ToWorker, WorkerHandle, work_here};
use crate::command::CommandTable;
use crate::config::Config;
use crate::io::Budget;
use crate::io::simulated::Socket;
use crate::local::Address;
use crate::observe::{Metrics, TopologyMetrics};
use crate::session::Shared;
use crate::topology::{Topology, TopologySettings};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinHandle;

/// See the module.
pub struct Proxy {
    shared: Shared,
    metrics: Metrics,
    workers: Vec<WorkerHandle>,
    tasks: Vec<JoinHandle<()>>,
    next: u64,
}

impl Proxy {
    /// Starts on the current runtime, which runs tasks that stay on their thread.
    ///
    /// # Panics
    /// If the metrics' names clash.
    pub fn start(config: Arc<Config>, table: CommandTable) -> Self {
        let metrics = Metrics::new(vec!["simulated".to_owned()]).expect("names do not clash");
        let topology_metrics = Arc::new(TopologyMetrics::new());
        metrics.add_source(topology_metrics.clone());
        let topology = Topology::spawn(TopologySettings::from(&*config), table, topology_metrics);
        let (shared, errands) = share(config, topology);
        let mut workers = Vec::new();
        let mut tasks = Vec::new();
        let memory = Budget::new(shared.config.limits.memory, 0, errands.len());
        for (handle, setup) in set_up_workers(&shared, &metrics, errands, &memory) {
            tasks.push(tokio::task::spawn_local(work_here(setup)));
            workers.push(handle);
        }
        Self {
            shared,
            metrics,
            workers,
            tasks,
            next: 0,
        }
    }

    /// A client connects: its end of the connection.
    ///
    /// # Panics
    /// If a worker has ended, or has not welcomed a thousand clients before.
    pub fn connect(&mut self) -> Socket {
        let (socket, read, write) = Socket::client();
        self.next += 1;
        let worker = &self.workers[self.next as usize % self.workers.len()];
        let (peer, local) = (
            SocketAddr::from(([10, 1, 0, 1], 10_000)),
            SocketAddr::from(([10, 1, 0, 2], 6_379)),
        );
        let client = NewClient {
            socket: Kind::Simulated(read, write),
            id: self.next,
            listener: 0,
            address: Address::Tcp { peer, local },
        };
        worker.clients.fetch_add(1, Ordering::Relaxed);
        let handed_over = worker.mailbox.try_send(ToWorker::Client(client));
        assert!(handed_over.is_ok(), "a worker has room for new clients");
        socket
    }

    /// Clients that are served.
    pub fn clients(&self) -> usize {
        self.shared.clients.load(Ordering::Relaxed)
    }

    /// The topology task.
    pub fn topology(&self) -> &Topology {
        &self.shared.topology
    }

    /// Everything that is measured.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reads no more commands, answers those that were read, and ends; no client may connect any more.
    pub fn drain(&mut self) -> impl Future<Output = ()> + use<> {
        for worker in self.workers.drain(..) {
            let _ = worker.mailbox.try_send(ToWorker::Drain);
        }
        let tasks = std::mem::take(&mut self.tasks);
        async move {
            for task in tasks {
                // A worker that panicked is reported by the panic itself.
                let _ = task.await;
            }
        }
    }
}
