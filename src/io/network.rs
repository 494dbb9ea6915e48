//! Where connections to nodes come from: the system's network, or, in a build with the feature `simulation`, one that a
//! test makes up. The two have the same names, so the code above knows of one only, and pays for one only.

#[cfg(not(feature = "simulation"))]
pub use tokio::net::{TcpStream as NodeStream, lookup_host};

#[cfg(feature = "simulation")]
pub use super::simulated::{NodeStream, lookup_host};
