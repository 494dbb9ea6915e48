//! The live overlay: what the cluster's own nodes say about their commands, on top of the snapshot.
//!
//! So a module's commands, and next year's, are known on the day a server has them. Called by `topology` with the
//! nodes' raw replies to `COMMAND`.

use std::collections::{BTreeMap, BTreeSet};

use super::classify::classify;
use super::facts::Facts;
use super::node_commands::{NodeCommands, OverlayError};
use super::policy::Policy;
use super::snapshot;
use super::table::CommandTable;

impl CommandTable {
    /// This table as the nodes with these raw RESP2 replies to `COMMAND` describe it. A command of the snapshot that
    /// at least one node has is kept, with that node's facts; one that no node has is dropped, unless it is answered
    /// here. Of commands that are not in the snapshot, those that all nodes have are added.
    pub fn overlay(&self, command_replies: &[&[u8]]) -> Result<Self, OverlayError> {
        let nodes = command_replies
            .iter()
            .map(|reply| NodeCommands::parse(reply))
            .collect::<Result<Vec<_>, _>>()?;
        let mut merged = BTreeMap::new();
        let mut snapshot_names = BTreeSet::new();
        for known in snapshot::facts() {
            snapshot_names.insert(known.name.clone());
            if let Some(facts) = known_command(known, &nodes) {
                merged.insert(facts.name.clone(), facts);
            }
        }
        if let Some((first, others)) = nodes.split_first() {
            for (name, facts) in &first.commands {
                let new = !snapshot_names.contains(name);
                if new && others.iter().all(|node| node.commands.contains_key(name)) {
                    merged.insert(name.clone(), facts.clone());
                }
            }
        }
        let mut table = Self::build(merged, self.metric_names());
        table.permissions = self.permissions.clone();
        table.apply_permissions();
        Ok(table)
    }
}

/// What to believe about a command of the snapshot; `None` if no node has it.
fn known_command(known: Facts, nodes: &[NodeCommands]) -> Option<Facts> {
    let local = matches!(classify(&known).policy, Policy::Local(_));
    if nodes.is_empty() || local {
        return Some(known);
    }
    let mut described = nodes
        .iter()
        .filter_map(|node| node.commands.get(&known.name));
    let Some(first) = described.next() else {
        let undescribed = nodes.iter().any(|node| node.has_undescribed(&known));
        return undescribed.then_some(known);
    };
    let mut facts = first.clone();
    for other in described {
        facts.arity = loosest_arity(facts.arity, other.arity);
    }
    // Before 7.0 servers give the place of the keys as a range only, which says less than the snapshot does.
    if nodes
        .iter()
        .any(|node| !node.describes_keys.contains(&known.name))
    {
        facts.specs = known.specs;
    }
    Some(facts)
}

/// The arity that accepts what either accepts: the node itself then says what it does not.
fn loosest_arity(a: i32, b: i32) -> i32 {
    if a == b { a } else { -(a.abs().min(b.abs())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Keys, Mode};
    use crate::resp::{encode, parse_request};

    /// An entry as servers before 7.0 and modules give it: name, arity, flags, first key, last key, step.
    fn entry(out: &mut Vec<u8>, name: &str, flags: &[&str], range: [i64; 3]) {
        encode::array(out, 6);
        encode::bulk(out, name.as_bytes());
        encode::integer(out, -2);
        encode::array(out, flags.len());
        for flag in flags {
            encode::simple(out, flag);
        }
        for number in range {
            encode::integer(out, number);
        }
    }

    fn reply(entries: &[(&str, &[&str], [i64; 3])]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::array(&mut out, entries.len());
        for (name, flags, range) in entries {
            entry(&mut out, name, flags, *range);
        }
        out
    }

    const NO_KEYS: [i64; 3] = [0, 0, 0];

    #[test]
    fn unknown_commands_get_a_policy_by_their_flags() {
        let node = reply(&[
            ("get", &["readonly", "fast"], [1, 1, 1]),
            ("JSON.SET", &["write"], [1, 1, 1]),
            ("JSON.MGET", &["readonly"], [1, 1, 1]),
            ("ft.list", &["readonly"], NO_KEYS),
            ("x.wait", &["write", "blocking"], [1, 1, 1]),
            ("x.admin", &["admin", "readonly"], NO_KEYS),
            ("x.hear", &["pubsub"], [1, -1, 1]),
            ("x.watch", &["noscript", "fast"], [1, -1, 1]),
            ("x.write", &["write"], NO_KEYS),
            ("x.code", &["write", "movablekeys"], NO_KEYS),
        ]);
        let mut table = CommandTable::builtin().overlay(&[&node]).unwrap();
        let policy = |table: &CommandTable, name: &str| table.by_name(name).unwrap().policy;
        assert_eq!(policy(&table, "json.set"), Policy::Route);
        assert!(matches!(policy(&table, "json.mget"), Policy::Split(_)));
        assert_eq!(policy(&table, "ft.list"), Policy::AnyNode);
        assert_eq!(policy(&table, "x.wait"), Policy::Mode(Mode::Blocking));
        for refused in ["x.admin", "x.hear", "x.watch", "x.write"] {
            assert!(
                matches!(policy(&table, refused), Policy::Refused(_)),
                "{refused}"
            );
        }
        assert_eq!(policy(&table, "x.code"), Policy::Route);
        assert!(table.by_name("set").is_none(), "no node has it");

        let allow = ["x.admin", "x.hear", "x.watch", "x.write", "y.new"].map(str::to_owned);
        assert_eq!(
            table.apply(&allow, &[]).len(),
            2,
            "only what cannot change a connection may be allowed"
        );
        assert_eq!(policy(&table, "x.watch"), Policy::Route);
        let again = table.overlay(&[&node]).unwrap();
        assert_eq!(
            policy(&again, "x.write"),
            Policy::Home,
            "an overlay keeps what the operator allows"
        );
        let number = |table: &CommandTable| table.by_name("x.write").unwrap().metric;
        assert_eq!(
            number(&again),
            number(&table),
            "and the numbers of commands"
        );
    }

    #[test]
    fn of_new_commands_only_those_of_all_nodes_are_served() {
        let one = reply(&[
            ("get", &[], [1, 1, 1]),
            ("m.both", &[], [1, 1, 1]),
            ("m.one", &[], [1, 1, 1]),
        ]);
        let two = reply(&[("set", &[], [1, 1, 1]), ("m.both", &[], [1, 1, 1])]);
        let table = CommandTable::builtin().overlay(&[&one, &two]).unwrap();
        assert!(table.by_name("m.both").is_some() && table.by_name("m.one").is_none());
        assert!(table.by_name("get").is_some() && table.by_name("set").is_some());
    }

    #[test]
    fn an_older_server_says_less_and_the_snapshot_fills_in() {
        let node = reply(&[
            ("zunion", &["readonly", "movablekeys"], NO_KEYS),
            ("config", &["admin"], NO_KEYS),
        ]);
        let table = CommandTable::builtin().overlay(&[&node]).unwrap();
        assert!(table.by_name("config|get").is_some());
        assert!(table.by_name("object|freq").is_none());
        let mut bytes = Vec::new();
        encode::command(&mut bytes, &["ZUNION", "2", "a", "b"]);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        let mut keys = Keys::new();
        table
            .lookup(&request)
            .unwrap()
            .keys(&request, &mut keys)
            .unwrap();
        assert_eq!(keys[..], [2, 3]);
    }

    #[test]
    fn what_is_no_list_of_commands_is_an_error() {
        let overlay = |reply: &[u8]| CommandTable::builtin().overlay(&[reply]).map(|_| ());
        assert_eq!(overlay(b"*1\r\n"), Err(OverlayError::Syntax));
        assert_eq!(overlay(b"nonsense"), Err(OverlayError::Syntax));
        for wrong in [
            &b"-NOPERM no\r\n"[..],
            b"*0\r\n",
            b"*1\r\n:1\r\n",
            b"*1\r\n*1\r\n+get\r\n",
            b"+OK\r\n",
            b"$-1\r\n",
        ] {
            assert!(
                matches!(overlay(wrong), Err(OverlayError::Shape(_))),
                "{wrong:?}"
            );
        }
    }
}
