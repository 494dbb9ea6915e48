//! Commands that a node answers even while a script keeps it busy (SCRIPT KILL, FUNCTION KILL, FUNCTION STATS). On a
//! lane they would wait behind the very script, so each node gets them over a connection of its own.
//!
//! A node hears nobody until a script is slow in its own eyes (`busy-reply-threshold`, 5 s), so it is given as much
//! time as a slow command may take; a standalone server lets its clients wait as well.

use super::dispatch::{Batch, Taken};
use super::replies::{About, Duty};
use super::{Session, SessionContext, State, errors};
use crate::cluster::NodeAddr;
use crate::command::{Gather, Merge};
use crate::io::Purse;
use crate::observe::{ErrorSource, Limit};
use crate::resp::{Proto, Request};
use crate::route::{Facts, Gathering};
use crate::upstream::{Lost, NoLease, Refusal, classify};
use bytes::Bytes;
use std::rc::Rc;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// One node, and what it is asked.
struct Question {
    node: NodeAddr,
    duty: Duty,
    proto: Proto,
    request: Bytes,
}

/// `None`: the node could not be asked, and the command can do without it.
type Said = Option<Bytes>;

impl Session {
    pub(super) fn gather_past_scripts(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        gather: Gather,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let nodes = self.targets(state, &batch.map, gather.to);
        if nodes.is_empty() {
            return self.refuse(state, about, &self.no_node());
        }
        let request = Bytes::copy_from_slice(request.bytes());
        let proto = state.client.proto();
        let ask = |(node, duty)| Question {
            node: batch.map.node(node).addr.clone(),
            duty,
            proto,
            request: request.clone(),
        };
        let questions: Vec<_> = nodes.into_iter().map(ask).collect();
        let context = self.context.clone();
        self.drive(state, about, run(context, gather.merge, questions))
    }
}

/// Asks all nodes at once. Where the first success is the answer it is not waited for the others, but they are asked
/// all the same.
async fn run(context: Rc<SessionContext>, merge: Merge, questions: Vec<Question>) -> Bytes {
    let mut gathering = Gathering::of_fan_out(merge, questions.len(), usize::MAX);
    let (said, mut answers) = mpsc::channel::<(usize, Said)>(questions.len());
    for (part, question) in questions.into_iter().enumerate() {
        let (context, said) = (context.clone(), said.clone());
        tokio::task::spawn_local(async move {
            let answer = ask(&context, &question).await;
            // Nobody waits any more where the client has gone, or has its answer.
            let _ = said.send((part, answer)).await;
        });
    }
    drop(said);
    while let Some((part, answer)) = answers.recv().await {
        let complete = match answer {
            Some(reply) if merge == Merge::First && reply[0] != b'-' => return reply,
            Some(reply) => gathering.put(part, &reply),
            None => gathering.skip(part),
        };
        if complete {
            break;
        }
    }
    let mut reply = Vec::new();
    gathering.finish(&Facts::default(), &mut reply);
    if reply == errors::no_lease() {
        // Of however many nodes, the client is told it once.
        let reply = context.no_lease();
        context.metrics.error(ErrorSource::Proxy, &reply);
        return reply;
    }
    if reply[0] == b'-' {
        context.metrics.error(ErrorSource::Upstream, &reply);
    }
    reply.into()
}

async fn ask(context: &Rc<SessionContext>, question: &Question) -> Said {
    let within = context.config.timeouts.slow_command;
    let reply = match timeout(within, exchange(context, question)).await {
        Ok(reply) => reply,
        Err(_) => {
            context.metrics.limit_hit(Limit::SlowCommandTimeout);
            Err(errors::no_answer(&question.node))
        }
    };
    match (reply, question.duty) {
        // A replica that does not serve runs nothing.
        (Ok(reply), Duty::Optional) if says_it_does_not_serve(&reply) => None,
        (Err(_), Duty::Optional) => None,
        (Ok(reply) | Err(reply), _) => Some(reply),
    }
}

/// The node's reply, or an error of ours.
async fn exchange(context: &Rc<SessionContext>, question: &Question) -> Result<Bytes, Bytes> {
    let Question { node, proto, .. } = question;
    let purse = Purse::new(context.memory.clone());
    let taken = context.leases.take_from_busy(node, *proto, &purse).await;
    let mut lease = taken.map_err(|why| match why {
        NoLease::Limit => errors::no_lease(),
        NoLease::Down(fault) => errors::unreachable_node(&fault),
    })?;
    let reply = lease
        .exchange(&question.request)
        .await
        .map_err(|lost| match lost {
            Lost::NotSent(fault) => errors::unreachable_node(&fault),
            Lost::Unknown(fault) => {
                context.metrics.unknown_outcome();
                errors::outcome_unknown(&fault)
            }
        })?;
    lease.give_back();
    Ok(reply)
}

fn says_it_does_not_serve(reply: &[u8]) -> bool {
    matches!(
        classify(reply),
        Some(Refusal::Loading | Refusal::MasterDown | Refusal::ClusterDown)
    )
}
