//! Where connections to nodes come from: the system's network, or, in a build with the feature `simulation`, one that a
//! test makes up. The two have the same names, so the code above knows of one only, and pays for one only.

#[cfg(not(feature = "simulation"))]
pub use system::{NodeStream, is_quiet, lookup_host};

#[cfg(feature = "simulation")]
pub use super::simulated::{NodeStream, is_quiet, lookup_host};

#[cfg(not(feature = "simulation"))]
mod system {
    use std::io;
    use std::mem::MaybeUninit;

    pub use tokio::net::{TcpStream as NodeStream, lookup_host};

    /// Whether a connection is still there and silent.
    pub fn is_quiet(stream: &NodeStream) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = socket2::SockRef::from(stream).peek(&mut byte);
        matches!(peeked, Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }
}
