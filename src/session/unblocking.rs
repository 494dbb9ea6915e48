//! A blocking command that waits at a node is ended there: for CLIENT UNBLOCK, and because its client sends no more.

use super::blocking::Wait;
use super::errand::tell;
use super::unblock::Unblock;
use crate::cluster::NodeAddr;
use crate::resp::encode;
use crate::upstream::{Lease, PING};
use std::cell::Cell;
use std::time::Duration;
use tokio::time::sleep;

/// Pause before a node that has not come to the blocking command yet is told again that it ends.
pub(super) const TELL_AGAIN: Duration = Duration::from_millis(5);

/// What a node says to CLIENT UNBLOCK.
pub(super) enum Told {
    Unblocked,
    /// It may not have come to the command yet, or has answered it.
    NotBlocked,
    Refused,
    /// It may unblock its client at any later time.
    Unknown,
}

impl Wait {
    /// Ready if the client sends no more, and the command waits at the node. The node says so by unblocking it, with an error:
    /// Redis before 8.2 does not survive another form of it for a client that CLIENT PAUSE holds up. Where it may not, it is
    /// asked two questions, one after the other: it has read the command before the second, unless connections differ.
    pub(super) async fn waits_for_nobody(
        &self,
        node: &NodeAddr,
        number: &Cell<Option<Option<i64>>>,
    ) {
        self.unblock.hung_up().await;
        let mut pause = TELL_AGAIN;
        loop {
            let told = match number.get() {
                None => Told::NotBlocked,
                Some(None) => Told::Refused,
                Some(Some(number)) => self.tell_to_unblock(node, number, Unblock::Error).await,
            };
            match told {
                Told::Unblocked => return,
                Told::NotBlocked => sleep(pause).await,
                Told::Refused => {
                    for _ in 0..2 {
                        if tell(&self.session, node, PING).await.is_none() {
                            return std::future::pending().await;
                        }
                    }
                    return;
                }
                Told::Unknown => return std::future::pending().await,
            }
            pause *= 2;
        }
    }

    /// Has the node unblock its client, which is the lease.
    pub(super) async fn unblock_at(&self, lease: &Lease, how: Unblock) -> Told {
        match lease.number() {
            Some(number) => self.tell_to_unblock(lease.node(), number, how).await,
            // The node does not tell: it may not be allowed to us.
            None => Told::Refused,
        }
    }

    async fn tell_to_unblock(&self, node: &NodeAddr, number: i64, how: Unblock) -> Told {
        // Of a client that gets no reply, the form that all servers survive.
        let error = how == Unblock::Error || self.unblock.is_draining();
        let number = number.to_string();
        let mut words = vec!["CLIENT", "UNBLOCK", &number];
        words.extend(error.then_some("ERROR"));
        let mut request = Vec::new();
        encode::command(&mut request, &words);
        // To the end: one that came to the node later would unblock the lease's next user.
        match tell(&self.session, node, &request).await.as_deref() {
            Some(b":1\r\n") => Told::Unblocked,
            Some(b":0\r\n") => Told::NotBlocked,
            Some(error) => {
                tracing::warn!(error = %error.escape_ascii(), "a node refused CLIENT UNBLOCK");
                Told::Refused
            }
            None => Told::Unknown,
        }
    }
}
