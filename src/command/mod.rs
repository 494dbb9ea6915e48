//! What a command is, where its keys are, and what slotway does with it. Pure: bytes and values in, values out.
//!
//! Facts (arity, flags, key positions) come from the servers' own `COMMAND`: a checked-in snapshot of several
//! servers, overlaid at run time with what the cluster's nodes say. What slotway does with a command is one table
//! of its own (`policy_rows`), which wins over any tip of a server. `session` and `route` ask the table for every
//! request; `topology` replaces it when the nodes' answers change.

mod classify;
mod entry;
mod facts;
mod key_spec;
mod keys;
mod names;
mod node_commands;
mod overlay;
mod patience;
mod permit;
mod policy;
mod policy_rows;
mod snapshot;
mod table;
mod unknown;

pub use entry::{COMMANDS_MAX, Command, CommandId, Lookup};
pub use facts::Flags;
pub use keys::{KeyError, Keys};
pub use node_commands::OverlayError;
pub use patience::is_meant_to_wait;
pub use policy::{Gather, Local, Merge, Mode, Over, Policy, Split, Targets};
pub use policy_rows::SCRIPT_WITHOUT_KEYS;
pub use snapshot::render as render_snapshot;
pub use table::CommandTable;
pub use unknown::Unknown;
