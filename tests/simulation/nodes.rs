//! The nodes' ends of connections.

use super::{Event, Far, World};
use crate::cluster::State;
use crate::peer::{Peer, UNBLOCKED, Words, unblocked};
use crate::plan::Reach;
use crate::wire;

impl World<'_> {
    /// The node or client at the far end looks at what has arrived.
    pub(super) fn serve(&mut self, conn: usize) {
        let node = match &self.conns[conn].far {
            Far::Client(client) => {
                let client = *client;
                return self.read_replies(client);
            }
            Far::Node(node, _) => *node,
        };
        if matches!(self.cluster.nodes[node].state, State::Stopped | State::Dead) {
            return;
        }
        let mut peer = self.peer(conn);
        let mut inbox = std::mem::take(&mut self.conns[conn].inbox);
        let mut replies = Vec::new();
        while peer.blocked.is_none()
            && let Some((words, len)) = wire::request(&inbox)
        {
            inbox.drain(..len);
            replies.extend(match &words[..] {
                [client, unblock, number, how @ ..]
                    if client == b"CLIENT" && unblock == b"UNBLOCK" =>
                {
                    self.unblock(number, how)
                }
                _ => self.cluster.command(node, &mut peer, words),
            });
        }
        self.conns[conn].inbox = inbox;
        if let Some(blocked) = &mut peer.blocked
            && blocked.until.is_none()
        {
            let until = self.now + blocked.millis();
            blocked.until = Some(until);
            self.at(until, Event::GiveUp(conn));
        }
        self.put_back(conn, peer);
        self.account(node);
        if !replies.is_empty() {
            self.send_near(conn, &replies);
        }
    }

    /// What the nodes have just done.
    fn account(&mut self, node: usize) {
        if let Some(odd) = self.cluster.odd.take() {
            self.fail(odd);
        }
        for done in std::mem::take(&mut self.cluster.executed) {
            if let Err(problem) = self.oracle.executed(&done.words, &done.reply, done.segment) {
                self.fail(problem);
            }
        }
        for words in std::mem::take(&mut self.cluster.sent_on) {
            self.oracle.sent_on(&words);
        }
        for words in std::mem::take(&mut self.cluster.published) {
            self.spread_message(node, &words);
        }
    }

    /// Every subscriber of the channel gets what was published at `from`: of the cluster, or of its shard.
    fn spread_message(&mut self, from: usize, words: &Words) {
        let reach = match &words[0][..] {
            b"SPUBLISH" => Reach::Shard,
            _ => Reach::Everywhere,
        };
        let shard = self.cluster.nodes[from].shard;
        for conn in 0..self.conns.len() {
            let Far::Node(node, peer) = &self.conns[conn].far else {
                continue;
            };
            let there = &self.cluster.nodes[*node];
            let reached = reach == Reach::Everywhere || there.shard == shard;
            if self.conns[conn].over || there.state != State::Running || !reached {
                continue;
            }
            if let Some(message) = peer.message(reach, &words[1], &words[2]) {
                self.send_near(conn, &message);
            }
        }
    }

    fn peer(&mut self, conn: usize) -> Peer {
        match &mut self.conns[conn].far {
            Far::Node(_, peer) => std::mem::take(peer),
            Far::Client(_) => Peer::default(),
        }
    }

    fn put_back(&mut self, conn: usize, peer: Peer) {
        let sharded = peer
            .channels
            .iter()
            .any(|(reach, _)| *reach == Reach::Shard);
        match peer.blocked.is_some() || sharded {
            true => self.attentive.insert(conn),
            false => self.attentive.remove(&conn),
        };
        if let Far::Node(_, there) = &mut self.conns[conn].far {
            *there = peer;
        }
    }

    /// Commands that wait may have something now, or have lost their slot; so may subscriptions.
    pub(super) fn tell_attentive(&mut self) {
        if self.attentive.is_empty() {
            return;
        }
        for conn in self.attentive.clone() {
            let Far::Node(node, _) = self.conns[conn].far else {
                continue;
            };
            if self.conns[conn].over {
                self.attentive.remove(&conn);
                continue;
            }
            if self.cluster.nodes[node].state != State::Running {
                continue;
            }
            let mut peer = self.peer(conn);
            let mut told = Vec::new();
            for name in self.cluster.lost_channels(node, &peer) {
                peer.channels.remove(&(Reach::Shard, name.clone()));
                told.extend(peer.confirmation(b"SUNSUBSCRIBE", &name));
            }
            let woken = self.cluster.wake(node, &mut peer);
            self.put_back(conn, peer);
            self.account(node);
            told.extend(woken.iter().flatten());
            if !told.is_empty() {
                self.send_near(conn, &told);
            }
            if woken.is_some() {
                self.serve(conn);
            }
        }
    }

    pub(super) fn give_up(&mut self, conn: usize) {
        let Far::Node(node, peer) = &self.conns[conn].far else {
            return;
        };
        let node = *node;
        let due = |until: Option<u64>| until.is_some_and(|at| at <= self.now);
        if self.conns[conn].over || !peer.blocked.as_ref().is_some_and(|b| due(b.until)) {
            return;
        }
        if self.cluster.nodes[node].state != State::Running {
            return self.at(self.now + 10, Event::GiveUp(conn));
        }
        let mut peer = self.peer(conn);
        let nothing = peer.give_up();
        self.put_back(conn, peer);
        nothing.into_iter().for_each(|n| self.send_near(conn, &n));
        self.serve(conn);
    }

    /// CLIENT UNBLOCK, of another connection.
    fn unblock(&mut self, number: &[u8], how: &[Vec<u8>]) -> Vec<u8> {
        let number: Option<usize> = String::from_utf8_lossy(number).parse().ok();
        let Some(conn) = number.filter(|n| *n < self.conns.len()) else {
            return unblocked(false);
        };
        let mut peer = self.peer(conn);
        let nothing = peer.give_up();
        self.put_back(conn, peer);
        let Some(nothing) = nothing else {
            return unblocked(false);
        };
        match how.is_empty() {
            true => self.send_near(conn, &nothing),
            false => self.send_near(conn, UNBLOCKED),
        }
        self.serve(conn);
        unblocked(true)
    }
}
