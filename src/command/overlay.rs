//! The live overlay: what the cluster's own nodes say about their commands, on top of the snapshot.
//!
//! So a module's commands, and next year's, are known on the day a server has them. Called by `topology` with the
//! nodes' raw replies to `COMMAND`.

use std::collections::{BTreeMap, BTreeSet};

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::{OwnedFrame as Frame, Resp2Frame};

use super::facts::{Facts, Flags};
use super::key_spec::{Begin, Find, KeySpec};
use super::policy::Policy;
use super::policy_rows;
use super::snapshot;
use super::table::CommandTable;

/// A node's reply to `COMMAND` that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// Not RESP2, or not complete.
    #[error("the reply to COMMAND is not valid RESP2")]
    Syntax,
    /// Valid, but not a list of commands; the text says what it is.
    #[error("the reply to COMMAND is not a list of commands: {0}")]
    Shape(String),
}

impl CommandTable {
    /// This table as the nodes with these raw RESP2 replies to `COMMAND` describe it. A command of the snapshot that
    /// at least one node has is kept, with that node's facts; one that no node has is dropped, unless it is answered
    /// here. Of commands that are not in the snapshot, those that all nodes have are added.
    pub fn overlay(&self, command_replies: &[&[u8]]) -> Result<Self, OverlayError> {
        let nodes = command_replies
            .iter()
            .map(|reply| parse(reply))
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
    let local = matches!(policy_rows::of(&known).policy, Policy::Local(_));
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

/// The commands of one node.
#[derive(Debug, Default)]
pub(super) struct NodeCommands {
    commands: BTreeMap<String, Facts>,
    /// Containers, and others, whose subcommands the node lists (7.0 and later).
    lists_subcommands: BTreeSet<String>,
    /// Commands whose key specifications the node gives (7.0 and later).
    describes_keys: BTreeSet<String>,
}

impl NodeCommands {
    pub(super) fn into_facts(self) -> impl Iterator<Item = Facts> {
        self.commands.into_values()
    }

    /// Whether the node may have this subcommand: it has the container, and does not list subcommands.
    fn has_undescribed(&self, facts: &Facts) -> bool {
        facts.container().is_some_and(|container| {
            self.commands.contains_key(container) && !self.lists_subcommands.contains(container)
        })
    }

    fn add(&mut self, entry: &Frame, container: Option<&str>) -> Option<()> {
        let entry = array(entry)?;
        let name = text(entry.first()?)?.to_ascii_lowercase();
        let name = match container {
            None => name,
            Some(container) => {
                let own = name.rsplit_once('|').map_or(&*name, |(_, own)| own);
                format!("{container}|{own}")
            }
        };
        let mut flags = Flags::default();
        for flag in array(entry.get(2)?)?.iter().filter_map(text) {
            flags.insert_name(flag);
        }
        let arity = integer(entry.get(1)?)?;
        let specs = match entry.get(8).and_then(array) {
            Some(specs) => {
                self.describes_keys.insert(name.clone());
                specs.iter().map(key_spec).collect()
            }
            None => Vec::from_iter(legacy_range(entry)),
        };
        if let Some(subcommands) = entry.get(9).and_then(array) {
            self.lists_subcommands.insert(name.clone());
            // Servers nest subcommands once; what a reply nests deeper is no command.
            for subcommand in subcommands.iter().filter(|_| container.is_none()) {
                self.add(subcommand, Some(&name))?;
            }
        }
        self.commands.insert(
            name.clone(),
            Facts {
                name,
                arity,
                flags,
                specs,
            },
        );
        Some(())
    }
}

/// Reads a raw RESP2 reply to `COMMAND`.
pub(super) fn parse(reply: &[u8]) -> Result<NodeCommands, OverlayError> {
    let frame = match decode(reply) {
        Ok(Some((frame, length))) if length == reply.len() => frame,
        _ => return Err(OverlayError::Syntax),
    };
    let Frame::Array(entries) = frame else {
        let what = text(&frame).map_or_else(|| format!("{:?}", frame.kind()), str::to_owned);
        return Err(OverlayError::Shape(what));
    };
    let mut node = NodeCommands::default();
    for entry in &entries {
        node.add(entry, None)
            .ok_or_else(|| OverlayError::Shape("an entry cannot be read".to_owned()))?;
    }
    if node.commands.is_empty() {
        return Err(OverlayError::Shape("it is empty".to_owned()));
    }
    Ok(node)
}

/// First key, last key and step, as servers before 7.0 give them.
fn legacy_range(entry: &[Frame]) -> Option<KeySpec> {
    let first = integer(entry.get(3)?)?;
    let last = integer(entry.get(4)?)?;
    let step = u32::try_from(integer(entry.get(5)?)?).ok()?;
    let begin = Begin::Index(u32::try_from(first).ok().filter(|first| *first > 0)?);
    let last = if last >= 0 {
        (last - first).max(0)
    } else {
        last
    };
    Some(KeySpec {
        begin,
        find: Find::Range {
            last,
            step,
            limit: 0,
        },
    })
}

/// A key specification; parts that are not understood become unknown ones.
fn key_spec(frame: &Frame) -> KeySpec {
    let begin = field(frame, "begin_search")
        .and_then(begin)
        .unwrap_or(Begin::Unknown);
    let find = field(frame, "find_keys")
        .and_then(find)
        .unwrap_or(Find::Unknown);
    KeySpec { begin, find }
}

fn begin(frame: &Frame) -> Option<Begin> {
    let spec = field(frame, "spec")?;
    match text(field(frame, "type")?)? {
        "index" => Some(Begin::Index(number(spec, "index")?.try_into().ok()?)),
        "keyword" => {
            let word = text(field(spec, "keyword")?)?.into();
            Some(Begin::Keyword {
                word,
                from: number(spec, "startfrom")?,
            })
        }
        _ => None,
    }
}

fn find(frame: &Frame) -> Option<Find> {
    let spec = field(frame, "spec")?;
    let unsigned = |name| number(spec, name).and_then(|n| u32::try_from(n).ok());
    match text(field(frame, "type")?)? {
        "range" => Some(Find::Range {
            last: number(spec, "lastkey")?,
            step: unsigned("keystep")?,
            limit: unsigned("limit")?,
        }),
        "keynum" => Some(Find::Keynum {
            index: unsigned("keynumidx")?,
            first: unsigned("firstkey")?,
            step: unsigned("keystep")?,
        }),
        _ => None,
    }
}

/// The value of a name in an array of names and values.
fn field<'a>(frame: &'a Frame, name: &str) -> Option<&'a Frame> {
    let pairs = array(frame)?.chunks_exact(2);
    pairs
        .into_iter()
        .find(|pair| text(&pair[0]) == Some(name))
        .map(|pair| &pair[1])
}

fn number(frame: &Frame, name: &str) -> Option<i32> {
    integer(field(frame, name)?)
}

fn integer(frame: &Frame) -> Option<i32> {
    match frame {
        Frame::Integer(number) => i32::try_from(*number).ok(),
        _ => None,
    }
}

fn array(frame: &Frame) -> Option<&[Frame]> {
    match frame {
        Frame::Array(frames) => Some(frames),
        _ => None,
    }
}

fn text(frame: &Frame) -> Option<&str> {
    match frame {
        Frame::BulkString(bytes) | Frame::SimpleString(bytes) => std::str::from_utf8(bytes).ok(),
        Frame::Error(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Keys;
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
        assert!(matches!(policy(&table, "x.wait"), Policy::Later(_)));
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
            Policy::OneNode,
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
