//! The slot map as a picture: 16,384 slots in 128 rows of 128, coloured by owner; those on their way have a frame.

use super::html::{Html, short};
use crate::cluster::{NodeAddr, SLOTS};
use crate::observe::NodeFigures;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Slots in a row of the picture, and rows.
const SIDE: usize = 128;

const _: () = assert!(SIDE * SIDE == SLOTS);

/// Colours of owners, in the order of their addresses; beyond, they come again. Told apart on light and on dark ground, and by
/// most who see few colours.
const COLOURS: &[&str] = &[
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee7733", "#009988",
    "#bbbbbb", "#882255",
];

/// The picture, with who is who.
pub(super) fn section(html: &mut Html, topology: &Value, nodes: &[(NodeAddr, NodeFigures)]) {
    let ranges = topology["ranges"].as_array().map_or(&[][..], Vec::as_slice);
    let owners: BTreeMap<&str, usize> = ranges
        .iter()
        .filter_map(|range| range["owner"].as_str())
        .map(|owner| (owner, 0))
        .collect();
    let owners: BTreeMap<&str, usize> = owners.into_keys().zip(0..).collect();
    let mut slots = vec![0_usize; owners.len()];
    html.raw("<section><h2>Slots</h2><div class=slots><svg role=img viewBox=\"0 0 128 128\" aria-label=\"owners of the slots\">");
    for range in ranges {
        let ends =
            ["first", "last"].map(|end| range[end].as_u64().and_then(|n| usize::try_from(n).ok()));
        let ([Some(first), Some(last)], Some(owner)) = (ends, range["owner"].as_str()) else {
            continue;
        };
        let number = owners.get(owner).copied().unwrap_or(0);
        slots[number] += last + 1 - first;
        html.raw("<path fill=\"")
            .raw(COLOURS[number % COLOURS.len()])
            .raw("\" d=\"");
        html.raw(&outline(first, last))
            .raw("\"><title>")
            .text(&format!("{first}–{last}: {owner}"));
        html.raw("</title></path>");
    }
    let migrations = topology["migrations"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    for migration in migrations {
        let Some(slot) = migration["slot"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
        else {
            continue;
        };
        html.raw("<path class=moving d=\"")
            .raw(&outline(slot, slot))
            .raw("\"><title>");
        let [from, to] = ["from", "to"].map(|end| migration[end].as_str().unwrap_or("?"));
        html.text(&format!("{slot}: {from} → {to}"))
            .raw("</title></path>");
    }
    html.raw("</svg><ul>");
    for (owner, &number) in &owners {
        let load = nodes.iter().find(|(addr, _)| addr.to_string() == **owner);
        html.raw("<li><svg class=key viewBox=\"0 0 1 1\"><path fill=\"");
        html.raw(COLOURS[number % COLOURS.len()])
            .raw("\" d=\"M0 0h1v1h-1z\"/></svg> ");
        html.text(owner).raw(" <span class=more>");
        let load = load.map_or_else(String::new, |(_, node)| {
            format!(", {}/s", short(node.requests))
        });
        html.text(&format!("{} slots{load}", slots[number]))
            .raw("</span></li>");
    }
    let covered: usize = slots.iter().sum();
    if covered < SLOTS {
        let bare = SLOTS - covered;
        html.raw("<li><b class=bad>")
            .text(&format!("{bare} slots have no owner"))
            .raw("</b></li>");
    }
    if !migrations.is_empty() {
        let moving = match migrations.len() {
            1 => "1 slot is on its way".to_owned(),
            more => format!("{more} slots are on their way"),
        };
        html.raw("<li><b class=warn>")
            .text(&moving)
            .raw("</b></li>");
    }
    html.raw("</ul></div></section>");
}

/// The squares of a run of slots, as a path: row by row.
fn outline(first: usize, last: usize) -> String {
    let mut path = String::new();
    let mut at = first;
    while at <= last {
        let (row, column) = (at / SIDE, at % SIDE);
        // Whole rows are one rectangle.
        let (wide, high) = match column {
            0 if last + 1 - at >= SIDE => (SIDE, (last + 1 - at) / SIDE),
            _ => ((last + 1 - at).min(SIDE - column), 1),
        };
        let _ = write!(path, "M{column} {row}h{wide}v{high}h-{wide}z");
        at += wide * high;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_moves_and_what_nobody_owns_is_marked() {
        let mut html = Html::default();
        let topology = json!({
            "ranges": [
                {"first": 0, "last": 99, "owner": "<a>:1"},
                {"first": 100, "last": 16_380, "owner": "b:2"},
            ],
            "migrations": [{"slot": 130, "from": "b:2", "to": "<a>:1"}],
        });
        section(&mut html, &topology, &[]);
        let html = html.finish();
        for part in [
            "<path class=moving d=\"M2 1h1v1h-1z\"><title>130: b:2 → &lt;a&gt;:1</title>",
            "1 slot is on its way",
            "3 slots have no owner",
            "100 slots",
            "16281 slots",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("<a>"), "{html}");
    }

    #[test]
    fn runs_are_drawn_row_by_row() {
        assert_eq!(outline(0, 16_383), "M0 0h128v128h-128z");
        assert_eq!(outline(5, 5), "M5 0h1v1h-1z");
        assert_eq!(outline(126, 129), "M126 0h2v1h-2zM0 1h2v1h-2z");
        assert_eq!(
            outline(127, 384),
            "M127 0h1v1h-1zM0 1h128v2h-128zM0 3h1v1h-1z"
        );
    }
}
