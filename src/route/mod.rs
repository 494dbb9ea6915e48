//! What becomes of a command: where it goes (`plan`), and in which order refused requests go out again (`fences`). Pure: the session
//! acts on it.

mod fences;

pub use fences::{Fences, Held, Next, Refused, Why};
