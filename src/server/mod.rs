//! The process: listeners, workers, the control thread with topology and admin, signals, and the end.

mod listener;
mod run;
mod worker;

pub use run::{Addresses, RunError, run};
