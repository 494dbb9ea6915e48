//! What a refusal means for the request, and what topology hears of it. Invariant 7 is kept here: a redirection
//! must be about the request's own slot, and what a script returns is not believed as it stands.

use super::Session;
use super::inspect::Inspected;
use crate::cluster::{NodeAddr, Slot};
use crate::observe::Redirection;
use crate::route::{Losses, Resend, Why, resend};
use crate::topology::{Report, Trigger};
use crate::upstream::{Fate, Refusal, Target, Ticket};
use std::time::Instant;

impl Session {
    /// What a refusal means for the request, and what topology should hear of it.
    pub(super) fn why(
        &self,
        reply: &[u8],
        from: &NodeAddr,
        refusal: Refusal,
        sent: Instant,
        info: &Inspected,
    ) -> Option<Why> {
        match resend(Fate::Refused, info.effect(), Losses::None) {
            Resend::Again | Resend::Once => {}
            Resend::IfProved => return self.why_script(reply, from, &refusal, info.readonly),
            Resend::Never => return None,
        }
        let suspect = |why| Report::Suspect {
            node: from.clone(),
            why,
        };
        if refusal.leads_nowhere() {
            // Others know more, or that node soon will.
            self.context.report(Report::Refresh(Trigger::Moved));
            return Some(Why::Unavailable);
        }
        Some(match refusal {
            Refusal::Moved(slot, target) => {
                let to = self.reached(&target, from);
                if self.is_scouts_answer(slot, &to, from) {
                    self.is_no_heir(from, &to);
                    return Some(Why::NotSent);
                }
                if to == *from {
                    self.context.lanes.renew(from);
                }
                self.context.moved(slot, &to, from, sent);
                Why::Moved(to)
            }
            Refusal::Ask(_, target) => Why::Ask(self.reached(&target, from)),
            Refusal::TryAgain => Why::TryAgain,
            Refusal::ClusterDown | Refusal::MasterDown | Refusal::ReadOnly => {
                self.context.report(suspect(Trigger::ClusterDown));
                Why::Unavailable
            }
            Refusal::Loading => Why::Unavailable,
        })
    }

    /// A script may return any error text (invariant 7): MOVED from one counts only when a refresh agrees, ASK
    /// only when the node says the same to a plain command (`confirm`).
    /// The others cannot be confirmed, and what the script wrote before may stand (invariant 5): they count only
    /// in the server's own words, and only for scripts that cannot write.
    pub(super) fn why_script(
        &self,
        reply: &[u8],
        from: &NodeAddr,
        refusal: &Refusal,
        readonly: bool,
    ) -> Option<Why> {
        match refusal {
            Refusal::Ask(..) => Some(Why::UnconfirmedAsk { from: from.clone() }),
            Refusal::Moved(..) => {
                let refreshes = self.context.shared.topology.rounds().started + 1;
                self.context.report(Report::Hint {
                    from: from.clone(),
                    why: Trigger::Unconfirmed,
                });
                Some(Why::Unconfirmed {
                    refreshes,
                    from: from.clone(),
                })
            }
            _ if !readonly => None,
            Refusal::TryAgain => is_own(reply, TRYAGAIN).then_some(Why::TryAgain),
            _ => is_own(reply, UNAVAILABLE).then_some(Why::Unavailable),
        }
    }

    /// The node a redirection means, as the map names it (`cluster.address_map`).
    pub(super) fn reached(&self, target: &Target, from: &NodeAddr) -> NodeAddr {
        let announced = target.addr(from);
        let map = &self.context.config.cluster.address_map;
        let mapped = map.iter().find(|(known, _)| *known == announced);
        mapped.map_or(announced, |(_, reached)| reached.clone())
    }

    /// Whether a MOVED is the answer of a replica that was asked in place of its unreachable primary, and says no
    /// more than that it was not promoted.
    pub(super) fn is_scouts_answer(&self, slot: Slot, to: &NodeAddr, from: &NodeAddr) -> bool {
        let map = self.context.map();
        let (Some(owner), Some(from)) = (map.owner(slot), map.find(from)) else {
            return false;
        };
        map.node(owner).addr == *to && map.replicas(owner).any(|r| r == from)
    }
}

/// The texts of the servers themselves (Redis 7.0 and Valkey 9.1, `getNodeByQuery` and `processCommand`).
pub(super) const TRYAGAIN: &[&str] = &["TRYAGAIN Multiple keys request during rehashing of slot"];

pub(super) const UNAVAILABLE: &[&str] = &[
    "CLUSTERDOWN Hash slot not served",
    "CLUSTERDOWN The cluster is down",
    "CLUSTERDOWN The cluster is down and only accepts read commands",
    "LOADING Redis is loading the dataset in memory",
    "LOADING Valkey is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
];

pub(super) fn is_own(reply: &[u8], texts: &[&str]) -> bool {
    let text = reply
        .strip_prefix(b"-")
        .and_then(|t| t.strip_suffix(b"\r\n"));
    text.is_some_and(|t| texts.iter().any(|own| own.as_bytes() == t))
}

/// A redirection counts only if it is about the request's own slot.
pub(super) fn concerns(refusal: &Refusal, ticket: Ticket) -> bool {
    match refusal {
        Refusal::Moved(slot, _) | Refusal::Ask(slot, _) => ticket.slot() == Some(*slot),
        _ => true,
    }
}

pub(super) fn kind(refusal: &Refusal) -> Redirection {
    match refusal {
        Refusal::Moved(..) => Redirection::Moved,
        Refusal::Ask(..) => Redirection::Ask,
        Refusal::TryAgain => Redirection::TryAgain,
        Refusal::ClusterDown => Redirection::ClusterDown,
        Refusal::MasterDown => Redirection::MasterDown,
        Refusal::Loading => Redirection::Loading,
        Refusal::ReadOnly => Redirection::ReadOnly,
    }
}
