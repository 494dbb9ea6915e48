//! What becomes of a command between MULTI and EXEC: kept, or refused so that EXEC refuses, too. The queue is the session's own
//! (`modes::Queue`), and so are the words.

use super::decide::{Conversation, Decision, HERE, refused};
use crate::cluster::Slot;
use crate::command::{Command, Flags, Local, Mode, Policy, SCRIPT_WITHOUT_KEYS};
use crate::config::CrossSlotTransactions;
use crate::modes::{NotQueued, QueueLimits, Slots, inside};
use crate::resp::{Proto, Request, strict_integer};
use crate::route::{Plan, RefusedBy, cross_slot, plan, route};
use Decision::{Answered, Queued};

const KEPT: &str = "kept for EXEC";
const KEPT_HERE: &str = "kept for EXEC, answered by slotway then";

impl Conversation<'_> {
    /// Behind MULTI. `None`: it is carried out as if there were no transaction, which it ends.
    pub(super) fn inside(&mut self, command: &Command, request: &Request<'_>) -> Option<Decision> {
        let plan = plan(command, request, true);
        let queued = match plan {
            Plan::Local(Local::Reset | Local::Quit) => return None,
            Plan::Refuse(text, RefusedBy::Arguments) => {
                if command.policy == Policy::Mode(Mode::Exec) {
                    (self.queue, self.watched) = (None, None);
                    return Some(refused(text));
                }
                match command.lacks_a_value(request.len()) {
                    true => self.queue(command, request, route(command, request)),
                    false => Err(text),
                }
            }
            _ if command.flags.contains(Flags::NO_MULTI)
                && !inside::may_nest(self.server(), command) =>
            {
                Err(inside::not_allowed(self.server(), command))
            }
            Plan::Mode(Mode::Exec) => return Some(self.exec()),
            Plan::Mode(Mode::Discard) => {
                (self.queue, self.watched) = (None, None);
                return Some(Answered(HERE));
            }
            Plan::Mode(Mode::Multi) => return Some(refused(inside::NESTED)),
            Plan::Mode(Mode::Watch) => return Some(refused(inside::WATCH_INSIDE)),
            Plan::Mode(Mode::Unwatch) => self.queue_own(None, request),
            Plan::Mode(Mode::Blocking) => self.queue(command, request, route(command, request)),
            Plan::Mode(Mode::Wait | Mode::Waitaof) => self.queue(command, request, Plan::AnyNode),
            Plan::Mode(_) => Err(command.refusal(inside::OUTSIDE)),
            Plan::Slot(_) | Plan::AnyNode | Plan::Home => self.queue(command, request, plan),
            Plan::Local(local) => self.queue_local(command, request, local),
            Plan::Gather(_) | Plan::Scan => Err(command.refusal(inside::ALL_SHARDS)),
            Plan::Split(_) => Err(inside::two_slots(command, request)),
            Plan::KeylessScript if self.refuses_keyless() => {
                Err(command.refusal(SCRIPT_WITHOUT_KEYS))
            }
            Plan::KeylessScript => self.queue(command, request, Plan::AnyNode),
            Plan::Refuse(text, _) => Err(text),
        };
        Some(queued.map_or_else(
            |text| {
                if let Some(queue) = &mut self.queue {
                    queue.abort();
                }
                refused(text)
            },
            Queued,
        ))
    }

    fn queue(
        &mut self,
        command: &Command,
        request: &Request<'_>,
        plan: Plan,
    ) -> Result<&'static str, String> {
        let slot = match plan {
            Plan::Slot(slot) => Some(slot),
            Plan::AnyNode | Plan::Home => None,
            Plan::Refuse(text, _) => return Err(text),
            _ => return Err(command.refusal(inside::OUTSIDE)),
        };
        if let (Some(slot), Some(first)) = (slot, &self.watched)
            && slot != Slot::of(first)
        {
            let key = inside::first_key(command, request);
            return Err(cross_slot(
                first,
                key.unwrap_or_default(),
                inside::BEHIND_WATCH,
            ));
        }
        let slots = match self.config.policy.cross_slot_transactions {
            CrossSlotTransactions::Refuse => Slots::One,
            CrossSlotTransactions::Split => Slots::Several,
        };
        let limits = self.limits();
        let queue = self.queue.get_or_insert_default();
        match queue.send(request, slot, command.is_slow(), slots, &limits) {
            Ok(()) => Ok(KEPT),
            Err(NotQueued::Full(_)) => Err(inside::too_much(&limits)),
            Err(NotQueued::OtherSlot) => {
                let first = queue.first_keyed().unwrap_or_default();
                Err(inside::other_slot(
                    first,
                    self.known.table(),
                    command,
                    request,
                ))
            }
        }
    }

    fn queue_local(
        &mut self,
        command: &Command,
        request: &Request<'_>,
        local: Local,
    ) -> Result<&'static str, String> {
        let proto = match self.client.proto() {
            Proto::Resp2 => 2,
            Proto::Resp3 => 3,
        };
        let version = request.get(1).and_then(strict_integer);
        match local {
            Local::Hello if matches!(version, Some(2 | 3)) && version != Some(proto) => {
                Err(command.refusal(inside::SWITCH))
            }
            Local::ClientReply | Local::ClientList | Local::ClientKill | Local::ClientUnblock => {
                Err(command.refusal(inside::OUTSIDE))
            }
            _ => self.queue_own(Some(local), request),
        }
    }

    fn queue_own(
        &mut self,
        command: Option<Local>,
        request: &Request<'_>,
    ) -> Result<&'static str, String> {
        let limits = self.limits();
        let queue = self.queue.get_or_insert_default();
        match queue.answer(command, request, &limits) {
            Ok(()) => Ok(KEPT_HERE),
            Err(_) => Err(inside::too_much(&limits)),
        }
    }

    fn limits(&self) -> QueueLimits {
        QueueLimits {
            commands: self.config.limits.transaction_commands,
            bytes: self.config.limits.transaction_bytes,
        }
    }

    fn exec(&mut self) -> Decision {
        let queue = self.queue.take().unwrap_or_default();
        self.watched = None;
        if queue.is_aborted() {
            return refused(inside::ABORTED);
        }
        let (blocks, _) = queue.exec(&[], |_, _, _| ());
        let blocks = blocks.iter();
        Decision::Exec(blocks.map(|b| (b.slot, b.inner as usize - 1)).collect())
    }
}
