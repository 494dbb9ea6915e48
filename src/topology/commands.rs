//! The live command table: `COMMAND` is asked once of every edition of server (name, version, modules) in the cluster,
//! and the checked-in table overlaid with the answers.

use super::link::{Link, LinkError, error_text};
use crate::cluster::NodeAddr;
use crate::command::CommandTable;
use arc_swap::ArcSwap;
use bytes::Bytes;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Longest time a node may take to list its commands.
const LIST_WITHIN: Duration = Duration::from_secs(5);

/// Connections that may be lost in a row by asking for commands. Nodes that always go then do not keep slotway from
/// serving what it knows.
const LOST_MAX: u32 = 3;

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
    /// The connection was lost: another node will be asked, or this one again.
    Lost,
}

/// What the editions in the cluster can do.
pub(super) struct Commands {
    table: Arc<ArcSwap<CommandTable>>,
    /// `None`: asked, but not answered yet, or refused.
    replies: BTreeMap<String, Option<Bytes>>,
    asking: JoinSet<Listed>,
    /// Connections that were lost since a node last answered.
    lost: u32,
}

impl Commands {
    pub(super) fn new(table: Arc<ArcSwap<CommandTable>>) -> Self {
        Self {
            table,
            replies: BTreeMap::new(),
            asking: JoinSet::new(),
            lost: 0,
        }
    }

    /// Asks over `link` if its node is of a new edition; gives it back if not.
    pub(super) fn ask(&mut self, addr: &NodeAddr, mut link: Link) -> Option<Link> {
        let edition = link.profile.edition();
        if self.replies.contains_key(&edition) || self.replies.len() >= EDITIONS_MAX {
            return Some(link);
        }
        self.replies.insert(edition.clone(), None);
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
    pub(super) fn take(&mut self, listed: Listed) -> (Option<Link>, Outcome) {
        let Listed {
            addr,
            link,
            edition,
            reply,
        } = listed;
        self.lost = match &reply {
            Err(LinkError::Lost(_)) => self.lost + 1,
            Ok(_) | Err(_) => 0,
        };
        let outcome = match self.lost {
            1..LOST_MAX => Outcome::Lost,
            _ => Outcome::Answered,
        };
        match reply {
            Ok(reply) => match error_text(&reply) {
                None => {
                    self.replies.insert(edition, Some(reply));
                    self.overlay();
                }
                Some(error) => tracing::warn!(
                    node = %addr, edition, error,
                    "may not list its commands: the checked-in table is used; allow +command to the user of upstream.username"
                ),
            },
            Err(error) => {
                tracing::debug!(node = %addr, edition, %error, "did not list its commands");
                self.replies.remove(&edition);
            }
        }
        (link, outcome)
    }

    /// Forgets editions that no node has any more; true if that made another table.
    pub(super) fn retain(&mut self, editions: &FxHashSet<String>) -> bool {
        let before = self.replies.len();
        self.replies
            .retain(|edition, reply| reply.is_none() || editions.contains(edition));
        let forgotten = self.replies.len() < before;
        if forgotten {
            self.overlay();
        }
        forgotten
    }

    fn overlay(&self) {
        let replies: Vec<&[u8]> = self.replies.values().flatten().map(|r| &r[..]).collect();
        if replies.is_empty() {
            return;
        }
        let editions: Vec<&str> = self.replies.keys().map(|e| &**e).collect();
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
