//! The figures of now, each with its course over the last two minutes as a line.

use super::html::{Html, bytes, percent, short, time_or_dash};
use crate::observe::{Figures, SAMPLES_MAX};
use std::fmt::Write;

/// Size of a course, in units of its view box.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 40.0;

/// One card for each figure.
pub(super) fn cards(html: &mut Html, now: &Figures, course: &[Figures]) {
    let hits = now.hit_rate.map_or_else(|| "–".to_owned(), percent);
    let of = |value: fn(&Figures) -> Option<f64>| course.iter().map(value).collect::<Vec<_>>();
    let traffic = format!("{}/s in, {}/s out", bytes(now.received), bytes(now.sent));
    html.raw("<section class=cards>");
    let cards = [
        (
            "Commands per second",
            short(now.commands),
            traffic,
            of(|f| Some(f.commands)),
        ),
        (
            "Latency, p99",
            time_or_dash(now.p99),
            format!("p50 {}", time_or_dash(now.p50)),
            of(|f| f.p99),
        ),
        (
            "Hit rate",
            hits,
            "of keys and fields looked up".to_owned(),
            of(|f| f.hit_rate),
        ),
        (
            "Errors per second",
            short(now.errors),
            "all that clients got".to_owned(),
            of(|f| Some(f.errors)),
        ),
        (
            "Clients",
            now.clients.to_string(),
            "connected".to_owned(),
            of(|f| Some(f.clients as f64)),
        ),
    ];
    for (name, value, more, course) in &cards {
        html.raw("<div class=card><h2>")
            .text(name)
            .raw("</h2><p class=value>")
            .text(value);
        html.raw("</p><p class=more>").text(more).raw("</p>");
        line(html, name, course);
        html.raw("</div>");
    }
    html.raw("</section>");
}

/// From 0 to the largest value; the newest is at the right.
fn line(html: &mut Html, name: &str, values: &[Option<f64>]) {
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let step = WIDTH / (SAMPLES_MAX - 2) as f64;
    let from = WIDTH - step * values.len().saturating_sub(1) as f64;
    let (mut path, mut begun) = (String::new(), false);
    for (at, value) in values.iter().enumerate() {
        let Some(value) = value else {
            begun = false;
            continue;
        };
        let height = if most > 0.0 { value / most } else { 0.0 };
        let (x, y) = (
            from + step * at as f64,
            HEIGHT - 1.0 - height * (HEIGHT - 2.0),
        );
        let command = if begun { 'L' } else { 'M' };
        // Writing to a string does not fail.
        let _ = write!(path, "{command}{x:.1} {y:.1}");
        begun = true;
    }
    html.raw(
        "<svg class=course role=img preserveAspectRatio=none viewBox=\"0 0 240 40\" aria-label=\"",
    );
    html.text(name)
        .raw(", the last two minutes\"><path d=\"")
        .text(&path)
        .raw("\"/></svg>");
}
