//! The handle on everything that is measured: makes a writer for each worker, takes further sources, and
//! renders the scrape. Made once at start; `admin` scrapes it, `server` hands out the writers.

use super::big_values::BigValue;
use super::error_log::RecentError;
use super::families::{Families, Source};
use super::hot_keys::Hottest;
use super::process::Process;
use super::slow_log::SlowCommand;
use super::table::{METRICS, Metric};
use super::totals::Totals;
use super::worker::WorkerMetrics;
use super::workers::{CommandNames, Workers};
use crate::cluster::NodeAddr;
use crate::config::Observe;
use prometheus::core::{Collector, Desc};
use prometheus::{Registry, TextEncoder, proto};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Everything that is measured in this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Shared>,
    registry: Registry,
}

struct Shared {
    workers: Workers,
    /// What else has samples; grows only at start.
    sources: RwLock<Vec<Arc<dyn Source>>>,
}

impl Metrics {
    /// Nothing counted yet. `listeners` are the values of the label `listener`, in the order of the indexes
    /// that writers use.
    pub fn new(listeners: Vec<String>) -> Result<Self, prometheus::Error> {
        Self::observing(listeners, Observe::NOTHING)
    }

    /// As [`new`](Self::new), and what `observe` says besides.
    pub fn observing(listeners: Vec<String>, observe: Observe) -> Result<Self, prometheus::Error> {
        let shared = Arc::new(Shared {
            workers: Workers::new(listeners, observe),
            sources: RwLock::new(vec![Arc::new(Build), Arc::new(Process)]),
        });
        let registry = Registry::new();
        registry.register(Box::new(AllSources {
            descriptions: describe()?,
            shared: Arc::clone(&shared),
        }))?;
        Ok(Self { shared, registry })
    }

    /// Counters for one more thread. Called once per thread at start.
    pub fn writer(&self) -> Arc<WorkerMetrics> {
        self.shared.workers.writer()
    }

    /// Where the names of commands come from; asked at each scrape. Without it every command is `other`.
    pub fn name_commands(&self, names: CommandNames) {
        self.shared.workers.name_commands(names);
    }

    /// The keys that are asked for most now.
    pub fn hottest(&self, now: Instant) -> Hottest {
        self.shared.workers.hottest(now)
    }

    /// Everything that the status page shows, counted since the start.
    pub fn totals(&self) -> Totals {
        self.shared.workers.totals()
    }

    /// What is observed at all.
    pub fn observed(&self) -> &Observe {
        self.shared.workers.observe()
    }

    /// The slow commands that are listed, the last one first.
    pub fn slow_commands(&self) -> Vec<SlowCommand> {
        self.shared.workers.slow()
    }

    /// Lists none of them any more.
    pub fn forget_slow_commands(&self) {
        self.shared.workers.forget_slow();
    }

    /// The errors that clients got lately, by kind, each with the name of its command; the last one first.
    pub fn errors_lately(&self) -> Vec<(RecentError, Arc<str>)> {
        self.shared.workers.errors_lately()
    }

    /// The keys with the largest values that went through, the largest first; `now` since 1970.
    pub fn big_values(&self, now: Duration) -> Vec<BigValue> {
        self.shared.workers.biggest(now)
    }

    /// Adds something that has samples of its own.
    pub fn add_source(&self, source: Arc<dyn Source>) {
        let mut sources = self
            .shared
            .sources
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        sources.push(source);
    }

    /// A node is no longer part of the cluster: it leaves the scrape once no lane to it is left.
    pub fn forget(&self, addr: &NodeAddr) {
        self.shared.workers.forget(addr);
    }

    /// The scrape, in Prometheus' text format.
    pub fn scrape(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// What the registry asks: all sources as one collector, described by the table.
struct AllSources {
    descriptions: Vec<Desc>,
    shared: Arc<Shared>,
}

impl Collector for AllSources {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut families = Families::new();
        self.shared.workers.collect(&mut families);
        let sources = self
            .shared
            .sources
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for source in sources.iter() {
            source.collect(&mut families);
        }
        families.finish()
    }
}

fn describe() -> Result<Vec<Desc>, prometheus::Error> {
    let describe = |m: &super::table::Definition| {
        let labels = m.labels.iter().map(|&l| l.to_owned()).collect();
        Desc::new(m.name.to_owned(), m.help.to_owned(), labels, HashMap::new())
    };
    METRICS.iter().map(describe).collect()
}

/// What was built.
struct Build;

impl Source for Build {
    fn collect(&self, families: &mut Families) {
        families.add(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1.0);
    }
}
