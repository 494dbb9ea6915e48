//! What a client that has not authenticated hears, and what a command that does not exist is told.

use super::dispatch::Taken;
use super::replies::About;
use super::{Session, State};
use crate::command::{Command, CommandId, Flags, Unknown};
use crate::local::{self, Access, Replies};
use crate::route::{Plan, RefusedBy};

impl Session {
    #[cold]
    pub(super) fn refuse_unknown(
        &self,
        state: &mut State,
        about: About,
        unknown: &Unknown,
    ) -> Taken {
        let about = About {
            silent: state.client.begin_command() != Replies::On,
            ..about
        };
        state.last_command = CommandId::OTHER;
        if let Some(queue) = &mut state.transaction {
            queue.abort();
        }
        if state.client.access() == Access::Asked && self.asks_first() {
            return self.refuse(state, about, local::NOAUTH);
        }
        self.refuse_with(state, about, unknown.text())
    }

    /// Whether a client that has not authenticated may have this.
    #[cold]
    pub(super) fn allowed_before_auth(&self, command: &Command, plan: &Plan) -> bool {
        match plan {
            Plan::Local(local) => local::before_auth(*local),
            Plan::Refuse(_, RefusedBy::Arguments) => {
                !self.asks_first() || command.flags.contains(Flags::NO_AUTH)
            }
            _ => false,
        }
    }

    /// Whether the servers behind us ask who it is before they look at the command: Valkey does, Redis 7.0 does not.
    fn asks_first(&self) -> bool {
        self.context.shared.server.load().name == "valkey"
    }
}

/// In the words of the servers, to whom an EXEC that is refused is a transaction that is aborted.
#[cold]
pub(super) fn unauthenticated(command: &Command) -> &'static str {
    match &*command.name {
        "exec" => local::NOAUTH_EXEC,
        _ => local::NOAUTH,
    }
}
