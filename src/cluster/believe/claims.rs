//! The answers of one round: which of them are heard, what each claims, and where they make a difference.

use super::super::SLOTS;
use super::super::view::{ClusterState, Health, View};
use super::{NOBODY, Owner, Runs};
use std::collections::HashMap;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// One answer, with its nodes numbered as in `Belief::known`.
pub(super) struct Claims {
    pub(super) owners: Vec<u16>,
    pub(super) epochs: Vec<u64>,
    pub(super) failed: Vec<bool>,
}

impl Claims {
    pub(super) fn new(view: &View, numbers: &HashMap<Arc<str>, u16>, known: usize) -> Self {
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
            for slots in &node.slots {
                claims.claim(number, slots.indexes());
            }
        }
        claims
    }

    fn claim(&mut self, number: u16, slots: RangeInclusive<usize>) {
        let owners = &mut self.owners[slots];
        if owners.iter().all(|&held| held == NOBODY) {
            return owners.fill(number);
        }
        // One answer that gives a slot to two nodes: the same rule as between answers.
        let rank = |n: u16| (!self.failed[usize::from(n)], self.epochs[usize::from(n)]);
        for held in owners {
            if *held == NOBODY || rank(number) > rank(*held) {
                *held = number;
            }
        }
    }
}

/// The answers that are heard: if one node says the cluster serves, only those that do not say it is failed.
pub(super) fn trusted<'a>(views: &[&'a View]) -> Vec<&'a View> {
    let serving = views.iter().any(|v| v.state == ClusterState::Ok);
    let all = views.iter().copied();
    all.filter(|v| !serving || v.state != ClusterState::Fail)
        .collect()
}

/// Runs of slots on which neither any answer nor the belief so far makes a difference: what is decided for the first slot
/// of a run is so for all of it.
pub(super) fn cuts(
    owners: &Runs<Option<Owner>>,
    views: &[&View],
) -> Vec<(Range<usize>, Option<Owner>)> {
    let mut is_cut = vec![false; SLOTS + 1];
    let nodes = views.iter().flat_map(|view| &view.nodes);
    for slots in nodes.flat_map(|node| &node.slots) {
        let slots = slots.indexes();
        is_cut[*slots.start()] = true;
        is_cut[slots.end() + 1] = true;
    }
    let mut all = Vec::new();
    for (run, owner) in owners.iter() {
        let mut first = run.start;
        let inner = (run.start + 1..run.end).zip(&is_cut[run.start + 1..run.end]);
        for (slot, _) in inner.filter(|(_, is_cut)| **is_cut) {
            all.push((first..slot, *owner));
            first = slot;
        }
        all.push((first..run.end, *owner));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::tests::{primary, view};
    use super::*;

    /// Slots that an answer leaves out are a run of their own, too.
    #[test]
    fn every_end_of_a_range_is_a_cut() {
        let answer = view(1, &[primary(1, 1, &[(0, 9), (20, 29)]), primary(2, 1, &[])]);
        let other = view(2, &[primary(2, 1, &[(5, 24)])]);
        let cut = |views: &[&View]| {
            let runs = cuts(&Runs::new(None), views);
            runs.iter().map(|(run, _)| run.start).collect::<Vec<_>>()
        };
        assert_eq!(cut(&[&answer]), [0, 10, 20, 30]);
        assert_eq!(cut(&[&answer, &other]), [0, 5, 10, 20, 25, 30]);
        let whole = view(1, &[primary(1, 1, &[(0, SLOTS as i64 - 1)])]);
        assert_eq!(cut(&[&whole]), [0]);
    }
}
