//! What a cluster is, as values: hash slots, nodes, the immutable slot map, and which of several answers
//! about them to believe. Pure: no socket, no clock, no tokio.

mod slot;
mod slot_map;

pub use slot::{SLOTS, Slot};
pub use slot_map::{Node, NodeAddr, NodeIndex, Shard, SlotMap, SlotMapBuilder};
