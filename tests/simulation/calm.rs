//! What is expected at the end, when all is calm: everything is served again, and nothing is left of what was.

use super::{Client, Ending, Far, PATIENCE_MS, World};
use crate::gauges;
use crate::plan::{Channel, Kind, Op, Reach, Room};
use crate::rng::Rng;
use std::collections::VecDeque;

/// What a client may take that waits for nothing but messages, in bytes.
const QUIET_BYTES: usize = 16 * 1024;

/// And all connections to nodes together.
const LANES_BYTES: usize = 2 * 1024;

/// How long sessions, leases and lanes may take to notice that all clients have left, in milliseconds.
const LEAVING_MS: u64 = 15_000;

impl World<'_> {
    /// Once the faults are over all slots are served again, for an old client and a new one; and when all clients have
    /// left, nothing is left of them.
    pub(super) async fn check_recovery(&mut self) {
        if self.problem.is_some() {
            return;
        }
        let settled = self.now + 5_000;
        self.until(settled, |_| false).await;
        self.check_memory();
        let errors = self.oracle.errors;
        let last = self.clients.len();
        let socket = self.proxy.connect();
        let conn = self.add(socket, Far::Client(last));
        self.clients.push(Client {
            conn,
            rng: Rng::new(self.plan.seed, 499),
            next: 0,
            pending: VecDeque::new(),
            gone: false,
            shed: false,
            unanswered: Vec::new(),
        });
        let tags: Vec<usize> = (0..self.plan.tags.len()).collect();
        let at_once = match self.plan.room {
            // A client that waits with all of them takes more than there is.
            Room::Memory => 1,
            Room::Ample | Room::Window => tags.len(),
        };
        for tags in tags.chunks(at_once) {
            self.try_all(last, tags).await;
        }
        if self.problem.is_some() {
            return;
        }
        if !self.clients[last].pending.is_empty() || self.oracle.errors > errors {
            let errors = self.oracle.errors - errors;
            return self.fail(format!(
                "not all is served again when the faults are over: {errors} errors"
            ));
        }
        self.check_channels().await;
        for client in 0..self.clients.len() {
            self.hang_up(client);
        }
        let rounds = self.proxy.topology().rounds().started;
        let most = 8 + 2 * (self.now / 1_000);
        if rounds > most {
            self.fail(format!(
                "{rounds} topology refreshes within {} ms",
                self.now
            ));
        }
    }

    /// Nothing is in flight: what is held is what clients that listen take. Whoever was closed was so for its memory.
    fn check_memory(&mut self) {
        let scrape = self.proxy.metrics().scrape().unwrap_or_default();
        let held = gauges::memory(&scrape);
        let there = self.clients.iter().filter(|client| !client.gone).count();
        if held > there * QUIET_BYTES + LANES_BYTES {
            self.fail(format!("{held} bytes are held although all is calm"));
        }
        let shed = self.clients.iter().filter(|client| client.shed).count();
        let counted = gauges::shed(&scrape);
        if shed > counted {
            self.fail(format!(
                "{shed} clients were closed by the proxy, {counted} of them for their memory"
            ));
        }
    }

    /// A client uses slots in every way, until it is answered.
    async fn try_all(&mut self, client: usize, tags: &[usize]) {
        let mut out = Vec::new();
        for &tag in tags {
            let publish = |reach| Op::Publish(Channel { reach, tag });
            for op in [
                Op::Set(tag),
                Op::Read(tag),
                Op::Incr(tag),
                Op::Feed(tag),
                Op::Pop(tag, 100),
                Op::Watched(tag),
                publish(Reach::Everywhere),
                publish(Reach::Shard),
            ] {
                let (number, bytes, replies) = self.oracle.ask(client, op, &self.plan.tags);
                out.extend(bytes);
                self.clients[client].pending.push_back((number, replies));
            }
        }
        let conn = self.clients[client].conn;
        self.send_near(conn, &out);
        let latest = self.now + PATIENCE_MS;
        self.until(latest, |world| world.clients[client].pending.is_empty())
            .await;
    }

    /// Subscribers hear what is published; and if slots merely moved, they have heard all of it.
    async fn check_channels(&mut self) {
        let up_to_date = |world: &Self| {
            let is_there = |client: usize| !world.clients[client].gone;
            world.oracle.channels.is_up_to_date(is_there)
        };
        let latest = self.now + PATIENCE_MS;
        self.until(latest, |world| up_to_date(world).is_ok()).await;
        let mut verdict = up_to_date(self);
        if self.oracle.strict {
            // A sharded channel that moves is left in one place before it is subscribed in the other.
            let moves = self.happened.contains_key(&Kind::MoveSlot);
            let stays = |channel: &Channel| channel.reach == Reach::Everywhere || !moves;
            verdict = verdict.and(self.oracle.channels.is_complete(stays));
        }
        if let Err(problem) = verdict {
            self.fail(problem);
        }
    }

    /// The proxy has ended: whatever was executed was answered.
    pub(super) fn check_end(&mut self) {
        if self.plan.room == Room::Memory {
            // Some may have been closed for their memory.
            return;
        }
        let unanswered = self.clients.iter().flat_map(|c| &c.unanswered);
        let lost = unanswered.copied().find(|n| self.oracle.is_executed(*n));
        if let Some(number) = lost {
            let what = self.oracle.describe(number);
            self.fail(format!("{what} was executed, and not answered at the end"));
        }
    }

    /// While slots merely move, nothing that the proxy has popped is lost: a client was sent it, or it is back. A client
    /// that is closed for its memory loses what it has not read, as at a server.
    pub(super) fn lost_element(&self) -> Option<String> {
        let closes = self.plan.drain_at.is_some() || self.plan.room == Room::Memory;
        if !self.plan.is_gentle() || closes {
            return None;
        }
        let conns = || self.clients.iter().map(|client| &self.conns[client.conn]);
        self.oracle.lost_element(|element| {
            let line = [b"\r\n", element, b"\r\n"].concat();
            conns().any(|conn| conn.written.windows(line.len()).any(|at| at == line))
        })
    }

    /// When all clients have left, nothing is left of them.
    pub(super) async fn check_left_over(&mut self) {
        let latest = self.now + LEAVING_MS;
        let proxy = match self.ending {
            Ending::No => gauges::Proxy::Runs,
            Ending::Asked(_) => gauges::Proxy::HasEnded,
        };
        while self.problem.is_none() {
            self.until(self.now + 500, |_| false).await;
            let scrape = self.proxy.metrics().scrape().unwrap_or_default();
            match gauges::left_over(&scrape, proxy) {
                None => return,
                Some(left) if self.now >= latest => {
                    self.fail(format!("all clients have left, and still there is {left}"));
                }
                Some(_) => {}
            }
        }
    }
}
