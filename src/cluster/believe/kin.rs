//! Which answers are about the cluster that is known. A seed may lead to another one by now: what that says is as good as
//! what ours says, its epochs are as high, and it is not to be mixed with it.

use super::super::view::{ClusterState, View};
use super::{FORGET_AFTER, KnownNode};
use std::time::{Duration, Instant};

/// Strangers are heard after this where nobody of ours answers at all, and not only is late once. Where ours answer, and do
/// not serve, it takes [`FORGET_AFTER`]: longer than a failover.
pub(super) const ABSENT_MAX: Duration = Duration::from_secs(5);

/// Whether the cluster that is known serves, as its own nodes say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ours {
    /// It never has: it may have been half a cluster that was found first.
    New,
    Serves,
    /// Nobody has said so since.
    Fails(Instant),
}

impl Ours {
    /// The answers that may be heard. One that names no node that is known is a stranger's, and not heard unless ours have
    /// not served for a while: then they may be the rest of a cluster that was replaced.
    pub(super) fn among<'a>(
        &mut self,
        known: &[KnownNode],
        views: &'a [View],
        now: Instant,
    ) -> Vec<&'a View> {
        let is_ours = |view: &&View| known.iter().any(|node| view.names(&node.id));
        let (ours, strangers): (Vec<&View>, Vec<&View>) = views.iter().partition(is_ours);
        let serve = |views: &[&View]| views.iter().any(|v| v.state == ClusterState::Ok);
        *self = match *self {
            _ if serve(&ours) => Self::Serves,
            Self::Serves => Self::Fails(now),
            other => other,
        };
        let patience = match ours.is_empty() {
            true => ABSENT_MAX,
            false => FORGET_AFTER,
        };
        match *self {
            Self::Serves => return ours,
            Self::Fails(since) if now.saturating_duration_since(since) < patience => return ours,
            Self::New | Self::Fails(_) => {}
        }
        if serve(&strangers) {
            *self = Self::Serves;
        }
        views.iter().collect()
    }
}
