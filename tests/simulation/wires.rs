//! The connections between the proxy and the model's clients and nodes: how late, in what pieces, and whether at all what is
//! sent on them arrives.

use super::{Event, World};
use crate::cluster::State;
use crate::network::When;
use crate::peer::Peer;
use crate::rng::Rng;
use slotway::io::simulated::{ProxyEnd, Socket};

/// A connection that takes few bytes at a time does so for this long, in milliseconds: before a slow node that would be
/// two bytes a second, and nobody can tell a pipeline that takes longer than `timeouts.command` that way from a node
/// that does not answer.
const NARROW_MS: u64 = 500;

/// A packet to or from a slow node takes up to so long, in milliseconds: a dial and a handshake, which are three of them
/// in a row, still keep within `timeouts.connect`.
const SLOW_MS: u64 = 500;

pub(super) enum Far {
    Node(usize, Peer),
    Client(usize),
}

pub(super) struct Conn {
    pub(super) socket: Socket,
    pub(super) far: Far,
    pub(super) rng: Rng,
    pub(super) inbox: Vec<u8>,
    /// The last of what was sent in each direction.
    pub(super) to_far: When,
    pub(super) to_near: When,
    /// Nothing arrives before that.
    pub(super) late_until: u64,
    /// Nothing goes through, and nobody is told.
    pub(super) dark: bool,
    /// It is no more.
    pub(super) over: bool,
    pub(super) told_end: bool,
    pub(super) narrow: bool,
    /// All that a client was sent.
    pub(super) written: Vec<u8>,
}

impl World<'_> {
    pub(super) fn add(&mut self, socket: Socket, far: Far) -> usize {
        let number = socket.number();
        let mut rng = Rng::new(self.plan.seed, 10_000 + number);
        let narrow = matches!(far, Far::Node(..)) && rng.percent(self.plan.narrow);
        let index = self.conns.len();
        if narrow {
            socket.set_room(rng.within(1, 200) as usize);
            self.at(self.now + NARROW_MS, Event::Widen(index));
        }
        self.by_number.insert(number, index);
        self.conns.push(Conn {
            socket,
            far,
            rng,
            inbox: Vec::new(),
            to_far: (0, 0),
            to_near: (0, 0),
            late_until: 0,
            dark: false,
            over: false,
            told_end: false,
            narrow,
            written: Vec::new(),
        });
        index
    }

    pub(super) fn latency(&mut self, conn: usize) -> u64 {
        let latency = self.plan.latency;
        let slow = match self.conns[conn].far {
            Far::Node(node, _) => self.trouble[node].slow > 0,
            Far::Client(_) => false,
        };
        let rng = &mut self.conns[conn].rng;
        let usual = match rng.percent(5) {
            true => rng.within(0, latency * 10),
            false => rng.within(0, latency),
        };
        usual + if slow { rng.within(0, SLOW_MS) } else { 0 }
    }

    /// What the proxy wrote goes on its way.
    pub(super) fn carry(&mut self, conn: usize) {
        let bytes = self.conns[conn].socket.take();
        if !bytes.is_empty() {
            if let Far::Client(_) = self.conns[conn].far {
                self.conns[conn].written.extend_from_slice(&bytes);
            }
            for piece in self.cut(conn, &bytes) {
                let when = self.when(conn, Way::ToFar);
                self.agenda.add(when, Event::Far(conn, piece));
            }
        }
        let end = self.conns[conn].socket.proxy_end();
        if end != ProxyEnd::Open && !std::mem::replace(&mut self.conns[conn].told_end, true) {
            let when = match self.conns[conn].late_until > self.now {
                // What has not arrived by then never does.
                true => (self.now + self.latency(conn), 0),
                false => self.when(conn, Way::ToFar),
            };
            self.agenda.add(when, Event::FarEnd(conn));
        }
    }

    pub(super) fn cut(&mut self, conn: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        let rng = &mut self.conns[conn].rng;
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while rest.len() > 1 && pieces.len() < 4 && rng.percent(self.plan.pieces) {
            let (piece, more) = rest.split_at(1 + rng.below(rest.len() - 1));
            pieces.push(piece.to_vec());
            rest = more;
        }
        pieces.push(rest.to_vec());
        pieces
    }

    /// When what is sent now arrives: never before what was sent earlier.
    pub(super) fn when(&mut self, conn: usize, way: Way) -> When {
        let late_until = self.conns[conn].late_until;
        let at = (self.now + self.latency(conn)).max(late_until);
        let tie = self.conns[conn].rng.next() >> 1;
        let conn = &mut self.conns[conn];
        let last = match way {
            Way::ToFar => &mut conn.to_far,
            Way::ToNear => &mut conn.to_near,
        };
        *last = (at, tie).max((last.0, last.1 + 1));
        *last
    }

    pub(super) fn send_near(&mut self, conn: usize, bytes: &[u8]) {
        for piece in self.cut(conn, bytes) {
            let when = self.when(conn, Way::ToNear);
            self.agenda.add(when, Event::Near(conn, piece));
        }
    }

    pub(super) fn dialled(&mut self, conn: usize, node: usize) {
        let trouble = &self.trouble[node];
        self.trace.note(self.now, 5, &[node as u8], || {
            format!("#{conn} dials node {node}")
        });
        if trouble.unreachable > 0 {
            // Neither accepted nor refused.
        } else if trouble.refuses > 0 || self.cluster.nodes[node].state == State::Dead {
            self.conns[conn].over = true;
            self.conns[conn].socket.refuse();
        } else {
            self.conns[conn].socket.accept();
        }
    }

    pub(super) fn far_end(&mut self, conn: usize) {
        if self.conns[conn].over {
            return;
        }
        match self.conns[conn].far {
            Far::Node(..) => self.conns[conn].over = true,
            Far::Client(client) => {
                self.conns[conn].over = true;
                self.closed(client);
            }
        }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy)]
pub(super) enum Way {
    ToFar,
    ToNear,
}
