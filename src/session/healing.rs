//! EVALSHA on nodes that do not know the script: a new node, a promoted replica, one that was flushed behind our
//! back. Scripts that clients have sent are known (`scripts`), so the first EVALSHA of a script on each connection
//! gets its SCRIPT LOAD right in front of it, and one that is answered with NOSCRIPT all the same is sent again,
//! once, with SCRIPT LOAD in front, under the fence of its slot (invariant 3).
//!
//! A script may return the text of NOSCRIPT itself (invariant 7), after it has written. So NOSCRIPT is believed where
//! the reply cannot be the script's own: it only reads, or it has no way to word an error. Else the node is asked
//! whether it has the script: one that has it has run it.

use super::refusal::is_own;
use super::replies::Stage;
use super::scripts::{Origin, Sha, sha_from};
use super::worker_scripts::Moment;
use super::{Life, Session, State};
use crate::cluster::{NodeAddr, SlotMap};
use crate::resp::{Request, encode};
use crate::route::{Refused, Why};
use crate::upstream::{Answer, Class, Lane, LaneId, Requester, Ticket};
use bytes::Bytes;
use std::rc::{Rc, Weak};

/// The servers' own texts (Redis 7.0; Valkey 9.1).
pub(super) const NOSCRIPT: &[&str] = &[
    "NOSCRIPT No matching script. Please use EVAL.",
    "NOSCRIPT No matching script.",
];

/// A script with none of these in it cannot return an error in words of its own: errors are tables with the field
/// `err`, written down, made by `error_reply`, or decoded from data.
const MAKES_ERRORS: &[&[u8]] = &[b"err", b"cjson", b"cmsgpack", b"string.char", b"load"];

impl Session {
    /// Called before any slow request is sent on `lane`: keeps the script of an EVAL, puts SCRIPT LOAD in front of an
    /// EVALSHA if the connection has not seen it.
    pub(super) fn script_ahead(&self, lane: &Rc<Lane>, request: &[u8]) {
        let Some((name, arg)) = first_words(request) else {
            return;
        };
        let scripts = &self.context.scripts;
        if name.eq_ignore_ascii_case(b"EVAL") || name.eq_ignore_ascii_case(b"EVAL_RO") {
            scripts.keep(arg, Origin::Eval, self.context.clock.now());
        } else if let Some(sha) = called_sha(name, arg)
            && let Some(body) = scripts.missing(lane, &sha)
        {
            let mut load = Vec::with_capacity(body.len() + 64);
            encode::command(&mut load, &[&b"SCRIPT"[..], b"LOAD", &body]);
            let ticket = Ticket::new(0, 0, None);
            let requester = scripts.given(lane, sha);
            let sent = lane.send_ahead(&load, ticket, requester, Class::Slow);
            if sent.is_err() {
                scripts.not_given(lane.id(), &sha);
            }
        }
    }

    /// A command that goes to all nodes: keeps what SCRIPT LOAD brings, forgets all at SCRIPT FLUSH.
    pub(super) fn note_script_command(&self, request: &Request<'_>) {
        let is = |at: usize, word: &[u8]| {
            request
                .get(at)
                .is_some_and(|arg| arg.eq_ignore_ascii_case(word))
        };
        if !is(0, b"SCRIPT") {
            return;
        }
        if is(1, b"LOAD")
            && let Some(body) = request.get(2)
        {
            let now = self.context.clock.now();
            self.context.scripts.keep(body, Origin::Load, now);
        } else if is(1, b"FLUSH") {
            self.context.scripts.flush();
        }
    }

    /// Which of the scripts that SCRIPT EXISTS asks for can be given to every node: EVALSHA will find them.
    pub(super) fn known_scripts(&self, request: &Request<'_>) -> Vec<bool> {
        let shas = request.args().skip(2);
        let is_known = |sha: Sha| self.context.scripts.body(&sha).is_some();
        shas.map(|sha| sha_from(sha).is_some_and(is_known))
            .collect()
    }

    /// An error reply: if it is a node's NOSCRIPT for a script that is known, the request is sent again with the
    /// script in front. `false`: it is passed on.
    pub(super) fn heal(
        &self,
        state: &mut State,
        ticket: Ticket,
        reply: &[u8],
        request: &Bytes,
        from: &NodeAddr,
    ) -> bool {
        if !is_own(reply, NOSCRIPT) || state.healed.contains(&ticket) {
            return false;
        }
        let Some((name, arg)) = first_words(request) else {
            return false;
        };
        let Some(sha) = called_sha(name, arg) else {
            return false;
        };
        let scripts = &self.context.scripts;
        let Some(pending) = state.replies.get_mut(ticket.seq) else {
            return false;
        };
        let Stage::Sent(_, lane) = &pending.stage else {
            return false;
        };
        let lane = *lane;
        // A script that came later does not change what the request meant.
        let sent = self.context.clock.instant(pending.about.started);
        let Some(body) = scripts.body_before(&sha, sent) else {
            return false;
        };
        let info = self.inspect(ticket, request);
        let from = from.clone();
        let why = if scripts.is_absent(lane, &sha) {
            Why::NoScript { from }
        } else if info.readonly || !may_word_errors(&body) {
            scripts.doubt(lane, &sha);
            Why::NoScript { from }
        } else if ticket.slot().is_some() {
            let moment = scripts.moment();
            Why::UnprovenNoScript { from, moment }
        } else {
            return false;
        };
        let oldest = state.replies.oldest();
        state.healed.retain(|healed| healed.seq >= oldest);
        state.healed.push(ticket);
        let reply = Bytes::copy_from_slice(reply);
        self.fence(state, ticket, request.clone(), info.class, why, reply)
    }

    /// Whether a node that has answered NOSCRIPT, in words that may be the script's own, did not have the script. It
    /// is asked, unless somebody else has asked meanwhile.
    pub(super) fn prove_absence(
        &self,
        state: &State,
        refused: &Refused,
        from: &NodeAddr,
        moment: Moment,
        map: &SlotMap,
    ) -> Proof {
        let call = &refused.held;
        let sha = first_words(&call.request).and_then(|(name, arg)| called_sha(name, arg));
        let (Some(node), Some(sha)) = (map.find(from), sha) else {
            return Proof::Impossible;
        };
        let lane = self.lane_to(state, map, node);
        if self.context.scripts.was_absent(lane.id(), &sha, moment) {
            return Proof::Absent;
        }
        if refused.not_before.is_some() {
            return Proof::Asked;
        }
        let mut question = Vec::new();
        encode::command(&mut question, &[&b"SCRIPT"[..], b"EXISTS", &sha]);
        let asker = Rc::new(Existence {
            session: self.myself.clone(),
            call: call.ticket,
            from: from.clone(),
            lane: lane.id(),
            sha,
        });
        let ticket = Ticket::new(0, 0, call.ticket.slot());
        match lane.send(&question, false, ticket, asker, Class::Normal) {
            Ok(()) => Proof::Asked,
            Err(_) => Proof::Impossible,
        }
    }
}

/// What is known of a NOSCRIPT.
pub(super) enum Proof {
    /// It was the node's own.
    Absent,
    /// The node's answer is on its way.
    Asked,
    /// The node cannot be asked.
    Impossible,
}

/// The one who waits for the answer; the lane owns it until then.
struct Existence {
    session: Weak<Session>,
    call: Ticket,
    from: NodeAddr,
    lane: LaneId,
    sha: Sha,
}

impl Existence {
    fn tell(&self, why: Why) {
        let Some(session) = self.session.upgrade() else {
            return;
        };
        let state = &mut *session.state.borrow_mut();
        if state.life == Life::Dead {
            return;
        }
        if let (Some(fences), Some(slot)) = (&mut state.fences, self.call.slot()) {
            fences.explain(self.call, why);
            session.advance(state, slot);
        }
    }
}

impl Requester for Existence {
    fn wants_requests(&self) -> bool {
        false
    }

    fn answered(&self, _: Ticket, answer: Answer<'_>) {
        let absent = matches!(
            answer,
            Answer::Reply {
                reply: b"*1\r\n:0\r\n",
                ..
            }
        );
        if !absent {
            return self.tell(Why::Refuted);
        }
        if let Some(session) = self.session.upgrade() {
            session.context.scripts.absent(self.lane, self.sha);
        }
        let from = self.from.clone();
        self.tell(Why::NoScript { from });
    }

    fn expired(&self, _: Ticket) {
        self.tell(Why::Refuted);
    }
}

/// The SHA-1 that an EVALSHA names.
fn called_sha(name: &[u8], arg: &[u8]) -> Option<Sha> {
    let calls = name.eq_ignore_ascii_case(b"EVALSHA") || name.eq_ignore_ascii_case(b"EVALSHA_RO");
    calls.then(|| sha_from(arg)).flatten()
}

fn may_word_errors(body: &[u8]) -> bool {
    MAKES_ERRORS
        .iter()
        .any(|word| memchr::memmem::find(body, word).is_some())
}

/// The first two arguments of a canonical request, without a look at the others.
fn first_words(request: &[u8]) -> Option<(&[u8], &[u8])> {
    let after_count = memchr::memchr(b'\n', request)? + 1;
    let (name, rest) = bulk(&request[after_count..])?;
    Some((name, bulk(rest)?.0))
}

fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let line_end = memchr::memchr(b'\r', bytes)?;
    let len: usize = std::str::from_utf8(bytes.get(1..line_end)?)
        .ok()?
        .parse()
        .ok()?;
    let start = line_end + 2;
    let payload = bytes.get(start..start + len)?;
    Some((payload, bytes.get(start + len + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_a_request_are_found() {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &[&b"EVAL"[..], b"return\r\n1", b"0"]);
        assert_eq!(
            first_words(&bytes),
            Some((&b"EVAL"[..], &b"return\r\n1"[..]))
        );
        bytes.clear();
        encode::command(&mut bytes, &["KEYS"]);
        assert_eq!(first_words(&bytes), None);
    }

    #[test]
    fn scripts_that_cannot_word_an_error_are_told_from_those_that_can() {
        for harmless in ["return redis.call('INCR', KEYS[1])", "return {1, 2}"] {
            assert!(!may_word_errors(harmless.as_bytes()), "{harmless}");
        }
        for able in [
            "return redis.error_reply(ARGV[1])",
            "return {err = ARGV[1]}",
            "return cjson.decode(ARGV[1])",
        ] {
            assert!(may_word_errors(able.as_bytes()), "{able}");
        }
    }
}
