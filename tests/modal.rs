//! Clients in a mode of their own (blocked, in transactions, watching, subscribed) across a kill and failovers, under load
//! (`reliability.md`, scenario 15): what they are told is true, and nothing is left of any of them. As `faults`.

mod modes;
mod rig;
mod support;

#[allow(clippy::unwrap_used, reason = "to fail is to panic")]
#[path = "modes/faulty.rs"]
mod faulty;
