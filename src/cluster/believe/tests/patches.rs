//! What a MOVED changes at once, and for how long.

use super::*;

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

/// The slot went and came back, and only MOVED has told us: an answer from before both names the same owner.
#[test]
fn an_answer_from_before_both_moves_does_not_confirm_the_second() {
    let before = [
        primary(1, 1, &[(0, 16383)]),
        primary(2, 2, &[]),
        primary(3, 3, &[]),
    ];
    let between = [
        primary(1, 1, &[(1, 16383)]),
        primary(2, 5, &[(0, 0)]),
        primary(3, 3, &[]),
    ];
    let after = [
        primary(1, 6, &[(0, 16383)]),
        primary(2, 5, &[]),
        primary(3, 3, &[]),
    ];
    let mut case = Case::new();
    case.round(&[view(1, &before), view(2, &before)]);
    let began = case.now;
    assert_eq!(case.moved(0, 1, 2), Patched::Applied);
    assert_eq!(case.moved(0, 2, 1), Patched::Applied);
    // What 1 itself said before.
    case.belief.believe(&[view(1, &before)], 1, began, case.now);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(1), 1));
    case.round(&[view(3, &before)]);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(1), 1));
    let patched: Vec<u16> = case.belief.patched().map(|n| n.addr.port()).collect();
    assert_eq!(patched, [1], "the one to ask");
    // Those who have heard of the first only.
    case.round(&[view(3, &between), view(4, &between)]);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(1), 1));
    case.round(&[view(1, &after)]);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(1), 0));
    case.round(&[view(3, &between), view(4, &between)]);
    assert_eq!(case.owner(0), Some(1), "confirmed: the epoch holds it now");
}

/// Nobody says who it is there.
#[test]
fn where_answers_have_no_epochs_any_later_one_confirms() {
    let answer = |owner: u16| {
        let nodes = [1, 2].map(|n| match n == owner {
            true => primary(n, 0, &[(0, 16383)]),
            false => primary(n, 0, &[]),
        });
        View {
            myself: None,
            ..view(3, &nodes)
        }
    };
    let mut case = Case::new();
    case.round(&[answer(1)]);
    let began = case.now;
    assert_eq!(case.moved(0, 1, 2), Patched::Applied);
    case.belief.believe(&[answer(2)], 1, began, case.now);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(2), 1));
    case.round(&[answer(2)]);
    assert_eq!((case.owner(0), case.belief.unconfirmed()), (Some(2), 0));
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
