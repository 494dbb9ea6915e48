//! `slotway demo` as a person meets it: it says what it did and what to try, the cluster works through the proxy, and
//! whatever ends it (Ctrl-C, SIGTERM, a closed terminal, even SIGKILL, early or late), no process is left, and no file unless it
//! was SIGKILL.

#![allow(
    clippy::unwrap_used,
    reason = "in a helper of a test, too, to fail is to panic"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use slotway::demo::{Process, Reservation, Stop, mortal, wait_until};
use support::{RawClient, ServerKind, servers};

/// A cluster boots in 3 s on an idle machine.
const DEMO_TIMEOUT: Duration = Duration::from_secs(60);
/// The last line of what the demo says.
const READY: &str = "Ctrl-C takes all of it down.";

struct Demo {
    process: Process,
    listen: Reservation,
    // Where it puts its files; its own child processes work there.
    dir: tempfile::TempDir,
    _admin: Reservation,
}

impl Demo {
    fn start(kind: &ServerKind, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (listen, admin) = (Reservation::any().unwrap(), Reservation::any().unwrap());
        let mut command = mortal(Path::new(env!("CARGO_BIN_EXE_slotway")));
        for (name, _) in std::env::vars_os() {
            // The tests' own variables are no configuration of the proxy.
            if name.as_encoded_bytes().starts_with(b"SLOTWAY_") {
                command.env_remove(name);
            }
        }
        command
            .args(["demo", "--admin", &admin.addr().to_string()])
            .arg("--server")
            .arg(&kind.path)
            .args(args)
            .env("SLOTWAY_LISTEN_ADDRESSES", listen.addr().to_string())
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            process: Process::start(command).unwrap(),
            listen,
            dir,
            _admin: admin,
        }
    }

    /// What it says until it is ready.
    fn read_introduction(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let out = self.process.child().stdout.take().unwrap();
        for line in BufReader::new(out).lines() {
            lines.push(line.unwrap());
            if lines.last().is_some_and(|line| line == READY) {
                return lines;
            }
        }
        let mut log = String::new();
        let mut err = self.process.child().stderr.take().unwrap();
        err.read_to_string(&mut log).unwrap();
        panic!("ended before it was ready: {lines:?}\n{log}");
    }

    fn expect_end(&mut self) -> i32 {
        let mut code = None;
        let process = &mut self.process;
        wait_until("the demo ends", DEMO_TIMEOUT, &Stop::default(), || {
            let status = process.exit_status().map_err(|error| error.to_string())?;
            code = status.ok_or("still running")?.code();
            Ok(())
        })
        .unwrap();
        code.expect("not by a signal")
    }

    fn servers(&self) -> Vec<PathBuf> {
        working_in(self.dir.path())
    }

    #[track_caller]
    fn expect_nothing_left(&self) {
        assert_eq!(self.servers(), Vec::<PathBuf>::new());
        let files: Vec<_> = fs::read_dir(self.dir.path()).unwrap().collect();
        assert!(files.is_empty(), "{files:?}");
    }
}

/// Processes (as `/proc/PID`) whose working directory is below `dir`.
fn working_in(dir: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap();
    let processes = processes.map(|entry| entry.unwrap().path());
    processes
        .filter(|path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
        .collect()
}

#[test]
fn it_serves_and_ctrl_c_leaves_nothing() {
    for kind in servers() {
        let mut demo = Demo::start(&kind, &[]);
        let text = demo.read_introduction().join("\n");
        let listen = demo.listen.addr().to_string();
        assert!(
            text.contains(&format!("slotway is in front of them, on {listen}")),
            "{text}"
        );
        assert!(text.contains("redis-benchmark"), "{text}");
        assert_eq!(demo.servers().len(), 6);
        let mut client = RawClient::connect(demo.listen.addr());
        client.expect("MSET a 1 b 2 c 3", b"+OK\r\n");
        client.expect("MGET c b a", b"*3\r\n$1\r\n3\r\n$1\r\n2\r\n$1\r\n1\r\n");
        drop(client);
        let signal = if kind.name == "redis" {
            Signal::INT
        } else {
            Signal::HUP
        };
        demo.process.signal(signal).unwrap();
        assert_eq!(demo.expect_end(), 0);
        demo.expect_nothing_left();
    }
}

#[test]
fn without_a_cluster_it_is_one_server_and_its_replica() {
    for kind in servers() {
        let mut demo = Demo::start(&kind, &["--standalone"]);
        let text = demo.read_introduction().join("\n");
        assert!(
            text.contains("one shard with all slots") && text.contains("REPLICAOF NO ONE"),
            "{text}"
        );
        // While the replica begins, a child of the primary works there, too.
        wait_until(
            "two servers",
            DEMO_TIMEOUT,
            &Stop::default(),
            || match demo.servers().len() {
                2 => Ok(()),
                n => Err(format!("{n} processes")),
            },
        )
        .unwrap();
        let mut client = RawClient::connect(demo.listen.addr());
        client.expect("MSET a 1 b 2 c 3", b"+OK\r\n");
        client.expect("DBSIZE", b":3\r\n");
        demo.process.signal(Signal::INT).unwrap();
        assert_eq!(demo.expect_end(), 0);
        demo.expect_nothing_left();
    }
}

#[test]
fn two_stand_side_by_side() {
    let kind = support::redis();
    let few = ["--replicas", "0", "--listen", "127.0.0.1:0"];
    let mut demos = [Demo::start(&kind, &few), Demo::start(&kind, &few)];
    let mut clients = Vec::new();
    for demo in &mut demos {
        let said = demo.read_introduction();
        let words = said
            .iter()
            .find_map(|line| line.split_once(" on 127.0.0.1:"));
        let port = words.expect("it says its address").1;
        let addr = format!("127.0.0.1:{port}").parse().expect("the real port");
        clients.push(RawClient::connect(addr));
    }
    for (client, value) in clients.iter_mut().zip(["one", "two"]) {
        client.expect(&format!("MSET a {value} b {value} c {value}"), b"+OK\r\n");
    }
    demos[0].process.signal(Signal::TERM).unwrap();
    assert_eq!(demos[0].expect_end(), 0);
    demos[0].expect_nothing_left();
    clients[1].expect("MGET a b", b"*2\r\n$3\r\ntwo\r\n$3\r\ntwo\r\n");
    demos[1].process.signal(Signal::INT).unwrap();
    assert_eq!(demos[1].expect_end(), 0);
    demos[1].expect_nothing_left();
}

#[test]
fn a_signal_while_it_boots_leaves_nothing() {
    let kind = support::redis();
    for signal in [Signal::INT, Signal::HUP] {
        let mut demo = Demo::start(&kind, &[]);
        wait_until("a server runs", DEMO_TIMEOUT, &Stop::default(), || {
            let running = demo.servers();
            if running.is_empty() {
                Err("none".into())
            } else {
                Ok(())
            }
        })
        .unwrap();
        demo.process.signal(signal).unwrap();
        assert_eq!(demo.expect_end(), 0);
        demo.expect_nothing_left();
    }
}

#[test]
fn sigkill_leaves_no_process() {
    let mut demo = Demo::start(&support::redis(), &["--replicas", "0"]);
    demo.read_introduction();
    assert_eq!(demo.servers().len(), 3);
    demo.process.kill().unwrap();
    wait_until(
        "the servers are gone",
        DEMO_TIMEOUT,
        &Stop::default(),
        || {
            let left = demo.servers();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        },
    )
    .unwrap();
}

#[test]
fn a_taken_port_is_a_clear_error() {
    let kind = support::redis();
    let taken = Reservation::any_node().unwrap();
    let _listener = TcpListener::bind(taken.addr()).unwrap();
    let port = taken.port().to_string();
    for args in [
        ["--listen", &taken.addr().to_string()],
        ["--base-port", &port],
    ] {
        let mut demo = Demo::start(&kind, &args);
        assert_ne!(demo.expect_end(), 0);
        let mut text = String::new();
        let mut err = demo.process.child().stderr.take().unwrap();
        err.read_to_string(&mut text).unwrap();
        assert!(text.contains(&format!("port {port} ")), "{text}");
        demo.expect_nothing_left();
    }
}
