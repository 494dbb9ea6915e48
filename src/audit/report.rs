//! The report of an account: as text for a terminal, and as JSON. `html` has the page.

use super::findings::{Audit, Seen, Told, Who};
use super::kinds::{KINDS, Row, Severity};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// So many clients and commands of a kind are in the text and on the page; JSON has all.
pub(super) const ROWS_SHOWN: usize = 10;

pub(super) type Rows = [(Who, Seen)];

impl Audit {
    /// As JSON.
    pub fn json(&self) -> Value {
        let told = self.told();
        let findings = told.kinds().map(|(row, rows)| {
            let found = rows.iter().map(|(who, seen)| {
                json!({
                    "client": who.client,
                    "command": who.command,
                    "count": seen.count,
                    "first": seconds(seen.first),
                    "last": seconds(seen.last),
                    "examples": seen.examples,
                })
            });
            json!({
                "kind": row.id,
                "severity": row.severity.label(),
                "what": row.what,
                "behind_slotway": row.behind,
                "cluster_client": row.cluster_client,
                "remedy": row.remedy,
                "count": total(rows),
                "found": found.collect::<Vec<_>>(),
            })
        });
        json!({
            "since": seconds(told.started),
            "commands": told.commands,
            "unchanged": told.unchanged(),
            "fails": told.of(Severity::Fails),
            "changes": told.of(Severity::Changes),
            "costs_more": told.of(Severity::Costs),
            "not_judged": told.not_judged,
            "findings": findings.collect::<Vec<_>>(),
        })
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let told = self.told();
        let mut out = format!("{}\n", told.verdict());
        for (row, rows) in told.kinds() {
            // Writing to a string cannot fail.
            let (severity, count) = (row.severity.label(), times(rows));
            let _ = write!(
                out,
                "\n{} ({severity}, {count})\n  \
                 behind slotway   {}\n  cluster client   {}\n  remedy           {}\n",
                row.what, row.behind, row.cluster_client, row.remedy
            );
            for (who, seen) in rows.iter().take(ROWS_SHOWN) {
                let _ = writeln!(
                    out,
                    "  {:>8}  {} by {}",
                    seen.count,
                    who.command.to_uppercase(),
                    who.client.escape_debug()
                );
                for example in &seen.examples {
                    let _ = writeln!(out, "            {example}");
                }
            }
            if let Some(more @ 1..) = rows.len().checked_sub(ROWS_SHOWN) {
                let _ = writeln!(out, "            and {more} more clients and commands");
            }
        }
        out
    }
}

impl Told {
    /// In one sentence.
    pub(super) fn verdict(&self) -> String {
        let all = self.commands;
        let seen = match all {
            0 => "No command was seen yet.".to_owned(),
            _ => format!(
                "{} of {all} commands would be served as by one server; {} would fail, {} would change, {} cost more.",
                self.unchanged(),
                self.of(Severity::Fails),
                self.of(Severity::Changes),
                self.of(Severity::Costs)
            ),
        };
        match self.not_judged {
            0 => seen,
            1 => format!("{seen} One was too long to be judged, or no command at all."),
            more => format!("{seen} {more} were too long to be judged, or no commands at all."),
        }
    }

    /// The kinds that were found, each with its rows.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&'static Row, &Rows)> {
        KINDS.iter().filter_map(|row| {
            let start = self.rows.iter().position(|(who, _)| who.kind == row.kind)?;
            let rows = &self.rows[start..];
            let end = rows.iter().position(|(who, _)| who.kind != row.kind);
            Some((row, &rows[..end.unwrap_or(rows.len())]))
        })
    }
}

fn total(rows: &Rows) -> u64 {
    rows.iter().map(|(_, seen)| seen.count).sum()
}

/// How often, in words.
pub(super) fn times(rows: &Rows) -> String {
    match total(rows) {
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}

/// Seconds since 1970, to the millisecond.
fn seconds(at: Duration) -> f64 {
    at.as_millis() as f64 / 1e3
}
