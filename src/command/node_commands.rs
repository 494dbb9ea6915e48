//! One node's reply to `COMMAND`, read: what the overlay and the snapshot are made from. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::{OwnedFrame as Frame, Resp2Frame};

use super::facts::{Facts, Flags};
use super::key_spec::{Begin, Find, KeySpec};

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

/// The commands of one node.
#[derive(Debug, Default)]
pub(super) struct NodeCommands {
    pub(super) commands: BTreeMap<String, Facts>,
    /// Containers, and others, whose subcommands the node lists (7.0 and later).
    lists_subcommands: BTreeSet<String>,
    /// Commands whose key specifications the node gives (7.0 and later).
    pub(super) describes_keys: BTreeSet<String>,
}

impl NodeCommands {
    /// Reads a raw RESP2 reply to `COMMAND`.
    pub(super) fn parse(reply: &[u8]) -> Result<Self, OverlayError> {
        let frame = match decode(reply) {
            Ok(Some((frame, length))) if length == reply.len() => frame,
            _ => return Err(OverlayError::Syntax),
        };
        let Frame::Array(entries) = frame else {
            let what = text(&frame).map_or_else(|| format!("{:?}", frame.kind()), str::to_owned);
            return Err(OverlayError::Shape(what));
        };
        let mut node = Self::default();
        for entry in &entries {
            node.add(entry, None)
                .ok_or_else(|| OverlayError::Shape("an entry cannot be read".to_owned()))?;
        }
        if node.commands.is_empty() {
            return Err(OverlayError::Shape("it is empty".to_owned()));
        }
        Ok(node)
    }

    pub(super) fn into_facts(self) -> impl Iterator<Item = Facts> {
        self.commands.into_values()
    }

    /// Whether the node may have this subcommand: it has the container, and does not list subcommands.
    pub(super) fn has_undescribed(&self, facts: &Facts) -> bool {
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
