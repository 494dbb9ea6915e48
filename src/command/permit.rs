//! `policy.allow` and `policy.deny`: the operator's changes to the policy table.

use super::policy::Policy;
use super::policy_rows::DENIED;
use super::table::CommandTable;

/// A name this close to an existing one (in edits, per three letters) is worth a suggestion.
const SUGGESTION_LETTERS_PER_EDIT: usize = 3;

/// What the operator allows and denies: names as given, lowercase, `config|set` for subcommands.
#[derive(Clone, Debug, Default)]
pub(super) struct Permissions {
    allow: Vec<String>,
    deny: Vec<String>,
}

impl CommandTable {
    /// Applies `policy.allow` and `policy.deny`; a container's name means all its subcommands. What is named by both
    /// is denied. Returns the problems, each naming its option; the rest is applied. Overlays of this table keep it.
    pub fn apply(&mut self, allow: &[String], deny: &[String]) -> Vec<String> {
        self.permissions = Permissions {
            allow: allow.iter().map(|name| normal(name)).collect(),
            deny: deny.iter().map(|name| normal(name)).collect(),
        };
        self.apply_permissions()
    }

    pub(super) fn apply_permissions(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        let Permissions { allow, deny } = self.permissions.clone();
        for name in &allow {
            problems.extend(self.allow(name));
        }
        for name in &deny {
            let named = self.named(name);
            if named.is_empty() {
                problems.extend(self.unknown("policy.deny", name));
            }
            for index in named {
                self.commands[index].policy = Policy::Refused(DENIED);
            }
        }
        problems
    }

    fn allow(&mut self, name: &str) -> Option<String> {
        let named = self.named(name);
        if named.is_empty() {
            return self.unknown("policy.allow", name);
        }
        let mut impossible = None;
        let mut served = false;
        for index in named {
            let command = &mut self.commands[index];
            match (command.policy, command.allowed) {
                // The bare container: it has the wrong number of arguments anyway.
                _ if command.subcommands.is_some() && command.allowed.is_none() => {}
                (Policy::Refused(_), Some(policy)) => {
                    command.policy = policy;
                    served = true;
                }
                (Policy::Refused(why), _) => impossible = Some(why),
                _ => served = true,
            }
        }
        let why = impossible.filter(|_| !served)?;
        Some(format!("policy.allow: '{name}' cannot be allowed: {why}"))
    }

    /// The places of the command with this name and of its subcommands.
    fn named(&self, name: &str) -> Vec<usize> {
        let is_named = |own: &str| {
            own.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('|'))
        };
        let all = self.commands.iter().enumerate();
        all.filter(|(_, command)| is_named(&command.name))
            .map(|(index, _)| index)
            .collect()
    }

    /// A problem, unless it may be a module's command, which is known once a node has been asked.
    fn unknown(&self, option: &str, name: &str) -> Option<String> {
        if name.contains('.') {
            return None;
        }
        let distance = |other: &str| strsim::damerau_levenshtein(name, other);
        let best = self.iter().min_by_key(|command| distance(&command.name));
        let close =
            |other: &str| distance(other) <= name.len().div_ceil(SUGGESTION_LETTERS_PER_EDIT);
        let hint = match best.filter(|command| close(&command.name)) {
            Some(command) => format!("; did you mean '{}'?", command.name),
            None => String::new(),
        };
        Some(format!("{option}: unknown command '{name}'{hint}"))
    }
}

/// `CONFIG SET` and `config|set` are the same.
fn normal(name: &str) -> String {
    let words: Vec<_> = name
        .split([' ', '|'])
        .filter(|word| !word.is_empty())
        .collect();
    words.join("|").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(allow: &[&str], deny: &[&str]) -> (CommandTable, Vec<String>) {
        let strings = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let mut table = CommandTable::builtin();
        let problems = table.apply(&strings(allow), &strings(deny));
        (table, problems)
    }

    fn policy(table: &CommandTable, name: &str) -> Policy {
        table.by_name(name).unwrap().policy
    }

    #[test]
    fn allows_and_denies_commands_subcommands_and_containers() {
        let (table, problems) = apply(
            &["CONFIG SET", "acl", "get"],
            &["flushall", "script", "acl|load"],
        );
        assert_eq!(problems, Vec::<String>::new());
        assert!(matches!(policy(&table, "config|set"), Policy::AllShards(_)));
        assert!(matches!(
            policy(&table, "config|rewrite"),
            Policy::Refused(_)
        ));
        assert!(matches!(
            policy(&table, "acl|setuser"),
            Policy::AllShards(_)
        ));
        assert_eq!(policy(&table, "get"), Policy::Route);
        for denied in ["flushall", "script|load", "script|flush", "acl|load"] {
            assert_eq!(policy(&table, denied), Policy::Refused(DENIED), "{denied}");
        }
        assert!(matches!(policy(&table, "flushdb"), Policy::AllShards(_)));
    }

    #[test]
    fn says_what_is_wrong_and_applies_the_rest() {
        let (table, problems) = apply(
            &["confg|set", "sync", "config|set", "qqqqqqqqq"],
            &["gett", "json.set"],
        );
        assert_eq!(
            problems[0],
            "policy.allow: unknown command 'confg|set'; did you mean 'config|set'?"
        );
        assert!(
            problems[1].starts_with("policy.allow: 'sync' cannot be allowed: "),
            "{}",
            problems[1]
        );
        assert_eq!(problems[2], "policy.allow: unknown command 'qqqqqqqqq'");
        assert!(
            problems[3].starts_with("policy.deny: unknown command 'gett'; did you mean '"),
            "{}",
            problems[3]
        );
        assert_eq!(problems.len(), 4);
        assert!(matches!(policy(&table, "config|set"), Policy::AllShards(_)));
    }
}
