//! The cluster forgets the home of ordinary channels (`CLUSTER FORGET`), which lives and knows nothing of it: subscribers hear
//! what their publishers say, before and after somebody else gets its slot.

use crate::handover::ARGS;
use crate::moves::{hears_all, wait_listeners};
use crate::support::{Proxy, boot_cluster, on_each};
use crate::{HOME_SLOT, listener};
use slotway::demo::Cluster;

/// Rounds of questions after which whoever is forgotten would be.
const REFRESHES: f64 = 5.0;

/// Every other node forgets it, but for its replica, which may not.
pub(crate) fn forget(cluster: &Cluster, node: usize) {
    let ends_with_it = [Some(node), cluster.replica_of(node)];
    for other in (0..cluster.len()).filter(|&other| !ends_with_it.contains(&Some(other))) {
        let words = ["CLUSTER", "FORGET", cluster.id(node)];
        cluster.ask(other, &words).unwrap();
    }
}

#[test]
fn a_home_that_is_forgotten_is_left_when_another_has_its_slot() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &ARGS);
        let mut subscriber = listener(&proxy);
        let home = cluster.owner_of(HOME_SLOT).unwrap();
        wait_listeners(&proxy, &cluster, &[home]);
        forget(&cluster, home);
        let refreshes = || {
            let metrics = proxy.metrics();
            metrics.sum("slotway_topology_refreshes_total", &[])
        };
        let before = refreshes();
        while refreshes() - before < REFRESHES {
            hears_all(&proxy, &mut subscriber);
        }
        // As redis-cli mends a slot that nobody has; of those that are left, the one with the lowest epoch.
        let heir = usize::from(home == 0);
        cluster
            .ask(heir, &["CLUSTER", "ADDSLOTS", &HOME_SLOT.to_string()])
            .unwrap();
        cluster.ask(heir, &["CLUSTER", "BUMPEPOCH"]).unwrap();
        wait_listeners(&proxy, &cluster, &[heir]);
        hears_all(&proxy, &mut subscriber);
    });
}
