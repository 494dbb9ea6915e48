//! A control connection to one node: dials, authenticates, asks, reads replies. Used by one question at a time; kept
//! open between them by the topology task. No client's bytes ever travel here.

use super::Credentials;
use super::profile::{Profile, profile};
use crate::cluster::NodeAddr;
use crate::io::{NodeStream, in_time, lookup_host};
use crate::resp::{Proto, ReplyScanner, encode};
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest reply that is read; `COMMAND` of a server with every module is below 1 MB, `CLUSTER SHARDS` of a thousand nodes
/// below 300 KB.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Least free space before a read.
const READ_BYTES_MIN: usize = 16 * 1024;

/// Why a node could not be asked. The text names the node's side of it; the caller adds which node.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("its name cannot be resolved: {0}")]
    Resolve(io::Error),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the connection was lost: {0}")]
    Lost(io::Error),
    #[error("it sent something that is no reply: {0}")]
    Garbage(String),
    #[error("its reply is longer than {REPLY_BYTES_MAX} bytes")]
    TooLong,
    #[error("it did not answer within {0:?}")]
    Silent(Duration),
    #[error(
        "it refused to authenticate us: {0} (check upstream.username and upstream.password_file)"
    )]
    Refused(String),
}

/// An open, authenticated connection.
pub(super) struct Link {
    stream: NodeStream,
    buffer: BytesMut,
    /// What the node said about itself.
    pub(super) profile: Profile,
}

impl Link {
    /// Dials `addr`, its name resolved anew, and shakes hands.
    pub(super) async fn open(
        addr: &NodeAddr,
        credentials: Option<&Credentials>,
        connect: Duration,
    ) -> Result<Self, LinkError> {
        let stream = match in_time(connect, dial(addr)).await {
            Some(stream) => stream?,
            None => return Err(LinkError::ConnectTimeout(connect)),
        };
        let mut link = Self {
            stream,
            buffer: BytesMut::new(),
            profile: Profile::default(),
        };
        link.handshake(credentials).await?;
        Ok(link)
    }

    /// Sends the commands in one write and reads as many replies.
    pub(super) async fn ask(&mut self, commands: &[&[&str]]) -> Result<Vec<Bytes>, LinkError> {
        let mut out = Vec::new();
        for command in commands {
            encode::command(&mut out, command);
        }
        self.stream.write_all(&out).await.map_err(LinkError::Lost)?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in commands {
            replies.push(self.reply().await?);
        }
        Ok(replies)
    }

    /// Sends one command, of bytes, and reads its reply.
    async fn command(&mut self, args: &[&[u8]]) -> Result<Bytes, LinkError> {
        let mut out = Vec::new();
        encode::command(&mut out, args);
        self.stream.write_all(&out).await.map_err(LinkError::Lost)?;
        self.reply().await
    }

    /// Reads one whole reply.
    async fn reply(&mut self) -> Result<Bytes, LinkError> {
        let mut scanner = ReplyScanner::new().speaking(Proto::Resp2);
        loop {
            match scanner.scan(&self.buffer) {
                Ok(Some(len)) => return Ok(self.buffer.split_to(len).freeze()),
                Ok(None) if self.buffer.len() >= REPLY_BYTES_MAX => return Err(LinkError::TooLong),
                Ok(None) => {}
                Err(error) => return Err(LinkError::Garbage(error.to_string())),
            }
            self.buffer.reserve(READ_BYTES_MIN);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(LinkError::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Err(LinkError::Lost(error)),
            }
        }
    }

    /// Bytes nobody asked for: what is read next would be taken for another question's reply.
    pub(super) fn is_clean(&self) -> bool {
        !self.buffer.has_remaining()
    }

    /// `HELLO 2` with the credentials, a name for `CLIENT LIST`, and what the proxy wants to know about the server.
    /// Servers before 6.0 have no HELLO: AUTH does it for them.
    async fn handshake(&mut self, credentials: Option<&Credentials>) -> Result<(), LinkError> {
        let mut hello: Vec<&[u8]> = vec![b"HELLO", b"2"];
        let mut auth: Vec<&[u8]> = vec![b"AUTH"];
        if let Some(c) = credentials {
            let user = c.username.as_ref().map(|u| u.as_bytes());
            hello.extend([b"AUTH", user.unwrap_or(b"default"), c.password.reveal()]);
            auth.extend(user);
            auth.push(c.password.reveal());
        }
        let mut greeting = self.command(&hello).await?;
        if let Some(error) = error_text(&greeting) {
            if !(error.starts_with("ERR unknown command") || error.starts_with("NOPERM")) {
                return Err(LinkError::Refused(error));
            }
            if credentials.is_some() {
                let reply = self.command(&auth).await?;
                if let Some(error) = error_text(&reply) {
                    return Err(LinkError::Refused(error));
                }
            }
            greeting = Bytes::new();
        }
        let about = self
            .ask(&[
                &["CLIENT", "SETNAME", "slotway-topology"],
                &["CONFIG", "GET", "cluster-node-timeout"],
                &["INFO", "server"],
            ])
            .await?;
        self.profile = profile(&greeting, &about[1], &about[2]);
        Ok(())
    }
}

/// The text of an error reply.
pub(super) fn error_text(reply: &[u8]) -> Option<String> {
    let text = reply.strip_prefix(b"-")?;
    Some(String::from_utf8_lossy(text).trim_end().to_owned())
}

async fn dial(addr: &NodeAddr) -> Result<NodeStream, LinkError> {
    let found = lookup_host((addr.host(), addr.port()))
        .await
        .map_err(LinkError::Resolve)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for target in found.take(ADDRESSES_MAX) {
        match NodeStream::connect(target).await {
            Ok(stream) => {
                // A lost delay costs a round trip, not correctness.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(LinkError::Connect(last))
}
