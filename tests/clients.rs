//! The clients that people use, against slotway in front of a cluster of each kind of server: redis-py with the pool
//! the product promises to serve, asyncio redis-py, ioredis, node-redis, redis-cli, redis-benchmark, and the `redis`
//! crate. What each one does is in its script or module under `clients/`; here are the clusters and the programs.
#![allow(
    clippy::unwrap_used,
    reason = "in the modules, too, to fail is to panic"
)]

#[path = "clients/benchmark.rs"]
mod benchmark;
#[path = "clients/cli.rs"]
mod cli;
#[path = "clients/program.rs"]
mod program;
#[path = "clients/redis_crate.rs"]
mod redis_crate;
mod support;

use program::{Program, script};
use std::path::PathBuf;
use support::{Proxy, boot_cluster, servers};

/// Runs `check` with a proxy in front of a new cluster, for every kind of server.
fn with_every_server(check: impl Fn(&Proxy)) {
    for kind in servers() {
        eprintln!("--- {}", kind.name);
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &[]);
        check(&proxy);
        drop(proxy);
        drop(cluster);
    }
}

/// Runs a script with the proxy's address, once for each protocol.
fn run_script(program: &str, environment: &[(&str, String)], name: &str, proxy: &Proxy) {
    for protocol in ["2", "3"] {
        let (ip, port) = (
            proxy.addr().ip().to_string(),
            proxy.addr().port().to_string(),
        );
        let mut program = Program::new(program);
        program.arg(script(name)).args([&ip, &port, protocol]);
        for (variable, value) in environment {
            program.env(variable, value);
        }
        eprint!("{}", program.expect_success());
    }
}

#[test]
fn redis_py() {
    let python = needed("SLOTWAY_TEST_PYTHON", "a Python with redis-py");
    with_every_server(|proxy| {
        for name in ["redis_py.py", "redis_py_async.py"] {
            run_script(&python, &[], name, proxy);
        }
    });
}

#[test]
fn ioredis_and_node_redis() {
    let modules = needed(
        "SLOTWAY_TEST_NODE_MODULES",
        "node_modules with ioredis and redis",
    );
    let environment = [("NODE_PATH", modules)];
    with_every_server(|proxy| {
        for name in ["ioredis.js", "node_redis.js"] {
            run_script("node", &environment, name, proxy);
        }
    });
}

#[test]
fn redis_cli() {
    with_every_server(|proxy| cli::check(proxy.addr()));
}

#[test]
fn redis_benchmark() {
    with_every_server(|proxy| benchmark::check(proxy.addr()));
}

#[test]
fn the_redis_crate() {
    with_every_server(|proxy| redis_crate::check(proxy.addr()));
}

/// A missing client fails the test: skipping it would look green.
fn needed(variable: &str, what: &str) -> String {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.filter(|path| path.exists());
    let path = path.unwrap_or_else(|| {
        panic!(
            "{variable} must name {what}: eval \"$(./tests/run.sh --env)\" installs it and says so"
        )
    });
    path.to_str().expect("a path in UTF-8").to_owned()
}
