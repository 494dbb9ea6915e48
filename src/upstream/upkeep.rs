//! The upkeep of a lane: requests whose time is up, silent nodes, idle connections. Driven by the worker's timer
//! through [`super::Lanes::check`].

use super::in_flight::Own;
use super::lane::{Link, own};
use super::{Class, FaultKind, Lane, Requester, Ticket, serve};
use crate::io::Micros;
use std::rc::Rc;

pub(super) const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

impl Lane {
    /// Tells requesters whose time is up, looks after a silent node, and keeps an idle connection alive.
    pub(super) fn check(self: &Rc<Self>) {
        let context = &self.context;
        let now = context.clock.micros();
        let settings = &context.settings;
        for (requester, ticket) in self.take_expired(now) {
            requester.expired(ticket);
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if !matches!(state.link, Link::Up(_) | Link::Blocked(_)) {
            return;
        }
        let Some(oldest) = state.queue.front() else {
            if now.since(state.used) > micros(settings.idle_close) {
                self.ending.borrow_mut().get_or_insert(FaultKind::Retired);
                self.wake();
            } else if now.since(state.heard) > micros(settings.heartbeat) {
                state.queue.push_back(own(PING, Own::Ping, now));
                state.outbox.append(PING);
                self.list();
            }
            return;
        };
        // A script answers probes with BUSY after 5 s; what is silent for longer than a command may take is probed.
        let patient =
            oldest.class == Class::Slow && now.since(oldest.at) < micros(settings.slow_command);
        let probe_after = if patient {
            settings.command
        } else {
            settings.silent_probe
        };
        let silent = now.since(oldest.at).min(now.since(state.heard));
        if silent > micros(settings.silent_report) {
            context.silent(self.node());
        }
        if silent > micros(probe_after) && !state.probing {
            state.probing = true;
            tokio::task::spawn_local(serve::probe(self.clone()));
        }
    }

    pub(super) fn probed(&self, outcome: Result<(), FaultKind>) {
        self.state.borrow_mut().probing = false;
        match outcome {
            // A refusal is a sign of life.
            Ok(()) | Err(FaultKind::Handshake(_)) => {}
            Err(_) => self.close(FaultKind::Silent),
        }
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
            let limit = match entry.class {
                Class::Normal => settings.command,
                Class::Slow => settings.slow_command,
            };
            if age > micros(limit)
                && !entry.told
                && let Some(requester) = &entry.requester
            {
                entry.told = true;
                expired.push((requester.clone(), entry.ticket));
            }
        }
        expired
    }
}

fn micros(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
