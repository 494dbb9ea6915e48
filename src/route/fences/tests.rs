//! The order in which refused, resent and held requests of one slot go out, step by step.

use super::line::Line;
use super::*;
use crate::cluster::NodeAddr;
use crate::route::{Access, Asking};
use crate::upstream::Class;
use bytes::Bytes;

const A: LaneId = LaneId::NONE;

fn slot() -> Slot {
    Slot::of(b"k")
}

fn ticket(seq: u64) -> Ticket {
    Ticket::new(seq, 0, Some(slot()))
}

fn held(seq: u64) -> Held {
    Held {
        ticket: ticket(seq),
        request: Bytes::from(format!("request {seq}")),
        class: Class::Normal,
    }
}

fn refused(seq: u64) -> Refused {
    Refused {
        held: held(seq),
        why: Why::TryAgain,
        reply: Bytes::from_static(b"-TRYAGAIN\r\n"),
        past: Past {
            attempts: 1,
            ..Past::default()
        },
        not_before: None,
    }
}

/// A request that was never anywhere.
fn full(seq: u64) -> Refused {
    Refused {
        why: Why::Full {
            to: None,
            room: Room::Request,
        },
        past: Past::default(),
        ..refused(seq)
    }
}

/// Three requests are in flight when the first is refused.
fn three_in_flight() -> Fences {
    Fences::enter([(slot(), A); 3].into_iter(), 3)
}

/// What is next, if those that were executed would conflict with it or not.
fn next(fences: &mut Fences, conflict: bool) -> Next {
    let footprint = match conflict {
        true => Footprint::Unknown,
        false => nothing(),
    };
    fences.next(slot(), Instant::now(), |_| footprint)
}

/// It touches nothing.
fn nothing() -> Footprint {
    Footprint::Keys(Vec::new(), Access::Reads)
}

#[test]
fn nothing_is_resent_while_others_are_in_flight() {
    let mut fences = three_in_flight();
    fences.refused(slot(), refused(0));
    assert!(matches!(next(&mut fences, false), Next::Idle));
    assert!(!fences.admits(slot(), A), "later requests are held");
    fences.refused(slot(), refused(1));
    assert!(matches!(next(&mut fences, false), Next::Idle));
    fences.executed(ticket(2), slot(), nothing);
    assert!(matches!(next(&mut fences, false), Next::Resend(r) if r.held.ticket == ticket(0)));
}

/// Requests that have all been refused, for these reasons.
fn all_refused(reasons: &[Why]) -> Fences {
    let count = reasons.len();
    let mut fences = Fences::enter(std::iter::repeat_n((slot(), A), count), count as u64);
    for (seq, why) in reasons.iter().enumerate() {
        let why = why.clone();
        let refused = refused(seq as u64);
        fences.refused(slot(), Refused { why, ..refused });
    }
    fences
}

/// The next one is resent. Gives its number.
#[track_caller]
fn resend(fences: &mut Fences) -> u64 {
    let Next::Resend(refused) = next(fences, false) else {
        panic!("one is resent");
    };
    fences.resend(slot(), A, &refused);
    refused.held.ticket.seq
}

fn moved() -> Why {
    Why::Moved(NodeAddr::new("127.0.0.1", 1))
}

#[test]
fn once_one_has_executed_where_the_slot_has_moved_the_others_follow_together() {
    let mut fences = all_refused(&[moved(), moved(), moved()]);
    fences.hold(slot(), A, held(3));
    assert_eq!(resend(&mut fences), 0);
    assert!(matches!(next(&mut fences, false), Next::Idle), "alone");
    fences.executed(ticket(0), slot(), nothing);
    assert_eq!(resend(&mut fences), 1);
    assert_eq!(resend(&mut fences), 2);
    assert!(matches!(next(&mut fences, false), Next::Idle));
    for seq in 1..3 {
        fences.executed(ticket(seq), slot(), nothing);
    }
    assert!(matches!(next(&mut fences, false), Next::Release(h) if h.ticket == ticket(3)));
    assert!(matches!(next(&mut fences, false), Next::Idle));
    assert!(fences.is_over(3));
}

#[test]
fn nothing_follows_one_that_is_refused_again_or_lost() {
    for is_lost in [false, true] {
        let mut fences = all_refused(&[moved(), moved(), moved(), moved()]);
        assert_eq!(resend(&mut fences), 0);
        fences.executed(ticket(0), slot(), nothing);
        assert_eq!([resend(&mut fences), resend(&mut fences)], [1, 2]);
        match is_lost {
            true => fences.lost(ticket(1), slot(), nothing),
            false => fences.refused(
                slot(),
                Refused {
                    why: moved(),
                    ..refused(1)
                },
            ),
        }
        assert!(
            matches!(next(&mut fences, false), Next::Idle),
            "one is in flight"
        );
        fences.executed(ticket(2), slot(), nothing);
        let first = if is_lost { 3 } else { 1 };
        assert_eq!(resend(&mut fences), first);
    }
}

#[test]
fn nothing_follows_one_that_was_refused_for_another_reason() {
    let mut fences = all_refused(&[moved(), Why::NotSent, moved()]);
    assert_eq!(resend(&mut fences), 0);
    fences.executed(ticket(0), slot(), nothing);
    assert_eq!(resend(&mut fences), 1);
    assert!(matches!(next(&mut fences, false), Next::Idle), "alone");
}

#[test]
fn what_is_refused_for_single_keys_is_resent_alone_and_in_order_then_what_is_held() {
    let mut fences = three_in_flight();
    fences.hold(slot(), A, held(3));
    for seq in [1, 0, 2] {
        fences.refused(slot(), refused(seq));
    }
    for seq in 0..3 {
        let Next::Resend(refused) = next(&mut fences, false) else {
            panic!("{seq} is next");
        };
        assert_eq!(refused.held.ticket, ticket(seq));
        fences.resend(slot(), A, &refused);
        assert!(matches!(next(&mut fences, false), Next::Idle), "alone");
        fences.executed(ticket(seq), slot(), nothing);
    }
    assert!(matches!(next(&mut fences, false), Next::Release(h) if h.ticket == ticket(3)));
    assert!(matches!(next(&mut fences, false), Next::Idle));
    assert!(fences.is_over(3));
}

/// MSET a b is refused with TRYAGAIN, SET a behind it executes: resending MSET would reverse them.
#[test]
fn a_refused_request_is_not_resent_behind_a_later_one_that_conflicts() {
    let mut fences = three_in_flight();
    fences.refused(slot(), refused(0));
    fences.executed(ticket(1), slot(), nothing);
    fences.executed(ticket(2), slot(), nothing);
    assert!(matches!(next(&mut fences, true), Next::Conflict(r) if r.held.ticket == ticket(0)));
    assert!(matches!(next(&mut fences, true), Next::Idle));
}

#[test]
fn an_earlier_request_that_executed_is_no_conflict() {
    let mut fences = Fences::enter([(slot(), A); 2].into_iter(), 2);
    fences.executed(ticket(0), slot(), nothing);
    fences.refused(slot(), refused(1));
    assert!(matches!(next(&mut fences, true), Next::Resend(_)));
}

#[test]
fn a_resent_request_keeps_its_history_and_its_conflicts() {
    let mut fences = Fences::enter([(slot(), A); 2].into_iter(), 2);
    fences.refused(slot(), refused(0));
    fences.executed(ticket(1), slot(), nothing);
    fences.executed(ticket(2), slot(), nothing);
    let Next::Resend(mut first) = next(&mut fences, false) else {
        panic!("it is resent");
    };
    first.past.hops = 2;
    fences.resend(slot(), A, &first);
    assert_eq!(fences.past(ticket(0)), first.past);
    fences.refused(slot(), refused(0));
    assert!(
        matches!(next(&mut fences, true), Next::Conflict(_)),
        "still behind later ones"
    );
}

#[test]
fn a_new_lane_waits_until_the_old_one_is_quiet() {
    let mut fences = three_in_flight();
    let other = LaneId::NONE;
    assert!(fences.admits(slot(), other));
    fences.hold(slot(), A, held(3));
    assert!(!fences.admits(slot(), A), "order among the held ones");
    assert!(!fences.is_over(3));
}

#[test]
fn the_wait_for_room_is_counted_from_its_own_begin() {
    let begin = Instant::now();
    let after = |s| begin + std::time::Duration::from_secs(s);
    let mut fences = three_in_flight();
    let full_since = |fences: &mut Fences, now| fences.full_since(slot(), Room::Request, now).1;
    assert_eq!(full_since(&mut fences, begin), begin);
    fences.put_back(slot(), A, full(3));
    // What comes behind it waits for the same.
    assert_eq!(full_since(&mut fences, after(1)), begin);
    fences.put_back(slot(), A, full(4));
    assert_eq!(full_since(&mut fences, after(2)), begin);
    // What was refused waited for something else, and so did all behind it.
    fences.refused(slot(), refused(0));
    assert_eq!(full_since(&mut fences, after(3)), after(3));
    fences.put_back(slot(), A, refused(1));
    assert_eq!(full_since(&mut fences, after(4)), after(4));
    // With room among large replies it takes longer altogether.
    let large = Room::LargeReply;
    for room in [large, Room::Request] {
        assert_eq!(fences.full_since(slot(), room, after(5)), (large, after(4)));
    }
    fences.unhold(slot(), held(5));
    assert_eq!(full_since(&mut fences, after(7)), after(7));
}

/// Its turn at the lane comes while one in front of it, which has been refused meanwhile, is being followed.
#[test]
fn room_is_for_the_one_that_waits_for_it_wherever_it_stands() {
    let mut fences = three_in_flight();
    for seq in [0, 1] {
        fences.executed(ticket(seq), slot(), nothing);
    }
    let later = Instant::now() + std::time::Duration::from_secs(9);
    let waits = Refused {
        not_before: Some(later),
        ..full(3)
    };
    fences.put_back(slot(), A, waits);
    fences.refused(slot(), refused(2));
    fences.let_in(slot(), A);
    assert_eq!(resend(&mut fences), 2);
    fences.executed(ticket(2), slot(), nothing);
    assert_eq!(resend(&mut fences), 3);
}

#[test]
fn waiting_is_waited_for() {
    let now = Instant::now();
    let later = now + std::time::Duration::from_secs(9);
    let mut fences = three_in_flight();
    for seq in 0..2 {
        fences.executed(ticket(seq), slot(), nothing);
    }
    let mut last = refused(2);
    last.not_before = Some(later);
    fences.refused(slot(), last);
    assert!(matches!(fences.next(slot(), now, |_| nothing()), Next::Wait(t) if t == later));
    fences.hurry(now, |_| Owner::Same);
    assert!(matches!(
        fences.next(slot(), now, |_| nothing()),
        Next::Resend(_)
    ));
}

/// A new map is news only for those of which it says something new.
#[test]
fn what_waits_for_room_waits_on_while_its_slot_stays() {
    let now = Instant::now();
    let later = now + std::time::Duration::from_secs(9);
    let sent_on = Why::Full {
        to: Some((NodeAddr::new("127.0.0.1", 1), Asking::Yes)),
        room: Room::Request,
    };
    for (why, owner, waits) in [
        (full(0).why, Owner::Same, true),
        (full(0).why, Owner::New, false),
        (sent_on, Owner::Same, false),
    ] {
        let mut fences = Fences::default();
        let waiting = Refused {
            why: why.clone(),
            not_before: Some(later),
            ..full(0)
        };
        fences.put_back(slot(), A, waiting);
        fences.hurry(now, |_| owner);
        let next = fences.next(slot(), now, |_| nothing());
        let still = matches!(next, Next::Wait(at) if at == later);
        assert_eq!(still, waits, "{why:?} {owner:?}");
    }
}

#[test]
fn it_goes_on_until_all_have_come_back_whose_time_was_up() {
    let mut fences = Fences::enter([(slot(), A)].into_iter(), 1);
    fences.expire(0, 0);
    // Another part of that command, which had not been sent when its time was up.
    fences.expired_landed(Ticket::new(0, 1, None));
    assert!(!fences.is_over(1));
    fences.expired_landed(ticket(0));
    assert!(fences.is_over(1));
    fences.stray(slot(), A);
    assert!(!fences.is_over(1));
    fences.stray_landed(slot());
    assert!(fences.is_over(1));
}

/// Requests that found no room while an older one was in flight, the first of which was just let in.
fn let_in(lane: LaneId) -> Fences {
    let mut fences = Fences::enter([(slot(), A)].into_iter(), 1);
    fences.put_back(slot(), A, full(1));
    fences.hold(slot(), A, held(2));
    assert!(matches!(next(&mut fences, false), Next::Idle));
    fences.let_in(slot(), lane);
    fences
}

#[test]
fn what_only_lacked_room_goes_behind_what_is_in_flight_there() {
    let mut fences = let_in(A);
    assert_eq!(resend(&mut fences), 1);
    // It goes on as if it had just arrived.
    assert!(matches!(next(&mut fences, false), Next::Release(h) if h.ticket == ticket(2)));
    fences.put_back(slot(), A, full(2));
    assert!(matches!(next(&mut fences, false), Next::Idle));
    // Its turn is over with that.
    fences.let_in(slot(), A);
    assert_eq!(resend(&mut fences), 2);
    assert!(fences.admits(slot(), A));
}

#[test]
fn what_is_let_in_elsewhere_waits_until_nothing_is_in_flight() {
    let mut fences = let_in(LaneId::OTHER);
    assert!(matches!(next(&mut fences, false), Next::Idle));
    fences.executed(ticket(0), slot(), nothing);
    assert_eq!(resend(&mut fences), 1);
}

#[test]
fn nothing_that_was_refused_is_followed_for_room() {
    let mut fences = let_in(A);
    fences.refused(slot(), refused(0));
    assert_eq!(resend(&mut fences), 0);
    fences.let_in(slot(), A);
    assert!(matches!(next(&mut fences, false), Next::Idle), "alone");
    fences.executed(ticket(0), slot(), nothing);
    assert_eq!(resend(&mut fences), 1);
}

#[test]
fn the_wait_for_room_ends_when_the_last_one_is_let_in() {
    let begin = Instant::now();
    let later = begin + std::time::Duration::from_secs(1);
    let mut fences = Fences::enter([(slot(), A)].into_iter(), 1);
    assert_eq!(fences.full_since(slot(), Room::Request, begin).1, begin);
    fences.put_back(slot(), A, full(1));
    fences.let_in(slot(), A);
    assert_eq!(resend(&mut fences), 1);
    assert_eq!(fences.full_since(slot(), Room::Request, later).1, begin);
    assert!(matches!(next(&mut fences, false), Next::Idle));
    assert_eq!(fences.full_since(slot(), Room::Request, later).1, later);
}

/// Half of a deep pipeline is refused, each by itself.
#[test]
fn what_has_executed_is_looked_at_once() {
    const REQUESTS: u64 = 1_000;
    let in_flight = std::iter::repeat_n((slot(), A), REQUESTS as usize);
    let mut fences = Fences::enter(in_flight, REQUESTS);
    let looks = std::cell::Cell::new(0);
    let look = || {
        looks.set(looks.get() + 1);
        nothing()
    };
    for seq in (0..REQUESTS).step_by(2) {
        fences.refused(slot(), refused(seq));
        fences.executed(ticket(seq + 1), slot(), look);
    }
    let now = Instant::now();
    while let Next::Resend(refused) = fences.next(slot(), now, |_| look()) {
        fences.resend(slot(), A, &refused);
        fences.executed(refused.held.ticket, slot(), nothing);
    }
    assert!(fences.is_over(REQUESTS));
    assert!(looks.get() <= 2 * REQUESTS, "{} looks", looks.get());
}

/// A deep pipeline was sent on, and the next of it finds no room each time: the others are none of its turn's business.
#[test]
fn letting_one_in_does_not_look_at_those_behind_it() {
    const REQUESTS: usize = 1_000;
    let mut line = Line::default();
    let waiting = |refused: Refused| Refused {
        not_before: Some(Instant::now()),
        ..refused
    };
    for seq in 0..REQUESTS as u64 {
        let why = moved();
        line.insert(Refused {
            why,
            ..refused(seq)
        });
    }
    let mut looks = 0;
    while let Some(first) = line.pop_front() {
        let seq = first.held.ticket.seq;
        line.insert(waiting(full(seq)));
        looks += line.let_in();
        assert_eq!(line.front().expect("it").not_before, None);
        assert_eq!(line.let_in(), 0, "it is in");
        line.pop_front();
    }
    assert_eq!(looks, REQUESTS);
    // Wherever they stand.
    for one in [waiting(full(9)), waiting(refused(3)), waiting(full(1))] {
        line.insert(one);
    }
    assert_eq!(line.let_in(), 3);
    let waits: Vec<_> = std::iter::from_fn(|| line.pop_front())
        .map(|one| one.not_before.is_some())
        .collect();
    assert_eq!(waits, [false, true, false]);
}
