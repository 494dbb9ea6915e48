//! What becomes of each command of a conversation: what the session would do, without doing it. Everything that can be asked
//! of somebody is asked of whom the session asks (`route`, `local`, `modes`); the order of the questions is the session's.

use super::Known;
use crate::cluster::Slot;
use crate::command::{Command, KeyError, Keys, Local, Mode, Policy, SCRIPT_WITHOUT_KEYS};
use crate::config::{Config, KeylessScripts};
use crate::local::{self, Address, Client, ClientFilter, Env};
use crate::modes::{Blocking, Queue, Wait, WaitAof, inside, pubsub, wait_timeout_max};
use crate::resp::{Proto, Request};
use crate::route::{INVALID_CURSOR, Plan, RefusedBy, cross_slot, plan, scan_cursor, split};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// One client's conversation, as far as it decides what becomes of the next command. The client has authenticated.
pub(super) struct Conversation<'a> {
    pub(super) config: &'a Config,
    pub(super) known: &'a Known,
    pub(super) client: Client,
    pub(super) queue: Option<Queue>,
    /// The first key that is watched.
    pub(super) watched: Option<Box<[u8]>>,
    heard: BTreeSet<(pubsub::Kind, Box<[u8]>)>,
    is_monitor: bool,
    is_closed: bool,
}

/// What becomes of a command.
pub(super) enum Decision {
    /// The client gets this error (without the leading `-`).
    Refused(Vec<u8>),
    /// The client gets an answer from slotway; in words.
    Answered(&'static str),
    /// It is kept for EXEC; what EXEC does with it.
    Queued(&'static str),
    /// EXEC: a block for each slot, with the commands in it.
    Exec(Vec<(Option<Slot>, usize)>),
    /// It is carried out.
    Sent(Plan),
    /// A blocking command whose keys are in several slots.
    Sweep,
}

use Decision::{Answered, Sent};

pub(super) const HERE: &str =
    "answered by slotway itself, as a standalone server would; no node is asked";
const CLOSED: &str = "the connection is closed by now";

pub(super) fn refused(text: impl Into<String>) -> Decision {
    Decision::Refused(text.into().into_bytes())
}

impl<'a> Conversation<'a> {
    pub(super) fn new(config: &'a Config, known: &'a Known) -> Self {
        let nobody = Address::Unix("".into());
        Self {
            config,
            known,
            client: Client::new(1, nobody, Duration::ZERO, false),
            queue: None,
            watched: None,
            heard: BTreeSet::new(),
            is_monitor: false,
            is_closed: false,
        }
    }

    /// No command has this name.
    pub(super) fn unknown(&mut self, text: &[u8]) -> Decision {
        if let Some(queue) = &mut self.queue {
            queue.abort();
        }
        Decision::Refused(text.to_vec())
    }

    /// The next command.
    pub(super) fn next(&mut self, command: &Command, request: &Request<'_>) -> Decision {
        if self.is_closed {
            return refused(CLOSED);
        }
        if self.queue.is_some()
            && let Some(decision) = self.inside(command, request)
        {
            return decision;
        }
        let plan = plan(command, request, self.config.policy.split_writes);
        if let Plan::Refuse(text, by) = plan {
            if by == RefusedBy::Arguments && command.policy == Policy::Mode(Mode::Exec) {
                self.watched = None;
            }
            let restricted = (by != RefusedBy::Arguments).then(|| self.restricted(command));
            return refused(restricted.flatten().unwrap_or(text));
        }
        if let Some(text) = self.restricted(command) {
            return refused(text);
        }
        if self.is_monitor && (command.is_readonly() || command.is_write()) {
            return refused("ERR Replica can't interact with the keyspace");
        }
        match plan {
            Plan::Local(local) => self.local(local, request),
            Plan::Mode(mode) => self.mode(mode, command, request),
            Plan::Split(kind) => match split(kind, request) {
                Ok(_) => Sent(plan),
                Err(error) => refused(error.to_string()),
            },
            Plan::Scan if scan_cursor(request.arg(1)).is_none() => refused(INVALID_CURSOR),
            Plan::KeylessScript if self.refuses_keyless() => {
                refused(command.refusal(SCRIPT_WITHOUT_KEYS))
            }
            plan => Sent(plan),
        }
    }

    /// Of a client that is subscribed, and speaks RESP2.
    fn restricted(&self, command: &Command) -> Option<String> {
        let is_restricted = !self.heard.is_empty() && self.client.proto() == Proto::Resp2;
        is_restricted.then(|| pubsub::refusal(command)).flatten()
    }

    pub(super) fn refuses_keyless(&self) -> bool {
        self.config.policy.keyless_scripts == KeylessScripts::Error
    }

    pub(super) fn server(&self) -> &'a str {
        &self.known.server().name
    }

    fn local(&mut self, command: Local, request: &Request<'_>) -> Decision {
        let env = Env {
            server: self.known.server(),
            password: None,
            now: now(),
        };
        let asked = match command {
            Local::ClientList => ClientFilter::of_list(request, &env).map(|_| ()),
            Local::ClientKill if request.len() == 3 => Ok(()),
            Local::ClientKill => ClientFilter::of_kill(request, &env).map(|_| ()),
            Local::ClientUnblock => {
                let asked = local::unblock(request, self.server());
                asked.map(|_| ()).map_err(Into::into)
            }
            _ if shows_a_password(command, request) => {
                return Answered(
                    "answered by slotway itself, which compares the password; whether it is right is not said here",
                );
            }
            _ => return self.answer(command, request, &env),
        };
        match asked {
            Ok(()) => Answered("answered by slotway itself: all its workers are asked"),
            Err(text) => Decision::Refused(text),
        }
    }

    fn answer(&mut self, command: Local, request: &Request<'_>, env: &Env<'_>) -> Decision {
        let mut reply = Vec::new();
        let effect = local::answer(command, request, &mut self.client, env, &mut reply);
        if command == Local::Reset {
            (self.queue, self.watched) = (None, None);
            self.heard.clear();
            self.is_monitor = false;
        }
        self.is_closed = effect == local::Effect::Close;
        let error = reply
            .strip_prefix(b"-")
            .and_then(|t| t.strip_suffix(b"\r\n"));
        error.map_or(Answered(HERE), |text| Decision::Refused(text.to_vec()))
    }

    fn mode(&mut self, mode: Mode, command: &Command, request: &Request<'_>) -> Decision {
        let sent = Sent(Plan::Mode(mode));
        match mode {
            Mode::Multi => {
                self.queue = Some(Queue::default());
                Answered("answered by slotway itself; the commands up to EXEC are kept")
            }
            Mode::Exec => refused(inside::EXEC_ALONE),
            Mode::Discard => refused(inside::DISCARD_ALONE),
            Mode::Watch => {
                let first = self.watched.as_deref().unwrap_or(request.arg(1));
                let mut keys = request.args().skip(1);
                if let Some(other) = keys.find(|key| Slot::of(key) != Slot::of(first)) {
                    return refused(cross_slot(first, other, inside::WATCH_TOGETHER));
                }
                self.watched = Some(first.into());
                sent
            }
            Mode::Unwatch => {
                self.watched = None;
                Answered(HERE)
            }
            Mode::Blocking => block(command, request),
            Mode::Subscription => self.subscription(command, request),
            Mode::Wait => {
                let wait = Wait::parse(request.arg(1), request.arg(2), self.timeout_max());
                wait.map_or_else(refused, |_| sent)
            }
            Mode::Waitaof => {
                let (local, replicas) = (request.arg(1), request.arg(2));
                let wait = WaitAof::parse(local, replicas, request.arg(3), self.timeout_max());
                wait.map_or_else(refused, |_| sent)
            }
            Mode::Monitor => {
                self.is_monitor = true;
                sent
            }
        }
    }

    fn timeout_max(&self) -> i64 {
        wait_timeout_max(self.server(), now())
    }

    fn subscription(&mut self, command: &Command, request: &Request<'_>) -> Decision {
        let Some((kind, verb)) = pubsub::command(&command.name) else {
            return refused(command.refusal("is not supported"));
        };
        let names = || request.args().skip(1);
        match verb {
            pubsub::Verb::Subscribe => {
                let limit = self.config.limits.subscriptions;
                if self.heard.len() + names().len() > limit {
                    return refused(format!(
                        "ERR slotway: too many subscriptions of one client (limits.subscriptions = {limit}); use patterns, fewer \
                         channels, or raise it"
                    ));
                }
                self.heard.extend(names().map(|name| (kind, name.into())));
            }
            pubsub::Verb::Unsubscribe if names().len() == 0 => {
                self.heard.retain(|(other, _)| *other != kind);
            }
            pubsub::Verb::Unsubscribe => {
                for name in names() {
                    self.heard.remove(&(kind, name.into()));
                }
            }
        }
        Sent(Plan::Mode(Mode::Subscription))
    }
}

fn block(command: &Command, request: &Request<'_>) -> Decision {
    let mut keys = Keys::new();
    if let Err(error @ KeyError::Undescribed) = command.keys(request, &mut keys) {
        return refused(format!("ERR slotway: {error}"));
    }
    let key = |at: &u32| request.arg(*at as usize);
    let first = keys.first().map(key).unwrap_or_default();
    let other = keys
        .iter()
        .map(key)
        .find(|k| Slot::of(k) != Slot::of(first));
    let Some(other) = other else {
        return Sent(Plan::Mode(Mode::Blocking));
    };
    let blocking = Blocking::new(&command.name, request);
    if !blocking.can_sweep() {
        return refused(cross_slot(first, other, inside::BLOCK_TOGETHER));
    }
    blocking.misworded(&keys).map_or(Decision::Sweep, refused)
}

/// Nobody is to find out here whether it is right.
fn shows_a_password(command: Local, request: &Request<'_>) -> bool {
    let auth = |arg: &[u8]| arg.eq_ignore_ascii_case(b"auth");
    command == Local::Auth || (command == Local::Hello && request.args().skip(2).any(auth))
}

/// Since 1970.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
