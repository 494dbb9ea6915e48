//! A refresh in flight: who was asked, who has answered, and how long the rest is waited for.

use crate::cluster::{NodeAddr, Server, View};
use crate::observe::Trigger;
use crate::topology::LastError;
use crate::topology::ask::{AskError, Said};
use rustc_hash::FxHashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A refresh in flight.
pub(super) struct Flight {
    pub(super) trigger: Trigger,
    pub(super) began: Instant,
    pub(super) until: Instant,
    pub(super) asked: Vec<NodeAddr>,
    pub(super) pending: FxHashSet<NodeAddr>,
    pub(super) views: Vec<View>,
    /// What those say that have no cluster support.
    pub(super) servers: Vec<Server>,
    pub(super) error: Option<LastError>,
}

impl Flight {
    /// `asked` are being asked now.
    pub(super) fn new(trigger: Trigger, asked: Vec<NodeAddr>, now: Instant) -> Self {
        Self {
            trigger,
            began: now,
            until: now + FIRST_ANSWER_WITHIN,
            pending: asked.iter().cloned().collect(),
            asked,
            views: Vec::new(),
            servers: Vec::new(),
            error: None,
        }
    }

    /// Waits for `addr`, too, which was asked at `at`: an earlier refresh has given it up.
    pub(super) fn wait_for(&mut self, addr: &NodeAddr, at: Instant) {
        if !self.asked.contains(addr) {
            self.began = self.began.min(at);
            self.asked.push(addr.clone());
            self.pending.insert(addr.clone());
        }
    }

    /// One of the nodes asked has answered, or will not.
    pub(super) fn take(&mut self, addr: NodeAddr, said: Result<Said, AskError>, now: Instant) {
        if !self.pending.remove(&addr) {
            return;
        }
        match said {
            Ok(Said::Cluster(view)) => self.views.push(view),
            Ok(Said::Standalone(server)) => self.servers.push(server),
            Err(error) => {
                self.error = Some(LastError {
                    error: format!("{addr}: {error}"),
                    hint: error.hint(),
                    at: Some(now),
                });
            }
        }
        let more = match self.views.len() + self.servers.len() {
            0 => return,
            n if n * 2 > self.asked.len() => LAST_ANSWERS_WITHIN,
            _ => MORE_ANSWERS_WITHIN,
        };
        self.until = self.until.min(now + more);
    }

    /// How many nodes were asked, as [`crate::cluster::Belief::believe`] counts them. One that is silent under two names, or
    /// has answered under another, is one: `id` says which node was last heard there.
    pub(super) fn nodes(&self, id: impl Fn(&NodeAddr) -> Option<Arc<str>>) -> usize {
        let ids = self.views.iter().filter_map(View::own_id);
        let mut seen: FxHashSet<Arc<str>> = ids.map(Arc::from).collect();
        let heard = |addr: &NodeAddr| self.views.iter().any(|v| v.source == *addr);
        let silent = self.asked.iter().filter(|&addr| !heard(addr));
        let silent = silent.filter(|&addr| id(addr).is_none_or(|id| seen.insert(id)));
        self.views.len() + silent.count()
    }
}

/// Longest time a refresh waits for the first answer.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How much longer it waits for more once there is one.
const MORE_ANSWERS_WITHIN: Duration = Duration::from_millis(500);

/// How much longer it waits once more than half have answered.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_millis(100);
