//! What the command table says of a request's bytes: for requests that were refused or lost, never on the way of a
//! plain one.

use super::Session;
use crate::command::{Command, Keys};
use crate::resp::{Span, parse_request};
use crate::upstream::Class;

impl Session {
    /// What the command table says of a request's bytes.
    pub(super) fn inspect(&self, request: &[u8]) -> Inspected {
        let mut spans: Vec<Span> = Vec::new();
        let table = self.context.table();
        let command = parse_request(request, &mut spans).and_then(|r| table.lookup(&r).ok());
        Inspected {
            script: command.is_none_or(Command::is_script),
            readonly: command.is_some_and(Command::is_readonly),
            class: command.map_or(Class::Normal, super::dispatch::class),
        }
    }

    /// Whether two requests share a key and either of them writes; what cannot be told counts as yes.
    pub(super) fn conflict(&self, a: &[u8], b: &[u8]) -> bool {
        let table = self.context.table();
        let (mut spans_a, mut spans_b): (Vec<Span>, Vec<Span>) = Default::default();
        let (Some(a), Some(b)) = (
            parse_request(a, &mut spans_a),
            parse_request(b, &mut spans_b),
        ) else {
            return true;
        };
        let (Ok(command_a), Ok(command_b)) = (table.lookup(&a), table.lookup(&b)) else {
            return true;
        };
        if command_a.is_readonly() && command_b.is_readonly() {
            return false;
        }
        let (mut keys_a, mut keys_b) = (Keys::new(), Keys::new());
        if command_a.keys(&a, &mut keys_a).is_err() || command_b.keys(&b, &mut keys_b).is_err() {
            return true;
        }
        let keys: std::collections::HashSet<&[u8]> =
            keys_a.iter().map(|&k| a.arg(k as usize)).collect();
        keys_b.iter().any(|&k| keys.contains(b.arg(k as usize)))
    }
}

/// See [`Session::inspect`]; what is not known counts as the worst.
pub(super) struct Inspected {
    pub(super) script: bool,
    pub(super) readonly: bool,
    pub(super) class: Class,
}
