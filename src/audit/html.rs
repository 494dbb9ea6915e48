//! The report as a page of its own: no script, nothing from elsewhere, light and dark. All that clients chose is escaped.

use super::findings::Audit;
use super::report::{ROWS_SHOWN, times};
use std::fmt::Write;

const STYLE: &str = "\
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
h2 span { font-size: .8rem; font-weight: normal; border: 1px solid currentColor; border-radius: 1em; padding: 0 .6em; white-space: nowrap; }
.fails { color: light-dark(#a3161a, #ff8f8f); } .changes { color: light-dark(#8a5300, #ffc36b); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .3rem 0; } dd { margin: 0; }
dt { opacity: .7; } table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-top: 1px solid var(--line); }
td:first-child, th:first-child { text-align: right; width: 4rem; }
th:nth-child(2), th:nth-child(3) { width: 20%; } code { font-size: .9em; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }";

impl Audit {
    /// For a browser.
    pub fn html(&self) -> String {
        let told = self.told();
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>slotway audit</title>\n\
             <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
             <h1>What would change on a cluster</h1>\n<p>{}</p>\n",
            told.verdict()
        );
        for (row, rows) in told.kinds() {
            let severity = row.severity.label();
            // Writing to a string cannot fail.
            let _ = write!(
                out,
                "<h2>{} <span class=\"{severity}\">{severity}, {}</span></h2>\n\
                 <dl><dt>behind slotway</dt><dd>{}</dd><dt>cluster client</dt><dd>{}</dd><dt>remedy</dt><dd>{}</dd></dl>\n\
                 <table><tr><th>times</th><th>command</th><th>client</th><th>examples</th></tr>\n",
                escaped(row.what),
                times(rows),
                escaped(row.behind),
                escaped(row.cluster_client),
                escaped(row.remedy)
            );
            for (who, seen) in rows.iter().take(ROWS_SHOWN) {
                let examples: Vec<String> = seen.examples.iter().map(|e| escaped(e)).collect();
                let _ = writeln!(
                    out,
                    "<tr><td>{}</td><td><code>{}</code></td><td>{}</td><td><code>{}</code></td></tr>",
                    seen.count,
                    escaped(&who.command.to_uppercase()),
                    escaped(&who.client),
                    examples.join("<br>")
                );
            }
            out.push_str("</table>\n");
            if let Some(more @ 1..) = rows.len().checked_sub(ROWS_SHOWN) {
                let _ = writeln!(out, "<p>and {more} more clients and commands</p>");
            }
        }
        out.push_str("</body></html>\n");
        out
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}
