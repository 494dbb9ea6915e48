//! What clients are told when a node could not be asked. Every text says what to do.

use crate::cluster::{NodeAddr, Slot, SlotMap};
use crate::resp::encode;
use crate::route::Room;
use crate::topology::TopologyStatus;
use crate::upstream::{Fault, NotTaken};
use bytes::Bytes;

/// How errors begin that say that a command may have been executed.
pub(super) const OUTCOME_UNKNOWN: &str = "ERR slotway: outcome unknown";

/// How the error begins that says that no reply came in time, so that a command may have been executed.
pub(super) const LATE: &str = "ERR slotway: no reply in time";

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

/// Why a redirected command is followed no further.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Astray {
    /// `limits.redirections` is reached.
    Far,
    /// The time that it has is over: `timeouts.command`.
    Late,
    /// The same, of a task that has waited for a node: `timeouts.unavailable`.
    Unavailable,
    /// What came behind it on one of its keys has been executed (invariant 3).
    Overtaken,
}

/// What a client gets whose command was redirected, and is followed no further. It knows nothing of clusters: MOVED and ASK
/// would mean nothing to it.
pub(super) fn astray(why: Astray, redirection: &[u8]) -> Bytes {
    let last = redirection.strip_prefix(b"-").unwrap_or(redirection);
    let last = String::from_utf8_lossy(last.trim_ascii_end());
    let moving = |option: &str| {
        format!(
            "CLUSTERDOWN slotway: not executed, its slot was on the move for longer than {option} (last {last}); try \
             again later"
        )
    };
    error_reply(&match why {
        Astray::Far => format!(
            "CLUSTERDOWN slotway: not executed, its slot's nodes have sent it on more than limits.redirections times \
             (last {last}); try again later, /topology says who owns the slot"
        ),
        Astray::Late => moving("timeouts.command"),
        Astray::Unavailable => moving("timeouts.unavailable"),
        Astray::Overtaken => format!(
            "CLUSTERDOWN slotway: not executed, its slot was on the move and a later command of this connection on its \
             keys has been executed (last {last}); send it again if it is still to be done"
        ),
    })
}

/// What a client gets whose request the lane did not take.
pub(super) fn not_taken(not_taken: &NotTaken) -> Bytes {
    match not_taken {
        NotTaken::Down(fault) => unreachable_node(fault),
        NotTaken::Full(_) => no_room(not_taken.into()),
    }
}

/// What a client gets whose request has waited for that room in vain.
pub(super) fn no_room(room: Room) -> Bytes {
    let text = match room {
        Room::LargeReply => BULK_FULL,
        Room::Request => QUEUE_FULL,
    };
    Bytes::from_static(text.as_bytes())
}

/// Of these there is one for every request that waits, so they are not made anew.
const QUEUE_FULL: &str = concat!(
    "-",
    "ERR slotway: not sent, too many requests in flight for this node for longer than timeouts.queue \
     (limits.lane_in_flight, limits.lane_in_flight_bytes); try again later",
    "\r\n"
);

const BULK_FULL: &str = concat!(
    "-",
    "ERR slotway: not sent, no room among the large values of this node for longer than timeouts.command \
     (upstream.bulk_bytes); try again later",
    "\r\n"
);

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

/// What a client gets whose command would overtake one that was not answered in time.
pub(super) fn overdue() -> Bytes {
    error_reply(
        "ERR slotway: not sent, an earlier command of this connection, whose reply did not come in time, has been in \
         flight for its slot for longer than timeouts.unavailable; try again later",
    )
}

/// What a client gets whose command was not answered in time.
pub(super) fn late() -> Bytes {
    error_reply(&format!(
        "{LATE} (timeouts.command, or timeouts.slow_command for O(N) commands and scripts); outcome unknown, check \
         before you repeat it"
    ))
}

/// What a client gets whose command all nodes have to do, and only some have done: the node's own error, and what helps.
pub(super) fn partly_done(error: &[u8], node: &NodeAddr, done: usize) -> Vec<u8> {
    let text = error.strip_suffix(b"\r\n").unwrap_or(error);
    let nodes = if done == 1 { "node has" } else { "nodes have" };
    let hint = format!(
        " (slotway: {node} has failed, {done} {nodes} done it; repeat it, FUNCTION LOAD and FUNCTION RESTORE with REPLACE)\r\n"
    );
    [text, hint.as_bytes()].concat()
}

/// What a client gets whose command for several nodes waits for that one.
pub(super) fn no_answer(node: &NodeAddr) -> Bytes {
    error_reply(&format!(
        "ERR slotway: {node} has not answered in time (timeouts.slow_command); outcome unknown, check before you repeat it"
    ))
}

/// What a client gets who needs a connection of its own.
pub(super) fn no_lease() -> Bytes {
    error_reply(
        "ERR slotway: too many connections of single clients to nodes (upstream.leases); raise it, or block and watch \
         with fewer clients",
    )
}

/// An error reply from its text, which comes without the leading `-`.
pub(super) fn error_reply(text: &str) -> Bytes {
    let mut reply = Vec::new();
    encode::error(&mut reply, text);
    reply.into()
}
