//! The operators' pages say what is so: every error text of slotway's own that the source can send is explained in
//! `deploy/errors.md` and no other, the table of limits in `deploy/operations.md` is that of the code, and metrics and options
//! that they name exist. `SLOTWAY_WRITE_README=1 cargo test --test operations` writes the table anew.

use slotway::config::{OPTIONS, Scope};
use slotway::observe::METRICS;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const ERRORS: &str = "deploy/errors.md";

/// How an error of slotway's own is known.
const MARK: &str = "slotway: ";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn page() -> String {
    read("deploy/operations.md")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).expect("the page")
}

/// Every text literal with the mark in it, outside of tests, with `…` for what is filled in.
fn texts_of_the_source() -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    let mut folders = vec![file("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("its entries").path();
            let name = path
                .file_name()
                .expect("it has one")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.contains("test") {
                texts.extend(texts_of(
                    &std::fs::read_to_string(path).expect("a source file"),
                ));
            }
        }
    }
    texts
}

fn texts_of(source: &str) -> Vec<String> {
    let tests = "#[cfg(test)]\nmod tests {";
    let source = source.split(tests).next().unwrap_or_default();
    let no_comment = |line: &&str| !line.trim_start().starts_with("//");
    let code: Vec<&str> = source.lines().filter(no_comment).collect();
    let code = code.join("\n");
    let mut texts = Vec::new();
    for (at, _) in code.match_indices(MARK) {
        let start = code[..at].rfind('"').expect("it is in a literal") + 1;
        let said_to_clients = !code[..start].ends_with("eprintln!(\"");
        let end = at + code[at..].find('"').expect("the literal ends");
        if said_to_clients {
            texts.push(as_shown(&code[start..end]));
        }
    }
    // With the sign of an error in front it is what a test expects.
    texts.retain(|text| !text.starts_with('-'));
    texts
}

/// Continued lines joined, and `…` for what is filled in.
fn as_shown(literal: &str) -> String {
    let mut lines = literal.lines().map(|line| line.trim_end_matches('\\'));
    let mut text = lines.next().unwrap_or_default().to_owned();
    lines.for_each(|line| text.push_str(line.trim_start()));
    let mut shown = String::new();
    let mut rest = text.as_str();
    while let Some((before, filled)) = rest.split_once('{') {
        shown.push_str(before);
        shown.push('…');
        rest = filled.split_once('}').map_or("", |(_, after)| after);
    }
    shown.push_str(rest);
    shown.replace("\\r\\n", "").trim().to_owned()
}

/// The first column of the last table.
fn texts_of_the_page(page: &str) -> BTreeSet<String> {
    let (_, table) = page
        .split_once("## By error message")
        .expect("its last section");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap_or_default().to_owned())
        .filter(|text| text.contains(MARK.trim_end()))
        .collect()
}

fn limits_table() -> String {
    let mut table =
        "| option | default | counts for | what happens |\n| --- | --- | --- | --- |\n".to_owned();
    for option in OPTIONS {
        if option.name.starts_with("limits.") || option.name.starts_with("timeouts.") {
            let scope = match option.scope {
                Scope::Process => "process",
                Scope::Worker => "worker",
                Scope::Client => "client",
                Scope::Lane => "lane",
                Scope::Request => "request",
            };
            let (name, doc) = (option.name, option.doc);
            let _ = writeln!(table, "| `{name}` | {} | {scope} | {doc} |", option.default);
        }
    }
    table
}

fn with_table(page: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name}: begin -->\n");
    let end = format!("<!-- {name}: end -->");
    let (before, rest) = page.split_once(&begin).expect("where it begins");
    let (_, after) = rest.split_once(&end).expect("where it ends");
    format!("{before}{begin}{}\n{end}{after}", table.trim_end())
}

#[test]
fn every_error_text_is_explained() {
    let (source, page) = (texts_of_the_source(), texts_of_the_page(&read(ERRORS)));
    assert!(source.len() > 20, "texts are found: {source:?}");
    let unexplained: Vec<_> = source.difference(&page).collect();
    assert!(unexplained.is_empty(), "{ERRORS} lacks {unexplained:#?}");
    let gone: Vec<_> = page.difference(&source).collect();
    assert!(gone.is_empty(), "nothing in the source says {gone:#?}");
}

#[test]
fn texts_are_read_as_they_are_said() {
    let source = "// \"ERR slotway: no\"\nformat!(\n    \"ERR slotway: {x} is {} \\\n     much\"\n)\n#[cfg(test)]\nmod tests {\n\"ERR slotway: no\"";
    assert_eq!(texts_of(source), ["ERR slotway: … is … much"]);
    assert!(texts_of("eprintln!(\"slotway: {e}\");").is_empty());
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    let page = page();
    let fresh = with_table(&page, "limits", &limits_table());
    if std::env::var_os("SLOTWAY_WRITE_README").is_some() {
        std::fs::write(file("deploy/operations.md"), &fresh).expect("it is writable");
        return;
    }
    assert!(
        page == fresh,
        "deploy/operations.md is not what the table of options says: SLOTWAY_WRITE_README=1 cargo test --test operations"
    );
}

#[test]
fn what_the_pages_name_exists() {
    let page = page() + &read(ERRORS);
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.');
    let words: Vec<&str> = page.split(word).map(|w| w.trim_end_matches('.')).collect();
    for name in words.iter().filter(|w| w.starts_with("slotway_")) {
        assert!(
            METRICS.iter().any(|m| m.name == *name),
            "{name} is no metric"
        );
    }
    let sections = ["limits.", "timeouts.", "upstream.", "policy.", "cluster."];
    for name in words
        .iter()
        .filter(|w| sections.iter().any(|s| w.starts_with(s)))
    {
        assert!(
            OPTIONS.iter().any(|o| o.name == *name),
            "{name} is no option"
        );
    }
}
