//! Draws what the live view knows into whatever room there is. All text comes clean from `tables`.

use super::Options;
use super::figures::Order;
use super::tables::{Cells, commands, errors, hot_keys, limits, nodes, slow_commands, totals};
use super::text::clean;
use super::watch::{Choice, Focus, Lost, Watch, time_of_day};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use std::time::Instant;

/// Below this there is only a short text.
const WIDTH_MIN: u16 = 64;
const HEIGHT_MIN: u16 = 14;
/// Longest text about what went wrong, in columns.
const ERROR_MAX: usize = 200;
/// Columns of the proxy's version.
const VERSION_MAX: usize = 20;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, watch: &Watch, options: &Options, now: Instant) {
    let area = frame.area();
    let lines = if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        short(watch)
    } else {
        whole(watch, options, area, now)
    };
    let mut text = Text::from(lines);
    if watch.lost.is_some() {
        text.style = Style::new().add_modifier(Modifier::DIM);
    }
    frame.render_widget(text, area);
}

/// What fits into a small terminal.
fn short(watch: &Watch) -> Vec<Line<'static>> {
    let size = format!("slotway top: needs {WIDTH_MIN}x{HEIGHT_MIN}");
    let mut lines = vec![Line::styled(size, BOLD)];
    if watch.lost.is_some() {
        lines.push(Line::styled("NO ANSWER", BOLD));
    }
    if let Some(figures) = &watch.figures {
        let [commands, ..] = totals(figures);
        lines.extend(
            commands
                .split("   ")
                .map(|part| Line::from(part.to_owned())),
        );
    }
    lines
}

fn whole(watch: &Watch, options: &Options, area: Rect, now: Instant) -> Vec<Line<'static>> {
    let version = watch
        .figures
        .as_ref()
        .map(|figures| clean(&figures.version, VERSION_MAX));
    let title = format!(
        "slotway {} at {}, every {:?}",
        version.unwrap_or_default(),
        options.addr,
        options.interval
    );
    let mut lines = vec![Line::styled(title, BOLD)];
    lines.push(match &watch.lost {
        Some(lost) => Line::styled(no_answer(lost, watch.figures.is_some(), now), REVERSED),
        None => Line::default(),
    });
    let help = Line::styled(keys(watch), REVERSED);
    let height = usize::from(area.height);
    let Some(figures) = &watch.figures else {
        if watch.lost.is_none() {
            lines[1] = Line::from("waiting for the second answer");
        }
        lines.resize(height - 1, Line::default());
        lines.push(help);
        return lines;
    };
    lines.extend(totals(figures).map(Line::from));
    lines.push(Line::from(errors(figures)));
    lines.push(Line::from(limits(watch.limits(now))));
    lines.push(Line::default());
    let room = height.saturating_sub(lines.len() + 2);
    let (upper, choice) = match watch.upper {
        Focus::HotKeys => (hot_keys(&watch.seen), watch.hot_keys),
        Focus::Slow => (slow_commands(&watch.seen), watch.slow),
        Focus::Commands | Focus::Nodes => (commands(figures), watch.commands),
    };
    let nodes = nodes(figures);
    // The title lines count. Nodes get what they need up to a half, and what the upper table leaves.
    let needed = nodes.rows.len() + 1;
    let for_nodes = needed.min((room / 2).max(room.saturating_sub(upper.rows.len() + 1)));
    let width = usize::from(area.width);
    let focus = |table| watch.focus == table;
    table(
        &mut lines,
        &upper,
        choice,
        focus(watch.upper),
        (width, room - for_nodes),
    );
    lines.push(Line::default());
    table(
        &mut lines,
        &nodes,
        watch.nodes,
        focus(Focus::Nodes),
        (width, for_nodes),
    );
    lines.resize(height - 1, Line::default());
    lines.push(help);
    lines
}

fn no_answer(lost: &Lost, has_figures: bool, now: Instant) -> String {
    let since = now.saturating_duration_since(lost.since).as_secs();
    format!(
        "NO ANSWER since {} ({since} s){}: {}",
        time_of_day(lost.clock),
        if has_figures { ", figures are old" } else { "" },
        clean(&lost.error, ERROR_MAX)
    )
}

fn keys(watch: &Watch) -> String {
    let name = |order| match order {
        Order::Rate => "rate",
        Order::P99 => "p99",
        Order::Errors => "errors",
    };
    let (table, order) = match watch.focus {
        Focus::Commands => ("commands", name(watch.commands.order)),
        Focus::Nodes => ("nodes", name(watch.nodes.order)),
        Focus::HotKeys => ("hot keys", "share"),
        Focus::Slow => ("slow commands", "newest"),
    };
    format!("q quit   tab table: {table}   s sort: {order}   up/down scroll ")
}

/// A title line and the rows from the first chosen one on, as far as there is room for.
fn table(
    lines: &mut Vec<Line<'static>>,
    cells: &Cells,
    choice: Choice,
    focused: bool,
    (width, height): (usize, usize),
) {
    let widths = cells.widths_within(width);
    let head = Cells::line(&cells.head, &widths);
    let style = if focused { BOLD.patch(REVERSED) } else { BOLD };
    lines.push(Line::styled(head, style));
    let first = choice.first_row.min(cells.rows.len().saturating_sub(1));
    for row in cells.rows.iter().skip(first).take(height.saturating_sub(1)) {
        lines.push(Line::from(Cells::line(row, &widths)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::figures::Figures;
    use crate::top::rows::{CommandRow, NodeRow};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::{Duration, UNIX_EPOCH};

    fn watch() -> Watch {
        let command = |name: usize| CommandRow {
            name: format!("command{name}"),
            count: 1.0,
            ..CommandRow::default()
        };
        let node = |name: usize| NodeRow {
            addr: format!("node{name}"),
            ..NodeRow::default()
        };
        let mut watch = Watch::default();
        watch.figures = Some(Figures {
            seconds: 1.0,
            command_rows: (0..50).map(command).collect(),
            node_rows: (0..50).map(node).collect(),
            ..Figures::default()
        });
        watch
    }

    fn drawn(watch: &Watch, width: u16, height: u16, now: Instant) -> String {
        let options = Options {
            addr: "127.0.0.1:1".parse().unwrap(),
            interval: Duration::from_secs(1),
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| draw(frame, watch, &options, now))
            .unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn every_size_shows_something() {
        let now = Instant::now();
        for (width, height) in [(1, 1), (20, 3), (63, 50), (64, 14), (80, 24), (300, 100)] {
            let screen = drawn(&watch(), width, height, now);
            let whole = width >= WIDTH_MIN && height >= HEIGHT_MIN;
            assert_eq!(
                screen.contains("command0"),
                whole,
                "{width}x{height}\n{screen}"
            );
            assert_eq!(
                screen.contains("node0"),
                whole,
                "{width}x{height}\n{screen}"
            );
            drawn(&Watch::default(), width, height, now);
        }
        assert!(drawn(&watch(), 40, 5, now).contains("commands 0/s"));
    }

    #[test]
    fn old_figures_are_said_to_be_old() {
        let began = Instant::now();
        let mut watch = watch();
        watch.answered(Err("gone\u{1b}[2J".into()), began, UNIX_EPOCH);
        let screen = drawn(&watch, 100, 24, began + Duration::from_secs(7));
        let said = "NO ANSWER since 00:00:00 UTC (7 s), figures are old: gone?[2J";
        assert!(screen.contains(said), "{screen}");
        assert!(screen.contains("command0"), "{screen}");
    }

    #[test]
    fn the_chosen_table_scrolls() {
        let mut watch = watch();
        watch.switch(1);
        watch.scroll(3);
        let screen = drawn(&watch, 80, 24, Instant::now());
        assert!(
            !screen.contains("node2 ") && screen.contains("node3 "),
            "{screen}"
        );
        assert!(screen.contains("command0 "), "{screen}");
    }
}
