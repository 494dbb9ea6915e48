//! Replies as the checkers compare them. RESP2 and RESP3 nulls are the same.

use crate::support::{reply_end, show};

/// One reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `+OK`.
    Ok,
    /// Null of any kind.
    Nil,
    /// An integer.
    Int(i64),
    /// A bulk string.
    Text(String),
    /// An array.
    Array(Vec<Reply>),
    /// An error, without the dash.
    Error(String),
}

impl Reply {
    /// Reads the bytes of one whole reply.
    ///
    /// # Panics
    /// When they are none that a checker's command can have.
    pub fn parse(bytes: &[u8]) -> Self {
        let line_end = bytes
            .windows(2)
            .position(|w| w == b"\r\n")
            .expect("a whole reply");
        let line = String::from_utf8_lossy(&bytes[1..line_end]).into_owned();
        let rest = &bytes[line_end + 2..];
        match bytes[0] {
            b'+' if line == "OK" => Self::Ok,
            b'_' => Self::Nil,
            b'$' | b'*' if line == "-1" => Self::Nil,
            b':' => Self::Int(line.parse().expect("an integer")),
            b'-' => Self::Error(line),
            b'$' => Self::Text(String::from_utf8_lossy(&rest[..rest.len() - 2]).into_owned()),
            b'*' => Self::Array(elements(rest)),
            _ => panic!("no reply to any checker: {}", show(bytes)),
        }
    }
}

fn elements(mut rest: &[u8]) -> Vec<Reply> {
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let end = reply_end(rest, 0).expect("a whole array");
        elements.push(Reply::parse(&rest[..end]));
        rest = &rest[end..];
    }
    elements
}
