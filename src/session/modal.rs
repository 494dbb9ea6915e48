//! Commands that begin, continue or end something that lasts longer than one command: which part of the session
//! carries each out.

use super::dispatch::{Batch, Taken};
use super::replies::About;
use super::{Session, State};
use crate::command::{Command, Mode};
use crate::resp::Request;
use std::rc::Rc;

impl Session {
    #[cold]
    pub(super) fn mode(
        self: &Rc<Self>,
        state: &mut State,
        _batch: &Batch<'_>,
        mode: Mode,
        command: &Command,
        about: About,
        _request: &Request<'_>,
    ) -> Taken {
        match mode {
            Mode::Monitor => self.begin_monitor(state, about),
            Mode::Multi
            | Mode::Exec
            | Mode::Discard
            | Mode::Watch
            | Mode::Unwatch
            | Mode::Blocking
            | Mode::Subscription
            | Mode::Wait
            | Mode::Waitaof => self.refuse(state, about, &command.refusal("is not supported yet")),
        }
    }
}
