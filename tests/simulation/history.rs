//! The map only gets better (invariant 7): once a slot's newer owner is published, an older one never is again, whichever
//! answers come late. What newer means is the truth's to say.

use crate::cluster::{Cluster, State};
use slotway::cluster::{Slot, SlotMap};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// See the module.
#[derive(Default)]
pub struct History {
    changes: u64,
    /// Per segment: nodes, and at which changes each was its owner.
    owned: Vec<BTreeMap<SocketAddr, Vec<u64>>>,
    /// Per segment: whom the map last named, and the earliest change at which that can have been known.
    named: Vec<Option<(SocketAddr, u64)>>,
    version: u64,
}

impl History {
    /// The truth has changed, or is looked at for the first time.
    pub fn note(&mut self, cluster: &Cluster) {
        self.changes += 1;
        self.owned
            .resize_with(cluster.segments.len(), BTreeMap::new);
        self.named.resize(cluster.segments.len(), None);
        for (segment, owned) in self.owned.iter_mut().enumerate() {
            let owner = cluster.truth.primary[cluster.truth.owner[segment]];
            let owner = owned.entry(cluster.nodes[owner].addr).or_default();
            owner.push(self.changes);
        }
    }

    /// The proxy has published a map, perhaps.
    pub fn look(&mut self, map: &SlotMap, cluster: &Cluster) -> Result<(), String> {
        if map.version() == self.version {
            return Ok(());
        }
        self.version = map.version();
        for (segment, (first, _)) in cluster.segments.iter().enumerate() {
            let owner = Slot::new(*first).and_then(|slot| map.owner(slot));
            let Some(owner) = owner.map(|node| &map.node(node).addr) else {
                // Every answer of the model names an owner of every slot.
                if map.nodes().is_empty() {
                    continue;
                }
                return Err(format!(
                    "slot {first} has no owner (version {})",
                    self.version
                ));
            };
            let Ok(owner) = format!("{}:{}", owner.host(), owner.port()).parse() else {
                continue;
            };
            let named = &mut self.named[segment];
            if named.is_some_and(|(before, _)| before == owner) {
                continue;
            }
            let known = named.map_or(0, |(_, at)| at);
            let owned = self.owned[segment].get(&owner);
            let later = owned.and_then(|all| all.iter().find(|at| **at > known));
            let before = named.replace((owner, later.copied().unwrap_or_default()));
            if let (None, Some((before, _))) = (later, before)
                && !is_in_trouble(cluster, before)
            {
                return Err(format!(
                    "an older map wins: slot {first} went from {before} back to {owner} (version {})",
                    self.version
                ));
            }
        }
        Ok(())
    }
}

/// A node that some node takes for failed gives way to whoever else claims its slots.
fn is_in_trouble(cluster: &Cluster, addr: SocketAddr) -> bool {
    let at = cluster.nodes.iter().position(|n| n.addr == addr);
    at.is_none_or(|at| {
        let failed = |n: &crate::cluster::Node| n.view.failed[at];
        cluster.nodes[at].state != State::Running || cluster.nodes.iter().any(failed)
    })
}
