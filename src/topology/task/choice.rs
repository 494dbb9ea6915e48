//! Whom a refresh asks, and whose late answers count.

use super::Task;
use super::flight::Flight;
use crate::cluster::{Health, NodeAddr, SlotMap};
use crate::observe::Trigger;
use crate::topology::Mood;
use crate::topology::ask::{AskError, Said};
use rustc_hash::FxHashSet;
use std::time::Instant;

impl Task {
    /// Whom to ask: who told us something first, then one that only MOVED calls an owner, then owners of slots, then others,
    /// each time others of them; one suspect, to see whether it is back, and one of a cluster whose place another has taken;
    /// seeds while nobody else has answered, or nobody who says that the cluster serves.
    pub(super) fn choose(&mut self, now: Instant) -> Vec<NodeAddr> {
        self.turn = self.turn.wrapping_add(1);
        let map = self.shared.map.load();
        let known = |addr: &NodeAddr| self.belief.nodes().iter().any(|n| n.addr == *addr);
        let mut wanted: Vec<NodeAddr> = Vec::new();
        if let Some(informer) = self.informer.take().filter(|i| known(i)) {
            wanted.push(informer);
        }
        let patched: Vec<NodeAddr> = self.belief.patched().map(|n| n.addr.clone()).collect();
        wanted.extend(turned(&patched, self.turn).take(1).cloned());
        if self.is_lost(&map) && !self.settings.seeds.is_empty() {
            let few = if map.nodes().is_empty() {
                ASKED_MAX
            } else {
                SEEDS_ASKED
            };
            wanted.extend(turned(&self.settings.seeds, self.turn).take(few).cloned());
        }
        wanted.extend_from_slice(self.standalone.wanted());
        if self.standalone.is_found() {
            // There may be a cluster by now.
            wanted.extend(turned(&self.settings.seeds, self.turn).take(1).cloned());
        }
        // The cluster whose place another one has taken may be back.
        let mut former: Vec<NodeAddr> = (self.belief.former().iter())
            .map(|n| n.addr.clone())
            .collect();
        former.sort();
        former.retain(|addr| self.is_ready(addr, now));
        wanted.extend(turned(&former, self.turn).take(1).cloned());
        let suspects: Vec<NodeAddr> = self.suspects.keys().cloned().collect();
        wanted.extend(turned(&suspects, self.turn).take(1).cloned());
        let owners: Vec<NodeAddr> = map
            .primaries()
            .into_iter()
            .map(|i| map.node(i).addr.clone())
            .collect();
        let nodes = self.belief.nodes().iter();
        let mut others: Vec<NodeAddr> = nodes.clone().map(|n| n.addr.clone()).collect();
        others.sort();
        let failed: FxHashSet<&NodeAddr> = nodes
            .filter(|n| n.health == Health::Failed)
            .map(|n| &n.addr)
            .collect();
        let doubtful = |addr: &NodeAddr| failed.contains(addr) || self.suspects.contains_key(addr);
        let in_turn = || turned(&owners, self.turn).chain(turned(&others, self.turn));
        wanted.extend(in_turn().filter(|&a| !doubtful(a)).cloned());
        wanted.extend(in_turn().filter(|&a| doubtful(a)).cloned());

        let mut seen = FxHashSet::default();
        wanted.retain(|addr| self.is_ready(addr, now) && seen.insert(addr.clone()));
        wanted.truncate(ASKED_MAX);
        wanted
    }

    fn is_ready(&self, addr: &NodeAddr, now: Instant) -> bool {
        let peer = self.peers.get(addr);
        peer.is_none_or(|peer| !peer.busy && peer.backoff.is_over(now))
    }

    /// Who answers only after its refresh was over is not heard: it is asked again. But while nobody is known, clients wait
    /// for any answer, and whoever needs long needs as long the next time.
    pub(super) fn wait_for_late(&mut self, said: &Result<Said, AskError>, now: Instant) {
        if said.is_err() || !self.belief.nodes().is_empty() {
            return;
        }
        let flight = self.flight.get_or_insert_with(|| {
            self.rounds.send_modify(|r| r.started += 1);
            Flight::new(Trigger::Start, Vec::new(), now)
        });
        let asked = self
            .peers
            .iter()
            .filter_map(|(a, p)| Some((a, p.asked_at?)));
        asked.for_each(|(addr, at)| flight.wait_for(addr, at));
    }

    /// Whether those who are known are not enough. They may be the rest of a cluster that has moved: what they do not serve
    /// is found where the seeds lead to, as for a client that begins anew.
    fn is_lost(&self, map: &SlotMap) -> bool {
        map.nodes().is_empty()
            || !self.belief.former().is_empty()
            || self.status.last_error.is_some()
            || matches!(self.status.mood, Mood::Down | Mood::Failover)
    }
}

/// `items`, beginning with another one every turn.
fn turned<T>(items: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let start = turn % items.len().max(1);
    items[start..].iter().chain(&items[..start])
}

/// Nodes asked in one refresh.
const ASKED_MAX: usize = 5;

/// Seeds among them while there is anybody else to ask.
const SEEDS_ASKED: usize = 2;
