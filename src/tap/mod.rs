//! A tap: in front of one server that is no cluster node, passes on what clients and server say to each other, byte for
//! byte, and has the requests judged on the side (`audit`). Nothing of an application can break by it: it may do whatever
//! it does with the server itself.
//!
//! Owns the two connections of each client, and of what passes no more than one shortened request.

mod connection;
mod digest;
mod follow;
mod replies;

pub use connection::Tap;
