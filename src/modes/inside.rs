//! What may not be between MULTI and EXEC, or behind WATCH, in the words of the errors. Asked by the session, which
//! refuses, and by `explain`, which says so beforehand.

use super::QueueLimits;
use crate::cluster::Slot;
use crate::command::{Command, CommandTable, Keys};
use crate::resp::{Request, Span, parse_request};
use crate::route::cross_slot;

/// EXEC outside of MULTI.
pub const EXEC_ALONE: &str = "ERR EXEC without MULTI";
/// DISCARD outside of MULTI.
pub const DISCARD_ALONE: &str = "ERR DISCARD without MULTI";
/// MULTI inside MULTI; leaves the transaction as it is.
pub const NESTED: &str = "ERR MULTI calls can not be nested";
/// WATCH inside MULTI; the same.
pub const WATCH_INSIDE: &str = "ERR WATCH inside MULTI is not allowed";
/// Of a command that is refused inside MULTI alone.
pub const OUTSIDE: &str = "cannot be used inside MULTI; send it before MULTI or after EXEC";
/// The same.
pub const ALL_SHARDS: &str =
    "concerns all shards, and a transaction runs on one; send it before MULTI or after EXEC";
/// Of a HELLO that asks for the other protocol.
pub const SWITCH: &str = "cannot switch the protocol inside MULTI; send it before MULTI";
/// EXEC, after a command was refused.
pub const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";

/// For several slots in WATCH.
pub const WATCH_TOGETHER: &str =
    "all keys that a client watches must be in one slot: give them one hash tag, as in {tag}key";
/// For another slot behind it.
pub const BEHIND_WATCH: &str = "what is queued behind WATCH must be in the slot of the watched keys: give them one hash tag, as in \
                      {tag}key";
/// For keys of a blocking command that cannot be asked for in turn.
pub const BLOCK_TOGETHER: &str = "give keys that belong together one hash tag, as in {tag}key";

/// What a server says of a command that is not allowed inside MULTI at all.
pub fn not_allowed(server: &str, command: &Command) -> String {
    match server {
        "valkey" => format!(
            "ERR Command '{}' not allowed inside a transaction",
            command.name
        ),
        _ => "ERR Command not allowed inside a transaction".to_owned(),
    }
}

/// Whether MULTI or WATCH inside MULTI leaves the transaction as it is, as in Redis: the table may be the built-in one,
/// which has it from Valkey that it does not.
pub fn may_nest(server: &str, command: &Command) -> bool {
    matches!(&*command.name, "multi" | "watch") && server != "valkey"
}

/// A limit of the queue is reached.
pub fn too_much(limits: &QueueLimits) -> String {
    format!(
        "ERR slotway: too much between MULTI and EXEC (limits.transaction_commands = {}, limits.transaction_bytes = \
         {}); use smaller transactions",
        limits.commands, limits.bytes
    )
}

/// A command's key is in another slot than that of `first`, the first command with a key.
pub fn other_slot(
    first: &[u8],
    table: &CommandTable,
    command: &Command,
    request: &Request<'_>,
) -> String {
    let mut spans: Vec<Span> = Vec::new();
    let earlier = parse_request(first, &mut spans);
    let known = earlier.and_then(|r| first_key(table.lookup(&r).ok()?, &r));
    let own = first_key(command, request);
    let hint = "a transaction runs on one slot: give its keys one hash tag, as in {tag}key; \
                policy.cross_slot_transactions = \"split\" would make it one transaction per slot";
    cross_slot(known.unwrap_or_default(), own.unwrap_or_default(), hint)
}

/// One command's own keys are in several slots.
pub fn two_slots(command: &Command, request: &Request<'_>) -> String {
    let mut keys = Keys::new();
    let _ = command.keys(request, &mut keys);
    let slot = |key: &u32| Slot::of(request.arg(*key as usize));
    let first = keys.first().copied().unwrap_or_default();
    let other = keys.iter().find(|key| slot(key) != slot(&first));
    let hint = "inside MULTI it is not split: give its keys one hash tag, as in {tag}key";
    let other = request.arg(other.copied().unwrap_or(first) as usize);
    cross_slot(request.arg(first as usize), other, hint)
}

/// The first of a request's keys.
pub fn first_key<'a>(command: &Command, request: &Request<'a>) -> Option<&'a [u8]> {
    let mut keys = Keys::new();
    command.keys(request, &mut keys).ok()?;
    keys.first().map(|&key| request.arg(key as usize))
}
