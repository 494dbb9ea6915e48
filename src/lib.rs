//! slotway makes a Redis or Valkey cluster look like one plain Redis.
//!
//! The modules are declared in the order in which a request meets them. Layers import downward only:
//! `resp`, `command` and `cluster` are pure (bytes and values in, values out; no tokio, no clock); `upstream`
//! knows nodes but never clients and never the map; `topology` asks the nodes and publishes the map;
//! `session` with `route` and `local` is the only place where clients and nodes meet; `server`,
//! `admin` and the binary are on top. `tests/layers.rs` keeps it so.

// The fuzz targets, which the unit tests share, name the crate from outside.
#[cfg(test)]
extern crate self as slotway;

pub mod admin;
pub mod audit;
pub mod cluster;
pub mod command;
pub mod config;
pub mod demo;
pub mod explain;
pub mod io;
pub mod local;
pub mod modes;
pub mod observe;
pub mod resp;
pub mod route;
pub mod server;
pub mod session;
pub mod tap;
pub mod top;
pub mod topology;
pub mod upstream;
