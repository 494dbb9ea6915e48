//! What one node says against what the others say, and hosts said in every way.

use super::cast::{Cast, Manner, ask, expect_served, map, topology, wait_refreshes};
use super::tale::{Shards, Tale};
use crate::support::SHOWN_WITHIN;

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
    wait_refreshes(&proxy, 2.0);
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
    wait_refreshes(&proxy, 2.0);
    assert_eq!(ask(&mut client, 100), "+2:nonce\r\n");
}
