//! Sockets and buffers that clients and nodes have in common: halves of a stream, what was read but is not
//! complete yet, what is to be written, the clock of a worker, and the flusher that writes once per tick.
//! Knows nothing of RESP, clients or nodes.

mod budget;
mod clock;
mod flusher;
mod give_way;
mod input;
mod jitter;
mod memory;
mod network;
mod output;
mod purse;
mod resident;
#[cfg(feature = "simulation")]
pub mod simulated;
mod stream;
mod until;

pub use budget::Budget;
pub use clock::{Clock, Micros, now};
pub use flusher::{Flush, Flusher};
pub use input::{Input, SCRATCH_BYTES, Scratch};
pub use jitter::{Jitter, unguessable};
pub use memory::{LARGE_REQUEST, Ledger};
pub use network::{NodeStream, lookup_host};
pub use output::Output;
pub use purse::{Bill, Purse};
pub use stream::{ReadHalf, WriteHalf, split_tcp, split_unix, tune_tcp};
pub use until::{in_time, until};

/// Splits a connection to a node.
#[cfg(feature = "simulation")]
pub use simulated::{split as split_node, tune_tcp as tune_node};
#[cfg(not(feature = "simulation"))]
pub use stream::{split_tcp as split_node, tune_tcp as tune_node};
