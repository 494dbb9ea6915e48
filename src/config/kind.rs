//! The types options have: from what a source wrote ([`Raw`]) to a checked [`Value`]. The table says which
//! option has which type; `reader` turns values into the fields the proxy reads.

use super::raw::Raw;
use super::units::{parse_duration, parse_size, show_duration, show_size};
use super::value::{ListenAddr, Value};
use crate::cluster::NodeAddr;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

/// What values an option takes.
#[derive(Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
        /// A word allowed instead, such as `auto`.
        word: Option<&'static str>,
    },
    /// Bytes, written `64MB`.
    Size {
        /// Smallest, in bytes.
        min: u64,
        /// Largest, in bytes.
        max: u64,
        /// A word allowed instead, such as `auto`.
        word: Option<&'static str>,
    },
    /// Written `2s`, `150ms`.
    Duration {
        /// Shortest, in milliseconds.
        min_ms: u64,
        /// Longest, in milliseconds.
        max_ms: u64,
        /// A word allowed instead, such as `off`.
        word: Option<&'static str>,
    },
    /// File permissions in octal.
    Mode,
    /// Any text; empty: not set.
    Text,
    /// A file name; empty: not set.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `IP:PORT`, or the word.
    Address {
        /// The word allowed instead.
        word: &'static str,
    },
    /// List of listeners: `IP:PORT` or `unix:/path`.
    Listeners,
    /// List of nodes: `HOST:PORT`.
    Nodes,
    /// List of pairs of nodes: `HOST:PORT=HOST:PORT`.
    NodePairs,
    /// List of command names, subcommands as `config|set`.
    Commands,
    /// List of groups of keys: `NAME=PATTERN`.
    Groups,
}

/// Patterns of groups of keys.
const GROUPS_MAX: usize = 64;

/// Bytes of a group's name.
const GROUP_NAME_MAX: usize = 64;

/// Bytes of one pattern.
const GROUP_PATTERN_MAX: usize = 256;

impl Kind {
    /// How the type is called in tables.
    pub fn describe(&self) -> String {
        let kind = match self {
            Self::Bool => "boolean",
            Self::Integer { .. } => "integer",
            Self::Size { .. } => "size",
            Self::Duration { .. } => "duration",
            Self::Mode => "octal",
            Self::Text => "text",
            Self::Path => "file name",
            Self::Choice(words) => return words.join(", "),
            Self::Address { .. } => "address",
            Self::Listeners => "addresses",
            Self::Nodes => "nodes",
            Self::NodePairs => "pairs of nodes",
            Self::Commands => "commands",
            Self::Groups => "groups of keys",
        };
        self.word()
            .map_or_else(|| kind.to_owned(), |word| format!("{kind}, {word}"))
    }

    /// The value that `raw` writes. The error says what is wrong with it, not where it is.
    pub(super) fn parse(&self, raw: &Raw) -> Result<Value, String> {
        let Some(word) = self.word() else {
            return self.parse_regular(raw);
        };
        if raw.text() == Some(word) {
            return Ok(Value::Word(word));
        }
        self.parse_regular(raw)
            .map_err(|error| format!("{error}; or {word}"))
    }

    fn parse_regular(&self, raw: &Raw) -> Result<Value, String> {
        match self {
            Self::Bool => raw.boolean().map(Value::Bool),
            Self::Integer { min, max, .. } => {
                within(raw.integer()?, *min..=*max, |n| n).map(Value::Integer)
            }
            Self::Size { min, max, .. } => {
                let bytes = raw.text().map_or_else(|| raw.integer(), parse_size)?;
                within(bytes, *min..=*max, show_size).map(Value::Size)
            }
            Self::Duration { min_ms, max_ms, .. } => {
                let show = |ms| show_duration(Duration::from_millis(ms));
                let text = raw.text().ok_or_else(|| {
                    format!(
                        "{} is not a duration: write \"2s\", \"150ms\", \"1m\"",
                        raw.show()
                    )
                })?;
                let ms = u64::try_from(parse_duration(text)?.as_millis()).unwrap_or(u64::MAX);
                within(ms, *min_ms..=*max_ms, show)
                    .map(|ms| Value::Duration(Duration::from_millis(ms)))
            }
            Self::Mode => within(raw.octal()?, 0..=0o777, |n| format!("0o{n:o}"))
                .map(|n| Value::Mode(n as u32)),
            Self::Text => raw.string().map(|text| Value::Text(text.to_owned())),
            Self::Path => raw.string().map(|text| Value::Path(PathBuf::from(text))),
            Self::Choice(words) => choose(raw, words),
            Self::Address { .. } => parse_address(raw.string()?).map(Value::Address),
            Self::Listeners => each(raw, ListenAddr::parse).map(Value::Listeners),
            Self::Nodes => each(raw, parse_node).map(Value::Nodes),
            Self::NodePairs => each(raw, parse_pair).map(Value::NodePairs),
            Self::Groups => groups(raw).map(Value::Groups),
            Self::Commands => each(raw, parse_command).map(Value::Commands),
        }
    }

    fn word(&self) -> Option<&'static str> {
        match self {
            Self::Integer { word, .. } | Self::Size { word, .. } | Self::Duration { word, .. } => {
                *word
            }
            Self::Address { word } => Some(word),
            _ => None,
        }
    }
}

fn within<D: Display>(
    value: u64,
    range: std::ops::RangeInclusive<u64>,
    show: impl Fn(u64) -> D,
) -> Result<u64, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (min, max) = range.into_inner();
    Err(format!(
        "{} is not between {} and {}",
        show(value),
        show(min),
        show(max)
    ))
}

fn choose(raw: &Raw, words: &'static [&'static str]) -> Result<Value, String> {
    let text = raw.string()?;
    words
        .iter()
        .find(|word| **word == text)
        .map(|word| Value::Word(word))
        .ok_or_else(|| {
            let meant = super::nearest(text, words.iter().copied())
                .map_or_else(String::new, |word| format!("; did you mean {word}?"));
            format!("{} is not one of {}{meant}", raw.show(), words.join(", "))
        })
}

/// Every item, or what is wrong with each that is wrong.
fn each<T>(raw: &Raw, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for item in raw.items()? {
        match parse(item) {
            Ok(value) => values.push(value),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems.join("; "))
    }
}

pub(super) fn parse_address(text: &str) -> Result<std::net::SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an address: write IP:PORT, such as 127.0.0.1:6379 or [::]:6379")
    })
}

fn parse_node(text: &str) -> Result<NodeAddr, String> {
    NodeAddr::parse(text)
        .filter(|node| {
            !node
                .host()
                .contains(|c: char| c.is_whitespace() || "/@[]=\"'".contains(c))
        })
        .ok_or_else(|| format!("`{text}` is not a node: write HOST:PORT, such as redis-0:6379"))
}

fn parse_pair(text: &str) -> Result<(NodeAddr, NodeAddr), String> {
    let (announced, reached) = text.split_once('=').ok_or_else(|| {
        format!(
            "`{text}` is not a pair: write ANNOUNCED=REACHED, such as 10.0.0.1:6379=127.0.0.1:7000"
        )
    })?;
    Ok((parse_node(announced.trim())?, parse_node(reached.trim())?))
}

/// A pattern may have any byte but those that cannot be written; a name becomes a label.
fn parse_group(text: &str) -> Result<(String, String), String> {
    let (name, pattern) = text.split_once('=').ok_or_else(|| {
        format!("`{text}` is no group: write NAME=PATTERN, such as sessions=sess:*")
    })?;
    let (name, pattern) = (name.trim(), pattern.trim());
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    if name.is_empty() || name.len() > GROUP_NAME_MAX || !name.chars().all(fits) {
        return Err(format!(
            "`{name}` is no name of a group: write 1 to {GROUP_NAME_MAX} letters, digits, `.`, `_`, `-`, `:`"
        ));
    }
    if ["other", "several"].contains(&name) {
        return Err(format!(
            "`{name}` is the name of keys of no group, or of more than one: give the group another"
        ));
    }
    if pattern.is_empty() || pattern.len() > GROUP_PATTERN_MAX {
        return Err(format!(
            "the pattern of group `{name}` must have 1 to {GROUP_PATTERN_MAX} bytes"
        ));
    }
    Ok((name.to_owned(), pattern.to_owned()))
}

fn groups(raw: &Raw) -> Result<Vec<(String, String)>, String> {
    let groups = each(raw, parse_group)?;
    match groups.len() > GROUPS_MAX {
        true => Err(format!(
            "{} patterns are too many: at most {GROUPS_MAX}, for each of them is tried for each key",
            groups.len()
        )),
        false => Ok(groups),
    }
}

/// Whether the command exists is known to the command table, not here.
fn parse_command(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-| ".contains(c);
    let words: Vec<&str> = text
        .split([' ', '|'])
        .filter(|word| !word.is_empty())
        .collect();
    if !words.is_empty() && text.chars().all(fits) {
        Ok(words.join("|").to_ascii_lowercase())
    } else {
        Err(format!(
            "`{text}` is not a command: write [\"flushall\", \"config|set\"], in single quotes for a shell"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Result<Value, String> {
        crate::config::find(name)
            .unwrap()
            .kind
            .parse(&Raw::from_text(text))
    }

    #[test]
    fn values_of_each_type() {
        for (name, text, shown) in [
            ("policy.split_writes", "false", "false"),
            ("limits.clients", "42", "42"),
            ("limits.memory", "auto", "\"auto\""),
            ("limits.memory", "1024MB", "\"1GB\""),
            ("timeouts.idle", "off", "\"off\""),
            ("timeouts.command", "1500ms", "\"1500ms\""),
            ("listen.unix_mode", "0660", "\"660\""),
            ("upstream.username", "007", "\"007\""),
            ("upstream.password_file", "/run/secret", "\"/run/secret\""),
            ("log.format", "json", "\"json\""),
            ("admin.listen", "[::1]:1", "\"[::1]:1\""),
            ("admin.listen", "off", "\"off\""),
            (
                "listen.addresses",
                "[::1]:1,unix:/tmp/s",
                "[\"[::1]:1\", \"unix:/tmp/s\"]",
            ),
            ("cluster.nodes", "a:1, ::1:2", "[\"a:1\", \"[::1]:2\"]"),
            ("cluster.address_map", "a:1=b:2", "[\"a:1=b:2\"]"),
            (
                "policy.deny",
                "[\"KEYS\",\"config|set\"]",
                "[\"keys\", \"config|set\"]",
            ),
            ("policy.deny", "CONFIG SET", "[\"config|set\"]"),
        ] {
            assert_eq!(
                parse(name, text).map(|v| v.to_toml()),
                Ok(shown.to_owned()),
                "{name} {text}"
            );
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        for (name, text, problem) in [
            ("limits.clients", "0", "0 is not between 1 and 10000000"),
            ("limits.clients", "many", "`many` is not a whole number ≥ 0"),
            (
                "limits.memory",
                "1KB",
                "1KB is not between 32MB and 1048576GB; or auto",
            ),
            ("limits.request", "3GB", "3GB is not between 1KB and 2GB"),
            (
                "timeouts.command",
                "5",
                "`5` is not a duration: write 2s, 150ms, 1m, 1h",
            ),
            (
                "log.level",
                "inof",
                "`inof` is not one of error, warn, info, debug, trace; did you mean info?",
            ),
            ("log.format", "xml", "`xml` is not one of text, json"),
            (
                "admin.listen",
                "localhost",
                "`localhost` is not an address: write IP:PORT, such as 127.0.0.1:6379 or [::]:6379; or off",
            ),
            (
                "cluster.nodes",
                "a:1,b,redis://c:1",
                "`b` is not a node: write HOST:PORT, such as redis-0:6379; \
                 `redis://c:1` is not a node: write HOST:PORT, such as redis-0:6379",
            ),
            (
                "cluster.address_map",
                "a:1",
                "`a:1` is not a pair: write ANNOUNCED=REACHED, such as 10.0.0.1:6379=127.0.0.1:7000",
            ),
            (
                "policy.allow",
                "[config|set]",
                "`[config|set]` is not a command: write [\"flushall\", \"config|set\"], in single quotes for a shell",
            ),
        ] {
            assert_eq!(parse(name, text).unwrap_err(), problem, "{name} {text}");
        }
    }
}
