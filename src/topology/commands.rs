//! The live command table: `COMMAND` is asked once of every edition of server (name, version, modules) in the cluster,
//! and the checked-in table overlaid with the answers.

use super::Trigger;
use super::link::{Link, LinkError, error_text};
use crate::cluster::NodeAddr;
use crate::command::CommandTable;
use arc_swap::ArcSwap;
use bytes::Bytes;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Longest time a node may take to list its commands.
const LIST_WITHIN: Duration = Duration::from_secs(5);

/// Questions for commands that may come to nothing in a row: connections that are lost, nodes that cannot answer now.
/// Nodes that always do that do not keep slotway from serving what it knows.
const FAILED_MAX: u32 = 3;

/// How long a refusal is taken for an answer: the operator may allow it, as the log says.
const REFUSED_FOR: Duration = Duration::from_secs(5);

/// Refusals that may be over in a moment: a script runs for too long, or the server is loading.
const PASSING: [&str; 2] = ["BUSY ", "LOADING "];

/// Editions that are told apart. A cluster has one, or two during an upgrade.
const EDITIONS_MAX: usize = 16;

/// A node's list of commands.
pub(super) struct Listed {
    pub(super) addr: NodeAddr,
    /// The connection, to be kept, unless it is of no use any more.
    pub(super) link: Option<Link>,
    edition: String,
    reply: Result<Bytes, LinkError>,
}

/// What came of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// The node has listed its commands, or would not.
    Answered,
    /// The connection was lost, or the node cannot answer now: another is to be asked, or this one again.
    Again(Trigger),
}

/// What is known of an edition.
enum Known {
    /// Asked, but not answered yet.
    Asked,
    Listed(Bytes),
    /// Not asked again before that.
    Refused(Instant),
}

/// What the editions in the cluster can do.
pub(super) struct Commands {
    table: Arc<ArcSwap<CommandTable>>,
    editions: BTreeMap<String, Known>,
    asking: JoinSet<Listed>,
    /// Questions that came to nothing since a node last answered.
    failed: u32,
}

impl Commands {
    pub(super) fn new(table: Arc<ArcSwap<CommandTable>>) -> Self {
        Self {
            table,
            editions: BTreeMap::new(),
            asking: JoinSet::new(),
            failed: 0,
        }
    }

    /// Asks over `link` if its node is of a new edition, or of one that refused it a while ago; gives it back if not.
    pub(super) fn ask(&mut self, addr: &NodeAddr, mut link: Link, now: Instant) -> Option<Link> {
        let edition = link.profile.edition();
        let is_full = self.editions.len() >= EDITIONS_MAX;
        match self.editions.get_mut(&edition) {
            // So it stays known as refused: the log has said it.
            Some(Known::Refused(until)) if now >= *until => *until = now + REFUSED_FOR,
            None if !is_full => {
                self.editions.insert(edition.clone(), Known::Asked);
            }
            _ => return Some(link),
        }
        let addr = addr.clone();
        self.asking.spawn(async move {
            let reply = match tokio::time::timeout(LIST_WITHIN, link.ask(&[&["COMMAND"]])).await {
                Ok(replies) => replies.map(|mut r| r.swap_remove(0)),
                Err(_) => Err(LinkError::Silent(LIST_WITHIN)),
            };
            let usable = reply.is_ok() && link.is_clean();
            Listed {
                addr,
                link: usable.then_some(link),
                edition,
                reply,
            }
        });
        None
    }

    /// The next list; for ever if none is under way. Cancel safe.
    pub(super) async fn listed(&mut self) -> Listed {
        loop {
            match self.asking.join_next().await {
                Some(Ok(listed)) => return listed,
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes in a list and returns its connection.
    pub(super) fn take(&mut self, listed: Listed, now: Instant) -> (Option<Link>, Outcome) {
        let Listed {
            addr,
            link,
            edition,
            reply,
        } = listed;
        let refusal = reply.as_deref().ok().and_then(error_text);
        let passes = |error: &String| PASSING.iter().any(|p| error.starts_with(p));
        let failed = match (&reply, &refusal) {
            (Err(LinkError::Lost(_)), _) => Some(Trigger::ConnectionLost),
            (Ok(_), Some(error)) if passes(error) => Some(Trigger::Unconfirmed),
            _ => None,
        };
        self.failed = failed.map_or(0, |_| self.failed + 1);
        let outcome = match failed {
            Some(trigger) if self.failed < FAILED_MAX => Outcome::Again(trigger),
            _ => Outcome::Answered,
        };
        match (reply, refusal) {
            (Ok(reply), None) => {
                self.editions.insert(edition, Known::Listed(reply));
                self.overlay();
            }
            (Ok(_), Some(error)) if failed.is_none() => {
                self.refused(&addr, edition, &error, now);
            }
            (Ok(_), Some(error)) => {
                tracing::debug!(node = %addr, edition, error, "cannot list its commands now");
                self.editions.remove(&edition);
            }
            (Err(error), _) => {
                tracing::debug!(node = %addr, edition, %error, "did not list its commands");
                self.editions.remove(&edition);
            }
        }
        (link, outcome)
    }

    fn refused(&mut self, addr: &NodeAddr, edition: String, error: &str, now: Instant) {
        let refused = Known::Refused(now + REFUSED_FOR);
        let before = self.editions.insert(edition.clone(), refused);
        if !matches!(before, Some(Known::Refused(_))) {
            tracing::warn!(
                node = %addr, edition, error,
                "may not list its commands: the checked-in table is used; allow +command to the user of upstream.username"
            );
        }
    }

    /// Forgets editions that no node has any more; true if that made another table.
    pub(super) fn retain(&mut self, editions: &FxHashSet<String>) -> bool {
        let before = self.lists().count();
        self.editions
            .retain(|edition, known| matches!(known, Known::Asked) || editions.contains(edition));
        let forgotten = self.lists().count() < before;
        if forgotten {
            self.overlay();
        }
        forgotten
    }

    fn lists(&self) -> impl Iterator<Item = &Bytes> {
        self.editions.values().filter_map(|known| match known {
            Known::Listed(reply) => Some(reply),
            Known::Asked | Known::Refused(_) => None,
        })
    }

    fn overlay(&self) {
        let replies: Vec<&[u8]> = self.lists().map(|r| &r[..]).collect();
        if replies.is_empty() {
            return;
        }
        let editions: Vec<&str> = self.editions.keys().map(|e| &**e).collect();
        match self.table.load().overlay(&replies) {
            Ok(table) => {
                tracing::info!(
                    commands = table.iter().count(),
                    ?editions,
                    "took over the servers' command table"
                );
                self.table.store(Arc::new(table));
            }
            Err(error) => tracing::warn!(%error, ?editions, "cannot read a server's command table"),
        }
    }
}
