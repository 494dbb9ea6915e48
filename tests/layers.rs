//! Keeps the layers: a module imports only what is below it, the pure ones know neither sockets nor clocks nor tokio, and
//! no file grows beyond what can be kept in mind. The table here is the one place that says who may know whom.

#![allow(
    clippy::unwrap_used,
    reason = "in a helper of a test, too, to fail is to panic"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of one file without its tests, and of a file of tests.
const FILE_LINES_MAX: usize = 400;
const TEST_LINES_MAX: usize = 600;

/// Each module of the crate, from the bottom up, and the modules it may import.
const LAYERS: &[(&str, &[&str])] = &[
    // Pure: bytes and values in, values out.
    ("resp", &[]),
    ("cluster", &["resp"]),
    ("command", &["resp", "cluster"]),
    // What everybody may read, and what everybody writes its counts to.
    ("config", &["cluster", "command"]),
    ("observe", &["resp", "cluster", "command", "config"]),
    // Sockets, buffers, clocks: no idea of clients and nodes.
    ("io", &["resp", "config"]),
    // Nodes, never clients, never the map.
    (
        "upstream",
        &["resp", "cluster", "command", "config", "observe", "io"],
    ),
    // Asks the nodes and publishes the map.
    (
        "topology",
        &[
            "resp", "cluster", "command", "config", "observe", "io", "upstream",
        ],
    ),
    // Where clients and nodes meet.
    (
        "route",
        &[
            "resp", "cluster", "command", "config", "observe", "upstream", "topology",
        ],
    ),
    (
        "local",
        &[
            "resp", "cluster", "command", "config", "observe", "topology", "route",
        ],
    ),
    (
        "modes",
        &[
            "resp", "cluster", "command", "config", "observe", "route", "local",
        ],
    ),
    (
        "audit",
        &["resp", "cluster", "command", "config", "route", "modes"],
    ),
    (
        "session",
        &[
            "resp", "cluster", "command", "config", "observe", "io", "upstream", "topology",
            "route", "local", "modes", "audit",
        ],
    ),
    // In front of one server, instead of all that.
    (
        "tap",
        &["resp", "cluster", "command", "config", "io", "audit"],
    ),
    // Says what would become of a command.
    (
        "explain",
        &[
            "resp", "cluster", "command", "config", "topology", "route", "local", "modes",
        ],
    ),
    // On top.
    (
        "admin",
        &[
            "resp", "cluster", "command", "config", "observe", "topology", "audit", "explain",
        ],
    ),
    (
        "server",
        &[
            "resp", "cluster", "command", "config", "observe", "io", "upstream", "topology",
            "route", "local", "modes", "session", "admin", "audit", "tap", "explain",
        ],
    ),
    ("demo", &["cluster", "config"]),
    ("top", &["admin", "command"]),
];

/// Modules that must be testable without a socket, a clock or a runtime.
const PURE: &[&str] = &["resp", "cluster", "command"];

/// What pure code must not name. Addresses are values; they are allowed.
const IMPURE: &[&str] = &[
    "tokio::",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "socket2::",
    "rustix::",
];

/// `upstream` carries bytes to a node that its caller chose: it may read which nodes there are, but which slot belongs
/// where is not its business.
const ROUTING: &[&str] = &[
    "Slot::of",
    ".owner(",
    ".ranges(",
    ".primaries(",
    "SlotMapBuilder",
];

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

impl Source {
    /// The code without comments and without its test modules: tests may look wherever they like.
    fn code(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        let product = self
            .text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        let lines = product
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }

    fn is_test(&self) -> bool {
        let inside = self.path.strip_prefix(root()).unwrap();
        if inside.iter().any(|part| part == "tests") {
            return true;
        }
        let stem = self
            .path
            .file_stem()
            .and_then(|s| s.to_str())
            .unwrap_or_default();
        stem == "tests" || stem.ends_with("_tests") || stem == "captured"
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All sources of the library; `lib.rs`, `main.rs` and the binary's `cli` are above every layer.
fn sources() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut todo = vec![root.clone()];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|e| e == "rs") {
            let inside = path.strip_prefix(&root).unwrap();
            let first = inside.components().next().unwrap();
            let module = Path::new(first.as_os_str()).file_stem().unwrap();
            let module = module.to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            found.push(Source { path, module, text });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The modules that the code imports or names by `crate::`, with `crate::{a::…, b::…}` taken apart.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, pattern) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + pattern.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_names(group)),
            None => found.push(name(rest)),
        }
    }
    found
}

/// The first names of a `{a::{b, c}, d}` whose opening brace has been read.
fn first_names(group: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut depth = 1;
    let mut start = 0;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && c == ',' {
            found.push(name(group[start..at].trim()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

fn name(text: &str) -> String {
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
    text.chars().take_while(is_name).collect()
}

#[test]
fn modules_import_downward_only() {
    let mut wrong = Vec::new();
    for source in sources() {
        if ["lib", "main", "cli"].contains(&source.module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(module, _)| *module == source.module) else {
            wrong.push(format!(
                "{}: no layer in tests/layers.rs",
                source.path.display()
            ));
            continue;
        };
        for import in imports(&source.code()) {
            if import != source.module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: crate::{import}", source.path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the layers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_table_itself_has_no_cycle() {
    for (at, (module, allowed)) in LAYERS.iter().enumerate() {
        for import in *allowed {
            let below = LAYERS[..at].iter().any(|(lower, _)| lower == import);
            assert!(below, "{module} may import {import}, which is not below it");
        }
    }
}

#[test]
fn pure_modules_know_no_socket_and_no_clock() {
    let mut wrong = Vec::new();
    for source in sources() {
        let code = source.code();
        let pure = PURE.contains(&source.module.as_str());
        let forbidden: &[&str] = match source.module.as_str() {
            _ if pure => IMPURE,
            "upstream" => ROUTING,
            _ => &[],
        };
        for word in forbidden.iter().filter(|word| code.contains(*word)) {
            wrong.push(format!("{}: {word}", source.path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "in the wrong layer:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_stay_small() {
    let mut wrong = Vec::new();
    for source in sources() {
        let path = source.path.display();
        let (lines, most) = if source.is_test() {
            (source.text.lines().count(), TEST_LINES_MAX)
        } else {
            let product = source
                .text
                .lines()
                .take_while(|line| *line != "mod tests {");
            (product.count(), FILE_LINES_MAX)
        };
        if lines > most {
            wrong.push(format!("{path}: {lines} lines, at most {most}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_are_found() {
    let code = "use crate::resp::{a, b};\nuse crate::{cluster::{Slot, x::y}, io};\nlet z = crate::demo::run();\nuse mycrate::no;";
    assert_eq!(imports(code), ["resp", "cluster", "io", "demo"]);
}
