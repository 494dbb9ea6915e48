//! What can go wrong while a local cluster is booted or operated. Every text says what to do next.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Why a local server or cluster could not be started or operated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no server program to boot.
    #[error(
        "neither redis-server nor valkey-server is on PATH: install one (Debian: apt-get install redis-server) \
         or name one with --server PATH"
    )]
    NoServer,
    /// The given server program cannot be run.
    #[error("{path} cannot be started: {source}", path = path.display())]
    NotAServer {
        /// The program that was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else listens on a port that is needed.
    #[error("port {port} on {ip} is taken, and {needed_for} needs it")]
    PortTaken {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// Who would have listened there.
        needed_for: String,
    },
    /// No run of free ports was found.
    #[error("no free loopback port left between {first} and {last}")]
    NoPorts {
        /// First port that was tried.
        first: u16,
        /// Last port that was tried.
        last: u16,
    },
    /// The number of nodes cannot make a cluster.
    #[error("{0}")]
    Shape(String),
    /// A file, a process or a connection failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A node answered with an error or with something that was not asked for.
    #[error("node {node} answered {command} with {reply}")]
    Refused {
        /// The node.
        node: SocketAddr,
        /// What it was asked.
        command: String,
        /// What it said.
        reply: String,
    },
    /// A server ended by itself.
    #[error("the server for port {port} ended at once; its log says:\n{log}")]
    Died {
        /// The port it was started for.
        port: u16,
        /// The last lines of its log.
        log: String,
    },
    /// A condition did not come true in time.
    #[error("{what}: not within {waited:?}; last seen: {last}")]
    NotInTime {
        /// The condition.
        what: String,
        /// How long it was waited for.
        waited: Duration,
        /// What was missing at the end.
        last: String,
    },
    /// A signal asked to stop while the cluster was being booted.
    #[error("interrupted")]
    Interrupted,
    /// The proxy in front of the cluster failed.
    #[error("{0}")]
    Proxy(String),
}

impl Error {
    /// An error of the operating system while doing `what`.
    pub(super) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }
}
