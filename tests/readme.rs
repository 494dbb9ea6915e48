//! The README's tables are made from the code: options from the table of options, metrics from the table of
//! metrics, refused commands from the table of commands, differences from the test that finds no others, and every query in `dashboards/` names metrics that exist. `SLOTWAY_WRITE_README=1 cargo test --test
//! readme` writes the tables anew.

#[path = "identity/differences.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "most of it is for tests/identity.rs, which it is a part of"
)]
mod differences;

use differences::{BEYOND, DIFFERENCES, Verdict};
use slotway::admin::ENDPOINTS;
use slotway::command::{CommandTable, Policy};
use slotway::observe::{Kind, METRICS};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn metrics_table() -> String {
    let mut table = "| metric | labels | what it says |\n| --- | --- | --- |\n".to_owned();
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Histogram => " (histogram)",
            Kind::Counter | Kind::Gauge => "",
        };
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let labels = labels.join(" ");
        let _ = writeln!(
            table,
            "| `{}`{kind} | {labels} | {} |",
            metric.name, metric.help
        );
    }
    table
}

/// What is refused on purpose, with the reason and what to do instead. Containers without a subcommand, whose number
/// of arguments is wrong, and what is not there yet are left out.
fn refused_table() -> String {
    let table = CommandTable::builtin();
    let mut reasons: BTreeMap<(&str, bool), Vec<String>> = BTreeMap::new();
    for command in table.iter() {
        let is_container = table
            .iter()
            .any(|other| other.name.starts_with(&format!("{}|", command.name)));
        if let Policy::Refused(why) = command.policy
            && !is_container
        {
            let name = command.name.replace('|', " ").to_ascii_uppercase();
            let names = reasons.entry((why, command.is_allowable())).or_default();
            names.push(format!("`{name}`"));
        }
    }
    let mut rows: Vec<_> = reasons
        .into_iter()
        .map(|((why, allowable), names)| (names.join(" "), why, allowable))
        .collect();
    rows.sort();
    let mut text =
        "| command | why, and what to do | `policy.allow` |\n| --- | --- | --- |\n".to_owned();
    for (names, why, allowable) in rows {
        let allowable = if allowable { "yes" } else { "" };
        let _ = writeln!(text, "| {names} | {why} | {allowable} |");
    }
    text
}

/// What a client sees otherwise than from one server, without what is refused.
fn differences_table() -> String {
    let mut table = "| what | how it differs | tested in |\n| --- | --- | --- |\n".to_owned();
    for row in DIFFERENCES {
        if let Verdict::Other(file) = row.verdict {
            let names = row.commands.iter();
            let names = names.map(|n| format!("`{}`", n.replace('|', " ").to_ascii_uppercase()));
            let names = names.collect::<Vec<_>>().join(" ");
            let _ = writeln!(table, "| {names} | {} | `tests/{file}` |", row.why);
        }
    }
    for (what, how, file) in BEYOND {
        let _ = writeln!(table, "| {what} | {how} | `tests/{file}` |");
    }
    table
}

/// The README with what is between the two marks of `name` replaced.
/// What an audit can find.
fn audit_table() -> String {
    let mut table = "| found | behind slotway | a client of the cluster itself | remedy |\n| --- | --- | --- | --- |\n".to_owned();
    for row in slotway::audit::KINDS {
        let (severity, what, behind) = (row.severity.label(), row.what, row.behind);
        let (cluster, remedy) = (row.cluster_client, row.remedy);
        let _ = writeln!(
            table,
            "| {what} | **{severity}**: {behind} | {cluster} | {remedy} |"
        );
    }
    table
}

fn with_table(readme: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name}: begin -->\n");
    let end = format!("<!-- {name}: end -->");
    let (before, rest) = readme
        .split_once(&begin)
        .expect("the mark where the table begins");
    let (_, after) = rest.split_once(&end).expect("the mark where it ends");
    format!("{before}{begin}{}\n{end}{after}", table.trim_end())
}

#[test]
fn the_readmes_tables_are_those_of_the_code() {
    let path = file("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let fresh = with_table(&readme, "options", &slotway::config::markdown());
    let fresh = with_table(&fresh, "metrics", &metrics_table());
    let fresh = with_table(&fresh, "refused", &refused_table());
    let fresh = with_table(&fresh, "differences", &differences_table());
    let fresh = with_table(&fresh, "audit", &audit_table());
    if std::env::var_os("SLOTWAY_WRITE_README").is_some() {
        std::fs::write(&path, &fresh).unwrap();
        return;
    }
    assert!(
        readme == fresh,
        "README.md is not what the tables in the code say: SLOTWAY_WRITE_README=1 cargo test --test readme"
    );
}

#[test]
fn every_metric_in_the_dashboards_exists() {
    let text = std::fs::read_to_string(file("dashboards/README.md")).unwrap();
    let mut seen = 0;
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if !word.starts_with("slotway_") {
            continue;
        }
        let base = word.strip_suffix("_bucket").unwrap_or(word);
        assert!(
            METRICS.iter().any(|m| m.name == base),
            "{word} is no metric"
        );
        seen += 1;
    }
    assert!(seen >= 7, "the queries were found");
}

/// Paths, metrics, alerts and commands in the table of questions, and nothing that is none of these.
#[test]
fn what_the_answers_name_exists() {
    let readme = std::fs::read_to_string(file("README.md")).unwrap();
    let rules = std::fs::read_to_string(file("dashboards/rules.yaml")).unwrap();
    let (_, table) = readme.split_once("<!-- answers: begin -->").unwrap();
    let (table, _) = table.split_once("<!-- answers: end -->").unwrap();
    let key_modes = std::fs::read_to_string(file("tests/key_modes.rs")).unwrap();
    let labels = ["cmd", "group", "source", "proxy", "upstream"];
    let commands = ["slotway top", "slotway explain", "slotway check --print"];
    let (mut paths, mut metrics, mut alerts) = (0, 0, 0);
    for name in table.split('`').skip(1).step_by(2) {
        if name.starts_with('/') {
            assert!(ENDPOINTS.iter().any(|e| e.path == name), "{name}");
            paths += 1;
        } else if name.starts_with("slotway_") {
            assert!(METRICS.iter().any(|m| m.name == name), "{name}");
            metrics += 1;
        } else if rules.contains(&format!("- alert: {name}\n")) {
            alerts += 1;
        } else if let Some(mode) = name.strip_prefix("redis-cli ") {
            assert!(key_modes.contains(&format!("\"{mode}\"")), "{name}");
        } else {
            assert!(labels.contains(&name) || commands.contains(&name), "{name}");
        }
    }
    assert_eq!(alerts, rules.matches("- alert: ").count(), "each is named");
    assert!(paths >= 7 && metrics >= 10, "{paths} {metrics}");
}

#[test]
fn a_changed_row_would_be_noticed() {
    let readme = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb";
    assert_eq!(
        with_table(readme, "x", "new\n"),
        "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb"
    );
}
