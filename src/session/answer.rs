//! What lanes deliver to a session. The plain case — a reply that is no error, to a session that is not
//! redirecting — is a copy into the output; everything else is looked at.

use super::replies::{About, GATHERED_BYTES, MergedSize, Rest, Stage};
use super::{Life, Session, State, errors};
use crate::command::{CommandId, Lookup};
use crate::io::Purse;
use crate::local::Address;
use crate::observe::{ErrorSource, Limit, WorkerMetrics};
use crate::resp;
use crate::route::Facts;
use crate::upstream::{Answer, LaneId, REPLY_TOO_LARGE, Requester, Size, Ticket, Wants};
use std::rc::Rc;
use std::sync::atomic::Ordering;

impl Requester for Session {
    #[inline]
    fn wants_requests(&self) -> bool {
        self.redirecting.get()
    }

    #[inline]
    fn answered(&self, ticket: Ticket, answer: Answer<'_>) {
        let state = &mut *self.state.borrow_mut();
        if state.life == Life::Dead {
            return;
        }
        match answer {
            Answer::Reply {
                reply,
                request: None,
                ..
            } => self.deliver(state, ticket, reply),
            Answer::Reply {
                reply,
                request: Some(request),
                from,
            } => self.examine(state, ticket, reply, &request, from),
            Answer::NotSent { request, fault } => self.not_sent(state, ticket, request, fault),
            Answer::Unknown { request, fault } => self.unknown(state, ticket, request, fault),
        }
    }

    fn expired(&self, ticket: Ticket) {
        let state = &mut *self.state.borrow_mut();
        if state.life != Life::Dead {
            self.expire(state, ticket);
        }
    }

    fn takes_turns(&self) -> bool {
        true
    }

    fn expects(&self) -> Size {
        self.expects.get()
    }

    fn purse(&self) -> Option<Rc<Purse>> {
        Some(self.purse.clone())
    }

    fn room(&self, lane: LaneId) -> Wants {
        self.take_room(lane)
    }
}

impl Session {
    /// The reply of one request (or of one part of a command) is final.
    #[inline]
    pub(super) fn deliver(&self, state: &mut State, ticket: Ticket, reply: &[u8]) {
        if reply.len() >= self.context.bulk_from {
            self.got_large(state, ticket);
        }
        let metrics = &self.context.metrics;
        let Some(pending) = state.replies.get_mut(ticket.seq) else {
            return;
        };
        match &mut pending.stage {
            Stage::Sent(..) | Stage::Held => {
                let about = pending.about;
                if let Some(rest) = pending.rest.take() {
                    return self.complete_rest(state, ticket.seq, *rest, reply);
                }
                count_lookups(metrics, &about, about.keys, reply);
                self.complete(state, ticket.seq, reply);
            }
            Stage::Fanout(fanout) => {
                let part = &mut fanout.parts[usize::from(ticket.part)];
                part.lane = None;
                count_lookups(metrics, &pending.about, part.keys, reply);
                let before = fanout.gathering.held();
                let all = before + reply.len();
                let reply = match all > GATHERED_BYTES && all > self.context.memory.reply_max() {
                    true => self.refuse_part(&mut fanout.size),
                    false => reply,
                };
                let complete = fanout.gathering.put(usize::from(ticket.part), reply);
                let more = fanout.gathering.held() - before;
                if state.replies.gather(more) {
                    self.charge(state);
                }
                if complete {
                    self.complete_fanout(state, ticket.seq);
                }
            }
            // Its client got a timeout error: too late.
            Stage::Early { .. } | Stage::Ready(_) => {}
        }
    }

    /// What is gathered for one command is as large a reply as is kept: what stands for each part that is too much.
    #[cold]
    fn refuse_part(&self, size: &mut MergedSize) -> &'static [u8] {
        if std::mem::replace(size, MergedSize::TooLarge) == MergedSize::Fits {
            self.context.metrics.limit_hit(Limit::Memory);
        }
        REPLY_TOO_LARGE
    }

    /// What a node said is an error, or what is said instead of a reply that is too large.
    #[cold]
    pub(super) fn count_error(&self, state: &mut State, ticket: Ticket, reply: &[u8]) {
        let source = source_of(reply);
        self.count_final(state, ticket, source, reply);
        if source == ErrorSource::Proxy {
            // The next one goes where large values go.
            self.got_large(state, ticket);
        }
    }

    /// That error is the last that is heard of a request. A command of several parts has one reply, which is counted when all
    /// of them are there.
    #[cold]
    pub(super) fn count_final(
        &self,
        state: &mut State,
        ticket: Ticket,
        source: ErrorSource,
        error: &[u8],
    ) {
        let pending = state.replies.get_mut(ticket.seq);
        let command = pending
            .as_ref()
            .map_or(CommandId::OTHER, |p| p.about.command);
        match pending.map(|p| &mut p.stage) {
            Some(Stage::Fanout(fanout)) => {
                fanout.blame.get_or_insert(source);
                if error == REPLY_TOO_LARGE {
                    // Who did not keep it has counted it.
                    fanout.size = MergedSize::TooLarge;
                }
            }
            _ => self.count_error_of(state, source, error, command),
        }
    }

    /// A client got an error for that command.
    #[cold]
    pub(super) fn count_error_of(
        &self,
        state: &State,
        source: ErrorSource,
        error: &[u8],
        command: CommandId,
    ) {
        let client = || {
            Some((
                state.client.ends().0,
                state.client.name().map(str::to_owned),
            ))
        };
        let metrics = &self.context.metrics;
        metrics.error_of(source, error, command, client);
    }

    /// A command's reply is final.
    #[inline]
    pub(super) fn complete(&self, state: &mut State, seq: u64, reply: &[u8]) {
        let now = self.context.clock.micros();
        let metrics = &self.context.metrics;
        state
            .replies
            .complete(seq, reply, &mut state.output, now, metrics);
        let kept = state.output.len() + state.replies.kept();
        if kept > state.mark {
            self.charge(state);
            self.check_output(state);
        }
        if !state.output.is_empty() {
            self.list();
        }
        if state.paused && !self.would_pause(state) || state.life == Life::Finishing {
            self.wake();
        }
    }

    /// The same, of a command whose reply was still to be worked on: that is given up.
    #[cold]
    pub(super) fn complete_whole(&self, state: &mut State, seq: u64, reply: &[u8]) {
        let pending = state.replies.get_mut(seq);
        match pending.and_then(|pending| pending.rest.take()) {
            Some(rest) => self.complete_rest(state, seq, *rest, reply),
            None => self.complete(state, seq, reply),
        }
    }

    #[inline(never)]
    fn complete_rest(&self, state: &mut State, seq: u64, rest: Rest, reply: &[u8]) {
        match rest {
            Rest::Scan(scan) => self.complete_scan(state, seq, scan, reply),
            Rest::Exec(assembly) => self.complete_exec(state, seq, &assembly, &[reply]),
            Rest::ExecWatched => self.tell_exec(state, seq, reply),
        }
    }

    /// What merged replies contain besides what the nodes said.
    pub(super) fn facts(&self, state: &State) -> Facts {
        Facts {
            clients: self.context.clients.load(Ordering::Relaxed),
            clients_max: self.context.config.limits.clients,
            port: match state.client.address() {
                Address::Tcp { local, .. } => local.port(),
                Address::Unix(_) => 0,
            },
            random: state.replies.oldest().wrapping_mul(0x9E37_79B9_7F4A_7C15),
        }
    }

    pub(super) fn complete_fanout(&self, state: &mut State, seq: u64) {
        let facts = self.facts(state);
        let Some(pending) = state.replies.get_mut(seq) else {
            return;
        };
        let command = pending.about.command;
        let rest = pending.rest.take();
        if let Stage::Fanout(fanout) = std::mem::replace(&mut pending.stage, Stage::Held) {
            let mut reply = Vec::new();
            let partial = fanout.gathering.partial();
            state.replies.gathered(fanout.gathering.held());
            fanout.gathering.finish(&facts, &mut reply);
            if let Some((part, done)) = partial
                && reply[0] == b'-'
                && let Some(node) = &fanout.parts[part].node
            {
                reply = errors::partly_done(&reply, node, done);
            }
            if let Some(Rest::Exec(assembly)) = rest.as_deref() {
                let parts = resp::elements(&reply).unwrap_or_default();
                let parts: Vec<&[u8]> = parts.into_iter().map(|part| &reply[part]).collect();
                if let Some(error) = parts.iter().find(|part| part.starts_with(b"-")) {
                    let source = source_of_merged(error, fanout.blame);
                    self.count_error_of(state, source, error, command);
                }
                return self.complete_exec(state, seq, assembly, &parts);
            }
            if reply.first() == Some(&b'-') {
                let source = source_of_merged(&reply, fanout.blame);
                self.count_error_of(state, source, &reply, command);
            }
            if let Some((question, asked)) = fanout.again {
                let mut recent = self.context.recent.borrow_mut();
                recent.put(question, asked, &reply);
            }
            self.complete(state, seq, &reply);
        }
    }
}

/// Who speaks in what the replies of several parts have come to.
fn source_of_merged(error: &[u8], blame: Option<ErrorSource>) -> ErrorSource {
    match source_of(error) {
        ErrorSource::Proxy => ErrorSource::Proxy,
        ErrorSource::Upstream => blame.unwrap_or(ErrorSource::Upstream),
    }
}

/// Who speaks where a node's error is expected: the node, or slotway in the place of a reply that is too large.
pub(super) fn source_of(error: &[u8]) -> ErrorSource {
    match error == REPLY_TOO_LARGE {
        true => ErrorSource::Proxy,
        false => ErrorSource::Upstream,
    }
}

/// Reads hits and misses from a reply that says them.
#[inline]
fn count_lookups(metrics: &WorkerMetrics, about: &About, keys: u32, reply: &[u8]) {
    match (about.lookup, reply) {
        (Lookup::None, _) => {}
        (Lookup::Value, [b'$', b'0'..=b'9', ..]) => metrics.hit(about.command, about.group),
        _ => count_rare_lookups(metrics, about, keys, reply),
    }
}

/// Everything but one value that is there.
#[inline(never)]
fn count_rare_lookups(metrics: &WorkerMetrics, about: &About, keys: u32, reply: &[u8]) {
    let (hits, misses) = match about.lookup {
        Lookup::None => return,
        _ if reply[0] == b'-' => return,
        Lookup::Value => {
            let miss = u64::from(resp::is_null(reply));
            (1 - miss, miss)
        }
        Lookup::Count => {
            let found = resp::integer(reply).map_or(0, |n| n.max(0) as u64);
            (found, u64::from(keys).saturating_sub(found))
        }
        Lookup::Elements => {
            if let Some(one) = resp::only_element(reply) {
                let miss = u64::from(resp::is_null(one));
                return metrics.lookup(about.command, about.group, 1 - miss, miss);
            }
            let Some(elements) = resp::elements(reply) else {
                return;
            };
            let all = elements.len() as u64;
            let misses = elements
                .into_iter()
                .filter(|e| resp::is_null(&reply[e.clone()]))
                .count() as u64;
            (all - misses, misses)
        }
    };
    metrics.lookup(about.command, about.group, hits, misses);
}
