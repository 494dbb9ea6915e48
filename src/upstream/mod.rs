//! Connections to nodes. A lane is one pipelined connection to one node that all sessions of a worker share: it
//! writes requests in the order it got them, reads replies, and hands each to the requester of the request it
//! answers. A lease is a connection that one client has to itself for a while. Knows nodes and bytes; never clients, never the slot map.

mod block;
mod collecting;
mod connect;
mod fate;
mod gate;
mod in_flight;
mod lane;
mod lanes;
mod lease;
mod leases;
mod loss;
mod memory;
mod outbox;
mod pace;
mod prove;
mod question;
mod refusal;
mod renew;
mod room;
mod serve;
mod subscriber;
mod upkeep;
mod window;
mod writing;

pub use collecting::REPLY_TOO_LARGE;
pub use connect::{Credentials, HandshakeError, Within, dial};
pub use fate::{Fate, HandedOver};
pub use gate::Gates;
pub use in_flight::{ASKING, Answer, Class, Fault, FaultKind, Requester, Returned, Ticket};
pub use lane::{Lane, LaneId};
pub use lanes::{LaneSettings, Lanes, NodeEvent, Stripe, UpstreamContext};
pub use lease::{Lease, Lost};
pub use leases::{Leases, NoLease};
pub use question::PING;
pub use refusal::{Refusal, Target, classify};
pub use room::{NotTaken, Wants};
pub use subscriber::{Listener, Subscriber};
pub use window::Size;
