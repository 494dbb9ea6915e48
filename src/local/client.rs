//! What the proxy knows about one client's connection: small, because there may be ten thousand idle ones. Owned
//! by its session; changed only here and by the answers of this module.

use crate::resp::Proto;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// One client's connection.
#[derive(Debug)]
pub struct Client {
    id: u64,
    /// When it was accepted, since 1970.
    since: Duration,
    address: Address,
    pub(super) proto: Proto,
    pub(super) access: Access,
    pub(super) replies: Replies,
    pub(super) no_evict: Switch,
    pub(super) no_touch: Switch,
    /// It says that it understands redirections of a standalone Valkey.
    pub(super) redirect: Switch,
    pub(super) name: Option<Box<str>>,
    pub(super) lib_name: Option<Box<str>>,
    pub(super) lib_version: Option<Box<str>>,
}

/// Where a client came from, and on which of our addresses.
#[derive(Clone, Debug)]
pub enum Address {
    /// Over TCP.
    Tcp {
        /// The client's end.
        peer: SocketAddr,
        /// Our end.
        local: SocketAddr,
    },
    /// Over the Unix socket with this path.
    Unix(Arc<str>),
}

/// Whether the client has shown the password, where one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Not yet: only the handshake is answered.
    Asked,
    /// It has, or none is needed.
    Granted,
}

/// What becomes of replies, as CLIENT REPLY has set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// Delivered.
    On,
    /// Dropped.
    Off,
    /// The next command's is dropped.
    SkipNext,
}

/// A setting that is kept and shown, and changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    On,
    Off,
}

impl Client {
    /// A client that has just connected. `id` is unique in the process; `password_needed` says whether it must
    /// authenticate.
    pub fn new(id: u64, address: Address, since: Duration, password_needed: bool) -> Self {
        Self {
            id,
            since,
            address,
            proto: Proto::Resp2,
            access: if password_needed {
                Access::Asked
            } else {
                Access::Granted
            },
            replies: Replies::On,
            no_evict: Switch::Off,
            no_touch: Switch::Off,
            redirect: Switch::Off,
            name: None,
            lib_name: None,
            lib_version: None,
        }
    }

    /// Its number, as CLIENT ID gives it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Bytes of what it calls itself: as many as it likes, as with the servers.
    pub fn held(&self) -> usize {
        let names = [&self.name, &self.lib_name, &self.lib_version];
        names.into_iter().flatten().map(|name| name.len()).sum()
    }

    /// The protocol it speaks now.
    #[inline]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Whether it may use more than the handshake.
    #[inline]
    pub fn access(&self) -> Access {
        self.access
    }

    /// Where it came from.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Both ends of its connection, its own first, as `addr` and `laddr` show them.
    pub fn ends(&self) -> (String, String) {
        match &self.address {
            Address::Tcp { peer, local } => (peer.to_string(), local.to_string()),
            Address::Unix(path) => (format!("{path}:0"), format!("{path}:0")),
        }
    }

    /// What it calls itself.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether the reply of the command that begins now is delivered. To be called once for each command, the
    /// refused ones included, before it is answered.
    #[inline]
    pub fn begin_command(&mut self) -> Replies {
        let replies = self.replies;
        if replies == Replies::SkipNext {
            self.replies = Replies::On;
        }
        replies
    }

    pub(super) fn since(&self) -> Duration {
        self.since
    }

    /// As RESET leaves it: what the library said of itself stays.
    pub(super) fn reset(&mut self, granted: bool) {
        self.proto = Proto::Resp2;
        self.access = if granted {
            Access::Granted
        } else {
            Access::Asked
        };
        self.replies = Replies::On;
        self.no_evict = Switch::Off;
        self.no_touch = Switch::Off;
        self.name = None;
    }
}
