//! The HTTP endpoints for operators and orchestrators: metrics, health, topology. Runs on the control thread, so
//! that a slow or hostile reader cannot hold up a worker. What it shows comes from `observe` and from closures
//! that `server` passes in; it changes nothing.

mod ask;
mod endpoints;
mod explained;
mod page;
mod seen;
mod serve;

pub use ask::{ask, is_ok, reachable};
pub use endpoints::{AdminState, CLIENTS_LISTED_MAX, ENDPOINTS, Endpoint};
pub use serve::{CONNECTIONS_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, REQUEST_TIME_MAX, serve};
