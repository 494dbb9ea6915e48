//! What a command leaves for `/slowlog` and `/bigkeys`: looked at only where a reply was late or large, or an argument large.
//! Of values only the length is noted.

use super::inspect::keys_of;
use super::{Session, State};
use crate::cluster::NodeAddr;
use crate::command::Command;
use crate::io::Micros;
use crate::observe::{Cause, Direction, SlowCommand, Spent};
use crate::resp::Request;
use crate::upstream::{Class, Returned, Ticket};
use std::time::{Duration, SystemTime};

/// So many arguments of a slow command are shown, as the servers do.
const ARGS_MAX: usize = 32;

/// And of each command of a transaction.
const QUEUED_ARGS_MAX: usize = 8;

/// So much of an argument is shown, as the servers do.
const ARG_BYTES_MAX: usize = 128;

/// So much of a client's name is shown.
const NAME_CHARS_MAX: usize = 64;

/// So many slow commands of one client are kept until their replies are written; more are listed as they are.
const NOTED_MAX: usize = 32;

/// A slow command whose reply is not written yet.
pub(super) struct Noted {
    seq: u64,
    command: SlowCommand,
    /// When its reply was there.
    replied: Micros,
    /// When that was behind all earlier ones.
    in_order: Option<Micros>,
}

impl Session {
    /// A request has an argument of `observe.big_value` or more, perhaps.
    #[cold]
    pub(super) fn note_large_request(&self, command: &Command, request: &Request<'_>) {
        let Some((at, argument)) = request.args().enumerate().max_by_key(|(_, arg)| arg.len())
        else {
            return;
        };
        if argument.len() >= self.context.big_value {
            // The value of a key comes behind it.
            let keys = keys_of(command, request);
            let key = keys.iter().rev().find(|&&key| key as usize <= at);
            let key = key
                .or(keys.first())
                .map_or(&b""[..], |&key| request.arg(key as usize));
            self.note_large(command, key, argument.len(), Direction::Written);
        }
    }

    fn note_large(&self, command: &Command, key: &[u8], size: usize, direction: Direction) {
        let which = (command.metric, &command.name);
        let metrics = &self.context.metrics;
        metrics.big_value(which, key, size, direction, now());
    }

    /// A final reply came late, or is large, or was looked at for another reason.
    pub(super) fn note_reply(
        &self,
        state: &mut State,
        ticket: Ticket,
        reply: &[u8],
        returned: &Returned,
        from: &NodeAddr,
    ) {
        if reply.len() >= self.context.big_value {
            self.each_command(&returned.bytes, |command, request| {
                let key = *keys_of(command, request).first()?;
                let key = request.arg(key as usize);
                self.note_large(command, key, reply.len(), Direction::Read);
                // Of a block it is not known whose it is: counted once.
                None
            });
        }
        let now = self.context.clock.micros();
        let pending = state.replies.get_mut(ticket.seq);
        let started = pending.map_or(returned.taken, |pending| pending.about.started);
        let took = now.since(started);
        if took >= self.context.slow_micros {
            let upstream = now.since(returned.next).min(took);
            let spent = Spent {
                queued: took - upstream,
                upstream,
                ..Spent::default()
            };
            self.note_slow(state, ticket, &returned.bytes, from, spent);
        }
    }

    #[cold]
    fn note_slow(
        &self,
        state: &mut State,
        ticket: Ticket,
        request: &[u8],
        node: &NodeAddr,
        spent: Spent,
    ) {
        let class = self.inspect(ticket, request).class;
        let cause = match (spent.upstream < spent.queued, class) {
            (true, _) => Cause::Waited,
            (false, Class::Slow) => Cause::Suspect,
            (false, Class::Normal) => Cause::Busy,
        };
        let metrics = &self.context.metrics;
        if !metrics.admits_slow(node, self.context.clock.now(), cause) {
            return;
        }
        let command = SlowCommand {
            id: 0,
            at: now(),
            args: self.shown(ticket, request),
            client: state.client.ends().0.into(),
            name: state.client.name().map(name),
            node: node.clone(),
            spent,
        };
        if state.noted.len() >= NOTED_MAX {
            return metrics.list_slow(command);
        }
        state.noted.push(Noted {
            seq: ticket.seq,
            command,
            replied: self.context.clock.micros(),
            in_order: None,
        });
    }

    /// What is in the output is in order; called at the end of each tick in which something was put there.
    #[cold]
    pub(super) fn noted_in_order(&self, state: &mut State) {
        let (oldest, now) = (state.replies.oldest(), self.context.clock.micros());
        for noted in state.noted.iter_mut().filter(|noted| noted.seq < oldest) {
            noted.in_order.get_or_insert(now);
        }
    }

    /// The output was written, as far as the socket takes it.
    #[cold]
    pub(super) fn noted_written(&self, state: &mut State) {
        self.noted_in_order(state);
        if state.output.is_empty() {
            self.list_noted(state, false);
        }
    }

    /// Lists those whose replies are written, or all: their client is gone.
    pub(super) fn list_noted(&self, state: &mut State, all: bool) {
        let now = self.context.clock.micros();
        let done = |noted: &mut Noted| all || noted.in_order.is_some();
        for mut noted in state.noted.extract_if(.., done) {
            let in_order = noted.in_order.unwrap_or(now);
            noted.command.spent.order = in_order.since(noted.replied);
            noted.command.spent.writing = now.since(in_order);
            self.context.metrics.list_slow(noted.command);
        }
    }

    /// A command as it is shown: its name and keys as they are, of all else the length.
    fn shown(&self, ticket: Ticket, request: &[u8]) -> Vec<Box<[u8]>> {
        let mut shown: Vec<Box<[u8]>> = Vec::new();
        if ticket.inner() == 0 {
            self.each_command(request, |command, request| {
                shown = arguments(command, request, ARGS_MAX);
                None
            });
            return shown;
        }
        shown.push((*b"MULTI").into());
        self.each_command(request, |command, request| {
            let arguments = arguments(command, request, QUEUED_ARGS_MAX);
            shown.push(arguments.join(&b" "[..]).into());
            Some(())
        });
        shown.push((*b"EXEC").into());
        let all = shown.len();
        bounded(shown.into_iter(), all, ARGS_MAX)
    }
}

/// Of one command, at most `max`.
fn arguments(command: &Command, request: &Request<'_>, max: usize) -> Vec<Box<[u8]>> {
    let keys = keys_of(command, request);
    // Subcommands are names too, and so is what scripts and functions are called by.
    let named = match &*command.name {
        "evalsha" | "evalsha_ro" | "fcall" | "fcall_ro" => 2,
        name => 1 + name.matches('|').count(),
    };
    let shown = request.args().enumerate().map(|(at, argument)| {
        match at < named || keys.contains(&(at as u32)) {
            true => cut(argument),
            false => length(argument.len()),
        }
    });
    bounded(shown, request.len(), max)
}

/// At most `max` of `all`: the last one says how many more there are.
fn bounded(shown: impl Iterator<Item = Box<[u8]>>, all: usize, max: usize) -> Vec<Box<[u8]>> {
    if all <= max {
        return shown.collect();
    }
    let more = format!("... ({} more arguments)", all - (max - 1));
    let more: Box<[u8]> = more.into_bytes().into();
    shown.take(max - 1).chain([more]).collect()
}

fn name(name: &str) -> Box<str> {
    name.chars().take(NAME_CHARS_MAX).collect()
}

fn length(bytes: usize) -> Box<[u8]> {
    format!("({bytes} bytes)").into_bytes().into()
}

fn cut(text: &[u8]) -> Box<[u8]> {
    match text.len().checked_sub(ARG_BYTES_MAX) {
        None | Some(0) => text.into(),
        Some(more) => {
            let rest = format!("... ({more} more bytes)");
            [&text[..ARG_BYTES_MAX], rest.as_bytes()].concat().into()
        }
    }
}

/// The time of day, since 1970.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
