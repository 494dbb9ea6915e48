//! The command table: every command that exists, looked up by the name of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::entry::{COMMANDS_MAX, Command, CommandId};
use super::facts::Facts;
use super::names::Names;
use super::permit::Permissions;
use super::snapshot;
use super::unknown::Unknown;
use crate::resp::Request;

/// Every command that exists and what slotway does with it. Immutable once published.
#[derive(Clone, Debug)]
pub struct CommandTable {
    pub(super) commands: Vec<Command>,
    top: Names,
    /// Every name that ever got a metric number, in order; its place is the number. `other` is the first.
    metrics: Arc<Vec<Arc<str>>>,
    /// What the operator allows and denies; an overlay applies it again.
    pub(super) permissions: Permissions,
}

impl CommandTable {
    /// The table of all supported servers, as checked in.
    pub fn builtin() -> Self {
        let facts = snapshot::facts()
            .map(|facts| (facts.name.clone(), facts))
            .collect();
        Self::build(facts, &[Arc::from("other")])
    }

    /// Builds a table; `metrics` are the names that have a number already.
    pub(super) fn build(facts: BTreeMap<String, Facts>, metrics: &[Arc<str>]) -> Self {
        let mut metrics = metrics.to_vec();
        let mut numbers: FxHashMap<Arc<str>, usize> = metrics
            .iter()
            .cloned()
            .enumerate()
            .map(|(i, name)| (name, i))
            .collect();
        let mut commands = Vec::with_capacity(facts.len());
        let mut top = Names::default();
        let mut containers: BTreeMap<String, Names> = BTreeMap::new();
        for (name, facts) in facts {
            let index = commands.len() as u32;
            match facts.container() {
                None => top.insert(name.as_bytes(), index),
                Some(container) => containers
                    .entry(container.to_owned())
                    .or_default()
                    .insert(&name.as_bytes()[container.len() + 1..], index),
            }
            let name: Arc<str> = name.into();
            let number = *numbers.entry(Arc::clone(&name)).or_insert_with(|| {
                if metrics.len() < COMMANDS_MAX {
                    metrics.push(name);
                    metrics.len() - 1
                } else {
                    CommandId::OTHER.index()
                }
            });
            commands.push(Command::new(facts, CommandId(number as u16)));
        }
        for (container, subcommands) in containers {
            if let Some(index) = top.find(container.as_bytes()) {
                commands[index as usize].subcommands = Some(Box::new(subcommands));
            }
        }
        Self {
            commands,
            top,
            metrics: Arc::new(metrics),
            permissions: Permissions::default(),
        }
    }

    /// The command that a request names. A container without a subcommand is itself a command (of the wrong arity,
    /// but for COMMAND).
    #[inline]
    pub fn lookup(&self, request: &Request<'_>) -> Result<&Command, Unknown> {
        let Some(index) = self.top.find(request.arg(0)) else {
            return Err(Unknown::command(request));
        };
        let command = &self.commands[index as usize];
        match &command.subcommands {
            None => Ok(command),
            Some(subcommands) => self.subcommand(command, subcommands, request),
        }
    }

    fn subcommand<'a>(
        &'a self,
        container: &'a Command,
        subcommands: &Names,
        request: &Request<'_>,
    ) -> Result<&'a Command, Unknown> {
        let Some(name) = request.get(1) else {
            return Ok(container);
        };
        match subcommands.find(name) {
            Some(index) => Ok(&self.commands[index as usize]),
            None => Err(Unknown::subcommand(request)),
        }
    }

    /// The command with this name, in any case, `config|set` for subcommands.
    pub fn by_name(&self, name: &str) -> Option<&Command> {
        let (top, subcommand) = match name.split_once('|') {
            Some((top, subcommand)) => (top, Some(subcommand)),
            None => (name, None),
        };
        let command = &self.commands[self.top.find(top.as_bytes())? as usize];
        match subcommand {
            None => Some(command),
            Some(subcommand) => {
                let index = command.subcommands.as_ref()?.find(subcommand.as_bytes())?;
                Some(&self.commands[index as usize])
            }
        }
    }

    /// Every command and subcommand, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter()
    }

    /// The names that metrics give to [`CommandId`]s, by its index; `other` first. Longer than it was after an
    /// overlay with new commands, otherwise the same.
    pub fn metric_names(&self) -> &[Arc<str>] {
        &self.metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::classify::{classify, rows_of};
    use crate::command::policy::Policy;
    use crate::command::{Flags, Keys, policy_rows};
    use crate::resp::{encode, parse_request};

    fn name_of(table: &CommandTable, words: &[&str]) -> Result<String, String> {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        match table.lookup(&request) {
            Ok(command) => Ok(command.name.to_string()),
            Err(unknown) => Err(String::from_utf8_lossy(unknown.text()).into_owned()),
        }
    }

    #[test]
    fn looks_up_commands_and_subcommands_in_any_case() {
        let table = CommandTable::builtin();
        assert_eq!(name_of(&table, &["GeT", "a"]).unwrap(), "get");
        assert_eq!(
            name_of(&table, &["GEORADIUSBYMEMBER_RO"]).unwrap(),
            "georadiusbymember_ro"
        );
        assert_eq!(
            name_of(&table, &["Config", "Get", "x"]).unwrap(),
            "config|get"
        );
        assert_eq!(name_of(&table, &["config"]).unwrap(), "config");
        assert_eq!(
            name_of(&table, &["foo", "a", "b"]).unwrap_err(),
            "ERR unknown command 'foo', with args beginning with: 'a' 'b' "
        );
        assert_eq!(
            name_of(&table, &["client", "x"]).unwrap_err(),
            "ERR unknown subcommand 'x'. Try CLIENT HELP."
        );
        assert_eq!(
            table.by_name("CONFIG|SET").unwrap().name.as_ref(),
            "config|set"
        );
        assert!(table.by_name("config|nope").is_none() && table.by_name("get|x").is_none());
    }

    /// The table is total: a command has a row, or it is plainly routed by key and no flag speaks against it.
    #[test]
    fn every_command_has_exactly_one_policy() {
        for facts in snapshot::facts() {
            let rows = rows_of(&facts);
            let suspicious = [
                Flags::BLOCKING,
                Flags::ADMIN,
                Flags::PUBSUB,
                Flags::NOSCRIPT,
            ];
            let plain = !facts.specs.is_empty()
                && !suspicious.iter().any(|flag| facts.flags.contains(*flag));
            assert_eq!(rows, usize::from(!plain || rows == 1), "{}", facts.name);
            if plain && rows == 0 {
                assert_eq!(classify(&facts).policy, Policy::Route, "{}", facts.name);
            }
        }
    }

    #[test]
    fn every_row_has_a_command() {
        let table = CommandTable::builtin();
        for name in policy_rows::names() {
            assert!(
                table.by_name(name).is_some() || name == "json.mget",
                "{name}"
            );
        }
    }

    /// Invariant 6: what changes a connection is never sent, not even when the operator asks for it.
    #[test]
    fn nothing_that_changes_a_connection_is_ever_sent() {
        let mut table = CommandTable::builtin();
        let every: Vec<_> = table
            .iter()
            .map(|command| command.name.to_string())
            .collect();
        table.apply(&every, &[]);
        let never = [
            "auth",
            "hello",
            "select",
            "reset",
            "quit",
            "readonly",
            "readwrite",
            "asking",
            "monitor",
            "subscribe",
            "psubscribe",
            "ssubscribe",
            "unsubscribe",
            "punsubscribe",
            "sunsubscribe",
            "multi",
            "exec",
            "discard",
            "watch",
            "unwatch",
            "sync",
            "psync",
            "replconf",
            "script|debug",
            "debug",
            "restore-asking",
            "shutdown",
            "failover",
            "wait",
            "waitaof",
        ];
        for command in table.iter() {
            let connection = command.name.starts_with("client|") && &*command.name != "client|help";
            if never.contains(&&*command.name) || connection {
                let kept = matches!(
                    command.policy,
                    Policy::Local(_) | Policy::Mode(_) | Policy::Refused(_)
                );
                assert!(kept, "{}: {:?}", command.name, command.policy);
            }
        }
    }

    #[test]
    fn first_keys_agree_with_all_keys() {
        let table = CommandTable::builtin();
        for command in table.iter() {
            let Some(first) = command.first_key() else {
                continue;
            };
            let mut words: Vec<String> = command.name.split('|').map(str::to_owned).collect();
            while words.len() < 8 {
                words.push(words.len().to_string());
            }
            let mut bytes = Vec::new();
            encode::command(&mut bytes, &words);
            let mut spans = Vec::new();
            let request = parse_request(&bytes, &mut spans).unwrap();
            let mut keys = Keys::new();
            if command.keys(&request, &mut keys).is_ok() {
                assert_eq!(keys[0] as usize, first, "{}", command.name);
                assert!(
                    command
                        .only_key()
                        .is_none_or(|only| keys[..] == [only as u32]),
                    "{}",
                    command.name
                );
            }
        }
    }

    #[test]
    fn metric_numbers_are_dense_and_named() {
        let table = CommandTable::builtin();
        let mut seen = vec![false; table.metric_names().len()];
        for command in table.iter() {
            assert_eq!(table.metric_names()[command.metric.index()], command.name);
            assert!(
                !std::mem::replace(&mut seen[command.metric.index()], true),
                "{}",
                command.name
            );
        }
        assert_eq!(
            seen.iter().filter(|seen| !**seen).count(),
            1,
            "only 'other' is nobody's"
        );
        assert!(seen.len() < COMMANDS_MAX / 2, "room for modules");
    }
}
