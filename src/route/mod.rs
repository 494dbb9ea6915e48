//! What becomes of a command: where it goes (`plan`), how it is cut by slot (`split`), how replies are put
//! together (`merge`), what may be sent again (`contract`), how a SCAN goes through all shards (`scan`), what refused
//! requests wait for (`refused`), and in which order they go out again (`fences`). Pure: the session acts on it.

mod contract;
pub mod events;
mod fences;
mod merge;
mod overtaken;
mod plan;
mod refused;
mod scan;
#[cfg(test)]
mod scan_model;
mod split;

pub use contract::{Effect, Losses, Resend, resend};
pub use fences::{Fences, Next, Owner};
pub use merge::{Facts, Gathering, limit, questions};
pub use overtaken::{Access, Footprint};
pub use plan::{Plan, Why as RefusedBy, cross_slot, plan, route};
pub use refused::{Asking, Held, Past, Refused, Room, Sent, Why};
pub use scan::{INVALID_CURSOR, ScanOrder, ScanStep, Scanned, scan_count, scan_cursor, scan_reply};
pub use split::{SplitError, SplitPlan, split};
