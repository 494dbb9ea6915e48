//! Moments of real failovers, and the traps in them; then each rule by itself with answers made for it.

use super::super::captured::{FAILED, KILLED, MAJORITY_DOWN, PROMOTED, RESUMED, STABLE, Using};
use super::super::view::{SlotRange, ViewNode};
use super::*;

/// Ports by part: the captured clusters have primaries at base + 0, 1, 2.
fn port_of(map: &SlotMap, slot: u16) -> Option<u16> {
    let owner = map.owner(Slot::new(slot).unwrap())?;
    Some(map.node(owner).addr.port() % 100)
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

/// A belief under test; one clock for all its rounds.
struct Case {
    belief: Belief,
    now: Instant,
}

impl Case {
    fn new() -> Self {
        Self {
            belief: Belief::new(),
            now: Instant::now(),
        }
    }

    fn round(&mut self, views: &[View]) -> Round {
        self.round_of(views, views.len())
    }

    fn round_of(&mut self, views: &[View], asked: usize) -> Round {
        self.now += Duration::from_millis(500);
        self.belief.believe(views, asked, self.now, self.now)
    }

    fn owner(&self, number: u16) -> Option<u16> {
        let map = self.belief.map(1);
        map.owner(slot(number)).map(|i| map.node(i).addr.port())
    }

    fn moved(&mut self, number: u16, from: u16, to: u16) -> Patched {
        self.now += Duration::from_millis(1);
        self.moved_long_ago(number, from, to, self.now)
    }

    /// The request had been sent at that moment, or later.
    fn moved_long_ago(&mut self, number: u16, from: u16, to: u16, sent: Instant) -> Patched {
        let said = Said {
            after: sent,
            before: self.now,
        };
        self.belief
            .patch(slot(number), &addr(from), &addr(to), said, self.now)
    }
}

fn addr(port: u16) -> NodeAddr {
    NodeAddr::new("10.0.0.1", port)
}

/// A primary at `port` with `epoch` and the slots `first..=last`.
fn primary(port: u16, epoch: u64, slots: &[(i64, i64)]) -> ViewNode {
    ViewNode {
        id: format!("id-{port}").into(),
        addr: addr(port),
        role: Role::Primary,
        epoch,
        health: Health::Online,
        slots: slots
            .iter()
            .map(|&(a, b)| SlotRange::new(a, b).unwrap())
            .collect(),
    }
}

fn failed(node: ViewNode) -> ViewNode {
    ViewNode {
        health: Health::Failed,
        ..node
    }
}

/// What the node at `port` says.
fn view(port: u16, nodes: &[ViewNode]) -> View {
    View {
        source: addr(port),
        state: ClusterState::Ok,
        current_epoch: 99,
        myself: nodes.iter().position(|n| n.addr.port() == port),
        nodes: nodes.to_vec(),
        migrating: Vec::new(),
    }
}

#[test]
fn a_stable_cluster_is_believed_from_any_one_answer() {
    for captured in STABLE {
        for using in [Using::Shards, Using::Slots] {
            for one in captured.views(using) {
                let mut case = Case::new();
                let round = case.round(&[one]);
                assert_eq!(
                    (round.covered, round.differing, round.owner_down),
                    (SLOTS, 0, false)
                );
                let map = case.belief.map(1);
                assert_eq!(map.nodes().len(), 6);
                assert_eq!(
                    [0, 5461, 10923].map(|s| port_of(&map, s)),
                    [Some(0), Some(1), Some(2)]
                );
                assert!(
                    map.primaries()
                        .iter()
                        .all(|&p| map.replicas(p).count() == 1)
                );
            }
        }
    }
}

/// While the primary is down and its replica not yet elected, all slots are assigned to the dead one: nobody else can
/// be believed. Once elected, every mix of old and new answers must name the new one, in any order of rounds.
#[test]
fn a_failover_is_followed_and_never_undone_by_stale_answers() {
    for server in 0..2 {
        let mut case = Case::new();
        case.round(&STABLE[server].views(Using::Shards));
        let suspected = case.round(&KILLED[server].views(Using::Shards));
        assert!(suspected.owner_down);
        let failed_views = FAILED[server].views(Using::Shards);
        let failed = case.round(&failed_views);
        assert!(failed.failing && failed.owner_down);
        assert_eq!(
            (failed.covered, port_of(&case.belief.map(1), 0)),
            (SLOTS, Some(0))
        );

        let promoted = PROMOTED[server].views(Using::Shards);
        let round = case.round(&promoted);
        let map = case.belief.map(1);
        let heir = port_of(&map, 0).unwrap();
        assert!(heir >= 3 && !round.owner_down && round.covered == SLOTS);
        assert_eq!(
            map.nodes().len(),
            5,
            "a failed node without slots is not offered to anybody"
        );
        assert_eq!(
            (0..5461)
                .filter(|&s| port_of(&map, s) == Some(heir))
                .count(),
            5461
        );

        for stale in STABLE[server]
            .views(Using::Shards)
            .into_iter()
            .chain(failed_views)
        {
            case.round(std::slice::from_ref(&stale));
            assert_eq!(
                port_of(&case.belief.map(1), 0),
                Some(heir),
                "{}",
                stale.source
            );
        }
        case.round(&STABLE[server].views(Using::Slots)[3..5]);
        assert_eq!(
            port_of(&case.belief.map(1), 0),
            Some(heir),
            "two stale answers that agree"
        );
    }
}

/// The dead primary comes back and still calls itself the owner.
#[test]
fn a_resumed_primary_does_not_get_its_slots_back() {
    for server in 0..2 {
        let stale = STABLE[server].views(Using::Shards).remove(0);
        assert_eq!(stale.myself.map(|i| stale.nodes[i].epoch), Some(1));
        let mut fresh: Vec<View> = PROMOTED[server].views(Using::Shards);
        fresh.retain(|v| v.state == ClusterState::Ok);
        fresh.truncate(1);
        fresh.insert(0, stale);
        let mut case = Case::new();
        let round = case.round(&fresh);
        assert!(port_of(&case.belief.map(1), 0).unwrap() >= 3);
        assert_eq!(round.differing, 5461);

        let round = case.round(&RESUMED[server].views(Using::Shards));
        assert_eq!((round.covered, round.owner_down), (SLOTS, false));
        let map = case.belief.map(1);
        assert!((0..16_384).all(|s| port_of(&map, s).is_some_and(|p| p >= 2)));
    }
}

#[test]
fn with_a_majority_down_the_slots_keep_their_owners() {
    for server in 0..2 {
        let mut case = Case::new();
        case.round(&RESUMED[server].views(Using::Shards));
        let before = case.belief.map(1);
        let round = case.round(&MAJORITY_DOWN[server].views(Using::Shards));
        assert!(round.failing && round.covered == SLOTS);
        let after = case.belief.map(1);
        assert!((0..16_384).all(|s| port_of(&before, s) == port_of(&after, s)));
    }
}

#[test]
fn the_higher_config_epoch_wins_whoever_says_it_and_however_few() {
    let old = [primary(1, 5, &[(0, 16383)]), primary(2, 3, &[])];
    let new = [primary(1, 5, &[(1, 16383)]), primary(2, 6, &[(0, 0)])];
    let mut case = Case::new();
    let round = case.round(&[view(3, &old), view(4, &old), view(2, &new)]);
    assert_eq!(
        (case.owner(0), case.owner(1), round.differing),
        (Some(2), Some(1), 1)
    );
}

#[test]
fn a_node_that_calls_the_cluster_failed_is_not_heard_while_another_does_not() {
    let good = [primary(1, 5, &[(0, 16383)])];
    let bad = [primary(1, 5, &[]), primary(2, 9, &[(0, 16383)])];
    let mut isolated = view(2, &bad);
    isolated.state = ClusterState::Fail;
    let mut case = Case::new();
    let round = case.round(&[isolated.clone(), view(1, &good)]);
    assert_eq!((case.owner(0), round.unheard), (Some(1), 1));
    let round = case.round(&[isolated]);
    assert_eq!(
        (case.owner(0), round.failing),
        (Some(2), true),
        "alone, it is all there is"
    );
}

#[test]
fn a_failed_node_does_not_win_over_another_claimant() {
    let a = [failed(primary(1, 9, &[(0, 16383)])), primary(2, 5, &[])];
    let b = [failed(primary(1, 9, &[])), primary(2, 5, &[(0, 16383)])];
    let mut case = Case::new();
    case.round(&[view(3, &a), view(2, &b)]);
    assert_eq!(case.owner(0), Some(2));
    // 9.1: the failed one is listed in the same answer.
    let both = [
        failed(primary(1, 9, &[(0, 16383)])),
        primary(2, 5, &[(0, 16383)]),
    ];
    let mut case = Case::new();
    case.round(&[view(2, &both)]);
    assert_eq!(case.owner(0), Some(2));
}

#[test]
fn what_a_node_says_of_itself_refutes_what_others_say_of_it() {
    // 3 has heard of 1's new epoch, but not yet that 1 gave slot 0 to 2.
    let lagging = [primary(1, 12, &[(0, 16383)]), primary(2, 11, &[])];
    let itself = [primary(1, 12, &[(1, 16383)]), primary(2, 11, &[(0, 0)])];
    let mut case = Case::new();
    case.round(&[view(3, &lagging), view(1, &itself)]);
    assert_eq!(case.owner(0), Some(2));
}

#[test]
fn one_shrinking_answer_is_not_believed_but_a_majority_is() {
    let all = [primary(1, 1, &[(0, 8000)]), primary(2, 2, &[(8001, 16383)])];
    let half = [primary(1, 1, &[(0, 8000)]), primary(2, 2, &[])];
    let mut case = Case::new();
    case.round(&[view(1, &all), view(2, &all)]);
    assert_eq!(case.round(&[view(1, &half)]).covered, SLOTS);
    assert_eq!(
        case.round_of(&[view(1, &half), view(2, &half)], 5).covered,
        SLOTS
    );
    assert_eq!(
        case.round_of(&[view(1, &half), view(2, &half)], 3).covered,
        8001
    );
}

#[test]
fn an_owner_that_denies_its_slots_is_alone_with_that_until_others_do() {
    let all = [primary(1, 1, &[(0, 8000)]), primary(2, 2, &[(8001, 16383)])];
    let none = [primary(1, 1, &[]), primary(2, 2, &[])];
    let mut case = Case::new();
    case.round(&[view(1, &all), view(2, &all), view(3, &all)]);
    let round = case.round(&[view(1, &all), view(2, &none), view(3, &all)]);
    assert_eq!(round.covered, SLOTS);
    let round = case.round(&[view(1, &all), view(2, &none), view(3, &none)]);
    assert_eq!(round.covered, 8001);
}

#[test]
fn a_patch_holds_until_it_is_confirmed_or_outdone() {
    let before = [
        primary(1, 10, &[(0, 16383)]),
        primary(2, 5, &[]),
        primary(3, 4, &[]),
    ];
    let done = [
        primary(1, 10, &[(1, 16383)]),
        primary(2, 11, &[(0, 0)]),
        primary(3, 4, &[]),
    ];
    let later = [
        primary(1, 10, &[(1, 16383)]),
        primary(2, 11, &[]),
        primary(3, 12, &[(0, 0)]),
    ];
    let mut case = Case::new();
    case.round(&[view(1, &before), view(4, &before)]);
    assert_eq!(case.moved(0, 1, 2), Patched::Applied);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(2), 1));
    let stale = [view(4, &before), view(5, &before), view(6, &before)];
    assert_eq!(case.round(&stale).differing, 1);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(2), 1));
    case.round(&[view(4, &done), view(5, &before)]);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(2), 0));
    case.round(&stale);
    assert_eq!(case.owner(0), Some(2), "confirmed: the epoch holds it now");

    assert_eq!(case.moved(0, 2, 1), Patched::Applied);
    case.round(&[view(5, &later)]);
    assert_eq!(
        (case.owner(0), case.belief.unconfirmed()),
        (Some(3), 0),
        "a higher epoch undoes a patch"
    );
}

#[test]
fn a_patch_falls_when_its_node_denies_it_in_a_later_round_only() {
    let all = [primary(1, 10, &[(0, 16383)]), primary(2, 5, &[])];
    let mut case = Case::new();
    case.round(&[view(1, &all)]);
    let began = case.now;
    case.moved(0, 1, 2);
    case.belief.believe(&[view(2, &all)], 1, began, case.now);
    assert_eq!(case.owner(0), Some(2), "asked before the MOVED");
    case.round(&[view(2, &all)]);
    assert_eq!(case.owner(0), Some(1));
}

#[test]
fn an_older_answer_does_not_undo_a_patch_whatever_its_epochs() {
    // 2 took slot 1 over, and with it a higher epoch, before it gave slot 0 up; only MOVED has told us of any of that.
    let before = [primary(1, 1, &[(1, 16383)]), primary(2, 2, &[(0, 0)])];
    let between = [primary(1, 1, &[(2, 16383)]), primary(2, 3, &[(0, 1)])];
    let after = [
        primary(1, 4, &[(0, 0), (2, 16383)]),
        primary(2, 3, &[(1, 1)]),
    ];
    let mut case = Case::new();
    case.round(&[view(1, &before), view(2, &before)]);
    let began = case.now;
    case.moved(0, 2, 1);
    let asked_before = [view(1, &between), view(2, &between)];
    case.belief.believe(&asked_before, 2, began, case.now);
    assert_eq!(case.owner(0), Some(1), "asked before the MOVED");
    case.round(&[view(4, &between), view(5, &between)]);
    assert_eq!(
        case.owner(0),
        Some(1),
        "said by others, who may not know yet"
    );
    case.round(&[view(1, &after)]);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(1), 0));
}

#[test]
fn only_news_from_the_owner_about_a_named_node_is_a_patch() {
    let all = [
        primary(1, 10, &[(0, 16383)]),
        primary(2, 5, &[]),
        failed(primary(3, 5, &[])),
    ];
    let mut case = Case::new();
    assert_eq!(
        case.moved(0, 1, 2),
        Patched::UnknownNode,
        "nothing is known yet"
    );
    case.round(&[view(1, &all)]);
    assert_eq!(case.moved(0, 1, 77), Patched::UnknownNode);
    assert_eq!(
        case.moved(0, 1, 3),
        Patched::UnknownNode,
        "failed, so not in the map"
    );
    assert_eq!(case.moved(0, 2, 2), Patched::Stale);
    assert_eq!(case.moved(0, 1, 1), Patched::Known);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(1), 0));
}

/// It may come late.
#[test]
fn what_a_node_said_before_it_got_the_slot_is_no_patch() {
    let before = [primary(1, 10, &[(0, 16383)]), primary(2, 5, &[])];
    let after = [primary(1, 10, &[(1, 16383)]), primary(2, 11, &[(0, 0)])];
    let mut case = Case::new();
    case.round(&[view(1, &before)]);
    let sent = case.now;
    case.round(&[view(1, &after), view(2, &after)]);
    assert_eq!(case.owner(0), Some(2));
    assert_eq!(case.moved_long_ago(0, 2, 1, sent), Patched::Stale);
    // What is sent from now on tells.
    assert_eq!(case.moved(0, 2, 1), Patched::Applied);
    // The same against what a MOVED told.
    let earlier = case.now - Duration::from_micros(1);
    assert_eq!(case.moved_long_ago(0, 1, 2, earlier), Patched::Stale);
    assert_eq!(case.owner(0), Some(1));
    // A command that has followed it at once.
    assert_eq!(case.moved_long_ago(0, 1, 2, case.now), Patched::Applied);
    assert_eq!(case.owner(0), Some(2));
    // Its time is known to a microsecond.
    let rounded = case.now - Duration::from_nanos(999);
    assert_eq!(case.moved_long_ago(0, 2, 1, rounded), Patched::Applied);
    assert_eq!(case.owner(0), Some(1));
}

/// A round that only says again what is known tells nothing about what was sent before it.
#[test]
fn a_moved_counts_that_was_on_its_way_during_a_round_without_news() {
    let same = [primary(1, 10, &[(0, 16383)]), primary(2, 5, &[])];
    let mut case = Case::new();
    case.round(&[view(1, &same)]);
    let sent = case.now;
    case.round(&[view(1, &same), view(2, &same)]);
    assert_eq!(case.moved_long_ago(0, 1, 2, sent), Patched::Applied);
    // One that the owner has under a higher epoch than before may have gone and come back.
    let back = [primary(1, 12, &[(0, 16383)]), primary(2, 11, &[])];
    let mut case = Case::new();
    case.round(&[view(1, &same)]);
    let sent = case.now;
    case.round(&[view(1, &back), view(2, &back)]);
    assert_eq!(case.moved_long_ago(0, 1, 2, sent), Patched::Stale);
}

/// `DELSLOTS` here and `ADDSLOTS` there raise no epoch.
#[test]
fn slots_assigned_anew_by_hand_are_believed_once_their_owner_denies_them() {
    let before = [primary(1, 10, &[(0, 16383)]), primary(2, 5, &[])];
    let after = [primary(1, 10, &[(1, 16383)]), primary(2, 5, &[(0, 0)])];
    let mut case = Case::new();
    case.round(&[view(1, &before)]);
    case.round(&[view(3, &after), view(4, &after)]);
    assert_eq!(case.owner(0), Some(1), "both may be stale");
    case.round(&[view(3, &after), view(1, &after)]);
    assert_eq!(case.owner(0), Some(2));
}

#[test]
fn a_cluster_built_anew_at_the_same_addresses_replaces_the_old_one() {
    let mut case = Case::new();
    case.round(&[view(1, &[primary(1, 40, &[(0, 16383)])])]);
    let mut anew = primary(1, 1, &[(0, 16383)]);
    anew.id = "another".into();
    case.round(&[view(1, &[anew])]);
    let map = case.belief.map(1);
    assert_eq!(
        (map.nodes().len(), &*map.nodes()[0].id, map.nodes()[0].epoch),
        (1, "another", 1)
    );
}

#[test]
fn who_is_not_named_is_forgotten_in_time() {
    let all = [
        primary(1, 1, &[(0, 8000)]),
        primary(2, 2, &[(8001, 16383)]),
        primary(3, 3, &[]),
    ];
    let mut case = Case::new();
    case.round(&[view(1, &all), view(2, &all)]);
    // A lone answer of five asked names neither 2 nor 3.
    let lone = view(1, &[primary(1, 1, &[(0, 8000)])]);
    assert_eq!(case.round_of(std::slice::from_ref(&lone), 5).covered, SLOTS);
    assert_eq!(case.belief.nodes().len(), 3);
    case.now += FORGET_AFTER;
    assert_eq!(case.round_of(&[lone], 5).covered, 8001);
    assert_eq!(case.belief.nodes().len(), 1);
}

#[test]
fn without_epochs_the_clearer_majority_decides() {
    let old = [primary(1, 0, &[(0, 16383)]), primary(2, 0, &[])];
    let new = [primary(1, 0, &[]), primary(2, 0, &[(0, 16383)])];
    let quiet = |port, nodes: &[ViewNode]| View {
        myself: None,
        ..view(port, nodes)
    };
    let mut case = Case::new();
    case.round(&[quiet(1, &old)]);
    case.round(&[quiet(1, &old), quiet(2, &new)]);
    assert_eq!(case.owner(0), Some(1));
    case.round(&[quiet(1, &old), quiet(2, &new), quiet(3, &new)]);
    assert_eq!(case.owner(0), Some(2));
}
