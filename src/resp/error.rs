//! What is wrong with bytes that are not RESP: the client's fault ([`ProtocolError`]) or a node's ([`ReplyError`]).
//!
//! After either, the connection it came from is closed: where the next message begins is unknown.

use std::fmt;

/// A request that no server would take. The client gets the text, then the connection is closed; nothing of the
/// request has gone upstream.
///
/// `Display` is the text after `-ERR `, in the words of Redis 7.0 wherever Redis has words for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    /// The number after `*` is not strict.
    InvalidMultibulkLength,
    /// It is above the limit on arguments, in the same words.
    TooManyArguments,
    /// The number after `$` is not strict, or negative.
    InvalidBulkLength,
    /// It is above the limit on one argument, in the same words.
    ArgumentTooBig,
    /// More arguments than a client may send before it has authenticated.
    UnauthenticatedMultibulkLength,
    /// A larger argument than a client may send before it has authenticated.
    UnauthenticatedBulkLength,
    /// The line that begins with `*` does not end.
    MultibulkCountTooLong,
    /// The line that begins with `$` does not end.
    BulkCountTooLong,
    /// Something else than a bulk string (this byte) where an argument begins.
    ExpectedBulk(u8),
    /// The bytes of an argument are not followed by CRLF. Redis does not look; we do.
    MissingCrlf,
    /// The whole request is above the limit.
    RequestTooBig,
    /// An inline request whose line does not end.
    InlineTooBig,
    /// An inline request with a quote that is not closed, or closed in mid-word.
    UnbalancedQuotes,
    /// `POST` or `Host:`: somebody makes a browser speak to us. Closed at once and without an answer, and logged.
    CrossProtocol,
}

impl ProtocolError {
    /// Whether this is an attack by way of another protocol, which gets no answer.
    pub fn is_cross_protocol(&self) -> bool {
        *self == Self::CrossProtocol
    }

    /// Appends the reply that the client gets before it is closed: nothing for [`Self::CrossProtocol`].
    pub fn reply(&self, out: &mut Vec<u8>) {
        match *self {
            Self::CrossProtocol => {}
            Self::ExpectedBulk(byte) => {
                // Redis writes the byte as it is, except that line ends become blanks.
                let byte = if matches!(byte, b'\r' | b'\n') {
                    b' '
                } else {
                    byte
                };
                out.extend_from_slice(b"-ERR Protocol error: expected '$', got '");
                out.extend_from_slice(&[byte, b'\'', b'\r', b'\n']);
            }
            _ => super::encode::error(out, &format!("ERR {self}")),
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match *self {
            Self::InvalidMultibulkLength | Self::TooManyArguments => "invalid multibulk length",
            Self::InvalidBulkLength | Self::ArgumentTooBig => "invalid bulk length",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
            Self::MultibulkCountTooLong => "too big mbulk count string",
            Self::BulkCountTooLong => "too big bulk count string",
            Self::ExpectedBulk(byte) => {
                let shown = if byte.is_ascii_control() {
                    ' '
                } else {
                    char::from(byte)
                };
                return write!(f, "Protocol error: expected '$', got '{shown}'");
            }
            Self::MissingCrlf => "expected CRLF after bulk string",
            Self::RequestTooBig => "request larger than limits.request",
            Self::InlineTooBig => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::CrossProtocol => "another protocol's POST or Host: (possible attack)",
        };
        write!(f, "Protocol error: {what}")
    }
}

impl std::error::Error for ProtocolError {}

/// Bytes from a node that are not a reply. The lane they came on dies: never a guess where the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplyError {
    /// No RESP type begins with this byte.
    #[error("no reply begins with the byte {0:#04x}")]
    UnknownType(u8),
    /// A type of RESP3 on a connection that speaks RESP2.
    #[error("a reply of type '{}', which RESP2 does not have", char::from(*.0))]
    OnlyResp3(u8),
    /// A length that is not a strict number, is negative where there is no null, or is not followed by CRLF.
    #[error("invalid length in a reply of type '{}'", char::from(*.0))]
    InvalidLength(u8),
    /// A scalar (`:` `,` `(` `#` `_` `=`) whose text is not of its type.
    #[error("invalid content in a reply of type '{}'", char::from(*.0))]
    InvalidContent(u8),
    /// The bytes of a bulk string are not followed by CRLF.
    #[error("a reply's bulk string is not followed by CRLF")]
    MissingCrlf,
    /// More aggregates inside each other than the limit.
    #[error("a reply is nested too deeply")]
    TooDeep,
    /// A line or bulk string longer than any server sends.
    #[error("a reply's line or length is too large")]
    TooLarge,
    /// A streamed string or aggregate: in the specification, but sent by no server.
    #[error("a streamed reply")]
    Streamed,
}
