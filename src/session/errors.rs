//! What clients are told when a node could not be asked. Every text says what to do.

use crate::cluster::{Slot, SlotMap};
use crate::resp::encode;
use crate::topology::TopologyStatus;
use crate::upstream::{Fault, NotTaken};
use bytes::Bytes;

/// How errors begin that say that a command may have been executed.
pub(super) const OUTCOME_UNKNOWN: &str = "ERR slotway: outcome unknown";

/// What a client gets whose slot has had no owner for `timeouts.unavailable`.
pub(super) fn no_owner(slot: Slot, map: &SlotMap, status: &TopologyStatus) -> Bytes {
    let text = if map.nodes().is_empty() {
        no_topology(status)
    } else {
        format!("CLUSTERDOWN slotway: no primary serves slot {slot}; see /topology")
    };
    error_reply(&text)
}

/// What a client gets before any node has answered.
pub(super) fn no_topology(status: &TopologyStatus) -> String {
    let why = status
        .last_error
        .as_ref()
        .map_or("no node has answered", |e| &e.error);
    format!("CLUSTERDOWN slotway: no topology yet ({why}); see cluster.nodes and /readyz")
}

/// What a client gets whose slot's primary could not be reached, nor any replica that was promoted.
pub(super) fn primary_unreachable(slot: Slot) -> Bytes {
    error_reply(&format!(
        "CLUSTERDOWN slotway: the primary of slot {slot} is unreachable; try again later"
    ))
}

/// What a client gets whose request the lane did not take.
pub(super) fn not_taken(not_taken: &NotTaken) -> Bytes {
    match not_taken {
        NotTaken::Down(fault) => unreachable_node(fault),
        NotTaken::Full => queue_full(),
    }
}

fn queue_full() -> Bytes {
    error_reply(
        "ERR slotway: too many requests in flight for this node (limits.lane_in_flight, limits.lane_in_flight_bytes); \
         try again later",
    )
}

pub(super) fn unreachable_node(fault: &Fault) -> Bytes {
    error_reply(&format!(
        "CLUSTERDOWN slotway: not sent, {fault}; try again later"
    ))
}

/// What a client gets whose command may have been executed, or not.
pub(super) fn outcome_unknown(fault: &Fault) -> Bytes {
    error_reply(&format!(
        "{OUTCOME_UNKNOWN}, connection to {} lost after the command was sent ({fault}); check before you repeat it",
        fault.node
    ))
}

/// What a client gets whose command was not answered in time.
pub(super) fn late() -> Bytes {
    error_reply(
        "ERR slotway: no reply in time (timeouts.command, or timeouts.slow_command for O(N) commands and \
         scripts); outcome unknown, check before you repeat it",
    )
}

/// What a client gets who needs a connection of its own.
pub(super) fn no_lease() -> Bytes {
    error_reply(
        "ERR slotway: too many connections of single clients to nodes (upstream.leases); raise it, or block, watch \
         and subscribe with fewer clients",
    )
}

/// An error reply from its text, which comes without the leading `-`.
pub(super) fn error_reply(text: &str) -> Bytes {
    let mut reply = Vec::new();
    encode::error(&mut reply, text);
    reply.into()
}
