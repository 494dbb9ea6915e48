//! The figures as plain text, for scripts and dumb terminals.

use super::figures::Figures;
use super::tables::{Cells, commands, errors, limits, nodes, totals};
use super::text::clean;
use std::net::SocketAddr;

/// Columns of the proxy's version.
const VERSION_MAX: usize = 20;

/// All figures of an interval.
pub(super) fn plain(figures: &Figures, addr: SocketAddr) -> String {
    let version = clean(&figures.version, VERSION_MAX);
    let mut text = format!("slotway {version} at {addr}, {:.1} s\n", figures.seconds);
    let hits = figures.limits.iter().map(|(name, n)| (name.as_str(), *n));
    let lines = totals(figures).into_iter();
    for line in lines.chain([errors(figures), limits(hits)]) {
        text.push_str(&line);
        text.push('\n');
    }
    for cells in [commands(figures), nodes(figures)] {
        text.push('\n');
        table(&mut text, &cells);
    }
    text
}

fn table(text: &mut String, cells: &Cells) {
    let widths = cells.widths();
    let lines = cells.rows.iter().map(|row| Cells::line(row, &widths));
    for line in std::iter::once(Cells::line(&cells.head, &widths)).chain(lines) {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
