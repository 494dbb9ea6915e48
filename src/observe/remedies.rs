//! What an error means, and what to do: read from the page that operators read (`deploy/errors.md`), so that there is one table.

use std::sync::LazyLock;

const PAGE: &str = include_str!("../../deploy/errors.md");

/// A row of the page.
#[derive(Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What is fixed of the message, in its order.
    pieces: Vec<&'static str>,
    /// When clients get it, or what it means.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

static ROWS: LazyLock<Vec<Remedy>> = LazyLock::new(|| rows(PAGE));

/// What the page says of an error, given by its text without the leading `-`: the row with the longest message that fits.
pub(super) fn remedy(text: &str) -> Option<&'static Remedy> {
    let fitting = ROWS.iter().filter(|row| row.fits(text));
    fitting.max_by_key(|row| row.pieces.iter().map(|piece| piece.len()).sum::<usize>())
}

impl Remedy {
    fn fits(&self, text: &str) -> bool {
        // What stands in brackets comes behind an error of a node's own.
        let mut at = match self.pieces.first() {
            Some(first) if first.starts_with('(') => text.find(first).unwrap_or(text.len()),
            _ => 0,
        };
        self.pieces
            .iter()
            .enumerate()
            .all(|(n, piece)| match text[at..].find(piece) {
                Some(found) if n > 0 || found == 0 => {
                    at += found + piece.len();
                    true
                }
                _ => false,
            })
    }
}

/// A row for each message: the first column of the tables has them in backticks.
fn rows(page: &'static str) -> Vec<Remedy> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("| "));
    let columns = lines.map(|line| {
        line.trim_end_matches(" |")
            .splitn(3, " | ")
            .collect::<Vec<_>>()
    });
    let mut rows = Vec::new();
    for columns in columns {
        let [messages, cause, remedy] = columns[..] else {
            continue;
        };
        for message in messages.split('`').skip(1).step_by(2) {
            let pieces = message.split('…').filter(|piece| !piece.is_empty());
            rows.push(Remedy {
                pieces: pieces.collect(),
                cause,
                remedy,
            });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_found_by_what_clients_get() {
        for (text, cause, does) in [
            (
                "CLUSTERDOWN Hash slot not served",
                "timeouts.unavailable",
                "mend",
            ),
            (
                "CLUSTERDOWN slotway: the primary of slot 77 is unreachable; try again later",
                "neither",
                "bring the node back",
            ),
            (
                "CLUSTERDOWN slotway: no topology yet (cannot connect); see cluster.nodes and /readyz",
                "no node has told",
                "cluster.nodes",
            ),
            (
                "ERR slotway: 'keys' does this",
                "refused on purpose",
                "slotway explain",
            ),
            (
                "ERR slotway: something else",
                "cannot be told",
                "as the text says",
            ),
            (
                "ERR slotway: no reply in time, outcome unknown",
                "no reply within",
                "keeps the node busy",
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                "from disk",
                "wait",
            ),
            (
                "NOREPLICAS x (slotway: 10.0.0.1:7000 has failed, 2 others done it; repeat it, FUNCTION LOAD and FUNCTION RESTORE with REPLACE)",
                "some of them",
                "repeat it",
            ),
        ] {
            let row = remedy(text).unwrap_or_else(|| panic!("{text}"));
            assert!(row.cause.contains(cause), "{text}: {}", row.cause);
            assert!(row.remedy.contains(does), "{text}: {}", row.remedy);
        }
        for text in ["WRONGTYPE Operation against a key", "", "ERR syntax error"] {
            assert_eq!(remedy(text), None, "{text}");
        }
    }

    #[test]
    fn every_row_of_the_page_is_read() {
        let lines = PAGE.lines().filter(|line| line.starts_with("| `"));
        let messages: usize = lines
            .map(|line| {
                line.split(" | ")
                    .next()
                    .unwrap_or_default()
                    .matches('`')
                    .count()
                    / 2
            })
            .sum();
        assert_eq!(ROWS.len(), messages);
        assert!(messages > 40, "{messages}");
        assert!(
            ROWS.iter()
                .all(|row| !row.pieces.is_empty() && !row.remedy.is_empty())
        );
    }
}
