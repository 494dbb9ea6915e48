//! The answers of one round, laid side by side: who claims a slot, who denies it, and whether that outweighs what is
//! believed already.

use super::super::NodeAddr;
use super::super::view::{Health, View};
use super::claims::Claims;
use super::{FORGET_AFTER, KnownNode, NOBODY, Owner, Told};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Answers that must agree before a slot is given up.
const AGREEING_MIN: usize = 2;

/// The answers of one round, laid side by side.
pub(super) struct Weighed {
    pub(super) claims: Vec<Claims>,
    /// Per node: the index in `claims` of its own answer.
    own: Vec<Option<usize>>,
    pub(super) named: Vec<bool>,
    /// Or forgotten by most.
    failed: Vec<bool>,
    asked: usize,
    /// Whether more than half of those asked were heard.
    pub(super) majority: bool,
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
    pub(super) fn new(
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
        let mut names = vec![vec![false; known.len()]; views.len()];
        for (at, view) in views.iter().enumerate() {
            for node in &view.nodes {
                if let Some(&number) = numbers.get(&node.id) {
                    said[usize::from(number)].push((at, node));
                }
            }
            let ids = view.nodes.iter().map(|node| &node.id);
            for id in ids.chain(&view.unaddressed) {
                if let Some(&number) = numbers.get(id) {
                    names[at][usize::from(number)] = true;
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
            let node = &mut known[number];
            // Who has forgotten it has heard of its epoch; to who has not it may be new.
            let strangers = (views.iter().zip(&names))
                .filter(|(view, names)| !names[number] && view.current_epoch >= newest.epoch)
                .count();
            let is_failed = failed * 2 > said.len();
            self.named[number] = true;
            self.failed[number] = is_failed || strangers * 2 > self.asked;
            node.addr = addr.map_or(&newest.addr, |(_, n)| &n.addr).clone();
            node.role = newest.role.clone();
            node.epoch = newest.epoch;
            node.named_at = self.now;
            node.health = match is_failed {
                true => Health::Failed,
                false => worst.min(Health::Suspected),
            };
        }
    }

    /// Who owns `slot`, of those who claim it and the one who was believed to.
    pub(super) fn decide(
        &self,
        slot: usize,
        standing: Option<Owner>,
        known: &[KnownNode],
    ) -> Option<Owner> {
        let Some(standing) = standing else {
            return self.best(slot, None).map(|best| best.owner(self.now));
        };
        let Some(best) = self.best(slot, Some(standing)) else {
            return self.unclaimed(slot, standing, known);
        };
        if best.node.0 == standing.node {
            if best.epoch <= standing.epoch && !self.confirms(slot, standing, best) {
                return Some(standing);
            }
            // Under a higher epoch it may have lost the slot and got it back.
            let same = best.epoch <= standing.epoch;
            return Some(Owner {
                epoch: best.epoch.max(standing.epoch),
                ..best.owner(if same { standing.since } else { self.now })
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
        Some(if wins { best.owner(self.now) } else { standing })
    }

    /// Whether the owner says itself that it has the slot, and said so later than the MOVED: others who name it may know
    /// neither of the slot's going nor of its coming back. Where no answer has epochs nobody says who it is.
    fn confirms(&self, slot: usize, standing: Owner, best: Claim) -> bool {
        let Told::Moved { at, .. } = standing.told else {
            return true;
        };
        let own = self.own[usize::from(standing.node)].map(|own| &self.claims[own]);
        let is_own = own.is_some_and(|own| own.owners[slot] == standing.node);
        (is_own || best.epoch == 0) && at < self.began
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
    fn owner(self, now: Instant) -> Owner {
        Owner {
            node: self.node.0,
            epoch: self.epoch,
            told: Told::Answer,
            since: now,
        }
    }
}
