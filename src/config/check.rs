//! Whether the values fit together: limits against each other, listeners, and that slotway does not become an
//! open door into a closed cluster. Looks at values only; opens nothing.

use super::problem::{Origin, Problem};
use super::settings::{Setting, Settings};
use super::typed::{AuthMode, Config};
use super::value::{ListenAddr, Value};
use crate::command::CommandTable;

/// Whether there must be seed nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seeds {
    /// Without them there is nothing to do.
    Required,
    /// There may be none.
    Optional,
}

/// Adds what does not fit to `problems`.
pub(super) fn check(
    config: &Config,
    settings: &Settings,
    seeds: Seeds,
    problems: &mut Vec<Problem>,
) {
    let mut checker = Checker {
        config,
        settings,
        problems,
    };
    checker.nodes(seeds);
    checker.limits();
    checker.listeners();
    checker.open_door();
    checker.policy();
}

struct Checker<'a> {
    config: &'a Config,
    settings: &'a Settings,
    problems: &'a mut Vec<Problem>,
}

/// Pairs of which the first must not be more than the second.
const ORDERED: [(&str, &str); 6] = [
    ("limits.argument", "limits.request"),
    ("limits.inline", "limits.request"),
    ("limits.preauth_argument", "limits.argument"),
    ("limits.preauth_arguments", "limits.arguments"),
    ("limits.client_output_soft", "limits.client_output_hard"),
    ("timeouts.command", "timeouts.slow_command"),
];

impl Checker<'_> {
    fn nodes(&mut self, seeds: Seeds) {
        if seeds == Seeds::Required && self.config.cluster.nodes.is_empty() {
            self.report(
                &["cluster.nodes"],
                "no seed node: set cluster.nodes or --nodes".to_owned(),
            );
        }
        let map = &self.config.cluster.address_map;
        for (i, (announced, _)) in map.iter().enumerate() {
            if map[..i].iter().any(|(earlier, _)| earlier == announced) {
                self.report(
                    &["cluster.address_map"],
                    format!("{announced} is mapped twice"),
                );
            }
        }
    }

    fn limits(&mut self) {
        for (small, large) in ORDERED {
            let (a, b) = (self.settings.of(small), self.settings.of(large));
            if magnitude(&a.value) > magnitude(&b.value) {
                let text = format!("{} is more than {large} ({})", a.show(), b.show());
                self.report(&[small, large], text);
            }
        }
    }

    fn listeners(&mut self) {
        let listeners = &self.config.listen.addresses;
        if listeners.is_empty() {
            self.report(&["listen.addresses"], "no address to listen on".to_owned());
        }
        for (i, listener) in listeners.iter().enumerate() {
            if let Some(earlier) = listeners[..i].iter().find(|l| l.collides(listener)) {
                let text = match earlier == listener {
                    true => format!("{listener} is given twice"),
                    false => format!("{earlier} and {listener} cannot both be listened on"),
                };
                self.report(&["listen.addresses"], text);
            }
        }
        let Some(admin) = self.config.admin.listen.map(ListenAddr::Tcp) else {
            return;
        };
        if let Some(listener) = listeners.iter().find(|l| l.collides(&admin)) {
            let text = format!(
                "{admin} is where clients connect (listen.addresses: {listener}); choose another port"
            );
            self.report(&["admin.listen", "listen.addresses"], text);
        }
    }

    /// The cluster wants a password, and slotway would lend its own to everybody who can reach it.
    fn open_door(&mut self) {
        let is_set = |name| matches!(&self.settings.of(name).value, Value::Path(p) if !p.as_os_str().is_empty());
        let (upstream, clients) = (
            is_set("upstream.password_file"),
            is_set("auth.password_file"),
        );
        if self.config.upstream.username.is_some() && !upstream {
            self.report(
                &["upstream.username", "upstream.password_file"],
                "needs upstream.password_file too".to_owned(),
            );
        }
        if self.config.auth.mode == AuthMode::None {
            if clients {
                self.report(
                    &["auth.mode", "auth.password_file"],
                    "none contradicts auth.password_file: remove one of them".to_owned(),
                );
            }
            return;
        }
        let open = self.config.listen.addresses.iter().find(|l| !l.is_local());
        if let (true, false, Some(open)) = (upstream, clients, open) {
            let text = format!(
                "clients need no password but the cluster does, and {open} can be reached from other machines: \
                 slotway would be an open door into it. Set auth.password_file, or auth.mode = \"none\" if that is meant"
            );
            self.report(
                &[
                    "auth.password_file",
                    "auth.mode",
                    "upstream.password_file",
                    "listen.addresses",
                ],
                text,
            );
        }
    }

    /// Modules' commands are not known before a node was asked; all others are.
    fn policy(&mut self) {
        let policy = &self.config.policy;
        for name in policy
            .allow
            .iter()
            .filter(|name| policy.deny.contains(name))
        {
            self.report(
                &["policy.deny", "policy.allow"],
                format!("{name} is in policy.allow too"),
            );
        }
        for option in ["policy.allow", "policy.deny"] {
            let mut table = CommandTable::builtin();
            let problems = match option {
                "policy.allow" => table.apply(&policy.allow, &[]),
                _ => table.apply(&[], &policy.deny),
            };
            for problem in problems {
                let text = problem.strip_prefix(option).unwrap_or(&problem);
                self.report(&[option], text.trim_start_matches(": ").to_owned());
            }
        }
    }

    /// Reports a problem of the first of these options, at the place where the first written one of them was
    /// written; unless one of them could not be read, which has been reported and may be the reason.
    fn report(&mut self, options: &[&'static str], text: String) {
        let settings: Vec<&Setting> = options.iter().map(|name| self.settings.of(name)).collect();
        if settings.iter().all(|s| s.sound) {
            let written = settings.iter().find(|s| s.is_written());
            let origin = written.map_or(&Origin::Default, |s| &s.origin);
            self.problems
                .push(Problem::new(origin, format!("{}: {text}", options[0])));
        }
    }
}

fn magnitude(value: &Value) -> u128 {
    match value {
        Value::Integer(n) | Value::Size(n) => u128::from(*n),
        Value::Duration(duration) => duration.as_millis(),
        other => unreachable!("{other:?} has no order"),
    }
}
