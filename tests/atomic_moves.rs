//! Valkey's atomic slot migration, under load and with clients in a mode of their own (`reliability.md`, scenario 6). As
//! `modal`.

mod modes;
mod rig;
mod support;

#[allow(clippy::unwrap_used, reason = "to fail is to panic")]
#[path = "modes/atomic.rs"]
mod atomic;
