//! Asks single nodes single questions, blocking: what `slotway explain` and `slotway check --probe` need to know from
//! a cluster. Not for the proxy itself: its ways to nodes are `upstream` and `topology`.

use crate::cluster::{AddressMap, NodeAddr, Server, parse_server};
use crate::config::{ClusterMode, Config, Secret};
use crate::resp::{ReplyScanner, encode};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What is read at once.
const READ_BYTES: usize = 64 * 1024;

/// A connection to one node, authenticated as the configuration says.
#[derive(Debug)]
pub struct Conversation {
    stream: TcpStream,
}

impl Conversation {
    /// Connects to `node`. The error is a sentence about the node.
    pub fn open(node: &NodeAddr, config: &Config) -> Result<Self, String> {
        let stream = dial(node, config.timeouts.connect)?;
        let configured = stream
            .set_read_timeout(Some(config.timeouts.command))
            .and_then(|()| stream.set_write_timeout(Some(config.timeouts.command)))
            .and_then(|()| stream.set_nodelay(true));
        configured.map_err(|error| format!("its connection cannot be configured: {error}"))?;
        let mut conversation = Self { stream };
        if let Some(password) = &config.upstream.password {
            conversation.authenticate(config.upstream.username.as_deref(), password)?;
        }
        Ok(conversation)
    }

    /// Sends a command; its raw reply, or a sentence about why there is none. An error reply is a reply.
    pub fn ask(&mut self, args: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, String> {
        let mut request = Vec::new();
        encode::command(&mut request, args);
        self.stream
            .write_all(&request)
            .and_then(|()| self.answer())
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    "it does not answer in time".to_owned()
                }
                io::ErrorKind::UnexpectedEof => "it closes the connection".to_owned(),
                _ => format!("the connection fails: {error}"),
            })
    }

    /// Whether that answer to CLUSTER INFO is of a server without cluster support, and such a one may be worked with; a
    /// sentence where the answer is of no use.
    pub fn is_standalone(&self, info: &[u8], config: &Config) -> Result<bool, String> {
        let error = error_text(info);
        match (config.cluster.mode, error) {
            (ClusterMode::Standalone, None) => {
                Err("it is part of a cluster, and cluster.mode is standalone".to_owned())
            }
            (_, None) => Ok(false),
            (ClusterMode::Cluster, Some(error)) => {
                Err(format!("it answers CLUSTER INFO with: {error}"))
            }
            (_, Some(error)) if error.contains("cluster support disabled") => Ok(true),
            (_, Some(error)) => {
                let hint = match error.starts_with("NOAUTH") {
                    true => "; set upstream.password_file",
                    false => "",
                };
                Err(format!("it answers CLUSTER INFO with: {error}{hint}"))
            }
        }
    }

    /// What the server at `node`, which has no cluster support, says about its part.
    pub fn replication(&mut self, node: &NodeAddr, map: &AddressMap) -> Result<Server, String> {
        let reply = self.ask(&["INFO", "replication"])?;
        parse_server(node, "", &reply, map).map_err(|error| error.to_string())
    }

    fn authenticate(&mut self, username: Option<&str>, password: &Secret) -> Result<(), String> {
        let name = username.map(str::as_bytes);
        let args: Vec<&[u8]> = [Some(&b"AUTH"[..]), name, Some(password.reveal())]
            .into_iter()
            .flatten()
            .collect();
        let reply = self.ask(&args)?;
        match error_text(&reply) {
            Some(text) => Err(format!(
                "it refuses the password of upstream.password_file: {text}"
            )),
            None => Ok(()),
        }
    }

    fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut reply = Vec::new();
        let mut scanner = ReplyScanner::new();
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}"));
            if let Some(len) = scanner.scan(&reply).map_err(invalid)? {
                reply.truncate(len);
                return Ok(reply);
            }
            let n = self.stream.read(&mut chunk)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if reply.len() + n > ANSWER_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "its answer is too long",
                ));
            }
            reply.extend_from_slice(&chunk[..n]);
        }
    }
}

/// The text of an error reply, without the dash.
pub fn error_text(reply: &[u8]) -> Option<String> {
    let text = reply.strip_prefix(b"-")?.strip_suffix(b"\r\n")?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn dial(node: &NodeAddr, timeout: Duration) -> Result<TcpStream, String> {
    let addrs = (node.host(), node.port())
        .to_socket_addrs()
        .map_err(|error| format!("its name cannot be resolved: {error}"))?;
    let mut last = "its name has no address".to_owned();
    for addr in addrs {
        match TcpStream::connect_timeout(&addr, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("{addr} cannot be reached: {error}"),
        }
    }
    Err(last)
}
