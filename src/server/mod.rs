//! The process: listeners, workers, the control thread with topology and admin, signals, and the end.

mod away;
mod listener;
mod run;
mod show;
#[cfg(feature = "simulation")]
pub mod simulated;
mod tapping;
mod worker;

pub use run::{RunError, Running, run};
pub use tapping::tap;
