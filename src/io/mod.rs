//! Sockets and buffers that clients and nodes have in common: halves of a stream, what was read but is not
//! complete yet, what is to be written, the clock of a worker, and the flusher that writes once per tick.
//! Knows nothing of RESP, clients or nodes.

mod clock;
mod flusher;
mod give_way;
mod input;
mod jitter;
mod output;
mod stream;

pub use clock::{Clock, Micros};
pub use flusher::{Flush, Flusher};
pub use input::{Input, SCRATCH_BYTES, Scratch};
pub use jitter::Jitter;
pub use output::Output;
pub use stream::{ReadHalf, WriteHalf, split_tcp, split_unix, tune_tcp};
