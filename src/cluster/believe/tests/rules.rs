//! Each rule of rounds by itself: who is believed when answers differ, and what is forgotten.

use super::*;

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
