//! A blocking client for single questions to one server: how the demo and the tests speak to nodes. Not for
//! load, and no part of the proxy's own way to a node (that is `upstream`).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

/// How long a node may take to accept a connection or to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

/// One answer, RESP2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR …`, without the dash.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// `$3 foo`.
    Bulk(Vec<u8>),
    /// `$-1` or `*-1`.
    Null,
    /// `*2 …`.
    Array(Vec<Reply>),
}

impl Reply {
    /// The text of a simple or bulk string; empty for anything else.
    pub fn text(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        }
    }

    /// Its number, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// Its elements; none if it is no array.
    pub fn elements(&self) -> &[Self] {
        match self {
            Self::Array(elements) => elements,
            _ => &[],
        }
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

impl From<OwnedFrame> for Reply {
    fn from(frame: OwnedFrame) -> Self {
        match frame {
            OwnedFrame::SimpleString(text) => {
                Self::Simple(String::from_utf8_lossy(&text).into_owned())
            }
            OwnedFrame::Error(text) => Self::Error(text),
            OwnedFrame::Integer(number) => Self::Integer(number),
            OwnedFrame::BulkString(bytes) => Self::Bulk(bytes),
            OwnedFrame::Null => Self::Null,
            OwnedFrame::Array(frames) => Self::Array(frames.into_iter().map(Into::into).collect()),
        }
    }
}

/// A connection to one server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects, and authenticates if a password is given.
    pub fn connect(addr: SocketAddr, password: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            unread: Vec::new(),
        };
        if let Some(password) = password {
            let reply = client.command(&["AUTH", password])?;
            if reply.is_error() {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!("{addr} answered AUTH with {reply:?}"),
                ));
            }
        }
        Ok(client)
    }

    /// Sends a command and reads its reply.
    pub fn command<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            let arg = arg.as_ref();
            request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            request.extend_from_slice(arg);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&request)?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        loop {
            let decoded = decode(&self.unread)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if let Some((frame, used)) = decoded {
                self.unread.drain(..used);
                return Ok(frame.into());
            }
            let mut chunk = [0; READ_BYTES];
            let n = self.stream.read(&mut chunk)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&chunk[..n]);
        }
    }
}
