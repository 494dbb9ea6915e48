//! What one node says against what the others say, and hosts said in every way.

use super::cast::{Cast, Manner, ask, expect_served, map, topology, wait_refreshes};
use super::tale::{Shards, Tale};
use crate::support::{Proxy, SHOWN_WITHIN};

/// A slot of each of three nodes.
const SLOTS: [(u16, usize); 3] = [(100, 0), (6_000, 1), (12_000, 2)];

/// Refreshes in which a lie is heard before it is looked what came of it.
const HEARD: f64 = 4.0;

/// Node 2 tells `lie` again and again: nothing changes.
#[track_caller]
fn expect_not_believed(lie: impl Fn(&mut Tale)) {
    let cast = Cast::of(3);
    let proxy = cast.proxy(&[]);
    let before = map(&proxy);
    let mut tale = Tale::of(&cast.cluster, 3);
    lie(&mut tale);
    cast.set(2, Manner::Tells(tale));
    wait_refreshes(&proxy, HEARD);
    assert_eq!(map(&proxy), before, "the lie was believed");
    expect_served(&proxy, &SLOTS);
    assert!(cast.cluster.refusals().is_empty());
}

#[test]
fn a_minority_that_calls_the_cluster_failed_is_not_heard() {
    expect_not_believed(|tale| {
        tale.state = "fail";
        tale.nodes[0].flags = "master,fail";
        tale.nodes[1].flags = "master,fail";
        tale.nodes[0].slots.clear();
        tale.nodes[1].slots.clear();
        tale.nodes[2].slots = vec![(0, 16_383)];
        tale.nodes[2].epoch = 99;
    });
}

#[test]
fn an_older_epoch_and_what_its_owner_denies_do_not_count() {
    expect_not_believed(|tale| {
        let first = std::mem::take(&mut tale.nodes[0].slots);
        tale.nodes[0].slots = std::mem::replace(&mut tale.nodes[1].slots, first);
    });
    expect_not_believed(|tale| {
        tale.nodes.iter_mut().for_each(|node| node.epoch = 0);
        tale.nodes[2].slots = vec![(0, 16_383)];
        tale.nodes[0].slots.clear();
        tale.nodes[1].slots.clear();
    });
}

#[test]
fn a_shrinking_answer_alone_is_not_believed() {
    expect_not_believed(|tale| tale.nodes[0].slots = vec![(0, 50)]);
    expect_not_believed(|tale| tale.nodes.truncate(1));
    expect_not_believed(|tale| tale.nodes.iter_mut().for_each(|node| node.slots.clear()));
}

/// Of a cluster that has moved one old node still runs. It calls the cluster failed, and knows none of the new ones: they
/// are where the seed leads to, and know the old ones as failed.
#[test]
fn the_seeds_are_asked_again_when_the_last_of_the_old_nodes_calls_the_cluster_failed() {
    let (cast, proxy) = with_a_seed();
    only_one_is_left(&cast);
    // As if the name led there only now.
    wait_refreshes(&proxy, HEARD);
    let mut new = Tale::of(&cast.cluster, 4);
    for old in &mut new.nodes[..3] {
        old.flags = "master,fail";
        old.slots.clear();
    }
    new.nodes[3].slots = vec![(0, 16_383)];
    cast.set(3, Manner::Tells(new));
    let mut client = proxy.client();
    proxy.wait_for("the new node is found", SHOWN_WITHIN, || {
        match &ask(&mut client, 100)[..] {
            "+3:nonce\r\n" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    expect_served(&proxy, &SLOTS.map(|(slot, _)| (slot, 3)));
}

/// The name leads to a node of another cluster by now. It has the slots there, under a higher epoch.
#[test]
fn another_cluster_at_a_seed_is_not_heard_while_ours_fails() {
    let (cast, proxy) = with_a_seed();
    let mut other = Tale::of(&cast.cluster, 4);
    other.nodes.retain(|told| told.node == 3);
    other.nodes[0].slots = vec![(0, 16_383)];
    cast.set(3, Manner::Tells(other));
    only_one_is_left(&cast);
    let asked = || cast.cluster.count(3, "CLUSTER");
    let before = asked();
    proxy.wait_for("the seed is asked", SHOWN_WITHIN, || match asked() {
        // What it was asked first is answered, and believed or not.
        now if now >= before + 6 => Ok(()),
        now => Err(format!("{before}, {now}")),
    });
    wait_refreshes(&proxy, 1.0);
    expect_served(&proxy, &SLOTS);
}

/// Node 2, which says so.
fn only_one_is_left(cast: &Cast) {
    let mut cut_off = Tale::of(&cast.cluster, 3);
    cut_off.state = "fail";
    cast.set(2, Manner::Tells(cut_off));
    for gone in [0, 1] {
        cast.set(gone, Manner::Says(b"-ERR gone\r\n".to_vec()));
    }
}

/// Three nodes with all slots, and the one seed, which names them only.
fn with_a_seed() -> (Cast, Proxy) {
    let cast = Cast::of(4);
    cast.all_tell(&Tale::of(&cast.cluster, 3));
    let usual = ["--workers", "1", "--set", "cluster.refresh_interval=100ms"];
    let proxy = Proxy::spawn(&[cast.cluster.addr(3)], &usual);
    proxy.wait_ready();
    expect_served(&proxy, &SLOTS);
    (cast, proxy)
}

#[test]
fn a_host_may_be_empty_null_or_not_known() {
    expect_not_believed(|tale| {
        tale.nodes[0].host = Some(String::new());
        tale.nodes[1].host = None;
        tale.nodes[2].host = Some("?".into());
    });
    // Nobody knows better: empty and NULL are the host that was asked, "?" cannot be dialled.
    for host in [Some(""), None] {
        let cast = Cast::of(3);
        let mut tale = Tale::of(&cast.cluster, 3);
        let host = host.map(str::to_owned);
        tale.nodes
            .iter_mut()
            .for_each(|node| node.host.clone_from(&host));
        for shards in [Shards::Known, Shards::Unknown] {
            tale.shards = shards;
            cast.all_tell(&tale);
            expect_served(&cast.proxy(&[]), &SLOTS);
        }
    }
    let cast = Cast::of(3);
    let mut tale = Tale::of(&cast.cluster, 3);
    tale.nodes
        .iter_mut()
        .for_each(|node| node.host = Some("?".into()));
    cast.all_tell(&tale);
    let proxy = cast.spawn(&["--set", "timeouts.unavailable=200ms"]);
    proxy.wait_for("a hint", SHOWN_WITHIN, || {
        let error = topology(&proxy)["last_error"].to_string();
        match error.contains("announce an IP or a hostname on the nodes") {
            true => Ok(()),
            false => Err(error),
        }
    });
    let got = ask(&mut proxy.client(), 100);
    assert!(
        got.starts_with("-CLUSTERDOWN slotway: no topology yet"),
        "{got}"
    );
}

/// Waits until a node is believed to own a slot.
#[track_caller]
fn wait_moved(cast: &Cast, proxy: &Proxy, slot: u16, node: usize) {
    let owner = cast.cluster.addr(node).to_string();
    proxy.wait_for("the move is believed", SHOWN_WITHIN, || {
        match proxy.owner_of(slot) {
            Some(now) if now == owner => Ok(()),
            now => Err(format!("{now:?}, not {owner}")),
        }
    });
}

#[test]
fn without_cluster_shards_cluster_slots_is_asked() {
    let cast = Cast::of(3);
    let mut tale = Tale::of(&cast.cluster, 3);
    tale.shards = Shards::Unknown;
    cast.all_tell(&tale);
    let proxy = cast.proxy(&[]);
    expect_served(&proxy, &SLOTS);
    // And what moves is followed.
    tale.nodes[0].slots = vec![(0, 99), (101, 5_460)];
    tale.nodes[1].slots.push((100, 100));
    tale.nodes[1].epoch = 9;
    cast.all_tell(&tale);
    wait_moved(&cast, &proxy, 100, 1);
    expect_served(&proxy, &[(99, 0), (100, 1), (101, 0)]);
    assert!(
        cast.cluster
            .calls(0)
            .iter()
            .any(|call| call.args[1..] == [b"SLOTS"])
    );
}

#[test]
fn a_slot_of_nobody_is_an_error_for_itself_alone() {
    let cast = Cast::of(3);
    let mut tale = Tale::of(&cast.cluster, 3);
    cast.all_tell(&tale);
    let proxy = cast.proxy(&["--set", "timeouts.unavailable=300ms"]);
    tale.nodes[0].slots = vec![(0, 99), (101, 5_460)];
    cast.all_tell(&tale);
    wait_refreshes(&proxy, 3.0);
    let mut client = proxy.client();
    let got = ask(&mut client, 100);
    assert!(
        got.starts_with("-CLUSTERDOWN slotway: no primary serves slot 100"),
        "{got}"
    );
    expect_served(&proxy, &[(99, 0), (101, 0), (6_000, 1), (12_000, 2)]);
    tale.nodes[2].slots.push((100, 100));
    cast.all_tell(&tale);
    wait_moved(&cast, &proxy, 100, 2);
    assert_eq!(ask(&mut client, 100), "+2:nonce\r\n");
}
