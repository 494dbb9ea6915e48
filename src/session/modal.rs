//! Commands that begin, continue or end something that lasts longer than one command: which part of the session
//! carries each out.

use super::dispatch::{Batch, Taken};
use super::replies::About;
use super::{Session, State};
use crate::command::{Command, Mode};
use crate::modes::inside;
use crate::resp::Request;
use std::rc::Rc;

impl Session {
    /// A command between MULTI or WATCH and EXEC. `None`: it goes the usual way.
    #[inline(never)]
    pub(super) fn before_exec(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        command: &Command,
        about: About,
        request: &Request<'_>,
    ) -> Option<Taken> {
        if state.transaction.is_none() {
            return self.while_watching(state, batch, command, about, request);
        }
        let taken = self.in_transaction(state, batch, command, about, request)?;
        if batch.monitored && taken == Taken::Yes {
            self.show_queued(state, command, request);
        }
        Some(taken)
    }

    #[cold]
    pub(super) fn mode(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        mode: Mode,
        command: &Command,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        match mode {
            Mode::Wait => self.wait_for_replicas(state, batch, about, request),
            Mode::Monitor => self.begin_monitor(state, about),
            Mode::Blocking => self.block(state, command, about, request),
            Mode::Multi => self.begin_transaction(state, about),
            Mode::Exec => self.refuse(state, about, inside::EXEC_ALONE),
            Mode::Discard => self.refuse(state, about, inside::DISCARD_ALONE),
            Mode::Watch => self.watch(state, command, about, request),
            Mode::Unwatch => {
                self.unwatch(state);
                self.reply_in_turn(state, about, b"+OK\r\n");
                Taken::Yes
            }
            Mode::Waitaof => self.wait_for_disks(state, batch, about, request),
            Mode::Subscription => self.subscription(state, command, about, request),
        }
    }
}

/// Whether a command is carried out only once everything before it is answered, because a task will do it (`driven`), or
/// because other bytes than its reply come with it.
pub(super) fn waits_its_turn(mode: Mode) -> bool {
    matches!(
        mode,
        Mode::Blocking
            | Mode::Subscription
            | Mode::Watch
            | Mode::Wait
            | Mode::Waitaof
            | Mode::Monitor
    )
}
