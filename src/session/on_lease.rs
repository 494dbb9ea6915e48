//! What goes over the connection of a client that watches, carried out by tasks (`driven`): WATCH itself, what the client
//! asks of the watched slot, and EXEC's block.
//!
//! EXEC answers nil only if the node cannot have executed it: it said nil, it refused, or it never got all of EXEC. Once
//! that was handed over and no reply comes, the client is told that nobody knows: after nil it would do it all again.

use super::answer::source_of;
use super::dispatch::class;
use super::errand::ask_after;
use super::executing::cause;
use super::inspect::effect;
use super::pursuit::{Pursuit, Verdict};
use super::refusal::{concerns, kind};
use super::watching::Hold;
use super::{Session, errors};
use crate::cluster::{NodeAddr, Slot};
use crate::command::Command;
use crate::io::in_time;
use crate::modes::Block;
use crate::observe::{ErrorSource, Limit};
use crate::resp::{Proto, Request};
use crate::route::{Effect, Losses, Resend, resend};
use crate::topology::{Report, Trigger};
use crate::upstream::{
    ASKING, Fate, Fault, Lease, Lost, NoLease, REPLY_TOO_LARGE, Refusal, Ticket, classify,
};
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

pub(super) const OK: &[u8] = b"+OK\r\n";
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";

/// A lease on which keys are watched.
pub(super) struct Held {
    lease: Box<Lease>,
    /// The node only imports the slot: ASKING goes in front of everything. It takes any key then, even one that is still
    /// at the old place and that it therefore does not have: only keys may be used that are watched, since those were
    /// not at the old place any more.
    asking: bool,
}

/// Why there is no reply. The lease is of no more use.
enum Loss {
    NotSent(Fault),
    Unknown(Fault),
    /// None within the time.
    Late,
}

impl Loss {
    fn fate(&self) -> Fate {
        match self {
            Self::NotSent(_) => Fate::NeverSent,
            Self::Unknown(_) => Fate::MaybeExecuted,
            Self::Late => Fate::OnItsWay,
        }
    }
}

/// One request for the slot that a client watches.
pub(super) struct OnLease {
    session: Rc<Session>,
    slot: Slot,
    request: Bytes,
    within: Duration,
    effect: Effect,
    writes: bool,
    /// When it was last sent, or before.
    sent: Cell<Instant>,
}

impl OnLease {
    /// A command of the client.
    pub(super) fn new(
        session: &Rc<Session>,
        slot: Slot,
        command: &Command,
        request: &Request<'_>,
    ) -> Self {
        Self {
            session: session.clone(),
            slot,
            request: Bytes::copy_from_slice(request.bytes()),
            within: session.within(class(command)),
            effect: effect(command),
            writes: command.is_write(),
            sent: Cell::new(session.context.clock.now()),
        }
    }

    /// The EXEC of a client that watches.
    pub(super) fn exec_of(session: &Rc<Session>, slot: Slot, within: Duration) -> Self {
        Self {
            session: session.clone(),
            slot,
            request: Bytes::new(),
            within,
            effect: Effect::Write,
            writes: true,
            sent: Cell::new(session.context.clock.now()),
        }
    }

    /// The first WATCH: finds the node, and takes the lease.
    pub(super) async fn watch(self, proto: Proto, keys: Vec<Box<[u8]>>) -> Bytes {
        match self.begin(proto).await {
            Ok(held) => {
                self.session.hold(Hold::Lease(held), keys);
                Bytes::from_static(OK)
            }
            Err((source, reply)) => {
                self.session.state.borrow_mut().watch = None;
                self.session.context.metrics.error(source, &reply);
                reply
            }
        }
    }

    async fn begin(&self, proto: Proto) -> Result<Held, (ErrorSource, Bytes)> {
        let proxy = |reply| (ErrorSource::Proxy, reply);
        let context = &self.session.context;
        let mut pursuit = Pursuit::new(self.session.clone(), Some(self.slot));
        loop {
            let target = pursuit.target().await.map_err(proxy)?;
            let fault = match context
                .leases
                .take(&target.node, proto, &self.session.purse)
                .await
            {
                Err(NoLease::Limit) => return Err(proxy(context.no_lease())),
                Err(NoLease::Down(fault)) => fault,
                Ok(lease) => {
                    let mut held = Held {
                        lease: Box::new(lease),
                        asking: target.asking,
                    };
                    // The connection is not kept: the user may have got the permission the next time.
                    if let Some(refusal) = held.lease.no_transactions() {
                        return Err((ErrorSource::Upstream, refusal.clone()));
                    }
                    match self.exchange(&mut held).await {
                        Ok(reply) if reply == OK => return Ok(held),
                        Ok(reply) => {
                            // Refused, so nothing is watched on it.
                            held.lease.give_back();
                            match pursuit.answered(&reply, &target.node).await {
                                Verdict::Final => return Err((ErrorSource::Upstream, reply)),
                                Verdict::GiveUp(error) => return Err(proxy(error)),
                                Verdict::Again => continue,
                            }
                        }
                        Err(Loss::NotSent(fault) | Loss::Unknown(fault)) => fault,
                        Err(Loss::Late) => return Err(proxy(errors::late())),
                    }
                }
            };
            let reply = errors::unreachable_node(&fault);
            pursuit.failed(reply).await.map_err(proxy)?;
        }
    }

    /// WATCH of more keys of the slot. If they cannot be watched together with the first ones, EXEC answers nil.
    pub(super) async fn watch_more(self, mut held: Held, keys: Vec<Box<[u8]>>) -> Bytes {
        let session = &self.session;
        let reply = match self.exchange(&mut held).await {
            Ok(reply) => reply,
            Err(_) => {
                session.hold(Hold::Lost, keys);
                return Bytes::from_static(OK);
            }
        };
        if self.refused(&reply, held.lease.node()).is_some() {
            session.hold(Hold::Lost, keys);
            return Bytes::from_static(OK);
        }
        if reply == OK {
            session.hold(Hold::Lease(held), keys);
        } else {
            session.hold(Hold::Lease(held), Vec::new());
            session.context.metrics.error(ErrorSource::Upstream, &reply);
        }
        reply
    }

    /// Any other command. What the node refuses goes the usual way.
    pub(super) async fn carry_out(self, mut held: Held) -> Bytes {
        let session = &self.session;
        let metrics = &session.context.metrics;
        let mut losses = Losses::None;
        let hold = match self.exchange(&mut held).await {
            Ok(reply) => match self.refused(&reply, held.lease.node()) {
                None => {
                    if reply.first() == Some(&b'-') {
                        metrics.error(source_of(&reply), &reply);
                    }
                    self.note_write(held.lease.node());
                    session.hold(Hold::Lease(held), Vec::new());
                    return reply;
                }
                // About this key; those that are watched may well be there.
                Some(Refusal::Ask(..) | Refusal::TryAgain) => Hold::Lease(held),
                Some(_) => Hold::Lost,
            },
            Err(loss) => {
                if loss.fate() != Fate::NeverSent {
                    losses = Losses::One;
                }
                match resend(loss.fate(), self.effect, Losses::None) {
                    Resend::Again | Resend::Once => Hold::Lost,
                    Resend::IfProved | Resend::Never => {
                        session.hold(Hold::Lost, Vec::new());
                        if matches!(loss, Loss::Late) && self.effect != Effect::Read {
                            session.strays_on(self.slot, *held.lease);
                        }
                        return self.unknown(&loss);
                    }
                }
            }
        };
        session.hold(hold, Vec::new());
        let reply = match ask_after(session, self.slot, &self.request, None, losses).await {
            Ok(reply) => {
                if reply.first() == Some(&b'-') {
                    metrics.error(source_of(&reply), &reply);
                }
                reply
            }
            Err(reply) => {
                metrics.error(ErrorSource::Proxy, &reply);
                reply
            }
        };
        let map = session.context.map().clone();
        if let Some(owner) = map.owner(self.slot) {
            self.note_write(&map.node(owner).addr);
        }
        reply
    }

    /// EXEC's block. `None`: it was not executed.
    pub(super) async fn exec(self, mut held: Held, block: &Block) -> Option<Bytes> {
        let context = &self.session.context;
        self.sent.set(context.clock.now());
        let reply = match in_time(self.within, held.exec(block)).await {
            Some(Ok(reply)) => reply,
            Some(Err(Lost::NotSent(fault))) => return self.not_executed(&Loss::NotSent(fault)),
            Some(Err(Lost::Unknown(fault))) => return self.not_executed(&Loss::Unknown(fault)),
            None => {
                self.count_late();
                self.session.strays_on(self.slot, *held.lease);
                return self.not_executed(&Loss::Late);
            }
        };
        match self.refused(&cause(&reply), held.lease.node()) {
            None => {}
            // To watch again would not help before the migration is over: the client is told, as by the node.
            Some(Refusal::TryAgain) => {
                context.metrics.error(ErrorSource::Upstream, &reply);
                return Some(reply);
            }
            Some(_) => return None,
        }
        let is_error = reply.first() == Some(&b'-');
        if is_error {
            context.metrics.error(source_of(&reply), &reply);
        }
        if !is_error || reply == REPLY_TOO_LARGE {
            self.note_write(held.lease.node());
            held.lease.give_back();
        }
        Some(reply)
    }

    /// Whether the node says that it does not serve the slot, or not now; topology hears of it.
    fn refused(&self, reply: &[u8], from: &NodeAddr) -> Option<Refusal> {
        let ticket = Ticket::new(0, 0, Some(self.slot));
        let refusal = classify(reply).filter(|refusal| concerns(refusal, ticket))?;
        let context = &self.session.context;
        context.metrics.redirection(kind(&refusal));
        match &refusal {
            Refusal::Moved(slot, to) => {
                let to = self.session.reached(to, from);
                context.moved(*slot, &to, from, self.sent.get());
            }
            Refusal::ClusterDown | Refusal::MasterDown | Refusal::ReadOnly => {
                let (node, why) = (from.clone(), Trigger::ClusterDown);
                context.report(Report::Suspect { node, why });
            }
            Refusal::Ask(..) | Refusal::TryAgain | Refusal::Loading => {}
        }
        Some(refusal)
    }

    /// Its request on the lease, and the reply.
    async fn exchange(&self, held: &mut Held) -> Result<Bytes, Loss> {
        self.sent.set(self.session.context.clock.now());
        let reply = held.exchange(&self.request, self.within).await;
        if matches!(reply, Err(Loss::Late)) {
            self.count_late();
        }
        reply
    }

    fn count_late(&self) {
        let context = &self.session.context;
        let slow = self.within == context.config.timeouts.slow_command;
        context.metrics.limit_hit(if slow {
            Limit::SlowCommandTimeout
        } else {
            Limit::CommandTimeout
        });
    }

    /// EXEC has no reply. `None`: it was certainly not executed, and is not sent again: what was watched is lost.
    fn not_executed(&self, loss: &Loss) -> Option<Bytes> {
        match resend(loss.fate(), self.effect, Losses::None) {
            Resend::Again | Resend::Once => None,
            Resend::IfProved | Resend::Never => Some(self.unknown(loss)),
        }
    }

    /// What the client gets whose command may have been executed.
    fn unknown(&self, loss: &Loss) -> Bytes {
        let metrics = &self.session.context.metrics;
        metrics.unknown_outcome();
        let reply = match loss {
            Loss::NotSent(fault) | Loss::Unknown(fault) => errors::outcome_unknown(fault),
            Loss::Late => errors::late(),
        };
        metrics.error(ErrorSource::Proxy, &reply);
        reply
    }

    /// For WAIT, which asks over a lane how far the node's replicas are.
    fn note_write(&self, node: &NodeAddr) {
        if self.writes {
            self.session.note_write_at(node);
        }
    }
}

impl Held {
    /// The RESP version of the replies.
    pub(super) fn proto(&self) -> Proto {
        self.lease.proto()
    }

    /// Whether it may be used for watched keys only.
    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }

    /// Whether the connection is still there, and silent.
    pub(super) fn is_quiet(&self) -> bool {
        self.lease.is_quiet()
    }

    /// Has the node forget the watch, so that the lease can be used again.
    pub(super) async fn forget(mut self, within: Duration) {
        let reply = timeout(within, self.lease.exchange(UNWATCH)).await;
        if matches!(reply, Ok(Ok(reply)) if reply == OK) {
            self.lease.give_back();
        }
    }

    async fn exchange(&mut self, request: &[u8], within: Duration) -> Result<Bytes, Loss> {
        match in_time(within, self.ask(request)).await {
            Some(Ok(reply)) => Ok(reply),
            Some(Err(Lost::NotSent(fault))) => Err(Loss::NotSent(fault)),
            Some(Err(Lost::Unknown(fault))) => Err(Loss::Unknown(fault)),
            None => Err(Loss::Late),
        }
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Bytes, Lost> {
        if !self.asking {
            return self.lease.exchange(request).await;
        }
        self.lease.send(&[ASKING, request].concat(), 2).await?;
        self.lease.reply().await?;
        self.lease.reply().await
    }

    async fn exec(&mut self, block: &Block) -> Result<Bytes, Lost> {
        if self.asking {
            let bytes = [ASKING, &block.bytes].concat();
            self.lease.send(&bytes, block.inner as usize + 2).await?;
            self.lease.reply().await?;
        } else {
            let replies = block.inner as usize + 1;
            self.lease.send(&block.bytes, replies).await?;
        }
        self.lease.exec_reply(block.inner).await
    }
}
