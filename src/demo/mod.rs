//! A throwaway local cluster with the proxy in front: `slotway demo`. The cluster alone is what the integration
//! tests run against. Nothing here is on a request's way.

mod alone;
mod client;
mod cluster;
mod dir;
mod error;
mod health;
mod node;
mod operate;
mod ports;
mod process;
mod run;
mod wait;

pub use client::{Client, Reply};
pub use cluster::{Cluster, ClusterOptions};
pub use error::Error;
pub use health::NodeLine;
pub use node::{Server, find_on_path, find_server};
pub use ports::Reservation;
pub use process::{Process, mortal};
pub use run::{Options, Ready, run};
pub use wait::{Stop, wait_until};
