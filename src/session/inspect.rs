//! What the command table says of a request's bytes: for requests that were refused or lost, and for the few whose keys are
//! looked at; never on the way of a plain one.

use super::Session;
use crate::command::{Command, Flags, Keys, Mode, Policy};
use crate::observe::KeyGroup;
use crate::resp::{Decoded, Request, RequestDecoder, Span, parse_request};
use crate::route::{Access, Effect, Footprint};
use crate::upstream::{Class, Ticket};
use smallvec::SmallVec;

impl Session {
    /// What the command table says of a request's bytes. A block's error replies are the server's own, whatever scripts
    /// are in it: those of its commands are inside an array.
    pub(super) fn inspect(&self, ticket: Ticket, request: &[u8]) -> Inspected {
        if ticket.inner() > 0 {
            return Inspected {
                script: false,
                readonly: false,
                class: self.block_class(request),
            };
        }
        let mut spans: Vec<Span> = Vec::new();
        let table = self.context.table();
        let command = parse_request(request, &mut spans).and_then(|r| table.lookup(&r).ok());
        Inspected {
            script: command.is_none_or(Command::is_script),
            readonly: command.is_some_and(Command::is_readonly),
            class: command.map_or(Class::Normal, super::dispatch::class),
        }
    }

    /// Of its keys, for hit rates.
    #[inline(never)]
    pub(super) fn group_of(&self, command: &Command, request: &Request<'_>) -> KeyGroup {
        let metrics = &self.context.metrics;
        if let Some(key) = command.only_key().and_then(|at| request.get(at)) {
            return metrics.key_group(key);
        }
        self.group_of_several(command, request)
    }

    #[inline(never)]
    fn group_of_several(&self, command: &Command, request: &Request<'_>) -> KeyGroup {
        let keys = keys_of(command, request);
        let keys = keys.iter().map(|&key| request.arg(key as usize));
        self.context.metrics.group_of_keys(keys)
    }

    /// For `/hotkeys` and `/bigkeys`: most commands are not looked at.
    #[inline]
    pub(super) fn look_at_keys(&self, command: &Command, request: &Request<'_>) {
        if self.context.metrics.looks_at_keys() {
            self.note_keys(command, request);
        }
        if request.bytes().len() >= self.context.big_value {
            self.note_large_request(command, request);
        }
    }

    #[cold]
    fn note_keys(&self, command: &Command, request: &Request<'_>) {
        let places = keys_of(command, request);
        let keys = places.iter().map(|&at| request.arg(at as usize));
        let keys: SmallVec<[&[u8]; 8]> = keys.collect();
        let now = self.context.clock.now();
        self.context.metrics.saw_keys(&keys, now);
    }

    /// Whether it publishes (SPUBLISH), or has a command that does; what cannot be told counts as yes.
    pub(super) fn publishes(&self, request: &[u8]) -> bool {
        let others = self.each_command(request, |command, _| {
            (!command.flags.contains(Flags::PUBSUB)).then_some(())
        });
        others.is_none()
    }

    /// What a request, or the commands of a block, touch.
    pub(super) fn footprint(&self, bytes: &[u8]) -> Footprint {
        let (mut touched, mut access) = (Vec::new(), Access::Reads);
        let known = self.each_command(bytes, |command, request| {
            let mut keys = Keys::new();
            command.keys(request, &mut keys).ok()?;
            touched.extend(keys.iter().map(|&key| request.arg(key as usize).to_vec()));
            if !command.is_readonly() {
                access = Access::Writes;
            }
            Some(())
        });
        match known {
            Some(()) => Footprint::Keys(touched, access),
            None => Footprint::Unknown,
        }
    }

    fn block_class(&self, block: &[u8]) -> Class {
        let mut class = Class::Normal;
        let known = self.each_command(block, |command, _| {
            if command.is_slow() {
                class = Class::Slow;
            }
            Some(())
        });
        known.map_or(Class::Slow, |()| class)
    }

    /// Calls `f` for the request, or for each command of the block; `None` when one is unknown or `f` says so.
    pub(super) fn each_command(
        &self,
        mut bytes: &[u8],
        mut f: impl FnMut(&Command, &Request<'_>) -> Option<()>,
    ) -> Option<()> {
        let table = self.context.table();
        let mut decoder = RequestDecoder::new();
        while !bytes.is_empty() {
            let decoded = decoder.decode(bytes, &self.context.request_limits);
            let Ok(Decoded::Request { consumed }) = decoded else {
                return None;
            };
            let request = decoder.request(bytes);
            let command = table.lookup(&request).ok()?;
            if !matches!(command.policy, Policy::Mode(Mode::Multi | Mode::Exec)) {
                f(command, &request)?;
            }
            bytes = &bytes[consumed..];
        }
        Some(())
    }
}

/// See [`Session::inspect`]; what is not known counts as the worst.
pub(super) struct Inspected {
    pub(super) script: bool,
    pub(super) readonly: bool,
    pub(super) class: Class,
}

impl Inspected {
    /// What executing it once more would do.
    pub(super) fn effect(&self) -> Effect {
        effect_of(self.script, self.readonly)
    }
}

/// Where its keys are; one whose keys cannot be told has none.
pub(super) fn keys_of(command: &Command, request: &Request<'_>) -> Keys {
    let mut places = Keys::new();
    let _ = command.keys(request, &mut places);
    places
}

/// The same for a command that is no block.
pub(super) fn effect(command: &Command) -> Effect {
    effect_of(command.is_script(), command.is_readonly())
}

fn effect_of(script: bool, readonly: bool) -> Effect {
    match (script, readonly) {
        (true, _) => Effect::Script,
        (false, true) => Effect::Read,
        (false, false) => Effect::Write,
    }
}
