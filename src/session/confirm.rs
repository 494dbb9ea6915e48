//! Whether a node meant the ASK, or the MOVED, that came as the reply to a script. A script may return any error text
//! (invariant 7), but EXISTS may not: for the same keys a node that sends scripts on sends EXISTS on as well, and one whose
//! script made it up counts the keys. It is asked as the script was, with ASKING where that was. Called by `retry` when the
//! script's turn has come, with nothing else of its slot in flight.
//!
//! A node that migrates the slot sends EXISTS on for keys that the script has deleted, so its ASK counts only if the script
//! said the same. A script that deletes its keys and then words that very ASK cannot be told from one that was sent on.

use super::{Life, Session, State};
use crate::cluster::{NodeAddr, SlotMap};
use crate::command::Keys;
use crate::resp::{Span, encode, parse_request};
use crate::route::{Asking, Refused, Sent, Why};
use crate::topology::{Report, Trigger};
use crate::upstream::{Answer, Class, Refusal, Requester, Ticket, classify};
use std::rc::{Rc, Weak};
use std::time::Instant;

impl Session {
    /// Asks `from` about the keys of a script that it refused with ASK, or with a MOVED that no refresh confirms. `false`: it
    /// cannot be asked.
    pub(super) fn confirm(
        &self,
        state: &State,
        refused: &Refused,
        from: &NodeAddr,
        map: &SlotMap,
    ) -> bool {
        let script = &refused.held;
        let (Some(node), Some(question)) = (map.find(from), self.keys_question(&script.request))
        else {
            return false;
        };
        let said_ask = match classify(&refused.reply) {
            Some(Refusal::Ask(_, to)) => Some(self.reached(&to, from)),
            _ => None,
        };
        let lane = self.lane_to(state, map, node);
        let asker = Rc::new(Confirmation {
            session: self.myself.clone(),
            script: script.ticket,
            said_ask,
            asked: self.context.clock.now(),
        });
        let ticket = Ticket::new(0, 0, script.ticket.slot());
        let asking = refused.past.sent == Sent::ToOther(Asking::Yes);
        lane.send(&question, asking, ticket, asker, Class::Normal)
            .is_ok()
    }

    /// EXISTS with the script's keys.
    fn keys_question(&self, script: &[u8]) -> Option<Vec<u8>> {
        let mut spans: Vec<Span> = Vec::new();
        let request = parse_request(script, &mut spans)?;
        let table = self.context.table();
        let mut keys = Keys::new();
        let command = table.lookup(&request).ok()?;
        command.keys(&request, &mut keys).ok()?;
        let mut words = vec![&b"EXISTS"[..]];
        words.extend(keys.iter().map(|&key| request.arg(key as usize)));
        let mut question = Vec::new();
        encode::command(&mut question, &words);
        (words.len() > 1).then_some(question)
    }

    /// What the node meant is known.
    fn confirmed(&self, script: Ticket, why: Why) {
        let state = &mut *self.state.borrow_mut();
        if state.life == Life::Dead {
            return;
        }
        if let (Some(fences), Some(slot)) = (&mut state.fences, script.slot()) {
            fences.explain(script, why);
            self.advance(state, slot);
        }
    }
}

/// The one who waits for the answer; the lane owns it until then.
struct Confirmation {
    session: Weak<Session>,
    script: Ticket,
    /// Where the ASK pointed that came as its reply.
    said_ask: Option<NodeAddr>,
    asked: Instant,
}

impl Requester for Confirmation {
    fn wants_requests(&self) -> bool {
        false
    }

    fn answered(&self, _: Ticket, answer: Answer<'_>) {
        let Some(session) = self.session.upgrade() else {
            return;
        };
        let why = match answer {
            Answer::Reply { reply, from, .. } => match classify(reply) {
                // Its node does not know where to send it.
                Some(Refusal::Moved(slot, target))
                    if self.script.slot() == Some(slot) && target.is_nowhere() =>
                {
                    session.context.report(Report::Refresh(Trigger::Moved));
                    Why::Unavailable
                }
                Some(Refusal::Ask(slot, target)) if self.script.slot() == Some(slot) => {
                    let to = session.reached(&target, from);
                    match self.said_ask.as_ref() == Some(&to) {
                        true if target.is_nowhere() => Why::Unavailable,
                        true => Why::Ask(to),
                        false => Why::Refuted,
                    }
                }
                // The slot has left altogether since.
                Some(Refusal::Moved(slot, target)) if self.script.slot() == Some(slot) => {
                    let to = session.reached(&target, from);
                    session.context.moved(slot, &to, from, self.asked);
                    Why::Moved(to)
                }
                _ => Why::Refuted,
            },
            Answer::NotSent { .. } | Answer::Unknown { .. } => Why::Refuted,
        };
        session.confirmed(self.script, why);
    }

    fn expired(&self, _: Ticket) {
        if let Some(session) = self.session.upgrade() {
            session.confirmed(self.script, Why::Refuted);
        }
    }
}
