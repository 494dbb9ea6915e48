//! The clients of the table: their programs, which are built here where a compiler is needed, and what they speak.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian's packages put Go libraries.
const GO_PATH: &str = "/usr/share/gocode";

/// A client library and the program that puts it through its groups.
pub(crate) struct Client {
    /// As the README calls it.
    pub(crate) name: &'static str,
    /// For the names of its keys.
    pub(crate) short: &'static str,
    /// The RESP versions that it speaks.
    pub(crate) protocols: &'static [u8],
    /// The program and its first arguments.
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Groups that the library has nothing for: RESP version, group.
    pub(crate) without: &'static [(u8, &'static str)],
}

impl Client {
    fn new(name: &'static str, short: &'static str, protocols: &'static [u8]) -> Self {
        Self {
            name,
            short,
            protocols,
            command: Vec::new(),
            environment: Vec::new(),
            without: &[],
        }
    }

    fn runs(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Whether the library itself cannot do this.
    pub(crate) fn does_without(&self, protocol: u8, group: &str) -> bool {
        self.without.contains(&(protocol, group))
    }
}

/// All of them. A missing one fails the test: skipping it would look green.
pub(crate) fn clients() -> Vec<Client> {
    let python = needed("SLOTWAY_TEST_PYTHON", "a Python with redis-py");
    let modules = needed(
        "SLOTWAY_TEST_NODE_MODULES",
        "node_modules with ioredis, redis and @valkey/valkey-glide",
    );
    let node = |name, short, script: &str| {
        Client::new(name, short, &[2, 3])
            .runs(&["node", &source(script)])
            .with("NODE_PATH", &modules)
    };
    let mut glide = node("valkey-glide (Node.js)", "glide", "valkey_glide.js");
    glide.without = &[(2, "pubsub")];
    vec![
        Client::new("redis-py", "py", &[2, 3]).runs(&[&python, &source("redis_py.py")]),
        Client::new("redis-py asyncio", "aio", &[2, 3])
            .runs(&[&python, &source("redis_py_async.py")]),
        node("node-redis", "node", "node_redis.js"),
        node("ioredis", "io", "ioredis.js"),
        glide,
        Client::new("ruby-redis", "rb", &[2]).runs(&["ruby", &source("redis_rb.rb")]),
        Client::new("phpredis", "php", &[2]).runs(&["php", &source("phpredis.php")]),
        Client::new("predis", "predis", &[2]).runs(&["php", &source("predis.php")]),
        Client::new("Redis (Perl)", "pl", &[2]).runs(&["perl", &source("perl_redis.pl")]),
        Client::new("hiredis", "c", &[2]).runs(&[&hiredis()]),
        redigo(),
    ]
}

/// Compiles the program in C.
fn hiredis() -> String {
    let program = built("hiredis");
    let mut cc = Command::new("cc");
    cc.args(["-O1", "-o", &program, &source("hiredis.c"), "-lhiredis"]);
    run(cc);
    program
}

/// Compiles the program in Go, with Debian's library and without modules.
fn redigo() -> Client {
    let program = built("redigo");
    let mut go = Command::new("go");
    go.args(["build", "-o", &program, &source("redigo/main.go")])
        .env("GO111MODULE", "off")
        .env("GOPATH", GO_PATH)
        .env("GOCACHE", built("go-cache"))
        .env("GOFLAGS", "");
    run(go);
    // The library does not say its version; the package does: 1:1.8.3-1.
    let mut query = Command::new("dpkg-query");
    query.args([
        "-W",
        "-f",
        "${Version}",
        "golang-github-gomodule-redigo-dev",
    ]);
    let version = run(query);
    let version = version.split_once(':').map_or(&*version, |(_, v)| v);
    let version = version.split('-').next().unwrap_or_default();
    Client::new("redigo", "go", &[2])
        .runs(&[&program])
        .with("SLOTWAY_TEST_REDIGO_VERSION", version)
}

/// Runs it to its end; what it printed.
fn run(mut command: Command) -> String {
    let shown = format!("{command:?}");
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{shown}: {e}: ./tests/run.sh --env installs what is needed"));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{shown}\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The path of a program's source.
fn source(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client_table");
    text(&dir.join(name))
}

/// Where something that is built goes.
fn built(name: &str) -> String {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("client_table");
    std::fs::create_dir_all(&dir).unwrap();
    text(&dir.join(name))
}

fn needed(variable: &str, what: &str) -> String {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.filter(|path| path.exists());
    let path = path.unwrap_or_else(|| {
        panic!(
            "{variable} must name {what}: eval \"$(./tests/run.sh --env)\" installs it and says so"
        )
    });
    text(&path)
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}
