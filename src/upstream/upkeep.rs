//! The upkeep of a lane: requests whose time is up, silent nodes, replies that are not those to their requests, idle
//! connections. Driven by the worker's timer through [`super::Lanes::check`].

use super::in_flight::{InFlight, Own};
use super::lane::{Link, State};
use super::{Class, FaultKind, Lane, LaneSettings, Requester, Ticket, serve};
use crate::io::Micros;
use crate::observe::Limit;
use std::rc::Rc;
use std::time::Duration;

/// A connection over which replies come is asked a question of the lane's own so often, in microseconds: where a reply was
/// lost or is one too many, all behind it are another request's, and so is that to the question, which shows it.
const QUESTION_EVERY: u32 = 1_000_000;

/// A connection over which nothing comes for so many times as long as a request may take is given up, though its node
/// answers others, and so is one on which a single reply comes for so long, whose client has its error by then: where a
/// header promises more than there is, all replies behind it are taken for its elements. After one time if another serves
/// its slots: requests of theirs wait until it is known what comes late.
const STUCK_AFTER: u32 = 2;

/// What has become of a lane's node in the map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is a replica, as before, or the map has not been looked at yet.
    Kept,
    /// It serves slots.
    Primary,
    /// It served slots, and does not any more; or the map does not name it.
    Replaced,
}

/// A question over a second connection whether a node that is silent is alive. Forgotten when the silent one is lost.
pub(super) struct Probe {
    since: Micros,
    /// Which of the lane's connections is silent.
    connection: u32,
}

impl Lane {
    /// Whether a request would go out now, or with the first connection. Of a node that was lost, by this lane or by
    /// another, it does not wait for the connection, which may take as long as `timeouts.connect`: that is opened without
    /// it, as soon as the pause is over.
    pub fn is_reachable(self: &Rc<Self>) -> bool {
        let state = &mut *self.state.borrow_mut();
        match &state.link {
            Link::Up(_) | Link::Blocked(_) => !state.is_leaving(),
            Link::Idle if !self.gate.is_doubted() => true,
            Link::Connecting => state.failures == 0 && !self.gate.is_doubted(),
            Link::Down(_, until) if self.context.clock.now() < *until => false,
            Link::Idle | Link::Down(..) => {
                // If it is another lane's turn, at the next question.
                let _ = self.open(&mut state.link);
                false
            }
        }
    }

    /// Tells requesters whose time is up, looks after a silent node, and keeps an idle connection alive.
    pub(super) fn check(self: &Rc<Self>) {
        let context = &self.context;
        let now = context.clock.micros();
        let settings = &context.settings;
        for (requester, ticket) in self.take_expired(now) {
            requester.expired(ticket);
        }
        let in_flight = self.in_flight();
        {
            let state = &mut *self.state.borrow_mut();
            state.room.check(in_flight, now);
            state.stay(context.clock.now(), settings.queue);
        }
        // A limit that has risen makes room without a reply.
        self.offer_room();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if !matches!(state.link, Link::Up(_) | Link::Blocked(_)) {
            return;
        }
        let Some(oldest) = state.queue.front() else {
            let idle = now.since(state.used) > micros(settings.idle_close);
            if idle || state.is_leaving() {
                self.ending.borrow_mut().get_or_insert(FaultKind::Retired);
                self.wake();
            } else if now.since(state.heard) > micros(settings.heartbeat) {
                self.question(state, now);
            }
            return;
        };
        if state
            .begun
            .is_some_and(|begun| now.since(begun) > patience(state, oldest, settings))
            && !self.unread.get()
        {
            self.ending.borrow_mut().get_or_insert(FaultKind::Endless);
            self.wake();
            return;
        }
        let silent = silent(state, oldest, now);
        if silent > micros(settings.silent_report) {
            context.silent(self.node());
        }
        let asked = (state.probing.as_ref())
            .is_some_and(|probe| now.since(probe.since) > micros(settings.silent_report));
        let unread = self.unread.get();
        if asked
            && !unread
            && silent > micros(settings.silent_probe)
            && state.standing == Standing::Replaced
        {
            // The cluster has given it up as well: whoever waits for it can go to its heir.
            self.ending.borrow_mut().get_or_insert(FaultKind::Silent);
            self.wake();
            return;
        }
        // A script answers probes with BUSY after 5 s, KEYS answers none: where the probe's connection is accepted it is
        // probed again (`may_be_busy`), and the kernel is told to wait as well.
        let pause = match state.standing {
            Standing::Replaced => 0,
            Standing::Kept | Standing::Primary => micros(settings.silent_probe),
        };
        let is_due = state.probing.is_none() && now.since(state.probed) >= pause;
        if silent > micros(settings.silent_probe) && is_due {
            let unacked = match is_slow(oldest, settings, now) {
                true => settings.busy_unacked,
                false => settings.unacked,
            };
            if let Link::Up(write) | Link::Blocked(write) = &state.link {
                write.set_unacked(unacked);
            }
            let connection = state.connections;
            state.probing = Some(Probe {
                since: now,
                connection,
            });
            tokio::task::spawn_local(serve::probe(self.clone(), connection));
        }
        let rests = state.question.rests_since(now);
        if rests.is_some_and(|rests| rests > QUESTION_EVERY)
            && now.since(state.heard) < QUESTION_EVERY
        {
            self.question(state, now);
        }
    }

    fn question(self: &Rc<Self>, state: &mut State, now: Micros) {
        let question = state.question.ask(now);
        (state.queue).push_back(InFlight::own(&question, Own::Ping, now));
        state.outbox.append(&question);
        self.list();
    }

    /// The probe of that connection has ended.
    pub(super) fn probed(&self, connection: u32, outcome: Result<(), FaultKind>) {
        let mine = |probe: &mut Probe| probe.connection == connection;
        let probe = self.state.borrow_mut().probing.take_if(mine);
        if probe.is_none() {
            // The connection was lost meanwhile: this says nothing of the next.
            return;
        }
        let now = self.context.clock.micros();
        self.state.borrow_mut().probed = now;
        match outcome {
            Ok(()) if self.is_stuck(now) => self.close(FaultKind::Stuck),
            // A refusal is a sign of life.
            Ok(()) | Err(FaultKind::Handshake(_)) => {}
            // Its host has accepted the connection.
            Err(FaultKind::Silent | FaultKind::HandshakeLate) if self.may_be_busy() => {}
            Err(_) => self.close(FaultKind::Silent),
        }
    }

    /// Whether the node must have answered on this connection, as it does on others.
    fn is_stuck(&self, now: Micros) -> bool {
        let (state, settings) = (self.state.borrow(), &self.context.settings);
        !self.unread.get()
            && state.queue.front().is_some_and(|oldest| {
                silent(&state, oldest, now) > patience(&state, oldest, settings)
            })
    }

    /// Nobody has read for so long, after which the rest of a reply may still be on its way.
    pub(super) fn was_away(&self, away: Duration) {
        let state = &mut *self.state.borrow_mut();
        let (now, away) = (self.context.clock.micros(), micros(away));
        // One that began meanwhile has its whole time, and does not begin later than now.
        state.begun = state.begun.map(|begun| match now.since(begun) {
            since if since <= away => now,
            _ => begun.plus(away),
        });
    }

    /// The reply that has begun has the time of one that begins now: it was not read for a while.
    pub(super) fn begun_anew(&self) {
        let state = &mut *self.state.borrow_mut();
        state.begun = state.begun.map(|_| state.heard);
    }

    /// The map has changed: whether it names the node, and as a primary.
    pub(super) fn place(&self, primary: Option<bool>) {
        let state = &mut *self.state.borrow_mut();
        let before = state.standing;
        state.standing = match (before, primary) {
            (_, Some(true)) => Standing::Primary,
            (Standing::Kept, Some(false)) => Standing::Kept,
            (_, Some(false) | None) => Standing::Replaced,
        };
        if state.standing == Standing::Replaced && before != Standing::Replaced {
            self.count_as_loss(&mut state.losses);
        }
    }

    /// Whether the map named its node as a primary, and does not any more, or does not name it at all.
    pub fn is_replaced(&self) -> bool {
        self.state.borrow().standing == Standing::Replaced
    }

    /// Whether it is unused: not connected and nothing queued.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state.borrow().link, Link::Idle)
    }

    /// Whether a slow command explains that the node hears nobody. Not where the cluster has replaced it meanwhile.
    fn may_be_busy(&self) -> bool {
        let state = self.state.borrow();
        let (settings, now) = (&self.context.settings, self.context.clock.micros());
        let slow = |oldest| is_slow(oldest, settings, now);
        state.standing != Standing::Replaced && state.queue.front().is_some_and(slow)
    }

    fn take_expired(&self, now: Micros) -> Vec<(Rc<dyn Requester>, Ticket)> {
        let settings = &self.context.settings;
        let mut state = self.state.borrow_mut();
        let mut expired = Vec::new();
        for entry in &mut state.queue {
            let age = now.since(entry.at);
            if age <= micros(settings.command) {
                break;
            }
            let (within, limit) = match entry.class {
                Class::Normal => (settings.command, Limit::CommandTimeout),
                Class::Slow => (settings.slow_command, Limit::SlowCommandTimeout),
            };
            if age > micros(within)
                && !entry.told
                && let Some(requester) = &entry.requester
            {
                entry.told = true;
                self.context.metrics.limit_hit(limit);
                expired.push((requester.clone(), entry.ticket));
            }
        }
        expired
    }
}

/// For how long nothing has come over a connection that something should come over: not before the request is written.
fn silent(state: &State, oldest: &InFlight, now: Micros) -> u32 {
    now.since(oldest.at)
        .min(now.since(state.heard))
        .min(now.since(state.handed))
}

/// How long a connection is kept on which the reply to this does not come, or does not end.
fn patience(state: &State, oldest: &InFlight, settings: &LaneSettings) -> u32 {
    let within = match oldest.class {
        Class::Normal => settings.command,
        Class::Slow => settings.slow_command,
    };
    let times = match state.standing {
        Standing::Replaced => 1,
        Standing::Kept | Standing::Primary => STUCK_AFTER,
    };
    micros(within).saturating_mul(times)
}

/// Whether a request may still take longer than others.
fn is_slow(request: &InFlight, settings: &LaneSettings, now: Micros) -> bool {
    request.class == Class::Slow && now.since(request.at) < micros(settings.slow_command)
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{LaneSettings, Lanes, Stripe};
    use super::*;
    use crate::cluster::NodeAddr;
    use crate::config::Config;
    use crate::resp::Proto;

    /// A session that comes for the first time, in RESP3, to a node that others have not reached: its replicas are to be
    /// asked for it, too.
    #[tokio::test]
    async fn a_new_lane_knows_that_the_node_was_not_reached() {
        let nobody = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let node = NodeAddr::new("127.0.0.1", nobody);
        let tasks = tokio::task::LocalSet::new();
        let lanes = Lanes::detached(LaneSettings::new(&Config::default(), 1));
        tasks
            .run_until(async {
                let old = lanes.to_addr(&node, Proto::Resp2, Stripe(0));
                assert!(old.is_reachable(), "nothing is known yet");
                let fault = super::super::Fault {
                    node: node.clone(),
                    kind: FaultKind::Closed,
                };
                let (clock, backoff) = (&lanes.context().clock, &lanes.context().settings.backoff);
                old.gate.failed(&fault, clock.now(), backoff);
                let new = lanes.to_addr(&node, Proto::Resp3, Stripe(0));
                assert!(!new.is_reachable(), "while the pause lasts");
                assert!(matches!(new.state.borrow().link, Link::Idle));
                old.gate.open();
                old.gate.doubt(&fault, clock.now());
                assert!(!new.is_reachable(), "it is dialled first");
                assert!(matches!(new.state.borrow().link, Link::Connecting));
                assert!(!new.is_reachable(), "that has no answer yet");
                old.gate.open();
                assert!(new.is_reachable());
            })
            .await;
    }
}
