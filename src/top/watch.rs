//! What the live view knows: the last figures, since when nobody answers, the limits of the last minute, and what the
//! user chose. Pure: answers and the time are passed in.

use super::figures::{Figures, Order};
use super::page::Page;
use super::seen::Seen;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a limit that was reached is shown.
const LATELY: Duration = Duration::from_secs(60);
/// Limits that are kept for that.
const LIMITS_MAX: usize = 100;
/// Orders that `s` goes through, by table.
const COMMAND_ORDERS: &[Order] = &[Order::Rate, Order::P99];
const NODE_ORDERS: &[Order] = &[Order::Rate, Order::P99, Order::Errors];

/// Which table the keys are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Focus {
    #[default]
    Commands,
    Nodes,
    HotKeys,
    Slow,
}

/// In the order of the tabulator; their number divides that of all indices, so that it goes around in both directions.
const TABLES: [Focus; 4] = [Focus::Commands, Focus::Nodes, Focus::HotKeys, Focus::Slow];

/// Nobody answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) since: Instant,
    pub(super) clock: SystemTime,
    pub(super) error: String,
}

/// A limit that was reached not long ago.
#[derive(Debug)]
struct Hit {
    limit: String,
    count: f64,
    at: Instant,
}

/// A table's order and its first row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    pub(super) order: Order,
    pub(super) first_row: usize,
}

/// All that is shown.
#[derive(Debug, Default)]
pub(super) struct Watch {
    before: Option<Page>,
    /// `None` before the second answer.
    pub(super) figures: Option<Figures>,
    pub(super) lost: Option<Lost>,
    /// The keys and commands of the last answer.
    pub(super) seen: Seen,
    hits: Vec<Hit>,
    pub(super) focus: Focus,
    /// Which table is in the upper half; nodes are always in the lower.
    pub(super) upper: Focus,
    pub(super) commands: Choice,
    pub(super) nodes: Choice,
    pub(super) hot_keys: Choice,
    pub(super) slow: Choice,
}

impl Watch {
    /// The proxy answered, or did not.
    pub(super) fn answered(
        &mut self,
        answer: Result<Page, String>,
        now: Instant,
        clock: SystemTime,
    ) {
        match answer {
            Ok(page) => self.page(page, now),
            Err(error) => match &mut self.lost {
                Some(lost) => lost.error = error,
                None => {
                    self.lost = Some(Lost {
                        since: now,
                        clock,
                        error,
                    });
                }
            },
        }
    }

    fn page(&mut self, page: Page, now: Instant) {
        self.lost = None;
        if let Some(before) = &self.before {
            let seconds = page.at.duration_since(before.at).as_secs_f64();
            let topology = page.topology.clone();
            let figures = Figures::between(&before.scrape, &page.scrape, topology, seconds);
            self.reached(&figures.limits, now);
            self.figures = Some(figures);
            self.sort();
        }
        self.seen.clone_from(&page.seen);
        self.before = Some(page);
    }

    fn reached(&mut self, limits: &[(String, f64)], now: Instant) {
        self.hits.retain(|hit| now.duration_since(hit.at) < LATELY);
        for (limit, count) in limits {
            let full = self.hits.len() >= LIMITS_MAX;
            match self.hits.iter_mut().find(|hit| hit.limit == *limit) {
                Some(hit) => {
                    hit.count += count;
                    hit.at = now;
                }
                None if !full => self.hits.push(Hit {
                    limit: limit.clone(),
                    count: *count,
                    at: now,
                }),
                None => {}
            }
        }
    }

    /// The limits that were reached lately, and how often since they began to be.
    pub(super) fn limits(&self, now: Instant) -> impl Iterator<Item = (&str, f64)> {
        let lately = self
            .hits
            .iter()
            .filter(move |hit| now.duration_since(hit.at) < LATELY);
        lately.map(|hit| (hit.limit.as_str(), hit.count))
    }

    /// The table so many further gets the keys, and is shown.
    pub(super) fn switch(&mut self, by: isize) {
        let at = TABLES.iter().position(|table| *table == self.focus);
        let to = at.unwrap_or(0).wrapping_add_signed(by) % TABLES.len();
        self.focus = TABLES[to];
        if self.focus != Focus::Nodes {
            self.upper = self.focus;
        }
    }

    /// The next order of the table that gets the keys.
    pub(super) fn next_order(&mut self) {
        let orders = match self.focus {
            Focus::Commands => COMMAND_ORDERS,
            Focus::Nodes => NODE_ORDERS,
            // They come in their order.
            Focus::HotKeys | Focus::Slow => return,
        };
        let choice = self.chosen();
        let at = orders.iter().position(|order| *order == choice.order);
        choice.order = orders[at.map_or(0, |at| (at + 1) % orders.len())];
        choice.first_row = 0;
        self.sort();
    }

    /// Scrolls the table that gets the keys.
    pub(super) fn scroll(&mut self, rows: isize) {
        let figures = self.figures.as_ref();
        let last = match self.focus {
            Focus::Commands => figures.map_or(0, |figures| figures.command_rows.len()),
            Focus::Nodes => figures.map_or(0, |figures| figures.node_rows.len()),
            Focus::HotKeys => self.seen.hot_keys.len(),
            Focus::Slow => self.seen.slow.len(),
        };
        let choice = self.chosen();
        let moved = choice.first_row.saturating_add_signed(rows);
        choice.first_row = moved.min(last.saturating_sub(1));
    }

    /// What was chosen for the table that gets the keys.
    pub(super) fn chosen(&mut self) -> &mut Choice {
        match self.focus {
            Focus::Commands => &mut self.commands,
            Focus::Nodes => &mut self.nodes,
            Focus::HotKeys => &mut self.hot_keys,
            Focus::Slow => &mut self.slow,
        }
    }

    fn sort(&mut self) {
        if let Some(figures) = &mut self.figures {
            figures.sort(self.commands.order, self.nodes.order);
        }
    }
}

/// The time of day, in UTC.
pub(super) fn time_of_day(clock: SystemTime) -> String {
    let seconds = clock
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let [h, m, s] = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    format!("{h:02}:{m:02}:{s:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::scrape::Scrape;
    use crate::top::seen::HotKey;
    use crate::top::topology::Topology;

    fn page(hits: u32, at: Instant) -> Page {
        let text = format!("slotway_limit_hits_total{{limit=\"limits.clients\"}} {hits}\n");
        Page {
            scrape: Scrape::parse(&text),
            topology: Topology::default(),
            seen: Seen::default(),
            at,
        }
    }

    #[test]
    fn the_last_figures_stay_while_nobody_answers() {
        let (began, clock) = (
            Instant::now(),
            UNIX_EPOCH + Duration::from_secs(86_400 + 3_723),
        );
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut watch = Watch::default();
        for seconds in 0..2 {
            watch.answered(Ok(page(0, after(seconds))), after(seconds), clock);
            assert_eq!(watch.figures.is_some(), seconds == 1);
        }
        watch.answered(Err("first".into()), after(2), clock);
        watch.answered(Err("second".into()), after(3), UNIX_EPOCH);
        let lost = watch.lost.as_ref().unwrap();
        assert_eq!((lost.since, lost.error.as_str()), (after(2), "second"));
        assert_eq!(time_of_day(lost.clock), "01:02:03 UTC");
        assert!(watch.figures.is_some());
        watch.answered(Ok(page(0, after(4))), after(4), clock);
        assert_eq!(watch.lost, None);
        assert_eq!(watch.figures.unwrap().seconds, 3.0);
    }

    #[test]
    fn a_limit_is_shown_for_a_while() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut watch = Watch::default();
        for (seconds, hits) in [(0, 1), (1, 3), (2, 3), (3, 4)] {
            watch.answered(Ok(page(hits, after(seconds))), after(seconds), UNIX_EPOCH);
        }
        let shown: Vec<_> = watch.limits(after(62)).collect();
        assert_eq!(shown, [("limits.clients", 3.0)]);
        assert_eq!(watch.limits(after(63)).count(), 0);
    }

    #[test]
    fn each_table_has_its_turn_and_nodes_leave_the_upper_one() {
        let began = Instant::now();
        let mut page = page(0, began);
        page.seen.hot_keys = vec![HotKey::default(); 3];
        let mut watch = Watch::default();
        watch.answered(Ok(page), began, UNIX_EPOCH);
        let mut turns = Vec::new();
        for _ in 0..4 {
            watch.switch(1);
            watch.scroll(9);
            turns.push((watch.focus, watch.upper, watch.chosen().first_row));
        }
        use Focus::{Commands, HotKeys, Nodes, Slow};
        let expected = [
            (Nodes, Commands, 0),
            (HotKeys, HotKeys, 2),
            (Slow, Slow, 0),
            (Commands, Commands, 0),
        ];
        assert_eq!(turns, expected);
        watch.switch(-1);
        assert_eq!(watch.focus, Slow);
    }

    #[test]
    fn keys_are_for_one_table() {
        let mut watch = Watch::default();
        watch.next_order();
        assert_eq!(
            (watch.commands.order, watch.nodes.order),
            (Order::P99, Order::Rate)
        );
        watch.next_order();
        assert_eq!(
            watch.commands.order,
            Order::Rate,
            "there are no errors by command"
        );
        watch.switch(1);
        watch.next_order();
        watch.next_order();
        assert_eq!(
            (watch.commands.order, watch.nodes.order),
            (Order::Rate, Order::Errors)
        );
        watch.scroll(-1);
        watch.scroll(5);
        assert_eq!(watch.nodes.first_row, 0, "there are no rows");
    }
}
