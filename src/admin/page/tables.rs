//! The tables of the page, from the same JSON that the endpoints answer.

use super::html::{Html, bytes, percent, short, time, time_or_dash};
use crate::cluster::NodeAddr;
use crate::config::{Setting, Settings};
use crate::observe::NodeFigures;
use serde_json::Value;

/// So many rows of a table are shown; the endpoint has the others.
const ROWS_MAX: usize = 10;

/// Every node that was named.
pub(super) fn nodes(html: &mut Html, topology: &Value, figures: &[(NodeAddr, NodeFigures)]) {
    let head = [
        "node",
        "role",
        "state",
        "#slots",
        "#requests/s",
        "#p99",
        "#in flight",
        "#failures/s",
    ];
    table(
        html,
        "Nodes",
        None,
        &head,
        list(topology, "nodes"),
        |html, node| {
            let addr = text(node, "addr");
            let of = figures.iter().find(|(known, _)| known.to_string() == addr);
            let of = of.map(|(_, figures)| figures.clone()).unwrap_or_default();
            html.cell(addr).cell(text(node, "role")).raw("<td>");
            let health = text(node, "health");
            match (of.up, health) {
                (Some(false), _) => html.raw("<b class=bad>not reached</b>"),
                (_, "online") => html.raw("<span class=good>").text(health).raw("</span>"),
                _ => html.raw("<b class=warn>").text(health).raw("</b>"),
            };
            if let Some(error) = node["error"].as_str() {
                html.raw(" <span class=more>").text(error).raw("</span>");
            }
            html.raw("</td>");
            html.number(&node["slots"].to_string())
                .number(&short(of.requests));
            html.number(&time_or_dash(of.p99))
                .number(&of.in_flight.to_string());
            html.number(&short(of.errors));
        },
    );
}

pub(super) fn errors(html: &mut Html, told: &Value) {
    let head = [
        "error",
        "#times",
        "command",
        "client",
        "what it means",
        "what to do",
    ];
    table(
        html,
        "Errors",
        Some("/errors"),
        &head,
        list(told, "errors"),
        |html, error| {
            html.raw("<td class=p>")
                .text(text(error, "error"))
                .raw("</td>")
                .number(&error["count"].to_string());
            html.cell(text(error, "cmd")).cell(&whose(error));
            html.prose(text(error, "cause"))
                .prose(text(error, "remedy"));
        },
    );
}

pub(super) fn hot_keys(html: &mut Html, told: &Value) {
    let head = ["key", "#share", "#per second", "#slot", "node"];
    table(
        html,
        "Hot keys",
        Some("/hotkeys"),
        &head,
        list(told, "keys"),
        |html, key| {
            name(html, key);
            html.number(&percent(number(key, "share")))
                .number(&short(number(key, "per_second")));
            html.number(&key["slot"].to_string())
                .cell(text(key, "node"));
        },
    );
}

pub(super) fn slow_commands(html: &mut Html, told: &Value) {
    let head = [
        "command", "#took", "#queued", "#node", "#order", "#writing", "at", "client",
    ];
    table(
        html,
        "Slow commands",
        Some("/slowlog"),
        &head,
        list(told, "commands"),
        |html, slow| {
            let args = slow["args"].as_array().map_or(&[][..], Vec::as_slice);
            let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
            html.raw("<td><code>")
                .text(&args.join(" "))
                .raw("</code></td>");
            for part in [
                "micros",
                "queued_micros",
                "upstream_micros",
                "order_micros",
                "writing_micros",
            ] {
                html.number(&time(number(slow, part) / 1e6));
            }
            html.cell(text(slow, "node")).cell(&whose(slow));
        },
    );
}

pub(super) fn big_values(html: &mut Html, told: &Value) {
    let head = ["key", "#size", "", "command", "#times", "node"];
    table(
        html,
        "Big values",
        Some("/bigkeys"),
        &head,
        list(told, "keys"),
        |html, key| {
            name(html, key);
            html.number(&bytes(number(key, "value_bytes")))
                .cell(text(key, "direction"));
            html.cell(text(key, "cmd"))
                .number(&key["count"].to_string())
                .cell(text(key, "node"));
        },
    );
}

/// What somebody has written comes first.
pub(super) fn configuration(html: &mut Html, settings: &Settings) {
    html.raw("<section><details id=configuration><summary>Configuration (<a href=/config>/config</a>)</summary><table>");
    html.raw("<tr><th>option</th><th>value</th><th>from</th></tr>");
    let mut settings: Vec<&Setting> = settings.iter().collect();
    settings.sort_by_key(|setting| !setting.is_written());
    for setting in settings {
        html.raw("<tr><td><code>")
            .text(setting.option.name)
            .raw("</code></td><td><code>");
        html.text(&setting.value.to_toml()).raw("</code></td>");
        html.cell(&setting.origin.to_string()).raw("</tr>");
    }
    html.raw("</table></details></section>");
}

/// A name of a column begins with `#` if numbers are in it.
fn table(
    html: &mut Html,
    title: &str,
    path: Option<&str>,
    head: &[&str],
    rows: &[Value],
    mut row: impl FnMut(&mut Html, &Value),
) {
    html.raw("<section><h2>").text(title);
    if let Some(path) = path {
        html.raw(" <a class=more href=\"")
            .text(path)
            .raw("\">")
            .text(path)
            .raw("</a>");
    }
    html.raw("</h2>");
    if rows.is_empty() {
        html.raw("<p class=more>None.</p></section>");
        return;
    }
    html.raw("<table><tr>");
    for name in head {
        match name.strip_prefix('#') {
            Some(name) => html.raw("<th class=n>").text(name).raw("</th>"),
            None => html.raw("<th>").text(name).raw("</th>"),
        };
    }
    html.raw("</tr>");
    for value in rows.iter().take(ROWS_MAX) {
        html.raw("<tr>");
        row(html, value);
        html.raw("</tr>");
    }
    html.raw("</table>");
    if rows.len() > ROWS_MAX {
        html.raw("<p class=more>")
            .text(&format!("{} more", rows.len() - ROWS_MAX))
            .raw("</p>");
    }
    html.raw("</section>");
}

/// A key, which may be cut.
fn name(html: &mut Html, key: &Value) {
    html.raw("<td><code>").text(text(key, "key"));
    if key["cut"] == true {
        html.raw("…</code> <span class=more>")
            .text(&format!("{} bytes", key["bytes"]))
            .raw("</span></td>");
    } else {
        html.raw("</code></td>");
    }
}

/// A client's name, if it has one, and its address.
fn whose(value: &Value) -> String {
    match (value["name"].as_str(), value["client"].as_str()) {
        (Some(name), Some(client)) => format!("{name} ({client})"),
        (_, client) => client.unwrap_or_default().to_owned(),
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn number(value: &Value, field: &str) -> f64 {
    value[field].as_f64().unwrap_or_default()
}
