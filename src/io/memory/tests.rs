//! Tests of the ledger of one worker, and of two that share a budget.

use super::*;

use std::pin::pin;
use std::task::{Context, Waker};

const LIMIT: usize = 1 << 20;

fn two() -> (Ledger, Ledger) {
    let budget = Budget::new(LIMIT, 0, 2);
    (
        Ledger::new(budget.clone(), 0, 100),
        Ledger::new(budget, 1, 100),
    )
}

#[test]
fn first_clients_are_slowed_then_closed_then_everything_is_refused() {
    let (one, other) = two();
    assert!(!one.refuses(LARGE_REQUEST + 1) && one.in_flight_max() == 100);
    other.lanes(LIMIT / 2);
    one.client(0, LIMIT / 2 - 1000);
    assert!(!one.is_halted() && one.excess() == 0);
    assert!(one.refuses(LARGE_REQUEST + 1) && !one.refuses(LARGE_REQUEST));
    assert_eq!(one.in_flight_max(), SLOW_IN_FLIGHT);
    one.client(0, 2000);
    assert!(one.is_halted() && one.excess() == 1000);
    one.calm();
    assert!(one.is_halted());
    // Its lanes have it, and the other worker's.
    one.stuck();
    assert!(!one.is_halted() && one.refuses(1000));
    one.client(LIMIT / 2, 0);
    assert!(!one.refuses(1000) && one.in_flight_max() == 100);
}

#[test]
fn everybody_is_read_again_once_it_is_kept() {
    let (one, _) = two();
    one.client(0, LIMIT + 1);
    assert!(one.is_halted());
    one.client(LIMIT, 0);
    assert!(one.is_halted(), "not before those that wait are woken");
    one.calm();
    assert!(!one.is_halted());
    assert_eq!(one.in_flight_max(), 100);
}

/// Whether its worker is to look.
fn told(ledger: &Ledger) -> bool {
    let look = pin!(ledger.look());
    look.poll(&mut Context::from_waker(Waker::noop()))
        .is_ready()
}

/// Whoever waits for room is told when another worker has made some.
#[test]
fn those_that_wait_are_told() {
    let (one, other) = two();
    other.client(0, LIMIT);
    one.client(0, 1);
    assert!(one.is_halted() && !other.is_halted());
    assert!(told(&one) && !told(&one) && !told(&other));
    other.client(LIMIT, LIMIT - 1);
    assert!(told(&one) && !told(&other), "only who waits");
    other.client(LIMIT - 1, LIMIT - 2);
    assert!(!told(&one) && !told(&other), "it was told");
    one.client(1, 3);
    one.calm();
    assert!(one.is_halted());
    other.client(LIMIT - 2, LIMIT - 4);
    assert!(told(&one), "it had found no room");
    one.calm();
    assert!(!one.is_halted());
    other.client(LIMIT - 4, LIMIT - 5);
    assert!(!told(&one) && !told(&other), "nobody waits any more");
}

/// A worker that ends while it reads nobody leaves nothing behind, whatever is freed afterwards.
#[test]
fn who_leaves_is_not_waited_for() {
    let (one, other) = two();
    one.client(0, LIMIT + 1);
    one.largest(LIMIT + 1);
    assert!(one.is_halted() && told(&one));
    one.leave();
    // Its clients go after it.
    one.client(LIMIT + 1, LIMIT);
    other.client(0, 500);
    assert!(!other.is_halted() && other.excess() == 0);
    assert!(other.is_next(0) && !told(&one));
}

/// Those that wait for freed memory to go would wait for ever if nobody saw that it is gone.
#[test]
fn somebody_measures_until_the_last_one_ends() {
    const MUCH: usize = 1 << 50;
    let budget = Budget::measured(MUCH, 0, 2);
    let [one, other] = [0, 1].map(|worker| Ledger::new(budget.clone(), worker, 100));
    budget.beyond.set_waste(2 * MUCH);
    for ledger in [&one, &other] {
        ledger.client(0, 1);
        assert!(ledger.is_halted());
    }
    let measure = || {
        other.measure(0);
        other.calm();
        !other.is_halted()
    };
    assert!(!measure(), "the other one does it");
    one.leave();
    assert!(measure());
}

/// Too much is not given back yet: clients that hold little are read, a little at a time; with far too much, nobody.
#[test]
fn what_was_freed_stops_those_that_hold_much() {
    let (limit, spare) = (100 * LIMIT, 8 * LIMIT);
    let budget = Budget::sparing(limit, spare, 1);
    let ledger = Ledger::new(budget.clone(), 0, 100);
    let wasting = |used: usize, waste: usize| {
        budget.beyond.set_waste(waste);
        ledger.lanes(used);
        ledger.calm();
        let reads = [HOLDS_MUCH - 1, HOLDS_MUCH].map(|held| !ledger.halts(held));
        (reads, ledger.read_max(), ledger.excess() > 0)
    };
    let room = limit - spare;
    assert_eq!(wasting(room, spare), ([true, true], SCRATCH_BYTES, false));
    assert_eq!(wasting(room, spare + 1), ([true, false], TIGHT_READ, false));
    assert!(ledger.is_tight() && !ledger.is_halted());
    assert_eq!(wasting(LIMIT, limit), ([true, false], TIGHT_READ, false));
    assert_eq!(
        wasting(room, 14 * LIMIT + 1),
        ([false, false], TIGHT_READ, false)
    );
    assert_eq!(wasting(room, 0), ([true, true], SCRATCH_BYTES, false));
    assert_eq!(wasting(room + 1, 0), ([false, false], TIGHT_READ, true));
    assert_eq!(ledger.to_free(), 2 * LIMIT + 1, "some room is made");
}

#[test]
fn the_largest_client_of_all_workers_is_the_next() {
    let (one, other) = two();
    other.largest(500);
    assert!(!one.is_next(499) && one.is_next(500));
    one.largest(500);
    assert!(other.is_next(500), "neither waits for the other");
    one.client(0, 501);
    other.client(0, 500);
    assert!(one.is_next(500) && !other.is_next(500));
    one.largest(0);
    assert!(other.is_next(0), "nobody has anybody to close");
}

/// What a large request needs on its way is asked for before it is taken.
#[test]
fn a_request_that_would_not_fit_is_refused() {
    let (one, _) = two();
    assert!(!one.refuses(LIMIT / 100 * 90) && one.refuses(LIMIT / 100 * 90 + 1));
}

/// What grows although nobody can be closed for it is looked at again.
#[test]
fn what_is_stuck_does_not_grow_for_ever() {
    let (one, _) = two();
    one.lanes(LIMIT + 1);
    assert!(one.is_halted());
    one.stuck();
    one.client(0, LIMIT / 100);
    assert!(!one.is_halted() && one.refuses(1000));
    one.client(0, LIMIT / 50);
    assert!(one.is_halted());
    one.stuck();
    assert!(!one.is_halted());
}
