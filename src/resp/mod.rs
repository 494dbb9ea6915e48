//! The wire format, RESP2 and RESP3: finding where requests and replies begin and end, reading the few replies
//! that must be looked into, and writing what the proxy says itself.
//!
//! Pure: bytes in, positions out. It never reads a socket and never builds a tree of values; requests and
//! replies are forwarded as the bytes they came in. Sessions own a [`RequestDecoder`] each, lanes a [`ReplyScanner`].

mod decoder;
pub mod encode;
mod error;
mod inline;
mod length;
mod limits;
mod number;
mod reply;
mod request;
mod skip;
#[cfg(test)]
mod tests;
mod view;

pub use decoder::{Decoded, RequestDecoder};
pub use error::{ProtocolError, ReplyError};
pub use limits::RequestLimits;
pub use number::strict_integer;
pub use reply::{REPLY_DEPTH_MAX, ReplyScanner};
pub use request::{Request, Span, parse_request};
pub use skip::Skipped;
pub use view::{bulk, elements, integer, is_null, kind, only_element};

/// Which version of the protocol a client (and the lane it uses) speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Proto {
    /// RESP2: the default of every connection.
    Resp2,
    /// RESP3: after `HELLO 3`.
    Resp3,
}
