//! The checked-in description of the commands of all supported servers, and how it is written.
//!
//! `snapshot.txt` has one line per command: name, arity, the servers that have it, flags, key specifications. It is
//! made from the servers' own `COMMAND` by `tests/command_table.rs`, which also checks that it still says what they
//! say; `SLOTWAY_WRITE_SNAPSHOT=1 cargo test --test command_table` writes it anew.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::facts::{Facts, Flags};
use super::key_spec::KeySpec;
use super::node_commands::{NodeCommands, OverlayError};

const SNAPSHOT: &str = include_str!("snapshot.txt");

/// Stands for an empty list.
const NOTHING: &str = "-";

/// Every command of the snapshot.
pub(super) fn facts() -> impl Iterator<Item = Facts> {
    SNAPSHOT
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(parse_line)
}

/// A line that cannot be read is left out; the tests show that there is none.
fn parse_line(line: &str) -> Option<Facts> {
    let mut fields = line.split_ascii_whitespace();
    let name = fields.next()?.to_owned();
    let arity = fields.next()?.parse().ok()?;
    let _servers = fields.next()?;
    let mut flags = Flags::default();
    for flag in fields.next()?.split(',') {
        flags.insert_name(flag);
    }
    let specs = fields.map(KeySpec::parse).collect::<Option<_>>()?;
    Some(Facts {
        name,
        arity,
        flags,
        specs,
    })
}

/// The text of a snapshot of these servers, each with its label (`redis-7.0`) and its raw RESP2 reply to `COMMAND`.
/// Where servers differ about a command, the last one is believed.
pub fn render(servers: &[(&str, &[u8])]) -> Result<String, OverlayError> {
    let mut merged: BTreeMap<String, (Vec<&str>, Facts)> = BTreeMap::new();
    for (label, reply) in servers {
        for facts in NodeCommands::parse(reply)?.into_facts() {
            let entry = merged
                .entry(facts.name.clone())
                .or_insert_with(|| (Vec::new(), facts.clone()));
            entry.0.push(label);
            entry.1 = facts;
        }
    }
    let mut out = String::from(
        "# Every command of the supported servers, from their own COMMAND. Written by tests/command_table.rs, not by hand.\n\
         # name arity servers flags key-specifications (src/command/key_spec.rs says how to read them)\n",
    );
    for (name, (labels, facts)) in merged {
        let everywhere = labels.len() == servers.len();
        let labels = if everywhere {
            "all".to_owned()
        } else {
            labels.join(",")
        };
        let mut flags = facts.flags.names().collect::<Vec<_>>().join(",");
        if flags.is_empty() {
            flags.push_str(NOTHING);
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{name} {} {labels} {flags}", facts.arity);
        for spec in &facts.specs {
            let _ = write!(out, " {spec}");
        }
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let lines = SNAPSHOT
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count();
        assert!(lines > 350, "{lines}");
        assert_eq!(facts().count(), lines);
    }

    #[test]
    fn a_broken_line_is_left_out_without_a_panic() {
        for line in [
            "",
            "get",
            "get x all -",
            "get 2 all - 1:",
            "get 2 all - 1:0/1",
            "get 2 all - :0/1/0",
        ] {
            assert_eq!(parse_line(line), None, "{line}");
        }
    }
}
