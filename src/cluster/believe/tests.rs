//! What is believed of answers that were captured (`moments`) and of answers made for each rule (`rules`, `patches`); here
//! is what makes such answers, and the belief that they are told to.

mod moments;
mod patches;
mod rules;

use super::super::SLOTS;
use super::super::view::{SlotRange, ViewNode};
use super::*;

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

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn addr(port: u16) -> NodeAddr {
    NodeAddr::new("10.0.0.1", port)
}

/// A primary at `port` with `epoch` and the slots `first..=last`.
pub(super) fn primary(port: u16, epoch: u64, slots: &[(i64, i64)]) -> ViewNode {
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
pub(super) fn view(port: u16, nodes: &[ViewNode]) -> View {
    View {
        source: addr(port),
        state: ClusterState::Ok,
        current_epoch: 99,
        myself: nodes.iter().position(|n| n.addr.port() == port),
        nodes: nodes.to_vec(),
        unaddressed: Vec::new(),
        migrating: Vec::new(),
    }
}
