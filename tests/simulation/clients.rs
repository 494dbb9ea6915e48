//! The clients: what they send, and what they get.

use super::{Client, Ending, Event, Far, Way, World, shown};
use crate::plan::{End, Room};
use crate::rng::Rng;
use crate::wire::{is_message, reply_len};
use std::collections::VecDeque;

/// Percentage of clients that read slowly where memory is short, and how much they read at once, in bytes.
const SLOW_READERS: u64 = 60;
const READ_AT_ONCE: usize = 4_000;

impl World<'_> {
    pub(super) fn join(&mut self, number: usize) {
        let socket = self.proxy.connect();
        let conn = self.add(socket, Far::Client(number));
        self.slow_down(number, conn);
        self.clients.push(Client {
            conn,
            rng: Rng::new(self.plan.seed, 500 + number as u64),
            next: 0,
            pending: VecDeque::new(),
            gone: false,
            shed: false,
            unanswered: Vec::new(),
        });
        self.schedule_batch(number);
    }

    /// Where memory is short, some clients read nothing for a while.
    fn slow_down(&mut self, number: usize, conn: usize) {
        let mut rng = Rng::new(self.plan.seed, 700 + number as u64);
        if self.plan.room == Room::Memory && rng.percent(SLOW_READERS) {
            let socket = &self.conns[conn].socket;
            socket.set_room(rng.below(READ_AT_ONCE));
            self.at(self.now + rng.within(200, 4_000), Event::Widen(conn));
        }
    }

    fn schedule_batch(&mut self, client: usize) {
        let plan = &self.plan.clients[client];
        let one = &mut self.clients[client];
        match plan.batches.get(one.next) {
            Some((pause, _)) => {
                let at = self.now + pause;
                self.at(at, Event::Batch(client));
            }
            None if plan.end == End::HalfCloses => {
                one.next += 1;
                let conn = one.conn;
                let when = self.when(conn, Way::ToNear);
                self.agenda.add(when, Event::NearEnd(conn));
            }
            None if plan.end == End::HangsUp => {
                let at = self.now + one.rng.within(0, 30);
                self.at(at, Event::HangUp(client));
            }
            None => {}
        }
    }

    pub(super) fn send_batch(&mut self, client: usize) {
        let plan = self.plan;
        let one = &self.clients[client];
        // It is scheduled both when replies are there and when it does not wait for them.
        let Some((_, ops)) = plan.clients[client].batches.get(one.next) else {
            return;
        };
        if one.gone {
            return;
        }
        let mut out = Vec::new();
        for op in ops {
            let (number, bytes, replies) = self.oracle.ask(client, op.clone(), &plan.tags);
            out.extend(bytes);
            self.clients[client].pending.push_back((number, replies));
        }
        let conn = self.clients[client].conn;
        self.send_near(conn, &out);
        let one = &mut self.clients[client];
        one.next += 1;
        if one.rng.percent(40) || plan.clients[client].end != End::Patient {
            self.schedule_batch(client);
        }
    }

    pub(super) fn hang_up(&mut self, client: usize) {
        let conn = self.clients[client].conn;
        self.clients[client].gone = true;
        let when = self.when(conn, Way::ToNear);
        match self.clients[client].rng.percent(50) {
            true => self.agenda.add((self.now, 0), Event::NearReset(conn)),
            false => {
                // What was sent still arrives.
                self.agenda.add(when, Event::NearEnd(conn));
            }
        }
    }

    pub(super) fn read_replies(&mut self, client: usize) {
        let conn = self.clients[client].conn;
        if self.clients[client].gone {
            return self.conns[conn].inbox.clear();
        }
        let inbox = std::mem::take(&mut self.conns[conn].inbox);
        let mut used = 0;
        while used < inbox.len()
            && let Some(len) = reply_len(&inbox[used..])
        {
            let reply = &inbox[used..used + len];
            used += len;
            if let Err(problem) = self.take_reply(client, reply) {
                return self.fail(problem);
            }
        }
        self.conns[conn].inbox = inbox[used..].to_vec();
        let one = &self.clients[client];
        let more = self
            .plan
            .clients
            .get(client)
            .is_some_and(|p| p.end == End::Patient && one.next < p.batches.len());
        if one.pending.is_empty() && more {
            self.schedule_batch(client);
        }
    }

    fn take_reply(&mut self, client: usize, reply: &[u8]) -> Result<(), String> {
        let one = &mut self.clients[client];
        if is_message(reply) {
            return self.oracle.message(client, reply);
        }
        let Some((number, left)) = one.pending.front_mut() else {
            return Err(format!(
                "client {client} got a reply that it did not ask for: {}",
                shown(reply)
            ));
        };
        let number = *number;
        if *left > 1 {
            let left = std::mem::replace(left, *left - 1);
            return self.oracle.inner(number, left, reply);
        }
        one.pending.pop_front();
        self.oracle.answered(number, reply)
    }

    /// The proxy has closed a client's connection.
    pub(super) fn closed(&mut self, client: usize) {
        let plan = self.plan.clients.get(client);
        let one = &mut self.clients[client];
        let finished = plan.is_some_and(|p| p.end == End::HalfCloses && one.next > p.batches.len());
        if std::mem::replace(&mut one.gone, true) {
            return;
        }
        one.unanswered = one.pending.drain(..).map(|(number, _)| number).collect();
        // To end is to give up what one waits for, as at a server. Where nodes fail it may have been popped by then.
        let first = one.unanswered.first();
        let given_up = first
            .filter(|n| finished && self.oracle.waits(**n))
            .copied();
        let gives_up = given_up.is_some();
        let popped = given_up.filter(|n| self.oracle.is_executed(*n) && self.plan.is_gentle());
        one.unanswered.drain(..usize::from(gives_up));
        let popped = popped.filter(|_| matches!(self.ending, Ending::No));
        let may_be_shed = self.plan.room == Room::Memory && plan.is_some();
        if let Some(number) = popped.filter(|_| !may_be_shed) {
            let what = self.oracle.describe(number);
            return self.fail(format!("{what} was executed, and given up"));
        }
        let ends = gives_up || (finished && one.unanswered.is_empty());
        let expected = match self.ending {
            Ending::No if ends && popped.is_none() => true,
            // For its memory; but nobody when all is calm.
            Ending::No => {
                one.shed = may_be_shed;
                may_be_shed
            }
            Ending::Asked(_) => true,
        };
        if !expected {
            let unanswered = one.unanswered.first().copied();
            self.fail(format!(
                "client {client} was closed by the proxy, with {unanswered:?} unanswered"
            ));
        }
    }
}
