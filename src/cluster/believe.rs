//! Which of several answers to believe (invariant 7: the map only gets better). Pure: views in, [`SlotMap`] out;
//! time is passed in. `topology` owns the one [`Belief`] of the process.
//!
//! Per slot the owner with the highest config epoch wins, and what is already believed takes part with the
//! epoch it was believed under. Around that:
//! - a node that calls the cluster failed is not heard while another does not;
//! - what a node says about its own slots refutes what others say about them under no higher epoch;
//! - a failed node never wins over another claimant;
//! - a slot is not given up because one node does not list it: that takes a majority of those asked;
//! - a slot patched by MOVED stays patched until a later answer confirms it or has a higher epoch;
//! - a node that nobody names is forgotten after [`FORGET_AFTER`].

use super::view::{ClusterState, Health, Role, View};
use super::{Node, NodeAddr, NodeIndex, SLOTS, Shard, Slot, SlotMap, SlotMapBuilder};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A node that no answer has named for this long is forgotten, with the slots it was believed to own.
pub const FORGET_AFTER: Duration = Duration::from_secs(30);

/// Answers that must agree before a slot is given up.
const AGREEING_MIN: usize = 2;

const NOBODY: u16 = u16::MAX;

/// Everything believed about the cluster. One writer: the topology task.
#[derive(Default)]
pub struct Belief {
    known: Vec<KnownNode>,
    /// Per slot; empty until the first answer.
    owners: Vec<Option<Owner>>,
}

/// A node that was named, working or not.
#[derive(Clone, Debug)]
pub struct KnownNode {
    /// Its node id.
    pub id: Arc<str>,
    /// Where it is reached.
    pub addr: NodeAddr,
    /// Its part in its shard.
    pub role: Role,
    /// Its config epoch.
    pub epoch: u64,
    /// What the majority thinks of it.
    pub health: Health,
    /// When an answer last named it.
    pub named_at: Instant,
}

/// Who is believed to own a slot, and why.
#[derive(Clone, Copy)]
struct Owner {
    node: u16,
    /// A different owner has to come with a higher one.
    epoch: u64,
    told: Told,
}

#[derive(Clone, Copy)]
enum Told {
    /// By an answer.
    Answer,
    /// By a MOVED, not confirmed by an answer yet: when, and by whom, the owner until then.
    Moved { at: Instant, by: u16 },
}

/// What became of a MOVED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patched {
    /// The slot has a new owner.
    Applied,
    /// The slot has that owner already.
    Known,
    /// Said by a node that is not believed to own the slot: older than what is believed.
    Stale,
    /// It names an address that topology did not name: never dialled because of a MOVED.
    UnknownNode,
}

/// What one round of questions came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Answers that were heard.
    pub trusted: usize,
    /// Slots with an owner now.
    pub covered: usize,
    /// Slots on which an answer differs from what is believed now.
    pub differing: usize,
    /// Answers that were not heard, because they call the cluster failed and others do not.
    pub unheard: usize,
    /// Whether those that were heard call the cluster failed.
    pub failing: bool,
    /// Whether the owner of a slot is failed or suspected.
    pub owner_down: bool,
}

impl Belief {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every node known, in no order.
    pub fn nodes(&self) -> &[KnownNode] {
        &self.known
    }

    /// Takes in the answers of a round that began at `began` and in which `asked` nodes were asked.
    pub fn believe(&mut self, views: &[View], asked: usize, began: Instant, now: Instant) -> Round {
        self.owners.resize(SLOTS, None);
        let trusted = trusted(views);
        let weighed = Weighed::new(&mut self.known, &trusted, asked, began, now);
        let mut differing = 0;
        for slot in 0..SLOTS {
            let owner = weighed.decide(slot, self.owners[slot], &self.known);
            self.owners[slot] = owner;
            let node = owner.map_or(NOBODY, |o| o.node);
            differing += usize::from(weighed.claims.iter().any(|c| c.owners[slot] != node));
        }
        self.forget(&weighed, now);
        let owners = || self.owners.iter().flatten();
        Round {
            trusted: trusted.len(),
            covered: owners().count(),
            differing,
            unheard: views.len() - trusted.len(),
            failing: trusted.iter().any(|v| v.state == ClusterState::Fail),
            owner_down: owners().any(|o| self.known[o.node as usize].health >= Health::Suspected),
        }
    }

    /// `from` answered a request for `slot` with `MOVED slot to`.
    pub fn patch(&mut self, slot: Slot, from: &NodeAddr, to: &NodeAddr, now: Instant) -> Patched {
        let usable = |n: &&KnownNode| n.addr == *to && n.health != Health::Failed;
        let Some(node) = self.known.iter().position(|n| usable(&n)) else {
            return Patched::UnknownNode;
        };
        let before = self.owners[slot.index()];
        let mut epoch = self.known[node].epoch;
        if let Some(owner) = before {
            let addr = &self.known[owner.node as usize].addr;
            if addr == to {
                return Patched::Known;
            }
            if addr != from {
                return Patched::Stale;
            }
            epoch = epoch.max(owner.epoch);
        }
        self.owners[slot.index()] = Some(Owner {
            node: node as u16,
            epoch,
            told: Told::Moved {
                at: now,
                by: before.map_or(NOBODY, |o| o.node),
            },
        });
        Patched::Applied
    }

    /// How many slots were patched by MOVED and not confirmed yet.
    pub fn unconfirmed(&self) -> usize {
        let moved = |o: &&Owner| matches!(o.told, Told::Moved { .. });
        self.owners.iter().flatten().filter(moved).count()
    }

    /// The map to publish: every node that works or owns a slot, in the order of their ids.
    pub fn map(&self, version: u64) -> SlotMap {
        let mut owns = vec![false; self.known.len()];
        for owner in self.owners.iter().flatten() {
            owns[owner.node as usize] = true;
        }
        let mut order: Vec<usize> = (0..self.known.len())
            .filter(|&i| owns[i] || self.known[i].health != Health::Failed)
            .collect();
        order.sort_by(|&a, &b| self.known[a].id.cmp(&self.known[b].id));
        let mut builder = SlotMapBuilder::new();
        let mut index: Vec<Option<NodeIndex>> = vec![None; self.known.len()];
        for &at in &order {
            let node = &self.known[at];
            index[at] = builder.add(Node {
                addr: node.addr.clone(),
                id: Arc::clone(&node.id),
                shard: Shard::Primary,
                epoch: node.epoch,
            });
        }
        let by_id: HashMap<&str, usize> = order.iter().map(|&i| (&*self.known[i].id, i)).collect();
        for &at in order.iter().filter(|&&at| !owns[at]) {
            if let (Some(this), Role::ReplicaOf(primary)) = (index[at], &self.known[at].role) {
                let primary = primary.as_ref().and_then(|id| index[*by_id.get(&**id)?]);
                builder.set_shard(this, Shard::ReplicaOf(primary));
            }
        }
        for (slot, owner) in Slot::all().zip(&self.owners) {
            if let Some(owner) = owner.and_then(|o| index[o.node as usize]) {
                builder.assign(slot, owner);
            }
        }
        builder.build(version)
    }

    /// Lets go of nodes that nobody names, and renumbers the rest.
    fn forget(&mut self, weighed: &Weighed, now: Instant) {
        let mut owns = vec![false; self.known.len()];
        for owner in self.owners.iter().flatten() {
            owns[owner.node as usize] = true;
        }
        let mut at = vec![NOBODY; self.known.len()];
        let mut kept = Vec::with_capacity(self.known.len());
        for (i, node) in self.known.drain(..).enumerate() {
            let recent = now.saturating_duration_since(node.named_at) < FORGET_AFTER;
            if weighed.named[i] || (recent && (owns[i] || !weighed.majority)) {
                at[i] = kept.len() as u16;
                kept.push(node);
            }
        }
        self.known = kept;
        for owner in &mut self.owners {
            *owner = owner.and_then(|mut o| {
                o.node = at[o.node as usize];
                if let Told::Moved { by, .. } = &mut o.told {
                    *by = at.get(usize::from(*by)).copied().unwrap_or(NOBODY);
                }
                (o.node != NOBODY).then_some(o)
            });
        }
    }
}

/// The answers that are heard: if one node says the cluster serves, only those that do not say it is failed.
fn trusted(views: &[View]) -> Vec<&View> {
    let serving = views.iter().any(|v| v.state == ClusterState::Ok);
    views
        .iter()
        .filter(|v| !serving || v.state != ClusterState::Fail)
        .collect()
}

/// One answer, with its nodes numbered as in [`Belief::known`].
struct Claims {
    owners: Vec<u16>,
    epochs: Vec<u64>,
    failed: Vec<bool>,
}

/// The answers of one round, laid side by side.
struct Weighed {
    claims: Vec<Claims>,
    /// Per node: the index in `claims` of its own answer.
    own: Vec<Option<usize>>,
    named: Vec<bool>,
    failed: Vec<bool>,
    asked: usize,
    /// Whether more than half of those asked were heard.
    majority: bool,
    began: Instant,
    now: Instant,
}

/// The best claim to a slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    working: bool,
    epoch: u64,
    votes: usize,
    /// Only so that equal claims are always decided alike.
    node: std::cmp::Reverse<u16>,
}

impl Weighed {
    /// Numbers the nodes of all answers, and brings `known` up to date with them.
    fn new(
        known: &mut Vec<KnownNode>,
        views: &[&View],
        asked: usize,
        began: Instant,
        now: Instant,
    ) -> Self {
        let mut numbers: HashMap<Arc<str>, u16> = HashMap::new();
        for (at, node) in known.iter().enumerate() {
            numbers.insert(Arc::clone(&node.id), at as u16);
        }
        for node in views.iter().flat_map(|v| &v.nodes) {
            if known.len() < usize::from(NOBODY) && !numbers.contains_key(&node.id) {
                numbers.insert(Arc::clone(&node.id), known.len() as u16);
                known.push(KnownNode {
                    id: Arc::clone(&node.id),
                    addr: node.addr.clone(),
                    role: node.role.clone(),
                    epoch: 0,
                    health: Health::Online,
                    named_at: now,
                });
            }
        }
        let mut weighed = Self {
            claims: Vec::with_capacity(views.len()),
            own: vec![None; known.len()],
            named: vec![false; known.len()],
            failed: vec![false; known.len()],
            asked,
            majority: views.len() * 2 > asked,
            began,
            now,
        };
        for (at, view) in views.iter().enumerate() {
            weighed
                .claims
                .push(Claims::new(view, &numbers, known.len()));
            let myself = view.myself.and_then(|i| numbers.get(&view.nodes[i].id));
            if let Some(&node) = myself {
                weighed.own[usize::from(node)] = Some(at);
            }
        }
        weighed.learn(known, views, &numbers);
        weighed
    }

    /// Address, role, epoch and health of each node that was named.
    fn learn(
        &mut self,
        known: &mut [KnownNode],
        views: &[&View],
        numbers: &HashMap<Arc<str>, u16>,
    ) {
        let mut said = vec![Vec::new(); known.len()];
        for (at, view) in views.iter().enumerate() {
            for node in &view.nodes {
                if let Some(&number) = numbers.get(&node.id) {
                    said[usize::from(number)].push((at, node));
                }
            }
        }
        for (number, said) in said.iter().enumerate() {
            let newest = said
                .iter()
                .max_by_key(|(at, node)| (node.epoch, self.own[number] == Some(*at)));
            let Some((_, newest)) = newest else {
                continue;
            };
            let votes = |addr: &NodeAddr| said.iter().filter(|(_, n)| n.addr == *addr).count();
            let addr = said.iter().rev().max_by_key(|(_, n)| votes(&n.addr));
            let failed = said
                .iter()
                .filter(|(_, n)| n.health == Health::Failed)
                .count();
            let worst = said
                .iter()
                .map(|(_, n)| n.health)
                .max()
                .unwrap_or(Health::Online);
            self.named[number] = true;
            self.failed[number] = failed * 2 > said.len();
            let node = &mut known[number];
            node.addr = addr.map_or(&newest.addr, |(_, n)| &n.addr).clone();
            node.role = newest.role.clone();
            node.epoch = newest.epoch;
            node.named_at = self.now;
            node.health = match self.failed[number] {
                true => Health::Failed,
                false => worst.min(Health::Suspected),
            };
        }
    }

    /// Who owns `slot`, of those who claim it and the one who was believed to.
    fn decide(&self, slot: usize, standing: Option<Owner>, known: &[KnownNode]) -> Option<Owner> {
        let Some(standing) = standing else {
            return self.best(slot, None).map(Claim::owner);
        };
        let Some(best) = self.best(slot, Some(standing)) else {
            return self.unclaimed(slot, standing, known);
        };
        if best.node.0 == standing.node {
            return Some(Owner {
                epoch: best.epoch.max(standing.epoch),
                ..best.owner()
            });
        }
        let node = &known[usize::from(standing.node)];
        let wins = match standing.told {
            _ if self.gone(standing, known) => true,
            // Asked before: the next round decides, which is due soon.
            Told::Moved { at, .. } if at >= self.began => false,
            Told::Moved { .. } if self.refuted(standing.node, slot, node.epoch, None) => true,
            Told::Answer if self.refuted(standing.node, slot, standing.epoch, None) => true,
            _ if best.working && self.failed[usize::from(standing.node)] => true,
            _ if !best.working && !self.failed[usize::from(standing.node)] => false,
            _ if best.epoch > standing.epoch => true,
            Told::Moved { .. } => false,
            // No epochs, or two nodes that took the same one: the clearer majority.
            Told::Answer => {
                best.epoch == standing.epoch && best.votes > self.votes(slot, standing.node)
            }
        };
        Some(if wins { best.owner() } else { standing })
    }

    /// Nobody claims the slot, unless for an owner that denies it: the owner keeps it until enough of those asked list
    /// nobody. One that denies its own slots is one answer like any other here.
    fn unclaimed(&self, slot: usize, standing: Owner, known: &[KnownNode]) -> Option<Owner> {
        let nobody = self.votes(slot, NOBODY);
        let agreed = nobody >= AGREEING_MIN && nobody * 2 > self.asked;
        let node = usize::from(standing.node);
        let patched = matches!(standing.told, Told::Moved { .. }) && self.named[node];
        let keep = patched || (!agreed && !self.expired(node, known));
        keep.then_some(standing)
    }

    /// Nobody names that owner any more.
    fn gone(&self, standing: Owner, known: &[KnownNode]) -> bool {
        let node = usize::from(standing.node);
        !self.named[node] && (self.majority || self.expired(node, known))
    }

    fn expired(&self, node: usize, known: &[KnownNode]) -> bool {
        self.now.saturating_duration_since(known[node].named_at) >= FORGET_AFTER
    }

    fn votes(&self, slot: usize, node: u16) -> usize {
        self.claims
            .iter()
            .filter(|c| c.owners[slot] == node)
            .count()
    }

    /// The best claim. Of a slot that was patched, nobody but the two nodes concerned is heard who says that it is still
    /// where it was: that node's epoch may have risen, for other slots, before it gave this one up.
    fn best(&self, slot: usize, standing: Option<Owner>) -> Option<Claim> {
        let (gave_up, heard) = match standing {
            Some(Owner {
                node,
                told: Told::Moved { by, .. },
                ..
            }) => (by, self.own[node as usize]),
            _ => (NOBODY, None),
        };
        let mut best: Option<Claim> = None;
        for (at, claims) in self.claims.iter().enumerate() {
            let node = claims.owners[slot];
            if node == NOBODY {
                continue;
            }
            let number = usize::from(node);
            let claim = Claim {
                working: !self.failed[number] && !claims.failed[number],
                epoch: claims.epochs[number],
                votes: self.votes(slot, node),
                node: std::cmp::Reverse(node),
            };
            let is_past = node == gave_up && ![self.own[number], heard].contains(&Some(at));
            if !is_past && !self.refuted(node, slot, claim.epoch, Some(at)) {
                best = best.max(Some(claim));
            }
        }
        best
    }

    /// Whether `node` itself says, under `epoch` or a higher one, that the slot is not its own.
    fn refuted(&self, node: u16, slot: usize, epoch: u64, claimed_in: Option<usize>) -> bool {
        let number = usize::from(node);
        self.own[number].is_some_and(|own| {
            let claims = &self.claims[own];
            claimed_in != Some(own) && claims.owners[slot] != node && claims.epochs[number] >= epoch
        })
    }
}

impl Claim {
    fn owner(self) -> Owner {
        Owner {
            node: self.node.0,
            epoch: self.epoch,
            told: Told::Answer,
        }
    }
}

impl Claims {
    fn new(view: &View, numbers: &HashMap<Arc<str>, u16>, known: usize) -> Self {
        let mut claims = Self {
            owners: vec![NOBODY; SLOTS],
            epochs: vec![0; known],
            failed: vec![false; known],
        };
        for node in &view.nodes {
            let Some(&number) = numbers.get(&node.id) else {
                continue;
            };
            claims.epochs[usize::from(number)] = node.epoch;
            claims.failed[usize::from(number)] = node.health == Health::Failed;
            for slot in node.slots.iter().flat_map(|r| r.indexes()) {
                // One answer that gives a slot to two nodes: the same rule as between answers.
                let rank = |n: u16| {
                    (
                        !claims.failed[usize::from(n)],
                        claims.epochs[usize::from(n)],
                    )
                };
                let held = claims.owners[slot];
                if held == NOBODY || rank(number) > rank(held) {
                    claims.owners[slot] = number;
                }
            }
        }
        claims
    }
}

#[cfg(test)]
mod tests;
