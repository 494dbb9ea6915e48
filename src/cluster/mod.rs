//! What a cluster is, as values: hash slots, nodes, the immutable slot map, and which of several answers
//! about them to believe. Pure: no socket, no clock, no tokio.

mod believe;
#[cfg(test)]
mod captured;
mod parse;
mod slot;
mod slot_map;
mod standalone;
mod view;

pub use believe::{Belief, FORGET_AFTER, KnownNode, Patched, Round, Said};
pub use parse::{AddressMap, Answers, ParseError, SlotsAnswer, parse_server, parse_view};
pub use slot::{SLOTS, Slot};
pub use slot_map::{Node, NodeAddr, NodeIndex, Shard, SlotMap, SlotMapBuilder};
pub use standalone::{NoPrimary, Part, Server, Standalone};
pub use view::{ClusterState, Direction, Health, Migration, Role, SlotRange, View, ViewNode};
