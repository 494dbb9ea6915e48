//! The status page: one HTML document, drawn here from what the JSON endpoints say, so that it works without JavaScript. With
//! it (`page.js`) the document is fetched again every two seconds.
//!
//! Keys, names and errors come from clients and nodes: everything that is put into the document is escaped (`Html`), and a
//! content security policy forbids scripts other than `page.js`.

mod charts;
mod html;
mod slots;
mod tables;

use super::endpoints::AdminState;
use super::seen;
use html::Html;
use serde_json::Value;

/// Sent with the page: nothing is loaded from elsewhere, nothing in the page itself is executed.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Fetches the page anew and keeps what is open.
pub(super) const SCRIPT: &str = include_str!("page.js");

const STYLE: &str = include_str!("page.css");

/// The document.
pub(super) fn page(state: &AdminState) -> String {
    let topology = (state.topology)();
    let (now, nodes) = state.history.now();
    let mut html = Html::default();
    html.raw("<!doctype html><html lang=en><head><meta charset=utf-8>");
    html.raw("<meta name=viewport content=\"width=device-width,initial-scale=1\">");
    html.raw("<title>slotway</title><style>")
        .raw(STYLE)
        .raw("</style>");
    html.raw("<noscript><meta http-equiv=refresh content=5></noscript>");
    html.raw("<script src=/page.js defer></script></head><body><main>");
    header(&mut html, state, &topology);
    charts::cards(&mut html, &now, &state.history.course());
    slots::section(&mut html, &topology, &nodes);
    tables::nodes(&mut html, &topology, &nodes);
    tables::errors(&mut html, &seen::errors(&state.metrics));
    tables::hot_keys(&mut html, &seen::hot_keys(&state.metrics, &state.owner));
    tables::slow_commands(&mut html, &seen::slow_log(&state.metrics));
    tables::big_values(&mut html, &seen::big_keys(&state.metrics, &state.owner));
    tables::configuration(&mut html, &state.settings);
    html.raw("</main></body></html>\n");
    html.finish()
}

fn header(html: &mut Html, state: &AdminState, topology: &Value) {
    let ready = (state.ready)();
    html.raw("<header><h1>slotway</h1><p>");
    match &ready {
        Ok(()) => html.raw("<b class=good>ready</b>"),
        Err(why) => html.raw("<b class=bad>not ready</b> ").text(why),
    };
    let what = match topology["standalone"].as_bool() {
        Some(true) => " · one server, no cluster: ",
        _ => " · cluster ",
    };
    html.raw(" · version ").text(env!("CARGO_PKG_VERSION"));
    html.raw(what)
        .text(topology["mood"].as_str().unwrap_or("?"));
    html.raw(" · ").text(&topology["slots_covered"].to_string());
    html.raw(" of 16384 slots · epoch ")
        .text(&topology["epoch"].to_string());
    if let Some(error) = topology["last_error"]["error"].as_str() {
        html.raw("<br><b class=bad>topology</b> ").text(error);
        html.raw(": ")
            .text(topology["last_error"]["hint"].as_str().unwrap_or_default());
    }
    html.raw("</p></header>");
}
