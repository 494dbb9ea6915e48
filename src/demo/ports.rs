//! Loopback ports for servers that have yet to start. A reservation is a bound socket that does not listen:
//! on Linux the server, which sets SO_REUSEADDR as every server does, can bind and listen beside it, while
//! another process that looks for a free port finds this one taken. So two test runs never fight for a port,
//! and a server that is killed finds its port free when it is restarted.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Socket, Type};

use super::Error;

/// A node's cluster bus listens this far above its client port.
pub(super) const BUS_OFFSET: u16 = 10_000;
/// First port that may be handed out.
const FIRST: u16 = 10_000;
/// Last one. With [`BUS_OFFSET`] it stays below 32,768, where systems take the local ports of outgoing
/// connections from: a connection must not sit on a port that a killed server will want back.
const LAST: u16 = 22_700;
/// Lowest port for the cluster bus: nothing else is handed out above it, so that buses seldom collide.
const LAST_PLAIN: u16 = 19_999;

/// A port kept for one listener, until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    port: u16,
    _sockets: Vec<Socket>,
}

impl Reservation {
    /// A free port.
    pub fn any() -> Result<Self, Error> {
        search(FIRST, LAST_PLAIN, &[0])
    }

    /// A free port for a cluster node: the one above it by 10,000 is free too and kept for its bus.
    pub fn any_node() -> Result<Self, Error> {
        search(FIRST, LAST, &[0, BUS_OFFSET])
    }

    /// This port and its bus port, for `needed_for`; the error names the one that is taken.
    pub fn node(port: u16, needed_for: &str) -> Result<Self, Error> {
        let bus = port.checked_add(BUS_OFFSET).ok_or_else(|| {
            Error::Shape(format!(
                "port {port} cannot be a node's: its cluster bus would listen {BUS_OFFSET} above it, and ports end at 65535"
            ))
        })?;
        check_free(port, needed_for)?;
        check_free(bus, &format!("the cluster bus of {needed_for}"))?;
        Ok(Self {
            port,
            _sockets: Vec::new(),
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port on 127.0.0.1.
    pub fn addr(&self) -> SocketAddr {
        loopback(self.port)
    }
}

/// `127.0.0.1:port`.
fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Fails if somebody listens on this port of the loopback address. Connections of an earlier run that wait
/// for their end (TIME_WAIT) do not count: they do not keep a server from listening.
fn check_free(port: u16, needed_for: &str) -> Result<(), Error> {
    check_listen(loopback(port)).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::PortTaken {
            ip: Ipv4Addr::LOCALHOST.into(),
            port,
            needed_for: needed_for.to_owned(),
        },
        _ => Error::io(format!("listening on port {port}"), source),
    })
}

/// Listens on `addr` for a moment, as a server would.
pub(super) fn check_listen(addr: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1)
}

fn search(first: u16, last: u16, offsets: &[u16]) -> Result<Reservation, Error> {
    // Processes that look at the same time start at different places, so that they seldom meet.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let span = u32::from(last - first) + 1;
    let start = std::process::id().wrapping_mul(61);
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let within = start.wrapping_add(step) % span;
        let port = first + u16::try_from(within).expect("smaller than the span of a u16 range");
        let sockets: io::Result<Vec<_>> = offsets.iter().map(|o| reserve(port + o)).collect();
        if let Ok(sockets) = sockets {
            return Ok(Reservation {
                port,
                _sockets: sockets.into_iter().flatten().collect(),
            });
        }
    }
    Err(Error::NoPorts { first, last })
}

/// Binds the port without SO_REUSEADDR, which fails if any socket has it, and only then allows others beside
/// this one. `None` where the system does not let two sockets share a port in this way: there the port was
/// free a moment ago, and that has to do.
fn reserve(port: u16) -> io::Result<Option<Socket>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&loopback(port).into())?;
    socket.set_reuse_address(true)?;
    Ok(cfg!(target_os = "linux").then_some(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_reserved_port_is_kept_from_others_but_not_from_its_server() {
        let reserved = Reservation::any_node().unwrap();
        assert!(reserve(reserved.port()).is_err());
        assert!(reserve(reserved.port() + BUS_OFFSET).is_err());
        // std's listener sets SO_REUSEADDR, as servers do.
        for _restart in 0..2 {
            let listener = TcpListener::bind(reserved.addr()).unwrap();
            let other = TcpListener::bind(reserved.addr()).unwrap_err();
            assert_eq!(other.kind(), io::ErrorKind::AddrInUse);
            drop(listener);
        }
    }

    #[test]
    fn many_reservations_are_all_different() {
        let all: Vec<_> = (0..50).map(|_| Reservation::any().unwrap()).collect();
        let mut ports: Vec<_> = all.iter().map(Reservation::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_taken_port_is_named_and_so_is_who_needs_it() {
        let reserved = Reservation::any_node().unwrap();
        let port = reserved.port();
        let _listener = TcpListener::bind(loopback(port + BUS_OFFSET)).unwrap();
        let error = Reservation::node(port, "node 1").unwrap_err().to_string();
        assert!(
            error.contains(&format!("port {} ", port + BUS_OFFSET)),
            "{error}"
        );
        assert!(error.contains("cluster bus of node 1"), "{error}");
        let error = Reservation::node(60_000, "node 1").unwrap_err().to_string();
        assert!(error.contains("60000"), "{error}");
    }
}
