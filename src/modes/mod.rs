//! What lasts longer than one command: transactions, blocking, subscriptions, waiting, monitoring. Pure state machines:
//! bytes and moments in, decisions and bytes out. `session` drives them and does the input and output; nothing here
//! knows sockets, lanes or tokio.

mod blocking;
pub mod inside;
pub mod monitor;
pub mod pubsub;
mod sweep;
mod transaction;
mod wait;

pub use blocking::{Blocking, Patience};
pub use sweep::{Found, Steps, Sweep, Tail};
pub use transaction::{Assembly, Block, NotQueued, Queue, QueueLimits, Slots};
pub use wait::{Acknowledged, Replication, Wait, WaitAof, wait_timeout_max};
