//! The command line as users meet it: exit codes, every problem at once, and nothing opened while there is one.
//! What each source and option means is tested in `config`.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};

/// Runs `slotway` with no environment but `variables`.
fn slotway(args: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_slotway"))
        .args(args)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("slotway.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_wrong_configuration_reports_everything_and_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("clients.sock");
    let node = TcpListener::bind("127.0.0.1:0").unwrap();
    node.set_nonblocking(true).unwrap();
    let file = write(
        dir.path(),
        &format!(
            "[listen]\naddresses = [\"unix:{}\"]\n\n[cluster]\nnodes = [\"{}\"]\n\n[limits]\nclient = 5\n",
            socket.display(),
            node.local_addr().unwrap()
        ),
    );
    let flags = ["--config", &file, "--set", "timeouts.connect=2"];
    let variables = [
        ("SLOTWAY_LOG_LEVEL", "loud"),
        ("SLOTWAY_PORT", "tcp://10.0.0.1:6379"),
    ];
    let expected = format!(
        "{file}:8: unknown option `limits.client`; did you mean limits.clients?\n\
         SLOTWAY_LOG_LEVEL: log.level: `loud` is not one of error, warn, info, debug, trace\n\
         --set: timeouts.connect: `2` is not a duration: write 2s, 150ms, 1m, 1h\n"
    );
    for command in [
        &["run"][..],
        &["check"],
        &["check", "--print"],
        &["check", "--probe"],
        &["explain", "GET a"],
    ] {
        let output = slotway(&[command, &flags].concat(), &variables);
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert_eq!(stderr(&output), expected, "{command:?}");
        assert_eq!(stdout(&output), "", "{command:?}");
        assert!(!socket.exists(), "{command:?} listened");
        assert_eq!(
            node.accept().unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "{command:?} dialled"
        );
    }
    let output = slotway(&["demo", "--set", "timeouts.connect=2"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("--set: timeouts.connect: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_wrong_command_line_is_not_a_wrong_configuration() {
    for args in [
        &["run", "--listne", "x"][..],
        &["serve"],
        &[],
        &["demo", "--primaries", "2"],
    ] {
        assert_eq!(slotway(args, &[]).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_closed_cluster_behind_an_open_listener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let password = ("SLOTWAY_UPSTREAM_PASSWORD_FILE", password.to_str().unwrap());
    let refused = slotway(&["check", "--nodes", "n:1"], &[password]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("would be an open door"),
        "{}",
        stderr(&refused)
    );
    let written = slotway(
        &["check", "--nodes", "n:1"],
        &[password, ("SLOTWAY_AUTH_MODE", "none")],
    );
    assert_eq!(
        (written.status.code(), stdout(&written)),
        (Some(0), "the configuration is valid\n")
    );
    let local = slotway(
        &["check", "--nodes", "n:1", "--listen", "127.0.0.1:6379"],
        &[password],
    );
    assert_eq!(local.status.code(), Some(0), "{}", stderr(&local));
}

#[test]
fn what_check_prints_is_a_valid_file_that_prints_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let flags = [
        "check",
        "--print",
        "--nodes",
        "a:1,b:2",
        "--set",
        "policy.deny=[\"config|set\"]",
    ];
    let first = slotway(&flags, &[("SLOTWAY_LIMITS_MEMORY", "1GB")]);
    assert_eq!(first.status.code(), Some(0));
    let file = write(dir.path(), stdout(&first));
    let second = slotway(&["check", "--print", "--config", &file], &[]);
    let values = |output: &Output| -> Vec<String> {
        let lines = stdout(output).lines();
        lines
            .map(|line| line.split("  # ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(&first), values(&second));
    assert!(stdout(&first).contains("memory = \"1GB\"  # SLOTWAY_LIMITS_MEMORY\n"));

    let template = write(
        dir.path(),
        stdout(&slotway(&["check", "--print=template"], &[])),
    );
    let third = slotway(&["check", "--config", &template, "--nodes", "a:1"], &[]);
    assert_eq!(third.status.code(), Some(0), "{}", stderr(&third));
    let table = slotway(&["check", "--print=markdown"], &[]);
    assert!(stdout(&table).contains("| `limits.clients` |"));
}

/// Accepts one connection, answers each read with the next of `answers`, closes. Returns what it read.
fn scripted(answers: &'static [&'static str]) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = String::new();
        for answer in answers {
            let mut chunk = [0; 1024];
            let n = stream.read(&mut chunk).unwrap();
            seen.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
            stream.write_all(answer.as_bytes()).unwrap();
        }
        seen
    });
    (addr, thread)
}

#[test]
fn healthcheck_is_the_answer_of_readyz() {
    let (addr, thread) = scripted(&["HTTP/1.1 200 OK\r\n\r\nready\n"]);
    let ready = slotway(&["healthcheck", "--admin", &addr.to_string()], &[]);
    assert_eq!((ready.status.code(), stdout(&ready)), (Some(0), "ready\n"));
    assert!(
        thread
            .join()
            .unwrap()
            .starts_with("GET /readyz HTTP/1.0\r\n")
    );

    let (addr, thread) = scripted(&["HTTP/1.1 503 Service Unavailable\r\n\r\nno topology yet\n"]);
    // Other options may be wrong or missing here: only admin.listen is looked at.
    let variables = [
        ("SLOTWAY_ADMIN_LISTEN", &*addr.to_string()),
        ("SLOTWAY_LOG_LEVEL", "loud"),
    ];
    let not = slotway(&["healthcheck"], &variables);
    thread.join().unwrap();
    assert_eq!(not.status.code(), Some(1));
    assert_eq!(
        stdout(&not),
        format!("not ready: {addr} says HTTP/1.1 503 Service Unavailable: no topology yet\n")
    );

    let nobody = slotway(&["healthcheck", "--admin", &addr.to_string()], &[]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        stdout(&nobody).starts_with("not ready: no answer from "),
        "{}",
        stdout(&nobody)
    );
}

#[test]
fn probe_says_what_each_seed_node_answers() {
    const INFO: &str = "$99\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_known_nodes:6\r\ncluster_size:3\r\nx:01234567\r\n\r\n";
    assert_eq!(INFO.len(), 99 + 7);
    let (up, up_thread) = scripted(&["+PONG\r\n", INFO]);
    let (closed, closed_thread) = scripted(&["-NOAUTH Authentication required.\r\n"]);
    let (plain, plain_thread) = scripted(&[
        "+PONG\r\n",
        "-ERR This instance has cluster support disabled\r\n",
        "$13\r\nrole:master\r\n\r\n",
    ]);
    let nodes = format!("{up},{closed},{plain}");
    let output = slotway(&["check", "--probe", "--nodes", &nodes], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        format!(
            "{up}: ok, cluster_state ok, 16384 of 16384 slots assigned, 6 nodes, 3 primaries with slots\n\
             {closed}: it answers PING with: NOAUTH Authentication required.; set upstream.password_file\n\
             {plain}: ok, a primary with 0 replicas, without cluster support\n"
        )
    );
    for thread in [up_thread, closed_thread, plain_thread] {
        thread.join().unwrap();
    }
}
