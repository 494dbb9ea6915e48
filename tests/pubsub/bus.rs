//! The cluster bus of the home of ordinary channels is cut, in a network of its own: the other nodes lose it, its clients do
//! not.

use crate::handover::{ARGS, misses_only_a_moment, wait_listener};
use crate::moves::{hears_all, wait_listeners};
use crate::support::netns::{Net, within};
use crate::support::{Proxy, SHOWN_WITHIN, ServerKind, cluster_options, one_or_all, redis, valkey};
use crate::{home_and_replica, listener};
use slotway::demo::Cluster;

#[test]
fn a_home_whose_bus_is_cut_is_left() {
    let lost = |net: &Net| one_or_all(redis()).iter().for_each(|kind| lost(net, kind));
    let handed = |net: &Net| {
        one_or_all(valkey())
            .iter()
            .for_each(|kind| handed_over(net, kind));
    };
    within(
        "bus::a_home_whose_bus_is_cut_is_left",
        &[("lost", &lost), ("handed over", &handed)],
    );
}

fn boot(net: &Net, kind: &ServerKind) -> Cluster {
    Cluster::boot(&net.options(cluster_options(kind))).unwrap()
}

/// Its replica is promoted, of which it does not hear before the cut is lifted.
fn lost(net: &Net, kind: &ServerKind) {
    let cluster = boot(net, kind);
    let proxy = Proxy::start(&cluster, &ARGS);
    let mut subscriber = listener(&proxy);
    let [home, replica] = home_and_replica(&cluster);
    net.cut_bus(&cluster, home);
    wait_listeners(&proxy, &cluster, &[replica]);
    hears_all(&proxy, &mut subscriber);
    net.lift();
    cluster.wait_healthy(SHOWN_WITHIN).unwrap();
    wait_listeners(&proxy, &cluster, &[replica]);
    hears_all(&proxy, &mut subscriber);
}

/// It has handed over, and is cut while it is still heard: nothing is passed on to it any more.
fn handed_over(net: &Net, kind: &ServerKind) {
    let cluster = boot(net, kind);
    let proxy = Proxy::start(&cluster, &ARGS);
    let mut subscriber = listener(&proxy);
    let [home, replica] = home_and_replica(&cluster);
    cluster.failover(replica).unwrap();
    wait_listener(&proxy, &cluster, replica);
    net.cut_bus(&cluster, home);
    misses_only_a_moment(&cluster, replica, &mut subscriber);
    wait_listeners(&proxy, &cluster, &[replica]);
}
