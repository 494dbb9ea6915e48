//! The process: listeners, workers, the control thread with topology and admin, signals, and the end.

mod away;
mod listener;
mod run;
mod show;
#[cfg(feature = "simulation")]
pub mod simulated;
mod worker;

pub use run::{Addresses, RunError, run};
