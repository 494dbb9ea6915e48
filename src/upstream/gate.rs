//! How often a worker dials a node that cannot be reached: its lanes, leases and subscribers' connections to that node take
//! turns, so that how many of them there are does not multiply the dials. That begins with the loss of a connection, not
//! only with a dial that has failed: a node that dies takes all of them along at once.

use super::lanes::Backoff;
use super::{Fault, FaultKind};
use crate::cluster::{NodeAddr, SlotMap};
use crate::io::Clock;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::Notify;

/// While a dial is under way, as after so many that have failed: the pauses between dials that take long.
const UNDER_WAY: u32 = 3;

/// The dials to one node. Open until a connection is lost, or could not be made.
#[derive(Default)]
pub(super) struct Gate {
    shut: RefCell<Option<Shut>>,
    /// A dial has succeeded or failed.
    dialled: Notify,
}

struct Shut {
    fault: Fault,
    /// Dials in a row that failed: none where a connection was lost, and nobody has dialled since.
    failures: u32,
    /// When somebody may dial again.
    until: Instant,
}

impl Gate {
    /// Whether the caller may dial now; then nobody else may for a while, unless the dial succeeds.
    pub(super) fn enter(&self, now: Instant, backoff: &Backoff) -> Result<(), Fault> {
        match &mut *self.shut.borrow_mut() {
            Some(shut) if now < shut.until => Err(shut.fault.clone()),
            Some(shut) => {
                shut.until = now + backoff.pause(shut.failures.max(UNDER_WAY));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The same, but waits while nobody knows yet whether the node is there.
    pub(super) async fn turn(&self, clock: &Clock, backoff: &Backoff) -> Result<(), Fault> {
        loop {
            clock.tick();
            let dialled = self.dialled.notified();
            let entered = self.enter(clock.now(), backoff);
            let Some(until) = self.in_doubt_until().filter(|_| entered.is_err()) else {
                return entered;
            };
            tokio::select! {
                biased;
                () = dialled => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Until when somebody's dial is waited for, where a connection was lost and none has failed or succeeded since.
    fn in_doubt_until(&self) -> Option<Instant> {
        let shut = self.shut.borrow();
        shut.as_ref().filter(|s| s.failures == 0).map(|s| s.until)
    }

    /// Whether a connection was lost or could not be made, and none has been made since.
    pub(super) fn is_doubted(&self) -> bool {
        self.shut.borrow().is_some()
    }

    fn is_shut(&self, now: Instant) -> bool {
        let shut = self.shut.borrow();
        shut.as_ref().is_some_and(|shut| now < shut.until)
    }

    /// A dial has succeeded.
    pub(super) fn open(&self) {
        self.shut.borrow_mut().take();
        self.dialled.notify_waiters();
    }

    /// A connection was lost: the first dial shows whether the node is there, the others wait for that.
    pub(super) fn doubt(&self, fault: &Fault, now: Instant) {
        if fault.kind == FaultKind::Retired {
            return;
        }
        self.shut.borrow_mut().get_or_insert_with(|| Shut {
            fault: fault.clone(),
            failures: 0,
            until: now,
        });
    }

    /// A dial has failed.
    pub(super) fn failed(&self, fault: &Fault, now: Instant, backoff: &Backoff) {
        let mut shut = self.shut.borrow_mut();
        let failures = shut.as_ref().map_or(0, |shut| shut.failures) + 1;
        let until = now + backoff.pause(failures);
        *shut = Some(Shut {
            fault: fault.clone(),
            failures,
            until,
        });
        self.dialled.notify_waiters();
    }
}

/// The gates of a worker.
#[derive(Default)]
pub struct Gates {
    by_node: RefCell<HashMap<NodeAddr, Rc<Gate>>>,
}

impl Gates {
    /// The one of a node.
    pub(super) fn of(&self, node: &NodeAddr) -> Rc<Gate> {
        let mut by_node = self.by_node.borrow_mut();
        by_node.entry(node.clone()).or_default().clone()
    }

    /// Forgets those that nobody uses, unless they keep somebody from dialling, or would at once: who has lost a
    /// connection to a node of the map may come back only after a pause.
    pub(super) fn prune(&self, map: &SlotMap, now: Instant) {
        self.by_node.borrow_mut().retain(|node, gate| {
            let awaited = gate.is_doubted() && map.find(node).is_some();
            Rc::strong_count(gate) > 1 || gate.is_shut(now) || awaited
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn fault() -> Fault {
        Fault {
            node: NodeAddr::new("127.0.0.1", 1),
            kind: FaultKind::Silent,
        }
    }

    /// When several callers dial who all have lost their connections and try every millisecond, in milliseconds. Each of
    /// their dials fails after so long.
    fn dials(workers: usize, callers: usize, ms: u64, fails_after: u64) -> Vec<u64> {
        let (gate, backoff) = (Gate::default(), Backoff::new(workers));
        let begin = Instant::now();
        gate.doubt(&fault(), begin);
        let (mut dials, mut failed) = (Vec::new(), 0);
        for ms in 0..ms {
            let now = begin + Duration::from_millis(ms);
            let mut fail = |dials: &[u64]| {
                while dials.get(failed).is_some_and(|at| at + fails_after <= ms) {
                    gate.failed(&fault(), now, &backoff);
                    failed += 1;
                }
            };
            fail(&dials);
            for _ in 0..callers {
                if gate.enter(now, &backoff).is_ok() {
                    dials.push(ms);
                    fail(&dials);
                }
            }
        }
        dials
    }

    #[test]
    fn however_many_call_a_dead_node_is_dialled_so_often() {
        for workers in [1, 2, 8, 32] {
            for callers in [1, 4, 100] {
                let all = dials(workers, callers, 60_000, 0).len() * workers;
                assert!(all <= 10 * 60, "{all} by {workers} × {callers}");
                assert!(all >= 2 * 60, "{all} by {workers} × {callers}");
            }
        }
    }

    #[test]
    fn those_who_have_lost_their_connections_at_once_do_not_dial_at_once() {
        for fails_after in [0, 40, 2_000] {
            let all = dials(1, 1_000, 3_000, fails_after);
            assert_eq!(all[0], 0, "the first does not wait");
            assert!(all.len() <= 30, "{all:?}");
            let within = |second: u64| {
                let in_it = |&&at: &&u64| at / 1_000 == second;
                all.iter().filter(in_it).count()
            };
            assert!((0..3).all(|second| within(second) <= 11), "{all:?}");
        }
    }

    #[test]
    fn a_dial_that_succeeds_ends_the_doubt() {
        let (gate, backoff) = (Gate::default(), Backoff::new(1));
        let now = Instant::now();
        gate.doubt(&fault(), now);
        assert!(gate.enter(now, &backoff).is_ok());
        assert!(gate.enter(now, &backoff).is_err());
        gate.open();
        assert!((0..1_000).all(|_| gate.enter(now, &backoff).is_ok()));
    }

    #[test]
    fn a_dial_that_succeeds_opens_it() {
        let (gate, backoff) = (Gate::default(), Backoff::new(1));
        let fault = fault();
        let now = Instant::now();
        assert!(gate.enter(now, &backoff).is_ok());
        gate.failed(&fault, now, &backoff);
        assert!(gate.enter(now, &backoff).is_err());
        gate.open();
        assert!(gate.enter(now, &backoff).is_ok());
    }
}
