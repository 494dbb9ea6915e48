//! Writes an explanation: keys, slots, nodes, the plan, and what happens when something is lost.

use super::decide::Decision;
use super::told::{Explanation, Key, Verdict};
use super::words::{self, quote, say};
use super::{Known, LISTED_MAX};
use crate::cluster::{NodeIndex, Slot};
use crate::command::{Command, Gather, Keys, Mode, Over, Split, Targets};
use crate::config::Config;
use crate::resp::{Request, parse_request};
use crate::route::{Plan, split};

/// An explanation being written.
pub(super) struct Writer<'a> {
    told: Explanation,
    request: Request<'a>,
    config: &'a Config,
    known: &'a Known,
}

impl<'a> Writer<'a> {
    pub(super) fn new(request: Request<'a>, config: &'a Config, known: &'a Known) -> Self {
        let told = Explanation {
            said: say(&request),
            verdict: Verdict::Sent,
            error: None,
            keys: Vec::new(),
            lines: Vec::new(),
        };
        Self {
            told,
            request,
            config,
            known,
        }
    }

    fn line(&mut self, label: &'static str, text: impl Into<String>) {
        self.told.lines.push((label, text.into()));
    }

    /// No command has that name.
    pub(super) fn unknown(mut self, decision: Decision) -> Explanation {
        self.decision(None, decision);
        self.line(
            "",
            "known are the commands of the built-in table and, with --nodes or --running, those of the servers",
        );
        self.told
    }

    /// Of a known command.
    pub(super) fn command(mut self, command: &Command, decision: Decision) -> Explanation {
        let flags: Vec<&str> = command.flags.names().collect();
        let flags = match flags.is_empty() {
            true => String::new(),
            false => format!(" ({})", flags.join(" ")),
        };
        let name = command.name.replace('|', " ");
        self.line("command", format!("{name}{flags}"));
        self.decision(Some(command), decision);
        self.told
    }

    fn decision(&mut self, command: Option<&Command>, decision: Decision) {
        if let Some(command) = command {
            self.keys(command);
        }
        match decision {
            Decision::Refused(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                self.told.verdict = Verdict::Refused;
                self.told.error = Some(text.clone());
                self.line("refused", text);
            }
            Decision::Answered(how) => {
                self.told.verdict = Verdict::Answered;
                self.line("plan", how);
            }
            Decision::Queued(how) => {
                self.told.verdict = Verdict::Queued;
                self.line("plan", how);
            }
            Decision::Exec(blocks) => self.exec(&blocks),
            Decision::Sweep => {
                self.line(
                    "plan",
                    "the owners of its slots are asked in turn, until one has something or the time is up",
                );
                self.line("note", "of several keys that have something, not always the one is served that had it first");
            }
            Decision::Sent(plan) => {
                if let Some(command) = command {
                    self.plan(command, plan);
                }
            }
        }
    }

    /// Lists keys and slots.
    fn keys(&mut self, command: &Command) {
        let mut keys = Keys::new();
        if !command.arity_ok(self.request.len()) || command.keys(&self.request, &mut keys).is_err()
        {
            return;
        }
        for &at in keys.iter().take(LISTED_MAX) {
            let key = self.request.arg(at as usize);
            let slot = Slot::of(key);
            let place = self.place(slot);
            self.line("key", format!("{} in {place}", quote(key)));
            let map = self.known.map();
            let node = map.and_then(|map| Some(map.node(map.owner(slot)?).addr.to_string()));
            self.told.keys.push(Key {
                key: quote(key),
                slot: slot.number(),
                node,
            });
        }
        if keys.len() > LISTED_MAX {
            self.line("", format!("and {} more keys", keys.len() - LISTED_MAX));
        }
    }

    fn plan(&mut self, command: &Command, plan: Plan) {
        match plan {
            Plan::Slot(slot) => {
                let place = self.place(slot);
                self.line("plan", format!("one request, passed on as it is, to {place}"));
                self.outcome(command);
            }
            Plan::Split(kind) => self.parts(command, kind),
            Plan::Gather(gather) => self.gather(command, gather),
            Plan::AnyNode => self.anywhere(command, "any primary, as it has no key"),
            Plan::KeylessScript => self.anywhere(
                command,
                "one primary, always the same for a client, so that its order is kept",
            ),
            Plan::Home => self.anywhere(command, "one primary, the same for all clients"),
            Plan::Scan => self.line(
                "plan",
                "one request to one primary per call; the cursor says which, and they follow in the order of their slots",
            ),
            Plan::Mode(mode) => self.line("plan", explain_mode(mode)),
            // Decided before.
            Plan::Local(_) | Plan::Refuse(..) => {}
        }
    }

    fn exec(&mut self, blocks: &[(Option<Slot>, usize)]) {
        let commands = |count: usize| match count {
            1 => "1 command".to_owned(),
            _ => format!("{count} commands"),
        };
        match blocks {
            [] => {
                self.told.verdict = Verdict::Answered;
                self.line(
                    "plan",
                    "answered by slotway itself: nothing was kept for a node",
                );
            }
            [(slot, count)] => {
                let place = slot.map_or_else(|| "any primary".to_owned(), |s| self.place(s));
                let count = commands(*count);
                self.line(
                    "plan",
                    format!("{count} between MULTI and EXEC, in one piece, to {place}"),
                );
            }
            blocks => {
                self.line(
                    "plan",
                    format!(
                        "{} transactions, one per slot, all sent at once",
                        blocks.len()
                    ),
                );
                for (slot, count) in blocks.iter().take(LISTED_MAX) {
                    let place = slot.map_or_else(|| "any primary".to_owned(), |s| self.place(s));
                    self.line("", format!("{} → {place}", commands(*count)));
                }
                self.line(
                    "note",
                    "each is atomic, the whole is not (policy.cross_slot_transactions = \"split\")",
                );
            }
        }
    }

    fn parts(&mut self, command: &Command, kind: Split) {
        let plan = match split(kind, &self.request) {
            Ok(plan) => plan,
            // Decided before.
            Err(_) => return,
        };
        let merged = words::split_merge(kind);
        self.line(
            "plan",
            format!(
                "{} requests, one per slot, all sent at once; {merged}",
                plan.len()
            ),
        );
        for part in 0..plan.len().min(LISTED_MAX) {
            let mut spans = Vec::new();
            let text = parse_request(plan.command(part), &mut spans)
                .map_or_else(String::new, |request| say(&request));
            let place = self.place(plan.slot(part));
            self.line("", format!("{text} → {place}"));
        }
        if plan.len() > LISTED_MAX {
            self.line("", format!("and {} more", plan.len() - LISTED_MAX));
        }
        if command.is_write() {
            self.line("note", "each part is atomic, the whole is not; policy.split_writes = false refuses it instead");
        }
        self.outcome(command);
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
        self.line("plan", format!("{targets}{past}; {merged}"));
        if gather.to != Targets::One {
            self.nodes(gather.to);
        }
        self.outcome(command);
    }

    fn anywhere(&mut self, command: &Command, whom: &str) {
        self.line("plan", format!("one request to {whom}"));
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
        self.line("", format!("{}{more}", list.join(", ")));
    }

    /// How long it may take, and what is known when the connection is lost.
    fn outcome(&mut self, command: &Command) {
        let (option, timeout) = match command.is_slow() {
            true => ("timeouts.slow_command", self.config.timeouts.slow_command),
            false => ("timeouts.command", self.config.timeouts.command),
        };
        self.line("timeout", format!("{timeout:?} ({option})"));
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
                Some(owner) => {
                    let addr = &map.node(owner).addr;
                    let state = self.known.state_of(addr);
                    format!("slot {slot} at {addr}{state}")
                }
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
