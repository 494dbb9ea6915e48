//! What becomes of a command: where it goes (`plan`), how it is cut by slot (`split`), how replies are put
//! together (`merge`), what may be sent again (`contract`), how a SCAN goes through all shards (`scan`), and in which order refused requests go out
//! again (`fences`). Pure: the session acts on it.

mod contract;
pub mod events;
mod fences;
mod merge;
mod plan;
mod scan;
#[cfg(test)]
mod scan_model;
mod split;

pub use contract::{Effect, Losses, Resend, resend};
pub use fences::{Fences, Held, Next, Refused, Why};
pub use merge::{Facts, Gathering, limit, questions};
pub use plan::{Plan, Why as RefusedBy, cross_slot, plan, route};
pub use scan::{INVALID_CURSOR, ScanOrder, ScanStep, Scanned, scan_count, scan_cursor, scan_reply};
pub use split::{SplitError, SplitPlan, split};
