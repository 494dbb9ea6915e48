//! What the task keeps of an address that it asks.

use crate::topology::ask::{AskError, Said};
use crate::topology::backoff::Backoff;
use crate::topology::link::Link;
use crate::topology::profile::Profile;
use std::sync::Arc;
use std::time::Instant;

/// A node as the task deals with it. Only seeds and nodes that topology named have one.
#[derive(Default)]
pub(super) struct Peer {
    pub(super) link: Option<Link>,
    /// The id of the node that last answered there.
    pub(super) id: Option<Arc<str>>,
    pub(super) backoff: Backoff,
    pub(super) profile: Option<Profile>,
    pub(super) error: Option<String>,
    /// A question is under way.
    pub(super) busy: bool,
    /// When it was asked for its view, until it has said it.
    pub(super) asked_at: Option<Instant>,
}

impl Peer {
    /// It has been asked for its view. `is_named`: nodes that are known are called so, or none is known.
    pub(super) fn has_said(
        &mut self,
        said: &Result<Said, AskError>,
        is_named: bool,
        now: Instant,
        random: f64,
    ) {
        match said {
            Ok(said) => {
                // A seed by another name of a node is dialled anew each time, and seldom has news.
                match is_named {
                    true => self.backoff.succeeded(),
                    false => self.backoff.failed(now, random),
                }
                self.id = match said {
                    Said::Cluster(view) => view.own_id().map(Arc::from),
                    Said::Standalone(_) => None,
                };
                self.error = None;
            }
            Err(error) => {
                self.backoff.failed(now, random);
                self.error = Some(error.to_string());
            }
        }
    }
}
