//! What a RESP2 client may do while it is subscribed. In RESP3, where pushes cannot be taken for replies, it may do
//! everything.

use crate::command::Command;
use crate::resp::encode;

const ALLOWED: [&str; 9] = [
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "ping",
    "quit",
    "reset",
];

/// The server's own words for a command that is not allowed.
pub fn refusal(command: &Command) -> Option<String> {
    let name = &*command.name;
    (!ALLOWED.contains(&name)).then(|| {
        let prefix = match name {
            "exec" => "EXECABORT Transaction discarded because of:",
            _ => "ERR",
        };
        format!(
            "{prefix} Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed \
             in this context"
        )
    })
}

/// The answer to PING, which must not look like any message's.
pub fn pong(message: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    encode::array(&mut out, 2);
    encode::bulk(&mut out, b"pong");
    encode::bulk(&mut out, message.unwrap_or_default());
    out
}
