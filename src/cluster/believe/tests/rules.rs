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

/// By the name of a seed and by its address, say.
#[test]
fn one_node_that_answers_twice_has_one_voice() {
    let all = [primary(1, 1, &[(0, 8000)]), primary(2, 2, &[(8001, 16383)])];
    let half = [primary(1, 1, &[(0, 8000)]), primary(2, 2, &[])];
    let by_name = |nodes: &[ViewNode]| View {
        source: NodeAddr::new("redis-1", 6379),
        ..view(1, nodes)
    };
    let mut case = Case::new();
    let round = case.round(&[view(1, &all), by_name(&all)]);
    assert_eq!((round.trusted, round.unheard), (1, 0));
    // Of three that were asked, one by two names: one of two says so.
    for twins in [
        [view(1, &half), by_name(&half)],
        [by_name(&half), view(1, &half)],
    ] {
        assert_eq!(case.round_of(&twins, 3).covered, SLOTS);
    }
    let more = [by_name(&half), view(1, &half), view(2, &half)];
    assert_eq!(case.round_of(&more, 4).covered, 8001);
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
    let anew = [view(1, &[anew])];
    // The only answer of the first rounds may be a seed's that leads elsewhere.
    let round = case.round(&anew);
    assert_eq!((case.owner(0), round.failing), (Some(1), true));
    assert_eq!(&*case.belief.map(1).nodes()[0].id, "id-1");
    case.now += kin::ABSENT_MAX;
    case.round(&anew);
    let map = case.belief.map(1);
    assert_eq!(
        (map.nodes().len(), &*map.nodes()[0].id, map.nodes()[0].epoch),
        (1, "another", 1)
    );
}

/// Both were made with the same epochs, and only the other one is whole.
#[test]
fn another_cluster_that_a_seed_leads_to_is_not_heard_while_ours_served_lately() {
    let ranges = [(0, 5460), (5461, 10922), (10923, 16383)];
    let three = |first: u16| {
        let ports = (first..).zip(1..).zip(ranges);
        Vec::from_iter(ports.map(|((port, epoch), slots)| primary(port, epoch, &[slots])))
    };
    let says = |port: u16, nodes: &[ViewNode], state| View {
        state,
        ..view(port, nodes)
    };
    let (ours, theirs) = (three(1), view(11, &three(11)));
    let mut hurt = ours.clone();
    hurt[2] = failed(hurt[2].clone());
    let hurt = [1, 2].map(|port| says(port, &hurt, ClusterState::Fail));
    let owners = |case: &Case| [0, 6000, 12000].map(|slot| case.owner(slot).unwrap());

    let mut case = Case::new();
    case.round(&[1, 2, 3].map(|port| view(port, &ours)));
    // Seeds are asked a while later: the refresh before may have been long ago.
    case.now += FORGET_AFTER;
    let [one, two] = hurt;
    let round = case.round(&[one.clone(), two.clone(), theirs.clone()]);
    assert_eq!(owners(&case), [1, 2, 3]);
    assert_eq!((round.trusted, round.unheard, round.failing), (2, 1, true));
    // The one round in which nobody of ours was in time, though it has not served for longer.
    case.round(&[one.clone(), two.clone(), theirs.clone()]);
    case.now += kin::ABSENT_MAX;
    case.round_of(std::slice::from_ref(&theirs), 3);
    assert_eq!(owners(&case), [1, 2, 3]);
    let whole = [1, 2, 3].map(|port| view(port, &ours));
    case.round(&[&whole[..], std::slice::from_ref(&theirs)].concat());
    assert_eq!(owners(&case), [1, 2, 3]);

    // Most of ours works, and does not serve only for want of the rest: it is not given up.
    case.round(&[one.clone(), theirs.clone()]);
    case.now += FORGET_AFTER;
    case.round(&[one, theirs.clone()]);
    assert_eq!(owners(&case)[..2], [1, 2]);

    // All of ours that is left does not serve any more: it was replaced.
    let mut rest = ours.clone();
    for gone in &mut rest[1..] {
        *gone = failed(gone.clone());
    }
    let rest = says(1, &rest, ClusterState::Fail);
    assert!(case.round(&[rest.clone(), theirs.clone()]).others);
    assert_eq!(owners(&case), [11, 12, 13]);
    // It has no part in the other one, whatever it says.
    case.round(&[rest, theirs.clone()]);
    assert_eq!(owners(&case), [11, 12, 13]);
    assert_eq!(case.belief.former().len(), 3);
    // Ours again, though not whole yet.
    assert!(case.round(&[two, theirs.clone()]).others);
    assert_eq!(owners(&case)[..2], [1, 2]);
    let whole = [1, 2, 3].map(|port| view(port, &ours));
    case.round(&[&whole[..], &[theirs]].concat());
    assert_eq!(owners(&case), [1, 2, 3]);
    assert!(case.belief.former().is_empty());
}

/// Two others at addresses that were ours, and nobody of ours.
#[test]
fn of_two_other_clusters_one_is_taken_up() {
    let mut case = Case::new();
    case.round(&[view(1, &[primary(1, 1, &[(0, 16383)])])]);
    let half = |port, slots| view(port, &[primary(port, 9, &[slots])]);
    let two = [half(11, (0, 9000)), half(12, (8000, 16383))];
    case.round(&two);
    case.now += kin::ABSENT_MAX;
    assert!(case.round(&two).others);
    assert_eq!(case.belief.map(1).nodes().len(), 1);
}

/// A seed that is new or was reset, say, and answers first.
#[test]
fn who_has_never_served_does_not_keep_the_cluster_from_being_heard() {
    let mut alone = view(1, &[primary(1, 0, &[])]);
    alone.state = ClusterState::Fail;
    let mut case = Case::new();
    case.round(std::slice::from_ref(&alone));
    case.round(&[alone, view(2, &[primary(2, 1, &[(0, 16383)])])]);
    assert_eq!(case.owner(0), Some(2));
}

/// All primaries but one that has, or had, the slots before `first`.
fn rest(first: i64) -> [ViewNode; 3] {
    [
        primary(1, 1, &[(first, 8000)]),
        primary(2, 2, &[(8001, 16383)]),
        primary(3, 3, &[]),
    ]
}

#[test]
fn a_forgotten_node_that_does_not_know_it_wins_over_nobody() {
    // It goes on with a higher epoch than the one that has its slots now.
    let gone = primary(4, 9, &[(0, 100)]);
    let (some, all) = (rest(101), rest(0));
    let known = |rest: &[ViewNode]| [rest, std::slice::from_ref(&gone)].concat();
    let knowing = view(4, &known(&some));
    let mut case = Case::new();
    // Whoever has no heir is better than nobody.
    case.round(&[1, 2, 3].map(|port| view(port, &some)));
    let views = [view(1, &some), view(2, &some), knowing.clone()];
    case.round(&views);
    assert_eq!((case.owner(0), case.owner(101)), (Some(4), Some(1)));
    case.round(&[view(1, &all), view(2, &all), knowing.clone()]);
    assert_eq!(case.owner(0), Some(1));
    // Not even where that was not known before.
    let mut new = Case::new();
    new.round(&[knowing.clone(), view(1, &all), view(2, &all)]);
    assert_eq!(new.owner(0), Some(1));
    // Half of those asked name it, one of them without an address: it may be new to the others.
    let mut hidden = view(3, &all);
    hidden.unaddressed.push(gone.id.clone());
    case.round(&[view(1, &all), view(2, &all), hidden, knowing]);
    assert_eq!(case.owner(0), Some(4));
}

/// Half the cluster does not know it yet, nor its epoch.
#[test]
fn a_new_node_keeps_the_slots_that_it_was_given() {
    let new = primary(4, 9, &[(0, 100)]);
    let knowing = |port| view(port, &[&rest(101)[..], std::slice::from_ref(&new)].concat());
    let stale = |port| View {
        current_epoch: 3,
        ..view(port, &rest(0))
    };
    let mut case = Case::new();
    case.round(&[knowing(4), knowing(1), stale(2)]);
    assert_eq!(case.owner(0), Some(4));
    case.round(&[knowing(4), stale(2), stale(3)]);
    assert_eq!(case.owner(0), Some(4));
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
