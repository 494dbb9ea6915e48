//! What the admin endpoint shows of a running proxy, and where it has it from.

use crate::admin::AdminState;
use crate::explain::{self, Explanation, Known, Said};
use crate::observe::{History, Metrics, SAMPLED_EVERY};
use crate::session::{Mailbox, Shared};
use crate::topology::Topology;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// The lines of CLIENT LIST, from all workers.
pub(super) async fn clients(mailbox: Mailbox, most: usize) -> Result<(usize, Vec<String>), String> {
    mailbox
        .clients(most)
        .await
        .map_err(|error| error.to_string())
}

/// Explains commands as this proxy knows commands, nodes and options at that moment.
pub(super) fn explain(
    shared: &Shared,
) -> impl Fn(&[Said]) -> Result<Vec<Explanation>, String> + Send + Sync + 'static {
    let (config, topology) = (shared.config.clone(), shared.topology.clone());
    let (table, server) = (shared.table.clone(), shared.server.clone());
    move |said| {
        let status = topology.status();
        let known = Known::running(
            table.load_full(),
            topology.shared_map().load_full(),
            server.load_full(),
            &status.load(),
        );
        explain::explain(said, &config, &known)
    }
}

/// Takes a sample of the counters each second, for the status page.
pub(super) async fn sample(metrics: Metrics, history: Arc<History>) {
    let mut due = tokio::time::interval(SAMPLED_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        due.tick().await;
        history.push(Instant::now(), metrics.totals());
    }
}

/// Everything but the configuration, the history and the clients.
pub(super) fn admin_state(
    metrics: Metrics,
    topology: Topology,
    stop: CancellationToken,
) -> AdminState {
    let status = topology.status();
    let map = topology.shared_map();
    let owners = topology.shared_map();
    let known = topology.clone();
    AdminState::new(
        metrics,
        move || {
            if stop.is_cancelled() {
                return Err("draining".to_owned());
            }
            if map.load().nodes().is_empty() {
                let status = status.load();
                let why = status
                    .last_error
                    .as_ref()
                    .map_or("no node has answered yet", |e| &e.error);
                return Err(format!("no topology: {why}"));
            }
            match known.knows_commands() {
                true => Ok(()),
                false => Err("no node has listed its commands yet".to_owned()),
            }
        },
        move || serde_json::to_value(&**topology.status().load()).unwrap_or_default(),
        move |slot| {
            let map = owners.load();
            let owner = map.owner(slot)?;
            Some(map.node(owner).addr.clone())
        },
    )
}
