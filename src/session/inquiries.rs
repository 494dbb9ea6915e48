//! What clients in WAIT and WAITAOF ask primaries, asked once for all clients of a worker: a thousand that wait for one
//! replica cost its primary no more than a few.
//!
//! An answer counts for a client only if it was asked for after the client's last write was answered. So whoever comes
//! while a question is on its way has its answer from the next one.

use super::SessionContext;
use crate::cluster::NodeAddr;
use crate::io::Purse;
use crate::resp::Proto;
use crate::upstream::{Answer, Class, Lane, LaneId, Requester, Ticket};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// More replicas than there are, so that the primary asks them to acknowledge; for a millisecond.
const ASK_REPLICAS: &[u8] = b"*3\r\n$4\r\nWAIT\r\n$10\r\n1000000000\r\n$1\r\n1\r\n";

/// Pause between two questions to one node: the first pause of a client that waits.
const PAUSE: Duration = Duration::from_millis(1);

/// See the module. One per worker; at most one entry for each of its lanes and nodes.
#[derive(Default)]
pub(super) struct Inquiries {
    /// Who waits for the next answer. While there is an entry, a task asks.
    questions: RefCell<FxHashMap<LaneId, Vec<oneshot::Sender<Bytes>>>>,
    /// The nodes whose replicas are being asked, and those of them to be asked again.
    asking: RefCell<FxHashMap<NodeAddr, Again>>,
}

/// Whether somebody has come meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    No,
    Yes,
}

impl SessionContext {
    /// What INFO says of replication on a lane, behind everything that was sent on it before. Without an answer the sender is
    /// dropped.
    pub(super) fn replication(self: &Rc<Self>, lane: &Rc<Lane>) -> oneshot::Receiver<Bytes> {
        let (answer, receiver) = oneshot::channel();
        let questions = &mut *self.inquiries.questions.borrow_mut();
        let waiting = questions.entry(lane.id()).or_insert_with(|| {
            tokio::task::spawn_local(ask_for_all(self.clone(), lane.clone()));
            Vec::new()
        });
        waiting.push(answer);
        receiver
    }

    /// Makes a primary's replicas acknowledge what they have. Without a connection nothing is lost but time: replicas
    /// acknowledge once a second by themselves.
    pub(super) fn ask_replicas(self: &Rc<Self>, node: &NodeAddr) {
        let asking = &mut *self.inquiries.asking.borrow_mut();
        if let Some(again) = asking.get_mut(node) {
            *again = Again::Yes;
            return;
        }
        asking.insert(node.clone(), Again::No);
        tokio::task::spawn_local(ask_replicas(self.clone(), node.clone()));
    }
}

/// Asks for as long as somebody waits for an answer.
async fn ask_for_all(context: Rc<SessionContext>, lane: Rc<Lane>) {
    loop {
        let waiting = {
            let questions = &mut *context.inquiries.questions.borrow_mut();
            match questions.get_mut(&lane.id()) {
                Some(waiting) if !waiting.is_empty() => std::mem::take(waiting),
                _ => {
                    questions.remove(&lane.id());
                    return;
                }
            }
        };
        if let Some(reply) = ask(&lane).await {
            for answer in waiting {
                // Nobody waits any more where the client has gone.
                let _ = answer.send(reply.clone());
            }
        }
        sleep(PAUSE).await;
    }
}

async fn ask(lane: &Rc<Lane>) -> Option<Bytes> {
    let (answer, receiver) = oneshot::channel();
    let asker = Rc::new(Asker {
        answer: RefCell::new(Some(answer)),
    });
    let ticket = Ticket::new(0, 0, None);
    lane.send(INFO, false, ticket, asker, Class::Normal).ok()?;
    receiver.await.ok()
}

async fn ask_replicas(context: Rc<SessionContext>, node: NodeAddr) {
    let within = context.config.timeouts.command;
    loop {
        let purse = Purse::new(context.memory.clone());
        if let Ok(mut lease) = context.leases.take(&node, Proto::Resp2, &purse).await
            && let Ok(Ok(_)) = timeout(within, lease.exchange(ASK_REPLICAS)).await
        {
            lease.give_back();
        }
        let asking = &mut *context.inquiries.asking.borrow_mut();
        match asking.get_mut(&node) {
            Some(again @ Again::Yes) => *again = Again::No,
            _ => {
                asking.remove(&node);
                return;
            }
        }
    }
}

/// Who waits for the answer; the lane owns it until then.
struct Asker {
    answer: RefCell<Option<oneshot::Sender<Bytes>>>,
}

impl Requester for Asker {
    fn wants_requests(&self) -> bool {
        false
    }

    fn answered(&self, _: Ticket, answer: Answer<'_>) {
        if let (Some(waiting), Answer::Reply { reply, .. }) = (self.answer.take(), answer) {
            let _ = waiting.send(Bytes::copy_from_slice(reply));
        }
    }

    fn expired(&self, _: Ticket) {
        self.answer.take();
    }
}
