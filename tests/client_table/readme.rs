//! The README's table of clients, made of what has just run. Versions come from the run that wrote it: a newer one of a
//! library makes no test fail.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::clients::Client;
use crate::{GROUPS, exception};

const BEGIN: &str = "<!-- clients: begin -->\n";
const END: &str = "<!-- clients: end -->";
/// Where the version is in a row that was split at its bars.
const VERSION_COLUMN: usize = 2;

/// Compares the README's table with this one, or writes it.
pub(crate) fn check(clients: &[Client], versions: &BTreeMap<&str, String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("the mark where the table begins");
    let (old, after) = rest.split_once(END).expect("the mark where it ends");
    let new = table(clients, versions);
    if std::env::var_os("SLOTWAY_WRITE_README").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{new}{END}{after}")).unwrap();
        return;
    }
    assert!(
        without_versions(old) == without_versions(&new),
        "README.md has another table of clients: SLOTWAY_WRITE_README=1 cargo test --test client_table\n{new}"
    );
}

fn table(clients: &[Client], versions: &BTreeMap<&str, String>) -> String {
    let mut table =
        "| client | version | RESP | groups passed |\n| --- | --- | --- | --- |\n".to_owned();
    for client in clients {
        let protocols: Vec<String> = client.protocols.iter().map(u8::to_string).collect();
        let version = versions.get(client.name).map_or("", String::as_str);
        let _ = writeln!(
            table,
            "| {} | {version} | {} | {} |",
            client.name,
            protocols.join(", "),
            passed(client)
        );
    }
    table
}

/// All that are not excused: the run has failed otherwise.
fn passed(client: &Client) -> String {
    let missing: Vec<&str> = GROUPS
        .iter()
        .copied()
        .filter(|group| exception(client.name, group).is_some())
        .collect();
    let mut text = format!("{} of {}", GROUPS.len() - missing.len(), GROUPS.len());
    if !missing.is_empty() {
        let _ = write!(text, ", not {}", missing.join(", "));
    }
    for (protocol, group) in client.without {
        let _ = write!(text, " (the library has no {group} in RESP{protocol})");
    }
    text
}

fn without_versions(table: &str) -> String {
    let mut out = String::new();
    for line in table.lines() {
        for (column, cell) in line.split('|').enumerate() {
            if column != VERSION_COLUMN {
                out.push_str(cell.trim());
            }
            out.push('|');
        }
        out.push('\n');
    }
    out
}

#[test]
fn versions_do_not_count_and_groups_do() {
    let row = |version: &str, groups: &str| {
        without_versions(&format!("| redis-py | {version} | 2, 3 | {groups} |\n"))
    };
    assert_eq!(row("8.1.0", "16 of 16"), row("9.0.0", "16 of 16"));
    assert_ne!(
        row("8.1.0", "16 of 16"),
        row("8.1.0", "15 of 16, not watch")
    );
}
