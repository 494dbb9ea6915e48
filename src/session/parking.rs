//! A blocking command whose keys are in one slot: it waits at the node that serves the slot, on a lease, for as long
//! as it takes, and follows the slot.

use super::blocking::Wait;
use super::errors;
use super::pursuit::{INSTANCE_CHANGED, Pursuit, Target, Verdict};
use super::unblock::{Outcome, Unblock};
use super::unblocking::{TELL_AGAIN, Told};
use crate::cluster::Slot;
use crate::resp;
use crate::route::{Effect, Losses, Resend, resend};
use crate::upstream::{ASKING, Fate, FaultKind, Lease, Lost, NoLease, Refusal, classify};
use bytes::Bytes;
use std::cell::Cell;
use std::ops::ControlFlow;
use tokio::time::{Instant, timeout};

/// Its reply says by which number CLIENT UNBLOCK knows the lease.
const CLIENT_ID: &[u8] = b"*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";

/// With an answer, or to be sent again.
type Turn = ControlFlow<Result<Bytes, Bytes>>;

/// What becomes of a lease after the command.
#[derive(PartialEq, Eq)]
enum Afterwards {
    GiveBack,
    Close,
}

impl Wait {
    /// Waits at the node that serves the slot.
    pub(super) async fn park(self, slot: Option<Slot>, first: Bytes) -> Result<Bytes, Bytes> {
        let clock = self.session.context.clock.clone();
        let mut pursuit = Pursuit::new(self.session.clone(), slot);
        let (mut waited, mut again) = (false, None);
        loop {
            // Only while it is at no node may it be released here.
            let (target, lease) = tokio::select! {
                biased;
                how = self.unblock.raised() => return Ok(self.release(how)),
                found = self.lease(&mut pursuit) => found?,
            };
            pursuit.arrived();
            let request = match again {
                Some(left) => self.command.with_time_left(left),
                None => first.clone(),
            };
            let outcome = self.at(lease, slot, target.asking, request).await;
            waited |= has_waited(&outcome);
            let sent_on = is_sent_on(&outcome);
            let turn = tokio::select! {
                biased;
                turn = self.turn(&mut pursuit, &target, outcome) => turn,
                how = self.unblock.raised() => return Ok(self.release(how)),
            };
            if let ControlFlow::Break(answer) = turn {
                return answer;
            }
            if !sent_on {
                self.unblock.waits();
            }
            if let Some(deadline) = self.deadline {
                let left = deadline.saturating_duration_since(clock.now());
                // Where no node has taken it yet, nobody can say that nothing has come: it goes on as any command does
                // whose slot is not served.
                if left.is_zero() && waited {
                    return Ok(self.command.nothing(self.proto));
                }
                again = Some(left);
            }
        }
    }

    /// A connection to whoever serves the slot now.
    async fn lease(&self, pursuit: &mut Pursuit) -> Result<(Target, Lease), Bytes> {
        loop {
            let target = pursuit.target().await?;
            let leases = &self.session.context.leases;
            match leases
                .take(&target.node, self.proto, &self.session.purse)
                .await
            {
                Ok(lease) => return Ok((target, lease)),
                Err(NoLease::Limit) => return Err(self.session.context.no_lease()),
                Err(NoLease::Down(fault)) => {
                    self.unblock.waits();
                    pursuit.failed(errors::unreachable_node(&fault)).await?;
                }
            }
        }
    }

    /// What follows from what became of it at a node.
    async fn turn(
        &self,
        pursuit: &mut Pursuit,
        target: &Target,
        outcome: Result<Bytes, Lost>,
    ) -> Turn {
        match outcome {
            Ok(reply) => match pursuit.answered(&reply, &target.node).await {
                Verdict::Final => {
                    self.note_write_at(&target.node, &reply);
                    Turn::Break(Ok(reply))
                }
                Verdict::GiveUp(error) => Turn::Break(Err(error)),
                Verdict::Again => Turn::Continue(()),
            },
            Err(lost) => self.lost(pursuit, &lost).await,
        }
    }

    /// The connection is lost, before or after the command went over it.
    async fn lost(&self, pursuit: &mut Pursuit, lost: &Lost) -> Turn {
        let (fate, reply) = match lost {
            Lost::NotSent(fault) => (Fate::NeverSent, errors::unreachable_node(fault)),
            Lost::Unknown(fault) => (Fate::MaybeExecuted, errors::outcome_unknown(fault)),
        };
        // A read may wait for days, and lose its node more than once: each loss is its first.
        let again = match resend(fate, self.effect, Losses::None) {
            Resend::Again | Resend::Once => pursuit.failed(reply).await,
            Resend::IfProved | Resend::Never => Err(reply),
        };
        match again {
            Ok(()) => Turn::Continue(()),
            Err(reply) => {
                if fate == Fate::MaybeExecuted {
                    self.session.context.metrics.unknown_outcome();
                }
                Turn::Break(Err(reply))
            }
        }
    }

    /// Blocks on a lease. Whoever unblocks the client does so at the node, which answers for the command in any case:
    /// an element that it has popped is not lost.
    async fn at(
        &self,
        mut lease: Lease,
        slot: Option<Slot>,
        asking: bool,
        request: Bytes,
    ) -> Result<Bytes, Lost> {
        let mut afterwards = Afterwards::GiveBack;
        let exchange = self.exchange(&mut lease, asking, request, &mut afterwards);
        let reply = exchange.await;
        match (&reply, slot) {
            (Err(Lost::Unknown(fault)), Some(slot))
                if fault.kind == FaultKind::Silent && self.effect != Effect::Read =>
            {
                self.session.strays_on(slot, lease);
            }
            _ if afterwards == Afterwards::GiveBack => lease.give_back(),
            _ => {}
        }
        reply
    }

    async fn exchange(
        &self,
        lease: &mut Lease,
        asking: bool,
        request: Bytes,
        afterwards: &mut Afterwards,
    ) -> Result<Bytes, Lost> {
        let ask_number = lease.number().is_none();
        let mut requests = Vec::with_capacity(CLIENT_ID.len() + ASKING.len() + request.len());
        requests.extend_from_slice(if ask_number { CLIENT_ID } else { b"" });
        requests.extend_from_slice(if asking { ASKING } else { b"" });
        requests.extend_from_slice(&request);
        drop(request);
        let replies = 1 + usize::from(ask_number) + usize::from(asking);
        let latest = self.latest();
        // It may take a while until the node has taken all of it; then the command itself is all there is.
        self.keeps(requests.len());
        self.unblock.sent();
        lease.send(&requests, replies).await?;
        drop(requests);
        self.keeps(0);
        let node = lease.node().clone();
        // Of the lease, once its node has said whether it tells it.
        let told = Cell::new(lease.number().map(Some));
        let answer = async {
            if ask_number {
                let number = resp::integer(&self.foregoing(lease, latest).await?);
                lease.set_number(number);
                told.set(Some(lease.number()));
            }
            if asking {
                self.foregoing(lease, latest).await?;
            }
            self.answer(lease, latest, afterwards).await
        };
        let reply = tokio::select! {
            biased;
            reply = answer => Some(reply),
            () = self.waits_for_nobody(&node, &told) => None,
        };
        if self.unblock.is_hung_up() {
            // The node may still be about to unblock it.
            *afterwards = Afterwards::Close;
        }
        match reply {
            Some(Ok(reply)) if !self.unblock.is_hung_up() || reply != Unblock::ERROR => Ok(reply),
            Some(Err(lost)) => Err(lost),
            Some(Ok(_)) | None => {
                self.unblock.release();
                Ok(self.command.nothing(self.proto))
            }
        }
    }

    /// The reply to what goes in front of the command. Whoever unblocks the client meanwhile is not kept waiting by a node
    /// that is silent: no node can be told to end a command of which nobody knows whether it has come there.
    async fn foregoing(&self, lease: &mut Lease, latest: Option<Instant>) -> Result<Bytes, Lost> {
        let within = self.session.context.config.timeouts.command;
        loop {
            tokio::select! {
                biased;
                reply = lease.reply_until(latest) => return reply,
                _ = self.unblock.raised() => {}
            }
            match timeout(within, lease.reply_until(latest)).await {
                Ok(reply) => return reply,
                Err(_) => self.unblock.failed(Outcome::Unknown),
            }
        }
    }

    /// When the node must have answered. Without a timeout of its own a command waits for ever.
    fn latest(&self) -> Option<Instant> {
        let margin = self.session.context.config.timeouts.command;
        let latest = self.deadline?.checked_add(margin)?;
        Some(Instant::from_std(latest))
    }

    /// The command's reply. Whoever unblocks the client meanwhile learns what the node says to that.
    async fn answer(
        &self,
        lease: &mut Lease,
        latest: Option<Instant>,
        afterwards: &mut Afterwards,
    ) -> Result<Bytes, Lost> {
        loop {
            let how = tokio::select! {
                biased;
                reply = lease.reply_until(latest) => return reply,
                how = self.unblock.raised() => how,
            };
            match self.unblock_at(lease, how).await {
                Told::Unblocked => {
                    self.unblock.release();
                    return lease.reply_until(latest).await;
                }
                Told::NotBlocked => {
                    let soon = lease.reply_until(latest);
                    if let Ok(reply) = timeout(TELL_AGAIN, soon).await {
                        return reply;
                    }
                }
                Told::Refused => self.unblock.failed(Outcome::Refused),
                Told::Unknown => {
                    *afterwards = Afterwards::Close;
                    self.unblock.failed(Outcome::Unknown);
                }
            }
        }
    }

    /// What a client gets that is released while its command is at no node.
    pub(super) fn release(&self, how: Unblock) -> Bytes {
        self.unblock.release();
        match how {
            Unblock::Timeout => self.command.nothing(self.proto),
            Unblock::Error => Bytes::from_static(Unblock::ERROR),
        }
    }
}

/// Whether another node is to be asked, and may have the answer.
fn is_sent_on(outcome: &Result<Bytes, Lost>) -> bool {
    let refusal = outcome.as_ref().ok().and_then(|reply| classify(reply));
    matches!(refusal, Some(Refusal::Moved(..) | Refusal::Ask(..)))
}

/// Whether the node has taken the command, as far as can be known, and did not refuse it.
fn has_waited(outcome: &Result<Bytes, Lost>) -> bool {
    match outcome {
        Ok(reply) => reply.starts_with(INSTANCE_CHANGED),
        Err(Lost::Unknown(_)) => true,
        Err(Lost::NotSent(_)) => false,
    }
}
