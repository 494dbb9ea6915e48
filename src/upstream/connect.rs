//! Opens a connection to a node and prepares it: resolve, connect, AUTH or HELLO, one name. What is set here is
//! all the state a shared connection ever has (invariant 6).

use super::FaultKind;
use crate::cluster::NodeAddr;
use crate::io::tune_tcp;
use crate::resp::{Proto, ReplyScanner, encode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The most a handshake may answer, in bytes; HELLO of a server with many modules is a few KB.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// The name nodes show for slotway's connections in their CLIENT LIST.
const CLIENT_NAME: &str = "slotway";

/// The name of connections that one client has to itself.
pub(super) const LEASE_NAME: &str = "slotway-lease";

/// The name of connections that belong to one subscribed client.
pub(super) const SUBSCRIBER_NAME: &str = "slotway-subscriber";

/// With whom slotway signs in at the nodes.
#[derive(Clone, Default)]
pub struct Credentials {
    /// ACL user; `None` is the `default` user.
    pub username: Option<String>,
    /// Password; `None` means that no AUTH is sent.
    pub password: Option<crate::config::Secret>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The node said so.
    #[error("{0}")]
    Refused(String),
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The answer was not RESP, or too long.
    #[error("the answer is not RESP")]
    NotResp,
}

/// How long a new connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Within {
    /// Until the node's host has accepted it.
    pub connect: Duration,
    /// All of it. A node that a script keeps busy accepts at once, and answers when the script is over, or is slow in
    /// the node's own eyes.
    pub ready: Duration,
}

impl From<Duration> for Within {
    fn from(all: Duration) -> Self {
        Self {
            connect: all,
            ready: all,
        }
    }
}

/// Opens a connection that is ready for requests. The name is resolved anew each time, so a node that moved is
/// found. `unacked` is the connection's TCP_USER_TIMEOUT.
pub async fn dial(
    node: &NodeAddr,
    proto: Proto,
    credentials: &Credentials,
    within: impl Into<Within>,
    unacked: Duration,
) -> Result<TcpStream, FaultKind> {
    dial_as(CLIENT_NAME, node, proto, credentials, within, unacked).await
}

/// As [`dial`], under a name of the caller's.
pub(super) async fn dial_as(
    name: &str,
    node: &NodeAddr,
    proto: Proto,
    credentials: &Credentials,
    within: impl Into<Within>,
    unacked: Duration,
) -> Result<TcpStream, FaultKind> {
    let within = within.into();
    let late = |within: Duration| FaultKind::Connect(format!("no answer within {within:?}"));
    let connecting = async {
        let mut stream = timeout(
            within.connect,
            TcpStream::connect((node.host(), node.port())),
        )
        .await
        .map_err(|_| late(within.connect))?
        .map_err(|e| FaultKind::Connect(e.to_string()))?;
        tune_tcp(&stream, unacked).map_err(|e| FaultKind::Io(e.to_string()))?;
        handshake(&mut stream, name, proto, credentials)
            .await
            .map_err(|e| match e {
                HandshakeError::Io(e) => FaultKind::Io(e.to_string()),
                refused => FaultKind::Handshake(refused.to_string()),
            })?;
        Ok(stream)
    };
    match timeout(within.ready, connecting).await {
        Ok(result) => result,
        Err(_) => Err(late(within.ready)),
    }
}

async fn handshake(
    stream: &mut TcpStream,
    name: &str,
    proto: Proto,
    credentials: &Credentials,
) -> Result<(), HandshakeError> {
    let mut out = Vec::new();
    let user = credentials.username.as_deref().unwrap_or("default");
    let password = credentials.password.as_ref().map(|p| p.reveal());
    let mut must_succeed = 0;
    match (proto, password) {
        (Proto::Resp3, Some(password)) => {
            encode::command(
                &mut out,
                &[&b"HELLO"[..], b"3", b"AUTH", user.as_bytes(), password],
            );
            must_succeed += 1;
        }
        (Proto::Resp3, None) => {
            encode::command(&mut out, &[&b"HELLO"[..], b"3"]);
            must_succeed += 1;
        }
        (Proto::Resp2, Some(password)) if credentials.username.is_some() => {
            encode::command(&mut out, &[&b"AUTH"[..], user.as_bytes(), password]);
            must_succeed += 1;
        }
        (Proto::Resp2, Some(password)) => {
            encode::command(&mut out, &[&b"AUTH"[..], password]);
            must_succeed += 1;
        }
        (Proto::Resp2, None) => {}
    }
    // A node that demands a password answers even this with NOAUTH, so the error is found before any request.
    encode::command(&mut out, &[&b"CLIENT"[..], b"SETNAME", name.as_bytes()]);
    stream.write_all(&out).await?;
    let mut answers = Answers::default();
    for _ in 0..must_succeed {
        let reply = answers.next(stream).await?;
        if let Some(error) = error_text(&reply) {
            return Err(HandshakeError::Refused(error));
        }
    }
    match error_text(&answers.next(stream).await?) {
        // A user that may not use CLIENT SETNAME still may do everything else.
        Some(error) if error.starts_with("NOAUTH") => Err(HandshakeError::Refused(error)),
        _ if !answers.buffer.is_empty() => Err(HandshakeError::NotResp),
        _ => Ok(()),
    }
}

fn error_text(reply: &[u8]) -> Option<String> {
    let text = reply.strip_prefix(b"-")?;
    Some(String::from_utf8_lossy(text).trim_end().to_owned())
}

#[derive(Default)]
struct Answers {
    buffer: Vec<u8>,
}

impl Answers {
    async fn next(&mut self, stream: &mut TcpStream) -> Result<Vec<u8>, HandshakeError> {
        let mut scanner = ReplyScanner::new();
        loop {
            if let Some(len) = scanner
                .scan(&self.buffer)
                .map_err(|_| HandshakeError::NotResp)?
            {
                return Ok(self.buffer.drain(..len).collect());
            }
            if self.buffer.len() > HANDSHAKE_BYTES_MAX {
                return Err(HandshakeError::NotResp);
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(HandshakeError::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}
