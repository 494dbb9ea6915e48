//! From MULTI to EXEC or DISCARD: what follows MULTI is checked and queued (`modes::Queue`), nothing is sent. EXEC itself
//! is `executing`'s.
//!
//! Invariant 6 is kept here for blocks: only commands with a plan for a node get into one.

use super::dispatch::{Batch, SCARCE, Taken};
use super::replies::{About, Stage};
use super::{Session, State};
use crate::command::{Command, Flags, Local, Mode, Policy};
use crate::config::CrossSlotTransactions;
use crate::local::Replies;
use crate::modes::{NotQueued, QueueLimits, Slots, inside};
use crate::observe::CrossSlot;
use crate::resp::{Proto, Request, strict_integer};
use crate::route::{Plan, RefusedBy, plan, route};
use std::rc::Rc;

const OK: &[u8] = b"+OK\r\n";
const QUEUED: &[u8] = b"+QUEUED\r\n";
impl Session {
    /// MULTI
    pub(super) fn begin_transaction(&self, state: &mut State, about: About) -> Taken {
        state.transaction = Some(Box::default());
        self.reply_later(state, about, OK);
        Taken::Yes
    }

    /// Gives a command its reply, which is written together with that to EXEC if that came with it, as a server does;
    /// otherwise once all that was read is taken.
    fn reply_later(&self, state: &mut State, about: About, reply: &[u8]) {
        let seq = state.replies.next_seq();
        state.replies.push(about, Stage::Held);
        let (now, metrics) = (self.context.clock.micros(), &self.context.metrics);
        let out = &mut state.output;
        state.replies.complete(seq, reply, out, now, metrics);
    }

    /// All that was read has been taken, and EXEC was not in it.
    #[cold]
    pub(super) fn tell_queued(&self, state: &State) {
        if !state.output.is_empty() {
            self.list();
        }
    }

    /// A command behind MULTI. `None`: it is carried out as if there were no transaction, which it ends.
    pub(super) fn in_transaction(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        command: &Command,
        mut about: About,
        request: &Request<'_>,
    ) -> Option<Taken> {
        let plan = plan(command, request, true);
        if matches!(plan, Plan::Local(Local::Reset | Local::Quit)) {
            return None;
        }
        if matches!(plan, Plan::Mode(Mode::Exec))
            && (state.watch.is_some() || self.leaves_for_block(state))
            && !state.replies.is_empty()
        {
            state.barrier = true;
            return Some(Taken::NotYet);
        }
        about.silent = state.client.begin_command() != Replies::On;
        let queued = match plan {
            Plan::Refuse(text, RefusedBy::Arguments) => {
                if command.policy == Policy::Mode(Mode::Exec) {
                    state.transaction = None;
                    self.unwatch(state);
                    return Some(self.refuse_exec(state, about, &text));
                }
                match command.lacks_a_value(request.len()) {
                    true => self.queue(state, command, request, route(command, request)),
                    false => Err(text),
                }
            }
            _ if command.flags.contains(Flags::NO_MULTI)
                && !inside::may_nest(&self.behind(), command) =>
            {
                Err(inside::not_allowed(&self.behind(), command))
            }
            Plan::Mode(Mode::Exec) => return Some(self.exec(state, batch, about)),
            Plan::Mode(Mode::Discard) => {
                state.transaction = None;
                self.unwatch(state);
                self.reply_in_turn(state, about, OK);
                return Some(Taken::Yes);
            }
            _ if self.context.is_too_large_now(request.bytes().len()) => Err(SCARCE.to_owned()),
            Plan::Slot(_) | Plan::AnyNode | Plan::Home => self.queue(state, command, request, plan),
            Plan::Local(local) => self.queue_local(state, command, request, local),
            other => match self.queue_rare(state, command, request, other) {
                Ok(queued) => queued,
                Err(text) => return Some(self.refuse(state, about, text)),
            },
        };
        if let Err(text) = queued {
            if let Some(queue) = &mut state.transaction {
                queue.abort();
            }
            return Some(self.refuse(state, about, &text));
        }
        self.reply_later(state, about, QUEUED);
        Some(Taken::Yes)
    }

    /// What is neither routed nor local. The outer error is one that leaves the transaction as it is.
    #[cold]
    fn queue_rare(
        &self,
        state: &mut State,
        command: &Command,
        request: &Request<'_>,
        plan: Plan,
    ) -> Result<Result<(), String>, &'static str> {
        Ok(match plan {
            Plan::Mode(Mode::Multi) => return Err(inside::NESTED),
            Plan::Mode(Mode::Watch) => return Err(inside::WATCH_INSIDE),
            Plan::Mode(Mode::Unwatch) => self.queue_unwatch(state, request),
            // Inside MULTI nothing blocks.
            Plan::Mode(Mode::Blocking) => {
                self.queue(state, command, request, route(command, request))
            }
            Plan::Mode(Mode::Wait | Mode::Waitaof) => {
                self.queue(state, command, request, Plan::AnyNode)
            }
            Plan::Mode(_) => Err(command.refusal(inside::OUTSIDE)),
            Plan::Gather(_) | Plan::Scan => Err(command.refusal(inside::ALL_SHARDS)),
            Plan::Split(_) => {
                self.context
                    .metrics
                    .cross_slot(command.metric, CrossSlot::Refused);
                Err(inside::two_slots(command, request))
            }
            Plan::Refuse(text, by) => {
                if by == RefusedBy::CrossSlot {
                    self.context
                        .metrics
                        .cross_slot(command.metric, CrossSlot::Refused);
                }
                Err(text)
            }
            Plan::KeylessScript => match self.refuses_keyless(command) {
                Some(text) => Err(text),
                None => self.queue(state, command, request, Plan::AnyNode),
            },
            Plan::Slot(_) | Plan::AnyNode | Plan::Home | Plan::Local(_) => {
                Err(command.refusal(inside::OUTSIDE))
            }
        })
    }

    /// Queues a command for a node.
    #[inline]
    fn queue(
        &self,
        state: &mut State,
        command: &Command,
        request: &Request<'_>,
        plan: Plan,
    ) -> Result<(), String> {
        let slot = match plan {
            Plan::Slot(slot) => Some(slot),
            Plan::AnyNode | Plan::Home => None,
            Plan::Refuse(text, _) => return Err(text),
            _ => return Err(command.refusal(inside::OUTSIDE)),
        };
        if let (Some(slot), Some(watch)) = (slot, &state.watch)
            && let Some(text) = watch.refusal(slot, || inside::first_key(command, request))
        {
            let metrics = &self.context.metrics;
            metrics.cross_slot(command.metric, CrossSlot::Refused);
            return Err(text);
        }
        self.look_at_keys(command, request);
        let (slots, limits) = (self.slots(), self.queue_limits());
        let Some(queue) = &mut state.transaction else {
            return Ok(());
        };
        match queue.send(request, slot, command.is_slow(), slots, &limits) {
            Ok(()) => Ok(()),
            Err(why @ NotQueued::Full(_)) => Err(self.full(&why)),
            Err(NotQueued::OtherSlot) => {
                self.context
                    .metrics
                    .cross_slot(command.metric, CrossSlot::Refused);
                let first = queue.first_keyed().unwrap_or_default();
                let table = self.context.table();
                Err(inside::other_slot(first, &table, command, request))
            }
        }
    }

    /// Queues a command that is answered here when EXEC comes.
    fn queue_local(
        &self,
        state: &mut State,
        command: &Command,
        request: &Request<'_>,
        local: Local,
    ) -> Result<(), String> {
        let proto = match state.client.proto() {
            Proto::Resp2 => 2,
            Proto::Resp3 => 3,
        };
        let version = request.get(1).and_then(strict_integer);
        match local {
            // Its reply would have two protocols.
            Local::Hello if matches!(version, Some(2 | 3)) && version != Some(proto) => {
                return Err(command.refusal(inside::SWITCH));
            }
            // CLIENT REPLY takes effect in the middle of EXEC's reply, and the others ask all workers.
            Local::ClientReply | Local::ClientList | Local::ClientKill | Local::ClientUnblock => {
                return Err(command.refusal(inside::OUTSIDE));
            }
            _ => {}
        }
        let limits = self.queue_limits();
        match &mut state.transaction {
            Some(queue) => queue
                .answer(Some(local), request, &limits)
                .map_err(|why| self.full(&why)),
            None => Ok(()),
        }
    }

    /// UNWATCH: the server says OK, and EXEC forgets all watches anyway.
    fn queue_unwatch(&self, state: &mut State, request: &Request<'_>) -> Result<(), String> {
        let limits = self.queue_limits();
        match &mut state.transaction {
            Some(queue) => queue
                .answer(None, request, &limits)
                .map_err(|why| self.full(&why)),
            None => Ok(()),
        }
    }

    fn slots(&self) -> Slots {
        match self.context.config.policy.cross_slot_transactions {
            CrossSlotTransactions::Refuse => Slots::One,
            CrossSlotTransactions::Split => Slots::Several,
        }
    }

    fn queue_limits(&self) -> QueueLimits {
        let limits = &self.context.config.limits;
        QueueLimits {
            commands: limits.transaction_commands,
            bytes: limits.transaction_bytes,
        }
    }

    #[cold]
    fn full(&self, why: &NotQueued) -> String {
        if let NotQueued::Full(limit) = why {
            self.context.metrics.limit_hit(*limit);
        }
        inside::too_much(&self.queue_limits())
    }

    /// The name of the servers behind us.
    #[cold]
    fn behind(&self) -> String {
        self.context.shared.server.load().name.clone()
    }
}
