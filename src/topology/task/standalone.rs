//! Servers without cluster support in a round of questions: what they say becomes what a cluster of one shard would say, unless
//! a cluster has answered, too.

use super::Task;
use super::flight::Flight;
use crate::cluster::{Belief, Standalone};
use crate::topology::LastError;
use crate::topology::ask::AskError;
use std::time::Instant;

impl Task {
    /// Before the answers are weighed.
    pub(super) fn fold(&mut self, flight: &mut Flight, now: Instant) {
        if !flight.views.is_empty() {
            return self.found_a_cluster(flight);
        }
        let Some(server) = flight.servers.first() else {
            return;
        };
        let is_cluster = !self.standalone.is_found() && !self.belief.nodes().is_empty();
        let folded = match is_cluster {
            // A node that was started without cluster support is not the cluster.
            true => Err((server.source.to_string(), AskError::NoCluster)),
            false => {
                let began = !self.standalone.is_found();
                let folded = self.standalone.fold(&flight.servers);
                if let (true, Ok(view)) = (began, &folded) {
                    tracing::info!(primary = %view.source, "no cluster: one server, which is one shard with all slots");
                }
                folded.map_err(|error| (String::new(), AskError::NoPrimary(error)))
            }
        };
        match folded {
            Ok(view) => {
                flight.asked = vec![view.source.clone()];
                flight.views.push(view);
            }
            Err((addr, error)) => {
                let separator = if addr.is_empty() { "" } else { ": " };
                flight.error = Some(LastError {
                    error: format!("{addr}{separator}{error}"),
                    hint: error.hint(),
                    at: Some(now),
                });
            }
        }
        self.status.standalone = self.standalone.is_found();
    }

    fn found_a_cluster(&mut self, flight: &Flight) {
        if self.standalone.is_found() {
            tracing::warn!("there is a cluster now: the server without cluster support is left");
            self.standalone = Standalone::default();
            self.belief = Belief::new();
        }
        self.status.standalone = false;
        for server in &flight.servers {
            let peer = self.peers.entry(server.source.clone()).or_default();
            let error = AskError::NoCluster.to_string();
            if peer.error.as_ref() != Some(&error) {
                tracing::warn!(node = %server.source, "others are a cluster, and it is not part of one: it is not used");
                peer.error = Some(error);
            }
        }
    }
}
