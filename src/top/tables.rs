//! The figures as lines and cells of text, for the terminal and for plain text alike. Pure; every name is cleaned here,
//! so that nothing from the network reaches a terminal as it came.

use super::figures::Figures;
use super::seen::Seen;
use super::text::{bytes, clean, count, number, percent, seconds};
use std::fmt::Write;

/// Columns of a command's name, a node's address, a version, an error or a limit.
const NAME_MAX: usize = 32;
/// Columns of a slow command.
const COMMAND_MAX: usize = 60;
/// Errors and limits in their lines; the rest is counted.
const LISTED_MAX: usize = 6;
/// The narrowest first column of a table.
const FIRST_MIN: usize = 12;
/// Between two columns.
const GAP: &str = "  ";
/// Hash slots of a cluster.
const SLOTS: u64 = 16_384;

/// A table's title line and rows; the first column is text, the others are set flush right.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Cells {
    /// How wide each column is.
    pub(super) fn widths(&self) -> Vec<usize> {
        let width = |(at, head): (usize, &&str)| {
            let cells = self.rows.iter().map(|row| row[at].len());
            cells.max().unwrap_or(0).max(head.len())
        };
        self.head.iter().enumerate().map(width).collect()
    }

    /// The same; if they do not fit into `columns`, the first is what is left, as long as something is.
    pub(super) fn widths_within(&self, columns: usize) -> Vec<usize> {
        let mut widths = self.widths();
        let all = widths.iter().map(|width| width + GAP.len()).sum::<usize>() - GAP.len();
        let over = all.saturating_sub(columns);
        widths[0] = widths[0].saturating_sub(over).max(FIRST_MIN);
        widths
    }

    /// A row or the title line in these widths.
    pub(super) fn line(row: &[impl AsRef<str>], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, (cell, &width)) in row.iter().zip(widths).enumerate() {
            let cell = cell.as_ref();
            // Writing to a string cannot fail.
            let _ = match at {
                0 => write!(line, "{:<width$}", clean(cell, width)),
                _ => write!(line, "{GAP}{cell:>width$}"),
            };
        }
        line
    }
}

/// The totals: commands, clients, topology.
pub(super) fn totals(figures: &Figures) -> [String; 3] {
    let rate = |count: f64| number(figures.per_second(count));
    let errors: f64 = figures.errors.iter().map(|(_, n)| n).sum();
    let topology = &figures.topology;
    let age = topology.age_ms.map(|ms| ms as f64 / 1000.0);
    [
        format!(
            "commands {}/s   p50 {}   p99 {}   hit rate {}   errors {}/s",
            rate(figures.commands),
            seconds(figures.p50),
            seconds(figures.p99),
            percent(figures.hit_rate),
            rate(errors),
        ),
        format!(
            "clients {}   blocked {}   pubsub {}   in {}/s   out {}/s   memory {}",
            count(figures.clients),
            count(figures.blocked),
            count(figures.pubsub),
            bytes(figures.per_second(figures.bytes_in)),
            bytes(figures.per_second(figures.bytes_out)),
            bytes(figures.memory),
        ),
        format!(
            "topology {}   {}/{SLOTS} slots   epoch {}   unconfirmed {}   age {}",
            clean(&topology.mood, NAME_MAX),
            topology.slots_covered,
            topology.epoch,
            topology.unconfirmed,
            seconds(age),
        ),
    ]
}

/// The errors of the interval, per second.
pub(super) fn errors(figures: &Figures) -> String {
    let shown = figures.errors.iter().map(|(name, n)| {
        let rate = number(figures.per_second(*n));
        format!("{} {rate}/s", clean(name, NAME_MAX))
    });
    format!("errors: {}", listed(shown))
}

/// The limits that were reached, and how often.
pub(super) fn limits<'a>(hits: impl Iterator<Item = (&'a str, f64)>) -> String {
    let shown = hits.map(|(name, n)| format!("{} {}", clean(name, NAME_MAX), count(n)));
    format!("limits reached: {}", listed(shown))
}

/// The first few, and how many more there are.
fn listed(mut texts: impl Iterator<Item = String>) -> String {
    let shown: Vec<_> = texts.by_ref().take(LISTED_MAX).collect();
    match (shown.is_empty(), texts.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The table of commands.
pub(super) fn commands(figures: &Figures) -> Cells {
    let rows = figures.command_rows.iter().map(|row| {
        vec![
            clean(&row.name, NAME_MAX),
            number(figures.per_second(row.count)),
            count(row.count),
            seconds(row.p50),
            seconds(row.p99),
            percent(row.hit_rate),
        ]
    });
    Cells {
        head: vec!["COMMAND", "RATE/s", "COUNT", "P50", "P99", "HITS"],
        rows: rows.collect(),
    }
}

/// The table of nodes.
pub(super) fn nodes(figures: &Figures) -> Cells {
    let rows = figures.node_rows.iter().map(|row| {
        let up = match (row.up, row.health.as_str()) {
            (Some(false), _) => "no".to_owned(),
            (Some(true), "" | "online") => "yes".to_owned(),
            (None, "" | "online") => "-".to_owned(),
            (_, health) => clean(health, NAME_MAX),
        };
        let role = if row.role.is_empty() { "-" } else { &row.role };
        vec![
            clean(&row.addr, NAME_MAX),
            clean(role, NAME_MAX),
            row.slots.to_string(),
            up,
            number(figures.per_second(row.count)),
            seconds(row.p99),
            count(row.in_flight),
            count(row.errors),
        ]
    });
    Cells {
        head: vec![
            "NODE", "ROLE", "SLOTS", "UP", "RATE/s", "P99", "FLIGHT", "ERRORS",
        ],
        rows: rows.collect(),
    }
}

/// The table of the keys that are asked for most.
pub(super) fn hot_keys(seen: &Seen) -> Cells {
    let rows = seen.hot_keys.iter().map(|row| {
        vec![
            clean(&row.key, NAME_MAX),
            percent(Some(row.share)),
            number(row.per_second),
            row.slot.to_string(),
            clean(&row.node, NAME_MAX),
        ]
    });
    Cells {
        head: vec!["HOT KEY", "SHARE", "RATE/s", "SLOT", "NODE"],
        rows: rows.collect(),
    }
}

/// The table of the commands that took long.
pub(super) fn slow_commands(seen: &Seen) -> Cells {
    let rows = seen.slow.iter().map(|row| {
        let mut cells = vec![clean(&row.command, COMMAND_MAX)];
        cells.extend(row.seconds.map(|part| seconds(Some(part))));
        cells.push(clean(&row.node, NAME_MAX));
        cells.push(clean(&row.client, NAME_MAX));
        cells
    });
    Cells {
        head: vec![
            "SLOW COMMAND",
            "TOOK",
            "QUEUED",
            "UPSTREAM",
            "ORDER",
            "WRITING",
            "NODE",
            "CLIENT",
        ],
        rows: rows.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::rows::{CommandRow, NodeRow};
    use crate::top::seen::{HotKey, SlowCommand};

    #[test]
    fn nothing_from_the_network_is_a_control_byte() {
        let evil = "\u{1b}]0;x\u{7}\r\n".repeat(50);
        let mut figures = Figures {
            seconds: 1.0,
            errors: vec![(evil.clone(), 1.0); 9],
            ..Figures::default()
        };
        figures.topology.mood = evil.clone();
        figures.command_rows = vec![CommandRow {
            name: evil.clone(),
            ..CommandRow::default()
        }];
        figures.node_rows = vec![NodeRow {
            addr: evil.clone(),
            role: evil.clone(),
            health: evil.clone(),
            ..NodeRow::default()
        }];
        let seen = Seen {
            hot_keys: vec![HotKey {
                key: evil.clone(),
                node: evil.clone(),
                ..HotKey::default()
            }],
            slow: vec![SlowCommand {
                command: evil.clone(),
                node: evil.clone(),
                client: evil.clone(),
                ..SlowCommand::default()
            }],
        };
        let mut texts = Vec::from(totals(&figures));
        texts.push(errors(&figures));
        texts.push(limits([(evil.as_str(), 1.0)].into_iter()));
        texts.extend(
            [
                commands(&figures),
                nodes(&figures),
                hot_keys(&seen),
                slow_commands(&seen),
            ]
            .into_iter()
            .flat_map(|t| t.rows.concat()),
        );
        for text in texts {
            assert!(
                text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()),
                "{text:?}"
            );
            assert!(text.len() < 400, "{text}");
        }
        assert!(errors(&figures).ends_with(" and 3 more"));
    }
}
