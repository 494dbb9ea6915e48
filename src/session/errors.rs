//! What clients are told when a node could not be asked. Every text says what to do.

use crate::cluster::{Slot, SlotMap};
use crate::resp::encode;
use crate::topology::TopologyStatus;
use crate::upstream::Fault;
use bytes::Bytes;

/// What a client gets whose slot has had no owner for `timeouts.unavailable`.
pub(super) fn no_owner(slot: Slot, map: &SlotMap, status: &TopologyStatus) -> Bytes {
    let text = if map.nodes().is_empty() {
        no_topology(status)
    } else {
        format!("CLUSTERDOWN slotway: no primary serves slot {slot}; see /topology")
    };
    let mut reply = Vec::new();
    encode::error(&mut reply, &text);
    reply.into()
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
    let mut reply = Vec::new();
    let text =
        format!("CLUSTERDOWN slotway: the primary of slot {slot} is unreachable; try again later");
    encode::error(&mut reply, &text);
    reply.into()
}

pub(super) fn queue_full() -> Bytes {
    let mut reply = Vec::new();
    encode::error(
        &mut reply,
        "ERR slotway: too many requests in flight for this node (limits.lane_in_flight, limits.lane_in_flight_bytes); \
         try again later",
    );
    reply.into()
}

pub(super) fn unreachable_node(fault: &Fault) -> Bytes {
    let mut reply = Vec::new();
    encode::error(
        &mut reply,
        &format!("CLUSTERDOWN slotway: not sent, {fault}; try again later"),
    );
    reply.into()
}
