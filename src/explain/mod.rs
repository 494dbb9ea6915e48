//! Says what would happen to a command: its keys, slots, nodes and plan, or why it is refused and what to do.
//! `slotway explain` prints it. It decides nothing: the answers are those of `resp`, `command`, `cluster` and `route`,
//! which the data path asks as well.

mod ask;
mod cluster;
mod words;

pub use ask::{Conversation, error_text};
pub use cluster::Known;

use crate::cluster::{NodeIndex, Slot};
use crate::command::{
    Command, Gather, KeyError, Keys, Mode, Over, Policy, SCRIPT_WITHOUT_KEYS, Split, Targets,
};
use crate::config::{Config, KeylessScripts};
use crate::resp::{Decoded, Request, RequestDecoder, RequestLimits, encode, parse_request};
use crate::route::split;
use std::fmt::Write;
use words::{quote, say};

/// Keys and parts that are listed at most; the rest is counted.
const LISTED_MAX: usize = 50;

/// Explains the command that `words` are: one word is split as redis-cli does, several are its arguments. The
/// error says why it is no command.
pub fn explain(words: &[String], config: &Config, known: &Known) -> Result<String, String> {
    let bytes = match words {
        [line] => split_line(line, config)?,
        words => {
            let mut bytes = Vec::new();
            encode::command(&mut bytes, words);
            bytes
        }
    };
    let mut spans = Vec::new();
    let request = parse_request(&bytes, &mut spans).ok_or("this is not a command")?;
    let mut explanation = Explanation {
        out: String::new(),
        request,
        config,
        known,
    };
    explanation.command();
    Ok(explanation.out)
}

/// The canonical form of a line as typed into redis-cli or telnet.
fn split_line(line: &str, config: &Config) -> Result<Vec<u8>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('*') || line.contains(['\r', '\n']) {
        return Err("one command is needed, such as 'MGET a b'".to_owned());
    }
    let buf = format!("{line}\r\n").into_bytes();
    let limit = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let limits = RequestLimits {
        arguments: limit(config.limits.arguments),
        argument: limit(config.limits.argument),
        request: limit(config.limits.request),
        inline: limit(config.limits.inline),
        preauth: false,
    };
    let mut decoder = RequestDecoder::new();
    match decoder.decode(&buf, &limits) {
        Ok(Decoded::Request { .. }) => Ok(decoder.request(&buf).bytes().to_vec()),
        Ok(_) => Err("one command is needed, such as 'MGET a b'".to_owned()),
        Err(error) => Err(format!("a client would get -ERR {error}, and be closed")),
    }
}

/// An explanation being written: lines of a label and what there is to say.
struct Explanation<'a> {
    out: String,
    request: Request<'a>,
    config: &'a Config,
    known: &'a Known,
}

impl<'a> Explanation<'a> {
    fn line(&mut self, label: &str, text: &str) {
        let _ = writeln!(self.out, "{label:<9}{}", text.trim_end());
    }

    fn command(&mut self) {
        let command = match self.known.table().lookup(&self.request) {
            Ok(command) => command,
            Err(unknown) => {
                let text = String::from_utf8_lossy(unknown.text()).into_owned();
                self.line("refused", &text);
                return self.line("", "known are the commands of the built-in table and, with --nodes, those of the cluster");
            }
        };
        let flags: Vec<&str> = command.flags.names().collect();
        let flags = match flags.is_empty() {
            true => String::new(),
            false => format!(" ({})", flags.join(" ")),
        };
        self.line(
            "command",
            &format!("{}{flags}", command.name.replace('|', " ")),
        );
        if !command.arity_ok(self.request.len()) {
            return self.line("refused", &command.arity_error());
        }
        match command.policy_for(&self.request) {
            Policy::Route => self.route(command, None),
            Policy::Split(split) => self.route(command, Some(split)),
            Policy::AllShards(gather) => self.gather(command, gather),
            Policy::AnyNode => self.anywhere(command, "any primary, as it has no key"),
            Policy::KeylessScript if self.config.policy.keyless_scripts == KeylessScripts::Error => {
                let refusal = command.refusal(SCRIPT_WITHOUT_KEYS);
                self.line("refused", &refusal);
            }
            Policy::KeylessScript => self.anywhere(command, "one primary, always the same for a client, so that its order is kept"),
            Policy::Home => self.anywhere(command, "one primary, the same for all clients"),
            Policy::Scan => self.line(
                "plan",
                "one request to one primary per call; the cursor says which, and they follow in the order of their slots",
            ),
            Policy::Local(_) => self.line("plan", "answered by slotway itself, as a standalone server would; no node is asked"),
            Policy::Mode(mode) => self.line("plan", explain_mode(mode)),
            Policy::Refused(why) => {
                let refusal = command.refusal(why);
                self.line("refused", &refusal);
            }
        }
    }

    /// By its keys: one node, or parts for several slots, or refused.
    fn route(&mut self, command: &Command, parts: Option<Split>) {
        let mut keys = Keys::new();
        match command.keys(&self.request, &mut keys) {
            Ok(()) if keys.is_empty() => {
                return self.anywhere(command, "any primary, as this request has no key");
            }
            Ok(()) => {}
            Err(KeyError::Malformed) => {
                return self.line(
                    "plan",
                    "malformed: any primary gets it, and its error is the answer",
                );
            }
            Err(KeyError::Undescribed) => {
                let refusal = command
                    .refusal("does not tell where its keys are: the server does not describe them");
                return self.line("refused", &refusal);
            }
        }
        let slots = self.keys(&keys);
        let split_writes = self.config.policy.split_writes;
        match (&slots[..], parts) {
            ([slot], _) => {
                let place = self.place(*slot);
                self.line(
                    "plan",
                    &format!("one request, passed on as it is, to {place}"),
                );
                self.outcome(command);
            }
            (_, Some(kind)) if split_writes || !command.is_write() => self.parts(command, kind),
            (_, Some(_)) => self.refuse_slots(&keys, ", or set policy.split_writes = true"),
            (_, None) => self.refuse_slots(&keys, ""),
        }
    }

    /// Lists keys and slots. Returns the slots, each once, in the order of the keys.
    fn keys(&mut self, keys: &Keys) -> Vec<Slot> {
        let mut slots = Vec::new();
        for (i, &at) in keys.iter().enumerate() {
            let key = self.request.arg(at as usize);
            let slot = Slot::of(key);
            if !slots.contains(&slot) {
                slots.push(slot);
            }
            if i < LISTED_MAX {
                let place = self.place(slot);
                self.line("key", &format!("{} in {place}", quote(key)));
            }
        }
        if keys.len() > LISTED_MAX {
            self.line("", &format!("and {} more keys", keys.len() - LISTED_MAX));
        }
        slots
    }

    fn parts(&mut self, command: &Command, kind: Split) {
        let plan = match split(kind, &self.request) {
            Ok(plan) => plan,
            Err(error) => return self.line("refused", &error.to_string()),
        };
        let merged = words::split_merge(kind);
        self.line(
            "plan",
            &format!(
                "{} requests, one per slot, all sent at once; {merged}",
                plan.len()
            ),
        );
        for part in 0..plan.len().min(LISTED_MAX) {
            let mut spans = Vec::new();
            let text = parse_request(plan.command(part), &mut spans)
                .map_or_else(String::new, |request| say(&request));
            let place = self.place(plan.slot(part));
            self.line("", &format!("{text} → {place}"));
        }
        if plan.len() > LISTED_MAX {
            self.line("", &format!("and {} more", plan.len() - LISTED_MAX));
        }
        if command.is_write() {
            self.line("note", "each part is atomic, the whole is not; policy.split_writes = false refuses it instead");
        }
        self.outcome(command);
    }

    fn refuse_slots(&mut self, keys: &Keys, otherwise: &str) {
        let request = self.request;
        let first = request.arg(keys[0] as usize);
        let other = keys
            .iter()
            .map(|&at| request.arg(at as usize))
            .find(|key| Slot::of(key) != Slot::of(first))
            .unwrap_or(first);
        self.line(
            "refused",
            "CROSSSLOT Keys in request don't hash to the same slot",
        );
        let hint = format!(
            "{} and {} are in different slots: give keys that are used together one {{hash tag}}{otherwise}",
            quote(first),
            quote(other)
        );
        self.line("", &hint);
    }

    fn gather(&mut self, command: &Command, gather: Gather) {
        let merged = words::merge(gather.merge);
        let targets = match gather.to {
            Targets::Primaries => "one request to each primary",
            Targets::AllNodes => "one request to each node, replicas included",
            Targets::ReachableNodes => {
                "one request to each node, replicas that cannot be reached left out"
            }
            Targets::One => "one request to any primary",
        };
        let past = match gather.over {
            Over::Lanes => "",
            Over::OwnConnections => ", on connections of their own, past any script that runs",
        };
        self.line("plan", &format!("{targets}{past}; {merged}"));
        if gather.to != Targets::One {
            self.nodes(gather.to);
        }
        self.outcome(command);
    }

    fn anywhere(&mut self, command: &Command, whom: &str) {
        self.line("plan", &format!("one request to {whom}"));
        self.nodes(Targets::Primaries);
        self.outcome(command);
    }

    fn nodes(&mut self, targets: Targets) {
        let Some(map) = self.known.map() else {
            return;
        };
        let mut nodes = map.primaries();
        if matches!(targets, Targets::AllNodes | Targets::ReachableNodes) {
            let replicas: Vec<NodeIndex> = nodes.iter().flat_map(|p| map.replicas(*p)).collect();
            nodes.extend(replicas);
        }
        let list: Vec<String> = nodes
            .iter()
            .take(LISTED_MAX)
            .map(|node| map.node(*node).addr.to_string())
            .collect();
        let more = match nodes.len().checked_sub(LISTED_MAX) {
            None | Some(0) => String::new(),
            Some(more) => format!(" and {more} more"),
        };
        self.line("", &format!("{}{more}", list.join(", ")));
    }

    /// How long it may take, and what is known when the connection is lost.
    fn outcome(&mut self, command: &Command) {
        let (option, timeout) = match command.is_slow() {
            true => ("timeouts.slow_command", self.config.timeouts.slow_command),
            false => ("timeouts.command", self.config.timeouts.command),
        };
        self.line("timeout", &format!("{timeout:?} ({option})"));
        self.line(
            "if lost",
            match command.is_readonly() {
                true => "it only reads: sent once more",
                false => "not sent again once its bytes were handed over: the client is told that the outcome is unknown",
            },
        );
    }

    /// A slot and, if known, the node that owns it.
    fn place(&self, slot: Slot) -> String {
        match self.known.map() {
            None => format!("slot {slot}"),
            Some(map) => match map.owner(slot) {
                Some(owner) => format!("slot {slot} at {}", map.node(owner).addr),
                None => format!("slot {slot}, which no node owns"),
            },
        }
    }
}

/// What becomes of a command that is part of something longer.
fn explain_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Multi | Mode::Discard => {
            "answered by slotway itself; the commands up to EXEC are kept"
        }
        Mode::Exec => "the kept commands, in one piece, to the owner of their slot",
        Mode::Watch | Mode::Unwatch => {
            "on a connection of the client's own to the owner of the slot"
        }
        Mode::Blocking => {
            "on a connection of the client's own, until there is something or the time is up"
        }
        Mode::Subscription => "on a connection of the client's own",
        Mode::Wait | Mode::Waitaof => "asks the nodes that this client has written to",
        Mode::Monitor => "shows slotway's own traffic",
    }
}

#[cfg(test)]
mod tests;
