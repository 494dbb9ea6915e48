//! `policy.audit`: has each command that was taken judged by what it would meet on a cluster. A path of its own, which
//! looks everything up once more, so that without it the data path has one branch.

use super::Session;
use super::dispatch::Batch;
use crate::audit::Audit;
use crate::local::Access;
use crate::resp::Request;

impl Session {
    /// A command was taken.
    #[cold]
    pub(super) fn audit(&self, audit: &Audit, batch: &Batch<'_>, request: &Request<'_>) {
        let state = &mut *self.state.borrow_mut();
        if state.client.access() == Access::Asked {
            // Whoever has not authenticated says nothing about the application.
            return;
        }
        let command = batch.table.lookup(request).ok();
        let judge = state.judge.get_or_insert_default();
        audit.look(judge, state.client.name(), command, request);
    }
}
