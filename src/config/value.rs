//! Checked values of options, and how they are written back as TOML. Made by `kind`, read by `reader`.

use super::kind::parse_address;
use super::units::{show_duration, show_size};
use crate::cluster::NodeAddr;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word such as `auto`, `off` or one of a choice.
    Word(&'static str),
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(u64),
    /// Bytes.
    Size(u64),
    /// A time span of whole milliseconds.
    Duration(Duration),
    /// File permissions.
    Mode(u32),
    /// Text; empty: not set.
    Text(String),
    /// A file name; empty: not set.
    Path(PathBuf),
    /// An address of this machine.
    Address(SocketAddr),
    /// Where clients connect.
    Listeners(Vec<ListenAddr>),
    /// Nodes.
    Nodes(Vec<NodeAddr>),
    /// Nodes as announced, and as reached.
    NodePairs(Vec<(NodeAddr, NodeAddr)>),
    /// Command names in lower case.
    Commands(Vec<String>),
    /// Groups of keys: name and pattern.
    Groups(Vec<(String, String)>),
}

impl Value {
    /// As a TOML value; reading it back gives the same value.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Word(word) => quote(word),
            Self::Bool(on) => on.to_string(),
            Self::Integer(n) => n.to_string(),
            Self::Size(bytes) => quote(&show_size(*bytes)),
            Self::Duration(duration) => quote(&show_duration(*duration)),
            Self::Mode(mode) => quote(&format!("{mode:o}")),
            Self::Text(text) => quote(text),
            Self::Path(path) => quote(&path.to_string_lossy()),
            Self::Address(addr) => quote(&addr.to_string()),
            Self::Listeners(list) => quote_all(list),
            Self::Nodes(list) => quote_all(list),
            Self::NodePairs(list) => {
                quote_all(list.iter().map(|(from, to)| format!("{from}={to}")))
            }
            Self::Commands(list) => quote_all(list),
            Self::Groups(list) => quote_all(
                list.iter()
                    .map(|(name, pattern)| format!("{name}={pattern}")),
            ),
        }
    }
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// A TCP socket; port 0 lets the kernel choose one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl ListenAddr {
    /// Parses `IP:PORT`, `unix:/path` or `/path`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text
            .strip_prefix("unix:")
            .or_else(|| text.starts_with('/').then_some(text))
        {
            Some("") => Err("`unix:` needs a path: write unix:/run/slotway.sock".to_owned()),
            Some(path) if path.len() > UNIX_PATH_BYTES_MAX => Err(format!(
                "`{text}` is too long: the path of a Unix socket has at most {UNIX_PATH_BYTES_MAX} bytes"
            )),
            Some(path) => Ok(Self::Unix(path.into())),
            None => parse_address(text)
                .map(Self::Tcp)
                .map_err(|error| format!("{error}, or unix:/path")),
        }
    }

    /// Whether only programs on this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether both cannot be listened on at the same time.
    pub(super) fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(a), Self::Unix(b)) => a == b,
            (Self::Tcp(a), Self::Tcp(b)) => {
                let same_family = a.is_ipv4() == b.is_ipv4();
                let any = a.ip().is_unspecified() || b.ip().is_unspecified();
                a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || (same_family && any))
            }
            _ => false,
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `sun_path` without its final zero byte.
const UNIX_PATH_BYTES_MAX: usize = 107;

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quote_all<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| quote(&item.to_string()))
        .collect();
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> ListenAddr {
        ListenAddr::parse(text).unwrap()
    }

    #[test]
    fn listeners_are_addresses_or_paths() {
        assert_eq!(listen("unix:/run/s"), ListenAddr::Unix("/run/s".into()));
        assert_eq!(listen("/run/s"), ListenAddr::Unix("/run/s".into()));
        assert_eq!(listen("[::]:6379").to_string(), "[::]:6379");
        for bad in [
            "",
            "6379",
            ":6379",
            "localhost:6379",
            "unix:",
            "127.0.0.1",
            "127.0.0.1:65536",
        ] {
            assert!(ListenAddr::parse(bad).is_err(), "{bad}");
        }
        assert!(ListenAddr::parse(&format!("/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn loopback_and_unix_are_local() {
        for local in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "/s",
        ] {
            assert!(listen(local).is_local(), "{local}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            assert!(!listen(open).is_local(), "{open}");
        }
    }

    #[test]
    fn a_wildcard_collides_with_every_address_of_its_port() {
        for (a, b, collide) in [
            ("1.1.1.1:5", "1.1.1.1:5", true),
            ("0.0.0.0:5", "127.0.0.1:5", true),
            ("[::1]:5", "[::]:5", true),
            ("0.0.0.0:5", "[::]:5", false),
            ("1.1.1.1:5", "1.1.1.2:5", false),
            ("1.1.1.1:5", "1.1.1.1:6", false),
            ("1.1.1.1:0", "1.1.1.1:0", false),
            ("/a", "unix:/a", true),
            ("/a", "/b", false),
        ] {
            assert_eq!(listen(a).collides(&listen(b)), collide, "{a} {b}");
            assert_eq!(listen(b).collides(&listen(a)), collide, "{b} {a}");
        }
    }
}
