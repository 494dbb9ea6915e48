//! How often a worker dials a node that cannot be reached: its lanes and leases to that node take turns, so that how many
//! of them there are does not multiply the dials.

use super::Fault;
use super::lanes::Backoff;
use crate::cluster::NodeAddr;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

/// The dials to one node. Open until one of them fails.
#[derive(Default)]
pub(super) struct Gate {
    shut: RefCell<Option<Shut>>,
}

struct Shut {
    fault: Fault,
    /// Dials in a row that failed.
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
                shut.until = now + backoff.pause(shut.failures);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn is_shut(&self, now: Instant) -> bool {
        let shut = self.shut.borrow();
        shut.as_ref().is_some_and(|shut| now < shut.until)
    }

    /// A dial has succeeded.
    pub(super) fn open(&self) {
        self.shut.borrow_mut().take();
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

    /// Forgets those that nobody uses and that keep nobody from dialling.
    pub(super) fn prune(&self, now: Instant) {
        let mut by_node = self.by_node.borrow_mut();
        by_node.retain(|_, gate| Rc::strong_count(gate) > 1 || gate.is_shut(now));
    }
}

#[cfg(test)]
mod tests {
    use super::super::FaultKind;
    use super::*;
    use std::time::Duration;

    /// Dials of several callers who all try every millisecond, each of which fails.
    fn dials(workers: usize, callers: usize, seconds: u64) -> usize {
        let (gate, backoff) = (Gate::default(), Backoff::new(workers));
        let fault = Fault {
            node: NodeAddr::new("127.0.0.1", 1),
            kind: FaultKind::Silent,
        };
        let begin = Instant::now();
        let mut dials = 0;
        for ms in 0..seconds * 1000 {
            let now = begin + Duration::from_millis(ms);
            for _ in 0..callers {
                if gate.enter(now, &backoff).is_ok() {
                    dials += 1;
                    gate.failed(&fault, now, &backoff);
                }
            }
        }
        dials
    }

    #[test]
    fn however_many_call_a_dead_node_is_dialled_so_often() {
        for workers in [1, 2, 8, 32] {
            for callers in [1, 4, 100] {
                let all = dials(workers, callers, 60) * workers;
                assert!(all <= 10 * 60, "{all} by {workers} × {callers}");
                assert!(all >= 2 * 60, "{all} by {workers} × {callers}");
            }
        }
    }

    #[test]
    fn a_dial_that_succeeds_opens_it() {
        let (gate, backoff) = (Gate::default(), Backoff::new(1));
        let fault = Fault {
            node: NodeAddr::new("127.0.0.1", 1),
            kind: FaultKind::Silent,
        };
        let now = Instant::now();
        assert!(gate.enter(now, &backoff).is_ok());
        gate.failed(&fault, now, &backoff);
        assert!(gate.enter(now, &backoff).is_err());
        gate.open();
        assert!(gate.enter(now, &backoff).is_ok());
    }
}
