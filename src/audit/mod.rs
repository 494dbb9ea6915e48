//! What an application would meet on a cluster: each request is judged by what the data path asks as well (`command`,
//! `route`, `modes`), and what would fail, change or cost more is counted by client name and command, with the remedy.
//!
//! Owns a bounded account and reports of it. Nothing is refused here, and no value is kept: of keys a few, cut short.

mod findings;
mod html;
mod judge;
mod kinds;
mod report;

pub use findings::{Audit, EXAMPLES_MAX, NAME_CHARS_SHOWN, ROWS_MAX};
pub use judge::{Judge, KEY_BYTES_SHOWN, Rules};
pub use kinds::{KINDS, Kind, Row, Severity};
