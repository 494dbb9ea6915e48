//! Carries blocking commands out. With all keys in one slot a command waits at the node, on a lease; with keys in
//! several slots it is emulated by sweeps over the shared lanes (`modes::Blocking` says which commands).

use super::answer::source_of;
use super::dispatch::Taken;
use super::driven::task_bytes;
use super::errand::{ERRAND_BYTES, Undo, ask};
use super::inspect::effect;
use super::replies::About;
use super::seat::{Among, Place};
use super::unblock::Signal;
use super::{Session, State};
use crate::cluster::{NodeAddr, Slot};
use crate::command::{Command, KeyError, Keys};
use crate::io::Bill;
use crate::modes::{Blocking, Found, Patience, Steps, Sweep, inside};
use crate::observe::{CrossSlot, ErrorSource};
use crate::resp::{Proto, Request};
use crate::route::{Effect, cross_slot};
use crate::upstream::REPLY_TOO_LARGE;
use bytes::Bytes;
use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::spawn_local;
use tokio_util::task::AbortOnDropHandle;

/// Pause between the first two sweeps; the next ones are twice as long each.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// The longest pause between two sweeps.
const PAUSE_MAX: Duration = Duration::from_millis(100);

pub(super) const TOO_MANY: &str = "ERR slotway: too many blocked clients (limits.blocked_clients); raise it, or block \
                                   with fewer clients";

/// A blocking command that is being carried out.
pub(super) struct Wait {
    pub(super) session: Rc<Session>,
    pub(super) command: Rc<Blocking>,
    pub(super) proto: Proto,
    pub(super) effect: Effect,
    pub(super) deadline: Option<Instant>,
    pub(super) unblock: Rc<Signal>,
    /// What is kept for it besides one copy of the request, which is its client's as every driven command's.
    bill: RefCell<Bill>,
    _place: Place,
}

impl Session {
    /// Takes a blocking command; all before it has been answered.
    pub(super) fn block(
        self: &Rc<Self>,
        state: &mut State,
        command: &Command,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let mut keys = Keys::new();
        if let Err(error @ KeyError::Undescribed) = command.keys(request, &mut keys) {
            return self.refuse(state, about, &format!("ERR slotway: {error}"));
        }
        let blocking = Blocking::new(&command.name, request);
        let slots = slots(request, &keys);
        if let Err((a, b)) = slots
            && !blocking.can_sweep()
        {
            let metrics = &self.context.metrics;
            metrics.cross_slot(command.metric, CrossSlot::Refused);
            let text = cross_slot(request.arg(a), request.arg(b), inside::BLOCK_TOGETHER);
            return self.refuse(state, about, &text);
        }
        if slots.is_err()
            && let Some(text) = blocking.misworded(&keys)
        {
            return self.refuse(state, about, text);
        }
        let Some(place) = Place::take(&self.context, Among::Blocked) else {
            return self.refuse(state, about, TOO_MANY);
        };
        let patience = blocking.patience();
        let wait = Wait {
            session: self.clone(),
            command: Rc::new(blocking),
            proto: state.client.proto(),
            effect: effect(command),
            deadline: match patience {
                Patience::For(time) => self.context.clock.now().checked_add(time),
                Patience::Forever | Patience::Unreadable => None,
            },
            unblock: Signal::new(),
            bill: RefCell::new(Bill::new(self.purse.clone())),
            _place: place,
        };
        let unblock = wait.unblock.clone();
        let first = keys.first().map(|&at| Slot::of(request.arg(at as usize)));
        let whole = slots.is_ok();
        if !whole {
            let metrics = &self.context.metrics;
            metrics.cross_slot(command.metric, CrossSlot::Split);
        }
        self.drive_blocking(state, about, unblock, async move {
            let session = wait.session.clone();
            let done = match (whole, patience) {
                (false, Patience::Unreadable) => {
                    let request = wait.command.first_key_only(&keys);
                    drop(keys);
                    wait.park(first, request).await
                }
                (false, _) => wait.sweep(keys).await,
                (true, _) => wait.park_whole(first, keys).await,
            };
            let (source, reply) = match done {
                Ok(reply) => (source_of(&reply), reply),
                Err(reply) => (ErrorSource::Proxy, reply),
            };
            if reply.first() == Some(&b'-') {
                session.context.metrics.error(source, &reply);
            }
            reply
        })
    }
}

/// `Err` with two keys whose slots differ.
fn slots(request: &Request<'_>, keys: &[u32]) -> Result<(), (usize, usize)> {
    let slot = |at: u32| Slot::of(request.arg(at as usize));
    let first = keys.first().copied().unwrap_or_default();
    match keys.iter().find(|&&key| slot(key) != slot(first)) {
        Some(&other) => Err((first as usize, other as usize)),
        None => Ok(()),
    }
}

/// All of these: `Ok` with what a node said, `Err` with what we say.
impl Wait {
    async fn park_whole(mut self, slot: Option<Slot>, keys: Keys) -> Result<Bytes, Bytes> {
        if let Some(error) = self.settle_tails(&keys).await? {
            return Ok(error);
        }
        drop(keys);
        let request = self.command.whole();
        self.park(slot, request).await
    }

    /// Looks again and again at all keys, in their order.
    async fn sweep(mut self, keys: Keys) -> Result<Bytes, Bytes> {
        if let Some(error) = self.settle_tails(&keys).await? {
            return Ok(error);
        }
        let mut sweep = Sweep::new(&self.command, &keys, self.proto);
        drop(keys);
        let steps = sweep.steps();
        let mut pause = PAUSE_MIN;
        loop {
            for at in 0..steps.len() {
                let all = steps.clone();
                let undo: Undo = Rc::new(move |reply| all.undo(at, reply));
                let request = steps.request(at);
                self.keeps(sweep.held() + request.len());
                match ask(&self.session, steps.slot(at), &request, Some(undo)).await {
                    Ok(reply) => {
                        if let Found::Reply(reply) = sweep.put(at, &reply) {
                            self.note_writes(&steps, at..at + 1, &reply);
                            return Ok(reply);
                        }
                    }
                    Err(error) => {
                        return match sweep.end() {
                            Found::Reply(reply) => Ok(reply),
                            Found::Nothing => Err(error),
                        };
                    }
                }
            }
            if let Found::Reply(reply) = sweep.end() {
                self.note_writes(&steps, 0..steps.len(), &reply);
                return Ok(reply);
            }
            self.unblock.waits();
            let left = self.deadline.map(|deadline| {
                self.session.context.clock.tick();
                deadline.saturating_duration_since(self.session.context.clock.now())
            });
            self.keeps(sweep.held());
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(self.command.nothing(self.proto));
            }
            let sleep = tokio::time::sleep(left.map_or(pause, |left| left.min(pause)));
            tokio::select! {
                biased;
                () = sleep => {}
                how = self.unblock.raised() => return Ok(self.release(how)),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// For WAIT: what was popped was written.
    fn note_writes(&self, steps: &Steps, which: Range<usize>, reply: &[u8]) {
        for step in which {
            let map = self.session.context.map().clone();
            if let Some(owner) = map.owner(steps.slot(step)) {
                self.note_write_at(&map.node(owner).addr, reply);
            }
        }
    }

    pub(super) fn note_write_at(&self, node: &NodeAddr, reply: &[u8]) {
        let refused = reply.starts_with(b"-") && *reply != *REPLY_TOO_LARGE;
        let nothing = refused || *reply == self.command.nothing(self.proto);
        if self.effect != Effect::Read && !nothing {
            self.session.note_write_at(node);
        }
    }

    /// Replaces "what comes from now on" by the last entry there is now: the command may be sent several times.
    /// `Some`: what is wrong with the command.
    async fn settle_tails(&mut self, keys: &[u32]) -> Result<Option<Bytes>, Bytes> {
        if !self.command.may_have_tails() {
            return Ok(None);
        }
        // To ask takes several times the memory of the command itself.
        while self.session.is_halted() {
            self.session.context.memory.resumed().await;
        }
        // All are asked at once: "from now on" is from one moment on.
        let tails = self.command.tails(keys);
        let mut kept = 0;
        let asked = tails.into_iter().map(|tail| {
            let session = self.session.clone();
            let (slot, request) = (tail.slot, tail.request.clone());
            kept += request.len();
            let asking = async move { ask(&session, slot, &request, None).await };
            kept += task_bytes(&asking) + ERRAND_BYTES;
            self.keeps(kept);
            (tail, AbortOnDropHandle::new(spawn_local(asking)))
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = Vec::with_capacity(asked.len());
        for (tail, reply) in asked {
            let reply = reply
                .await
                .expect("nobody ends it, and it does not panic")?;
            if reply.first() == Some(&b'-') {
                return Ok(Some(reply));
            }
            answers.push((tail, reply));
        }
        let command = Rc::get_mut(&mut self.command).expect("no sweep has begun");
        command.answer_tails(&answers);
        self.keeps(0);
        Ok(None)
    }

    /// Besides the command itself so many bytes are kept for it now.
    pub(super) fn keeps(&self, bytes: usize) {
        let beside = self.command.beside();
        self.bill.borrow_mut().set(beside + bytes);
    }
}
