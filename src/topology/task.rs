//! The topology task: takes reports, starts refreshes when `pace` allows, gathers answers, publishes. Single flight: one
//! round of questions at a time, though a node that is slow may still be busy with an earlier one.

mod choice;
mod flight;
mod mood;
mod peer;
mod standalone;
#[cfg(test)]
mod tests;

use self::flight::Flight;
use self::peer::Peer;
use super::ask::{Answer, ask};
use super::commands::{Commands, Listed, Outcome};
use super::journal::Journal;
use super::pace::{Mood, Pace};
use super::profile::{Profile, ServerInfo};
use super::{LastError, Report, Rounds, Shared, TopologySettings, TopologyStatus};
use crate::cluster::{AddressMap, Belief, Health, NodeAddr, Patched, Shard, Standalone};
use crate::io::{Jitter, now};
use crate::observe::{RefreshResult, TopologyMetrics, Trigger};
use rustc_hash::{FxHashMap, FxHashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Control connections kept open between refreshes.
const LINKS_MAX: usize = 32;

/// Reports taken in at a time: one copy of the map for all of them.
const REPORTS_AT_ONCE: usize = 1024;

/// What happened next.
enum Event {
    Reports(usize),
    Answer(Box<Answer>),
    Listed(Box<Listed>),
    Lost,
    Due,
    Deadline,
}

/// State of the topology task.
pub(super) struct Task {
    settings: Arc<TopologySettings>,
    address_map: Arc<AddressMap>,
    shared: Arc<Shared>,
    rounds: watch::Sender<Rounds>,
    metrics: Arc<TopologyMetrics>,
    belief: Belief,
    standalone: Standalone,
    pace: Pace,
    peers: FxHashMap<NodeAddr, Peer>,
    questions: JoinSet<Answer>,
    commands: Commands,
    flight: Option<Flight>,
    /// Nodes a worker cannot reach, until they answer us again.
    suspects: FxHashMap<NodeAddr, Instant>,
    informer: Option<NodeAddr>,
    /// So that other nodes are asked every time.
    turn: usize,
    status: TopologyStatus,
    journal: Journal,
    jitter: Jitter,
}

impl Task {
    pub(super) fn new(
        settings: TopologySettings,
        shared: Arc<Shared>,
        rounds: watch::Sender<Rounds>,
        metrics: Arc<TopologyMetrics>,
    ) -> Self {
        Self {
            address_map: Arc::new(AddressMap::new(settings.address_map.iter().cloned())),
            pace: Pace::new(settings.refresh_interval, now()),
            settings: Arc::new(settings),
            commands: Commands::new(Arc::clone(&shared.table)),
            shared,
            rounds,
            metrics,
            belief: Belief::new(),
            standalone: Standalone::default(),
            peers: FxHashMap::default(),
            questions: JoinSet::new(),
            flight: None,
            suspects: FxHashMap::default(),
            informer: None,
            turn: 0,
            status: TopologyStatus::default(),
            journal: Journal::default(),
            jitter: Jitter::default(),
        }
    }

    /// Runs until the last handle is gone. Questions under way end with it.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Report>) {
        let mut reports = Vec::with_capacity(REPORTS_AT_ONCE);
        loop {
            match self.next(&mut inbox, &mut reports).await {
                Event::Reports(0) => return,
                Event::Reports(_) => self.take_in(reports.drain(..), now()),
                Event::Answer(answer) => self.answered(*answer, now()),
                Event::Listed(listed) => self.listed(*listed, now()),
                Event::Lost | Event::Deadline => {}
                Event::Due => self.start(now()),
            }
            self.finish_when_due(now());
        }
    }

    /// Cancel safe: nothing is taken out of a queue that is not returned.
    async fn next(
        &mut self,
        inbox: &mut mpsc::Receiver<Report>,
        reports: &mut Vec<Report>,
    ) -> Event {
        let due = self.pace.due();
        let flight = self.flight.as_ref().map(|f| f.until);
        let at = tokio::time::Instant::from_std(flight.unwrap_or(due));
        tokio::select! {
            biased;
            Some(answer) = self.questions.join_next() => match answer {
                Ok(answer) => Event::Answer(Box::new(answer)),
                Err(_) => Event::Lost,
            },
            listed = self.commands.listed() => Event::Listed(Box::new(listed)),
            count = inbox.recv_many(reports, REPORTS_AT_ONCE) => Event::Reports(count),
            () = tokio::time::sleep_until(at) => match flight {
                Some(_) => Event::Deadline,
                None => Event::Due,
            },
        }
    }

    /// Reports of the workers: one copy of the map for all patches among them.
    fn take_in(&mut self, reports: impl Iterator<Item = Report>, now: Instant) {
        let mut patched = 0;
        for report in reports {
            match report {
                Report::Moved {
                    slot,
                    to,
                    from,
                    said,
                } => {
                    let outcome = self.belief.patch(slot, &from, &to, said, now);
                    patched += usize::from(outcome == Patched::Applied);
                    if outcome != Patched::Known {
                        self.informer = Some(from);
                        self.pace.want(Trigger::Moved, now);
                    }
                }
                Report::Suspect { node, why } => {
                    if self.belief.nodes().iter().any(|n| n.addr == node) {
                        self.suspects.insert(node, now);
                    }
                    self.pace.want(why, now);
                }
                Report::Hint { from, why } => {
                    self.informer = Some(from);
                    self.pace.want(why, now);
                }
                Report::Refresh(trigger) => self.pace.want(trigger, now),
            }
        }
        if patched > 0 {
            tracing::debug!(slots = patched, "patched the map as MOVED told");
            self.publish();
            self.shared.status.store(Arc::new(self.status.clone()));
        }
    }

    /// Starts a refresh, or passes this time if there is nobody to ask.
    fn start(&mut self, now: Instant) {
        let random = self.random();
        let trigger = self.pace.start(now, random);
        let asked = self.choose(now);
        self.rounds.send_modify(|r| r.started += 1);
        self.flight = Some(Flight::new(trigger, asked.clone(), now));
        for addr in asked {
            let peer = self.peers.entry(addr.clone()).or_default();
            peer.busy = true;
            peer.asked_at = Some(now);
            let link = peer.link.take();
            let settings = Arc::clone(&self.settings);
            let map = Arc::clone(&self.address_map);
            self.questions
                .spawn(async move { ask(addr, link, &settings, &map).await });
        }
    }

    /// A question has ended, perhaps one of an earlier refresh.
    fn answered(&mut self, answer: Answer, now: Instant) {
        let random = self.random();
        let Answer { addr, link, said } = answer;
        self.wait_for_late(&said, now);
        let nodes = self.belief.nodes();
        let is_named = nodes.is_empty() || nodes.iter().any(|n| n.addr == addr);
        let peer = self.peers.entry(addr.clone()).or_default();
        peer.busy = false;
        peer.asked_at = None;
        if let Some(link) = &link {
            peer.profile = Some(link.profile.clone());
        }
        if let Some(link) = link {
            peer.link = self.commands.ask(&addr, link, now);
            peer.busy = peer.link.is_none();
        }
        peer.has_said(&said, is_named, now, random);
        if let Err(error) = &said {
            tracing::debug!(node = %addr, %error, "asked for its view, in vain");
        }
        if let Some(flight) = &mut self.flight {
            flight.take(addr, said, now);
        }
    }

    /// A node has listed its commands, or failed to.
    fn listed(&mut self, listed: Listed, now: Instant) {
        let addr = listed.addr.clone();
        let (link, outcome) = self.commands.take(listed, now);
        self.shared.wake();
        if let Some(peer) = self.peers.get_mut(&addr) {
            peer.link = link;
            peer.busy = false;
        }
        match outcome {
            Outcome::Answered => self.shared.listed.store(true, Ordering::Relaxed),
            // Another is asked in the next round: soon, not after `cluster.refresh_interval`.
            Outcome::Again(trigger) => self.pace.want(trigger, now),
        }
    }

    fn finish_when_due(&mut self, now: Instant) {
        if let Some(flight) = self
            .flight
            .take_if(|f| f.pending.is_empty() || now >= f.until)
        {
            self.finish(flight, now);
        }
    }

    /// All that will answer have answered.
    fn finish(&mut self, mut flight: Flight, now: Instant) {
        self.fold(&mut flight, now);
        let before = self.shared.map.load().version();
        let mood = match flight.views.is_empty() {
            true => Mood::Down,
            false => self.weigh(&flight, now),
        };
        self.pace.settle(mood, now);
        let after = self.shared.map.load().version();
        let result = match (flight.views.is_empty(), before == after) {
            (true, _) => RefreshResult::Failed,
            (false, true) => RefreshResult::Unchanged,
            (false, false) => RefreshResult::Changed,
        };
        self.metrics.refreshed(flight.trigger, result);
        self.rounds.send_modify(|r| {
            r.finished += 1;
            if result != RefreshResult::Failed {
                r.answered = r.finished;
            }
        });
        self.tell(flight, result, mood, now);
        self.prune();
        self.introduce();
    }

    /// Believes what is to be believed, and says how settled things are.
    fn weigh(&mut self, flight: &Flight, now: Instant) -> Mood {
        let asked = flight.nodes(|addr| self.peers.get(addr)?.id.clone());
        let round = self.belief.believe(&flight.views, asked, flight.began, now);
        if round.others {
            tracing::warn!(
                "another cluster is taken up than the one that was known: that did not serve, or is back; give each its own \
                 password where addresses are used again"
            );
        }
        let answered: FxHashSet<&NodeAddr> = flight.views.iter().map(|v| &v.source).collect();
        let nodes = self.belief.nodes();
        self.suspects.retain(|addr, since| {
            let node = nodes.iter().find(|n| n.addr == *addr);
            let back = answered.contains(addr) && *since <= flight.began;
            !back && node.is_some_and(|n| n.health != Health::Failed)
        });
        self.publish();
        self.mood(&round)
    }

    /// Publishes what is believed now, if it is anything new.
    fn publish(&mut self) {
        let current = self.shared.map.load_full();
        let map = self.belief.map(current.version() + 1);
        let changed = !map.same_content(&current);
        self.status.unconfirmed_slots = self.belief.unconfirmed();
        if changed {
            self.status.describe(&map);
            let replicas = map
                .nodes()
                .iter()
                .filter(|n| n.shard != Shard::Primary)
                .count();
            let primaries = map.nodes().len() - replicas;
            self.metrics
                .map(self.status.epoch, map.covered(), primaries, replicas);
            self.shared.publish(map);
        }
    }

    /// Status and log.
    fn tell(&mut self, flight: Flight, result: RefreshResult, mood: Mood, now: Instant) {
        let map = self.shared.map.load_full();
        let status = &mut self.status;
        status.mood = mood;
        status.refreshes = self.rounds.borrow().finished;
        status.trigger = Some(flight.trigger);
        if result == RefreshResult::Failed {
            let nobody = || LastError {
                error: "every node failed a moment ago and is left alone for up to a second"
                    .to_owned(),
                hint: "check that the nodes run and can be reached from here",
                at: Some(now),
            };
            status.last_error = flight
                .error
                .or_else(|| status.last_error.take())
                .or_else(|| Some(nobody()));
        } else {
            status.last_success = Some(now);
            status.last_error = None;
            status.heard(&flight.views, &self.belief);
        }
        let peers = &self.peers;
        status.list(&map, &self.belief, |addr| peers.get(addr)?.error.clone());
        self.journal.write(&map, status);
        self.shared.status.store(Arc::new(status.clone()));
    }

    /// Lets go of peers that are neither seeds nor known, and of connections past the bound.
    fn prune(&mut self) {
        let known: FxHashSet<&NodeAddr> = self.belief.nodes().iter().map(|n| &n.addr).collect();
        let seeds = &self.settings.seeds;
        let former = self.belief.former();
        let found = !known.is_empty();
        self.peers.retain(|addr, peer| {
            let named = known.contains(addr);
            if !named && found {
                // A seed by another name of a node: its answers told how the node is called.
                peer.link = None;
                peer.profile = None;
            }
            named || peer.busy || seeds.contains(addr) || former.iter().any(|n| n.addr == *addr)
        });
        let open = self.peers.values_mut().filter(|p| p.link.is_some());
        open.skip(LINKS_MAX).for_each(|p| p.link = None);
    }

    /// What the servers are and can do.
    fn introduce(&mut self) {
        let profiles = || self.peers.values().filter_map(|p| p.profile.as_ref());
        let info = ServerInfo::of(profiles());
        if info.version.is_empty() {
            return;
        }
        if **self.shared.server.load() != info {
            self.shared.server.store(Arc::new(info));
        }
        let editions = profiles().map(Profile::edition).collect();
        if self.commands.retain(&editions) {
            self.shared.wake();
        }
    }

    /// In 0..1; enough to keep many proxies from acting at once.
    fn random(&self) -> f64 {
        self.jitter.between(0.0, 1.0)
    }
}
