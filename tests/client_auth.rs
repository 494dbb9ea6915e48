//! Passwords, on both sides. Clients: nothing but the handshake is answered before AUTH or HELLO AUTH, small limits
//! hold until then, and nothing reaches a node (the scripted one takes no command that is not expected). Nodes: a
//! cluster with `requirepass` is reached with `upstream.password_file`, a wrong password is said on /readyz, and
//! slotway does not lend its own to everybody: it refuses to start where it would be an open door.

mod support;

use std::process::Command;

use slotway::demo::{Cluster, ClusterOptions, Reservation};
use support::node::{FakeCluster, Step};
use support::{Proxy, SHOWN_WITHIN, ServerKind, cluster_options, encode, redis, show, valkey};

const PASSWORD: &str = "open sesame";
/// A file that holds a password, and its path as an option's value.
fn password_file(password: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), format!("{password}\n")).expect("writing it");
    let path = file.path().to_str().expect("UTF-8").to_owned();
    (file, path)
}

/// A scripted node, and a proxy that asks clients for [`PASSWORD`].
fn start() -> (FakeCluster, Proxy) {
    let cluster = FakeCluster::start(1);
    let (_file, path) = password_file(PASSWORD);
    let option = format!("auth.password_file={path}");
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1", "--set", &option]);
    (cluster, proxy)
}

#[test]
fn nothing_is_answered_before_the_password() {
    let (cluster, proxy) = start();
    let mut client = proxy.client();
    let commands = [
        "PING",
        "GET a",
        "SET a 1",
        "MGET a b c",
        "DBSIZE",
        "SCAN 0",
        "CLIENT ID",
        "SELECT 0",
        "COMMAND",
        "INFO",
        "ECHO x",
        "FLUSHALL",
        "EVAL return 1 a",
    ];
    for command in commands {
        client.expect(command, b"-NOAUTH Authentication required.\r\n");
    }
    let got = client.line("HELLO 3");
    assert!(
        got.starts_with(b"-NOAUTH HELLO must be called"),
        "{}",
        show(&got)
    );
    let wrong: [&[&str]; 5] = [
        &["AUTH", "wrong"],
        &["AUTH", "other", PASSWORD],
        &["AUTH", "default", "open sesame "],
        &["AUTH", ""],
        &["HELLO", "3", "AUTH", "default", "wrong"],
    ];
    for args in wrong {
        let got = client.command(args);
        assert!(got.starts_with(b"-WRONGPASS "), "{args:?}: {}", show(&got));
        client.expect("GET a", b"-NOAUTH Authentication required.\r\n");
    }
    cluster.finish();
}

#[test]
fn the_password_opens_and_reset_closes() {
    let (cluster, proxy) = start();
    let logins: [&[&str]; 4] = [
        &["AUTH", PASSWORD],
        &["AUTH", "default", PASSWORD],
        &["HELLO", "2", "AUTH", "default", PASSWORD],
        &["HELLO", "3", "AUTH", "default", PASSWORD, "SETNAME", "me"],
    ];
    for login in logins {
        cluster.script(0, [Step::expect("GET a").send(b"$1\r\nx\r\n")]);
        let mut client = proxy.client();
        // In one write: what follows the password is judged after it.
        client.send(&[encode(login), encode(&["GET", "a"])].concat());
        let first = client.reply();
        assert!(
            matches!(first[0], b'+' | b'*' | b'%'),
            "{login:?}: {}",
            show(&first)
        );
        assert_eq!(client.reply(), b"$1\r\nx\r\n", "{login:?}");
        client.expect("RESET", b"+RESET\r\n");
        client.expect("GET a", b"-NOAUTH Authentication required.\r\n");
    }
    cluster.finish();
}

#[test]
fn requests_are_small_before_the_password() {
    let (cluster, proxy) = start();
    let too_large = [
        ("*11\r\n", "unauthenticated multibulk length"),
        ("*1048576\r\n", "unauthenticated multibulk length"),
        (
            "*2\r\n$4\r\nAUTH\r\n$16385\r\n",
            "unauthenticated bulk length",
        ),
    ];
    for (bytes, text) in too_large {
        let mut client = proxy.client();
        client.send(bytes.as_bytes());
        let expected = format!("-ERR Protocol error: {text}\r\n");
        assert_eq!(client.rest(), expected.as_bytes(), "{bytes:?}");
    }
    // With the password in front they are requests like any other.
    let keys: Vec<String> = (0..20).map(|i| format!("{{a}}{i}")).collect();
    let line = format!("DEL {}", keys.join(" "));
    let large = "l".repeat(20_000);
    cluster.script(
        0,
        [
            Step::expect(&line).send(b":20\r\n"),
            Step::expect(&format!("SET a {large}")).send(b"+OK\r\n"),
        ],
    );
    let mut client = proxy.client();
    let words: Vec<&str> = line.split(' ').collect();
    client.send(
        &[
            encode(&["AUTH", PASSWORD]),
            encode(&words),
            encode(&["SET", "a", &large]),
        ]
        .concat(),
    );
    assert_eq!(client.replies(3).concat(), b"+OK\r\n:20\r\n+OK\r\n");
    cluster.finish();
}

#[test]
fn a_closed_redis_cluster_is_reached() {
    reach(&redis());
}

#[test]
fn a_closed_valkey_cluster_is_reached() {
    reach(&valkey());
}

fn reach(kind: &ServerKind) {
    let options = ClusterOptions {
        primaries: 2,
        replicas: 0,
        password: Some(PASSWORD.to_owned()),
        ..cluster_options(kind)
    };
    let cluster = Cluster::boot(&options).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
    for user in [None, Some("default")] {
        let (_file, path) = password_file(PASSWORD);
        let mut options = vec!["--set".to_owned(), format!("upstream.password_file={path}")];
        if let Some(user) = user {
            options.extend(["--set".to_owned(), format!("upstream.username={user}")]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let proxy = Proxy::start(&cluster, &options);
        for hello in ["HELLO 2", "HELLO 3"] {
            let mut client = proxy.client();
            client.line(hello);
            client.expect("MSET a 1 b 2 c 3", b"+OK\r\n");
            client.expect("MGET a b c", b"*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
        }
    }
    // A wrong one, and none.
    let (_file, path) = password_file("wrong");
    let wrong = format!("upstream.password_file={path}");
    for args in [&["--set", wrong.as_str()][..], &[]] {
        let proxy = Proxy::spawn(&cluster.addrs(), args);
        proxy.wait_for(
            "it says why it is not ready",
            SHOWN_WITHIN,
            || match proxy.get("/readyz") {
                Some((503, body)) if body.contains("WRONGPASS") || body.contains("NOAUTH") => {
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            },
        );
        let log = proxy.log().join("\n");
        assert!(
            !log.contains(PASSWORD) && !log.contains("sesame"),
            "a password in the log: {log}"
        );
    }
}

#[test]
fn slotway_does_not_become_an_open_door() {
    let (_file, path) = password_file(PASSWORD);
    let upstream = format!("upstream.password_file={path}");
    let clients = format!("auth.password_file={path}");
    let port = Reservation::any().expect("a free port");
    let listen = format!("0.0.0.0:{}", port.port());
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slotway"));
        command.args([
            "check",
            "--listen",
            &listen,
            "--nodes",
            "127.0.0.1:1",
            "--set",
            &upstream,
        ]);
        command
            .args(more)
            .output()
            .expect("the built binary starts")
    };
    let refused = run(&[]);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned()
        + &String::from_utf8_lossy(&refused.stdout);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(
        text.contains("open door") && text.contains("auth.password_file"),
        "{text}"
    );
    assert!(run(&["--set", &clients]).status.success());
    assert!(run(&["--set", "auth.mode=none"]).status.success());
    assert!(
        run(&["--listen", "127.0.0.1:0"]).status.code() == Some(1),
        "one open listener is enough"
    );
    // `run` refuses for the same reason, before it opens anything.
    let mut command = Command::new(env!("CARGO_BIN_EXE_slotway"));
    command.args([
        "run",
        "--listen",
        &listen,
        "--nodes",
        "127.0.0.1:1",
        "--set",
        &upstream,
    ]);
    let output = command.output().expect("the built binary starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("open door"));
}
