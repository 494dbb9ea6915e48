//! Opens a connection to a node and prepares it: resolve, connect, AUTH or HELLO, one name. What is set here is
//! all the state a shared connection ever has (invariant 6). Lanes have it proven that a transaction is one there
//! (`prove`).

use super::FaultKind;
use super::prove::{PROOF, PROOF_REPLIES, Proof, Transactions, conclude};
use crate::cluster::NodeAddr;
use crate::io::{NodeStream, tune_node, until};
use crate::resp::{Proto, ReplyScanner, encode};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// The most a handshake may answer, in bytes; HELLO of a server with many modules is a few KB.
const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// The name nodes show for slotway's connections in their CLIENT LIST.
pub(super) const CLIENT_NAME: &str = "slotway";

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
) -> Result<NodeStream, FaultKind> {
    dial_as(CLIENT_NAME, node, proto, credentials, within, unacked).await
}

/// As [`dial`], under a name of the caller's, and says whether the node would run transactions as such.
pub(super) async fn dial_proved(
    name: &'static str,
    node: &NodeAddr,
    proto: Proto,
    credentials: &Credentials,
    within: impl Into<Within>,
    unacked: Duration,
) -> Result<(NodeStream, Transactions), FaultKind> {
    let within = within.into();
    let own = |proof| Own { name, proof };
    let to = (node, proto, credentials);
    let (stream, transactions) = open(own(Proof::Wanted), to, within, unacked).await?;
    match transactions {
        // It is inside MULTI and cannot get out.
        Transactions::Stuck(refusal) => {
            let (stream, _) = open(own(Proof::Spared), to, within, unacked).await?;
            Ok((stream, Transactions::Refused(refusal)))
        }
        known => Ok((stream, known)),
    }
}

/// As [`dial`], under a name of the caller's.
pub(super) async fn dial_as(
    name: &'static str,
    node: &NodeAddr,
    proto: Proto,
    credentials: &Credentials,
    within: impl Into<Within>,
    unacked: Duration,
) -> Result<NodeStream, FaultKind> {
    let own = Own {
        name,
        proof: Proof::Spared,
    };
    let (stream, _) = open(own, (node, proto, credentials), within.into(), unacked).await?;
    Ok(stream)
}

/// What a connection is for.
#[derive(Clone, Copy)]
struct Own {
    name: &'static str,
    proof: Proof,
}

async fn open(
    own: Own,
    (node, proto, credentials): (&NodeAddr, Proto, &Credentials),
    within: Within,
    unacked: Duration,
) -> Result<(NodeStream, Transactions), FaultKind> {
    let begin = Instant::now();
    let connecting = NodeStream::connect((node.host(), node.port()));
    let mut stream = until(begin + within.connect, connecting)
        .await
        .ok_or(FaultKind::ConnectLate(within.connect))?
        .map_err(|e| FaultKind::Connect(e.to_string()))?;
    tune_node(&stream, unacked).map_err(|e| FaultKind::Io(e.to_string()))?;
    let shaking = handshake(&mut stream, own, proto, credentials);
    match until(begin + within.ready, shaking).await {
        Some(Ok(transactions)) => Ok((stream, transactions)),
        Some(Err(HandshakeError::Io(e))) => Err(FaultKind::Io(e.to_string())),
        Some(Err(refused)) => Err(FaultKind::Handshake(refused.to_string())),
        // Its host has accepted the connection.
        None => Err(FaultKind::HandshakeLate),
    }
}

async fn handshake(
    stream: &mut NodeStream,
    own: Own,
    proto: Proto,
    credentials: &Credentials,
) -> Result<Transactions, HandshakeError> {
    let mut out = Vec::new();
    let must_succeed = sign_in(&mut out, proto, credentials);
    // A node that demands a password answers even this with NOAUTH, so the error is found before any request.
    encode::command(&mut out, &[&b"CLIENT"[..], b"SETNAME", own.name.as_bytes()]);
    if own.proof == Proof::Wanted {
        out.extend_from_slice(PROOF);
    }
    stream.write_all(&out).await?;
    let mut answers = Answers {
        buffer: Vec::new(),
        proto,
    };
    for _ in 0..must_succeed {
        let reply = answers.next(stream).await?;
        if let Some(error) = error_text(&reply) {
            return Err(HandshakeError::Refused(error));
        }
    }
    // A user that may not use CLIENT SETNAME still may do everything else.
    if let Some(error) = error_text(&answers.next(stream).await?)
        && error.starts_with("NOAUTH")
    {
        return Err(HandshakeError::Refused(error));
    }
    let mut transactions = Transactions::Possible;
    if own.proof == Proof::Wanted {
        let mut replies: [Vec<u8>; PROOF_REPLIES] = Default::default();
        for reply in &mut replies {
            *reply = answers.next(stream).await?;
        }
        transactions = conclude(&replies);
    }
    match answers.buffer.is_empty() {
        true => Ok(transactions),
        false => Err(HandshakeError::NotResp),
    }
}

/// Says who slotway is; returns how many replies there are to it, which must not be errors.
fn sign_in(out: &mut Vec<u8>, proto: Proto, credentials: &Credentials) -> usize {
    let user = credentials.username.as_deref().unwrap_or("default");
    let password = credentials.password.as_ref().map(|p| p.reveal());
    match (proto, password) {
        (Proto::Resp3, Some(password)) => encode::command(
            out,
            &[&b"HELLO"[..], b"3", b"AUTH", user.as_bytes(), password],
        ),
        (Proto::Resp3, None) => encode::command(out, &[&b"HELLO"[..], b"3"]),
        (Proto::Resp2, Some(password)) if credentials.username.is_some() => {
            encode::command(out, &[&b"AUTH"[..], user.as_bytes(), password]);
        }
        (Proto::Resp2, Some(password)) => encode::command(out, &[&b"AUTH"[..], password]),
        (Proto::Resp2, None) => return 0,
    }
    1
}

fn error_text(reply: &[u8]) -> Option<String> {
    let text = reply.strip_prefix(b"-")?;
    Some(String::from_utf8_lossy(text).trim_end().to_owned())
}

struct Answers {
    buffer: Vec<u8>,
    proto: Proto,
}

impl Answers {
    async fn next(&mut self, stream: &mut NodeStream) -> Result<Vec<u8>, HandshakeError> {
        let mut scanner = ReplyScanner::new().speaking(self.proto);
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
