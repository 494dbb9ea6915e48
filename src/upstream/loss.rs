//! The loss of a lane's connection: everything in flight is told what became of it, and the lane pauses before it
//! is opened again.

use super::in_flight::InFlight;
use super::lane::Link;
use super::{Answer, Fate, Fault, FaultKind, HandedOver, Lane, serve};
use crate::io::now;
use std::collections::VecDeque;
use std::rc::Rc;

impl Lane {
    /// Dials, if it is this lane's turn.
    pub(super) fn open(self: &Rc<Self>, link: &mut Link) -> Result<(), Fault> {
        let context = &self.context;
        let backoff = &context.settings.backoff;
        self.gate.enter(context.clock.now(), backoff)?;
        *link = Link::Connecting;
        tokio::task::spawn_local(serve::run(self.clone()));
        Ok(())
    }

    /// The connection could not be made or is lost: everything in flight is told what became of it.
    pub(super) fn lost(self: &Rc<Self>, kind: FaultKind) {
        let fault = Fault {
            node: self.node().clone(),
            kind,
        };
        self.tell_withheld();
        self.ending.borrow_mut().take();
        let mut told = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            if let Link::Up(write) | Link::Blocked(write) = &state.link {
                self.metrics.disconnected();
                // Where a new connection leads, or who is there, is not known.
                if fault.kind != FaultKind::Retired || state.is_leaving() {
                    self.count_as_loss(&mut state.losses);
                }
                if fault.kind != FaultKind::Retired {
                    self.gate.doubt(&fault, now());
                }
                // What is told to be lost must not be brought to the node by the kernel, when the network works again.
                if !state.queue.is_empty() {
                    write.abort();
                }
            } else if fault.kind != FaultKind::Retired {
                let backoff = &self.context.settings.backoff;
                self.gate.failed(&fault, now(), backoff);
            }
            self.count_loss(&fault.kind, &state.queue);
            for entry in state.queue.drain(..) {
                let len = entry.len as usize;
                let handed_over = match state.outbox.handed_over() >= len {
                    true => HandedOver::All,
                    false => HandedOver::NotAll,
                };
                let fate = Fate::of(&fault.kind, handed_over);
                let request = state.outbox.copy_front(len);
                state.outbox.release_lost(len);
                told.push((entry, request, fate));
            }
            state.outbox.clear();
            state.progress = Default::default();
            state.withheld = None;
            state.probing = None;
            state.question.lost();
            state.begun = None;
            state.room.lost();
            state.link = if fault.kind == FaultKind::Retired {
                Link::Idle
            } else {
                let pause = self.context.settings.backoff.pause(state.failures);
                state.failures = state.failures.saturating_add(1);
                Link::Down(fault.clone(), now() + pause)
            };
        }
        self.context.lost(&fault);
        for (entry, request, fate) in told {
            let Some(requester) = entry.requester else {
                continue;
            };
            let fault = &fault;
            let answer = match fate {
                Fate::NeverSent | Fate::Refused => Answer::NotSent { request, fault },
                Fate::MaybeExecuted | Fate::OnItsWay => Answer::Unknown { request, fault },
            };
            requester.answered(entry.ticket, answer);
        }
        self.offer_room();
    }

    /// Its worker ends, maybe long before the process does: nothing is connected and in flight any more. Whose requests
    /// they were has left, and is told nothing.
    pub(super) fn end(&self) {
        let left = {
            let state = &mut *self.state.borrow_mut();
            self.count_loss(&FaultKind::Retired, &state.queue);
            if let Link::Up(_) | Link::Blocked(_) = std::mem::replace(&mut state.link, Link::Idle) {
                self.metrics.disconnected();
            }
            state.outbox.clear();
            (std::mem::take(&mut state.queue), state.withheld.take())
        };
        drop(left);
        // Where its runtime goes on, in a simulation, its task still has to end.
        self.ending.borrow_mut().get_or_insert(FaultKind::Retired);
        self.wake();
    }

    /// What went over it before may be nowhere any more.
    pub(super) fn count_as_loss(&self, losses: &mut u32) {
        *losses = losses.wrapping_add(1);
        let all = &self.context.losses;
        all.set(all.get().wrapping_add(1));
    }

    fn count_loss(&self, kind: &FaultKind, queue: &VecDeque<InFlight>) {
        let told = queue.iter().filter(|e| e.requester.is_some()).count();
        self.metrics.released(told as u64);
        if *kind != FaultKind::Retired {
            self.metrics.error(kind.counted());
            self.metrics.set_down();
        }
    }
}
