//! What goes wrong, and how the cluster takes it.

use super::{Conn, Event, Far, NODE_TIMEOUT_MS, UNACKED_MS, World};
use crate::cluster::State;
use crate::plan::Kind;

impl World<'_> {
    fn count(&mut self, kind: Kind) {
        *self.happened.entry(kind).or_default() += 1;
    }

    pub(super) fn begin(&mut self, index: usize) {
        let fault = &self.plan.faults[index];
        let (kind, lasts) = (fault.kind, fault.lasts);
        let node = fault.which % self.cluster.nodes.len();
        let done = match kind {
            Kind::MoveSlot => self.begin_move(fault.which, lasts),
            Kind::Failover => self.fail_over(fault.which % self.plan.shards),
            Kind::Kill => self.kill(node, lasts),
            Kind::Stop => self.stop(node, lasts),
            Kind::CutConnection => self.cut_connection(fault.which),
            Kind::HalfOpen => self.darken(fault.which),
            Kind::Late => self.delay(fault.which, lasts),
            Kind::CutNode => {
                self.reset_all(node);
                true
            }
            Kind::Unreachable => {
                self.trouble[node].unreachable += 1;
                for conn in self.conns_of(node) {
                    self.go_dark(conn);
                }
                true
            }
            Kind::Refuse => {
                self.trouble[node].refuses += 1;
                self.reset_all(node);
                true
            }
            Kind::StaleView => {
                let until = self.now + lasts;
                let deaf = &mut self.trouble[node].deaf_until;
                *deaf = until.max(*deaf);
                true
            }
            Kind::StaleViews => {
                let until = self.now + lasts;
                for trouble in &mut self.trouble {
                    trouble.deaf_until = until.max(trouble.deaf_until);
                }
                true
            }
            Kind::SlowNode => {
                self.trouble[node].slow += 1;
                true
            }
        };
        if done {
            self.count(kind);
            self.trace
                .note(self.now, 6, &[index as u8], || format!("=== {fault:?}"));
            self.at(self.now + lasts, Event::Lift(index));
        }
    }

    pub(super) fn lift(&mut self, index: usize) {
        let fault = &self.plan.faults[index];
        let node = fault.which % self.cluster.nodes.len();
        self.trace.note(self.now, 7, &[index as u8], || {
            format!("=== over: {fault:?}")
        });
        match fault.kind {
            Kind::Unreachable => self.trouble[node].unreachable -= 1,
            Kind::Refuse => self.trouble[node].refuses -= 1,
            Kind::SlowNode => self.trouble[node].slow -= 1,
            _ => {}
        }
    }

    /// The truth has changed: `informed` know at once, the others later.
    fn spread(&mut self, informed: &[usize]) {
        self.history.note(&self.cluster);
        let view = self.cluster.publish();
        for node in 0..self.cluster.nodes.len() {
            if informed.contains(&node) {
                self.cluster.learn(node, &view);
            } else {
                let at = self.now + self.rng.within(0, 200);
                self.at(at, Event::Learn(node, view.clone()));
            }
        }
    }

    fn is_moving(&self, shard: usize) -> bool {
        let mut all = self.cluster.moving.iter().enumerate();
        all.any(|(segment, to)| {
            *to == Some(shard) || (to.is_some() && self.cluster.truth.owner[segment] == shard)
        })
    }

    fn begin_move(&mut self, which: usize, lasts: u64) -> bool {
        let tag = &self.plan.tags[which % self.plan.tags.len()];
        let segment = self.cluster.segment(tag.as_bytes());
        let from = self.cluster.truth.owner[segment];
        let to = (from + 1 + which / 64 % (self.plan.shards - 1)) % self.plan.shards;
        let is_up = |shard: usize| {
            self.cluster.nodes[self.cluster.truth.primary[shard]].state == State::Running
        };
        // Whoever moves slots tells the node that gives one away: it does not send clients to a node that imports the
        // slot from another by then.
        let mut nodes = self.cluster.nodes.iter();
        let is_clear = nodes.all(|n| n.shard == from || n.view.owner[segment] != n.shard);
        // A node that still takes the slot for its own does not import it.
        let knows = |shard: usize| {
            self.cluster.nodes[self.cluster.truth.primary[shard]]
                .view
                .owner[segment]
                == from
        };
        if self.cluster.moving[segment].is_some()
            || !is_clear
            // An ASK that is followed late would be taken for one of this move.
            || self.cluster.asks.contains(&(segment, to))
            || ![from, to].iter().all(|&shard| is_up(shard) && knows(shard))
        {
            return false;
        }
        self.cluster.moving[segment] = Some(to);
        self.oracle.moves += 1;
        for _ in 0..8 {
            let at = self.now + self.rng.within(0, lasts);
            self.at(at, Event::MoveKey(segment));
        }
        self.at(self.now + lasts, Event::EndMove(segment));
        true
    }

    pub(super) fn end_move(&mut self, segment: usize) {
        if let Some((_, to)) = self.cluster.end_move(segment) {
            self.oracle.came_back = self.cluster.came_back;
            let informed = self.cluster.truth.primary[to];
            self.spread(&[informed]);
        }
    }

    fn heir(&self, shard: usize) -> Option<usize> {
        let nodes = &self.cluster.nodes;
        let primary = self.cluster.truth.primary[shard];
        (0..nodes.len()).find(|n| {
            nodes[*n].shard == shard && *n != primary && nodes[*n].state == State::Running
        })
    }

    /// The replica takes over while the primary lives.
    fn fail_over(&mut self, shard: usize) -> bool {
        let old = self.cluster.truth.primary[shard];
        let Some(heir) = self.heir(shard) else {
            return false;
        };
        if self.is_moving(shard) || self.cluster.nodes[old].state != State::Running {
            return false;
        }
        self.promote(shard, heir);
        self.spread(&[old, heir]);
        true
    }

    fn promote(&mut self, shard: usize, heir: usize) {
        let truth = &mut self.cluster.truth;
        truth.current_epoch += 1;
        truth.epoch[shard] = truth.current_epoch;
        truth.primary[shard] = heir;
    }

    fn kill(&mut self, node: usize, lasts: u64) -> bool {
        if self.cluster.nodes[node].state != State::Running
            || self.is_moving(self.cluster.nodes[node].shard)
        {
            return false;
        }
        self.cluster.nodes[node].state = State::Dead;
        self.reset_all(node);
        self.at(self.now + lasts, Event::Restart(node));
        let notice = self.rng.within(NODE_TIMEOUT_MS.0, NODE_TIMEOUT_MS.1);
        self.at(self.now + notice, Event::Fail(node));
        true
    }

    fn stop(&mut self, node: usize, lasts: u64) -> bool {
        if self.cluster.nodes[node].state != State::Running
            || self.is_moving(self.cluster.nodes[node].shard)
        {
            return false;
        }
        self.cluster.nodes[node].state = State::Stopped;
        self.at(self.now + lasts, Event::Restart(node));
        let notice = self.rng.within(NODE_TIMEOUT_MS.0, NODE_TIMEOUT_MS.1);
        self.at(self.now + notice, Event::Fail(node));
        true
    }

    /// The cluster has noticed that a node does not answer.
    pub(super) fn node_failed(&mut self, node: usize) {
        if !matches!(self.cluster.nodes[node].state, State::Stopped | State::Dead) {
            return;
        }
        self.cluster.truth.failed[node] = true;
        self.spread(&[]);
        let shard = self.cluster.nodes[node].shard;
        if self.cluster.truth.primary[shard] == node
            && let Some(heir) = self.heir(shard)
        {
            self.promote(shard, heir);
            self.spread(&[heir]);
        }
    }

    /// A node that was dead or stopped is back, and knows how things are.
    pub(super) fn restart(&mut self, node: usize) {
        let was = self.cluster.nodes[node].state;
        if !matches!(was, State::Stopped | State::Dead) {
            return;
        }
        self.cluster.truth.failed[node] = false;
        self.cluster.nodes[node].state = State::Running;
        self.spread(&[node]);
        if was == State::Dead {
            self.cluster.nodes[node].state = State::Loading;
            let at = self.now + self.rng.within(0, 300);
            self.at(at, Event::Loaded(node));
            return;
        }
        for conn in self.conns_of(node) {
            self.serve(conn);
        }
    }

    fn conns_of(&self, node: usize) -> Vec<usize> {
        let is_its = |c: &Conn| !c.over && matches!(c.far, Far::Node(n, _) if n == node);
        (0..self.conns.len())
            .filter(|c| is_its(&self.conns[*c]))
            .collect()
    }

    fn reset_all(&mut self, node: usize) {
        for conn in self.conns_of(node) {
            self.reset(conn);
        }
    }

    /// What is under way is lost, in both directions; the proxy hears of it.
    fn reset(&mut self, conn: usize) {
        self.conns[conn].over = true;
        let at = self.now + self.latency(conn);
        self.at(at, Event::NearReset(conn));
    }

    fn some_conn(&self, which: usize) -> Option<usize> {
        let open: Vec<usize> = (0..self.conns.len())
            .filter(|c| !self.conns[*c].over && matches!(self.conns[*c].far, Far::Node(..)))
            .collect();
        open.get(which % open.len().max(1)).copied()
    }

    fn cut_connection(&mut self, which: usize) -> bool {
        let conn = self.some_conn(which);
        conn.into_iter().for_each(|conn| self.reset(conn));
        conn.is_some()
    }

    fn darken(&mut self, which: usize) -> bool {
        let conn = self.some_conn(which);
        conn.into_iter().for_each(|conn| self.go_dark(conn));
        conn.is_some()
    }

    /// One connection, or all that a node has now.
    fn delay(&mut self, which: usize, lasts: u64) -> bool {
        let conns = match which & 1 << 32 {
            0 => self.some_conn(which).into_iter().collect(),
            _ => self.conns_of(which % self.cluster.nodes.len()),
        };
        for &conn in &conns {
            // One that is late already stays so as long as it is: nothing overtakes.
            let late_until = &mut self.conns[conn].late_until;
            *late_until = (*late_until).max(self.now + lasts);
        }
        !conns.is_empty()
    }

    /// Packets vanish; the system gives the connection up after a while.
    fn go_dark(&mut self, conn: usize) {
        self.conns[conn].dark = true;
        self.at(self.now + UNACKED_MS, Event::NearReset(conn));
    }
}
