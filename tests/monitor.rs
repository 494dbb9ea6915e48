//! MONITOR: the lines a plain server of the same kind shows, from the clients of all workers, without passwords;
//! bounded, honest about what it leaves out, and gone with the client that asked for it.

mod support;

use slotway::demo::Server;
use std::time::Duration;
use support::{Proxy, RawClient, boot_cluster, encode, redis, servers, show};

const ALLOWED: [&str; 2] = ["--set", r#"policy.allow=["monitor"]"#];
/// How long something may take that needs no more than a few messages.
const SOON: Duration = Duration::from_secs(20);

fn watch(mut client: RawClient) -> RawClient {
    client.expect("MONITOR", b"+OK\r\n");
    client
}

/// The next line from its address on, and without the port: `[0 127.0.0.1] "PING"`.
fn line(monitor: &mut RawClient) -> String {
    let reply = String::from_utf8(monitor.reply()).expect("text");
    let (time, line) = reply.split_once(' ').expect("a time");
    let (seconds, micros) = time.split_once('.').expect("a fraction");
    assert!(seconds.starts_with('+') && micros.len() == 6, "{reply}");
    match line.split_once("] ") {
        Some((address, command)) => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            format!("{host}] {command}")
        }
        None => panic!("no address: {reply}"),
    }
}

/// Except for passwords in an AUTH or HELLO that is refused for another reason: servers show those, the proxy never.
#[test]
fn lines_are_those_of_a_plain_server() {
    let requests: &[&[&str]] = &[
        &["SET", "a", "b"],
        &["set", "a\n\"\\\r\t\u{7}\u{8}\u{1}é ", ""],
        &["GET", "a"],
        &["NOSUCH", "a"],
        &["GET"],
        &["PING"],
        &["AUTH", "secret"],
        &["AUTH", "default", "secret"],
        &["HELLO", "2", "AUTH", "default", "secret", "SETNAME", "n"],
        &["CLIENT", "ID"],
        &["CLIENT", "LIST"],
        &["CONFIG", "GET", "save"],
        &["INFO", "server"],
        &["DBSIZE"],
        &["MGET", "a", "b"],
        &["CLIENT", "REPLY", "ON"],
        &["SELECT", "0"],
        &["CLUSTER", "NODES"],
        &["MULTI"],
        &["SET", "a", "1"],
        &["CLIENT", "ID"],
        &["EXEC"],
        &["MULTI"],
        &["GET", "a"],
        &["EXEC"],
        &["MULTI"],
        &["DISCARD"],
        &["RESET"],
        &["PING", "end"],
    ];
    for kind in servers() {
        let plain = Server::boot(&kind.path, &[("databases", "1")]).expect("a plain server");
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &ALLOWED);
        let shown = [plain.addr(), proxy.addr()].map(|addr| {
            let mut monitor = watch(RawClient::connect(addr));
            let mut client = RawClient::connect(addr);
            requests
                .iter()
                .for_each(|request| drop(client.command(request)));
            let mut lines = Vec::new();
            while !lines.last().is_some_and(|l: &String| l.contains("\"end\"")) {
                lines.push(line(&mut monitor));
            }
            lines
        });
        assert_eq!(shown[0], shown[1], "{}", kind.name);
        assert!(!shown[1].iter().any(|line| line.contains("secret")));
    }
}

#[test]
fn clients_of_all_workers_are_shown_to_all_who_watch() {
    const CLIENTS: usize = 8;
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &[&ALLOWED[..], &["--workers", "3"]].concat());
    let mut monitors: Vec<RawClient> = (0..3).map(|_| watch(proxy.client())).collect();
    let mut clients: Vec<RawClient> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.expect(&format!("ECHO {n}"), format!("$1\r\n{n}\r\n").as_bytes());
    }
    for monitor in &mut monitors {
        for n in 0..CLIENTS {
            assert_eq!(line(monitor), format!("[0 127.0.0.1] \"ECHO\" \"{n}\"\r\n"));
        }
    }
}

#[test]
fn it_is_off_unless_allowed_and_ends_with_its_client() {
    let cluster = boot_cluster(&redis());
    let off = Proxy::start(&cluster, &[]);
    let refused = off.client().line("MONITOR");
    let text = String::from_utf8_lossy(&refused);
    assert!(
        text.starts_with("-ERR slotway: 'monitor' ") && text.contains("policy.allow"),
        "{text}"
    );
    let limit = ["--set", "limits.monitors=1"];
    let proxy = Proxy::start(&cluster, &[&ALLOWED[..], &limit].concat());
    let mut monitor = watch(proxy.client());
    let refused = proxy.client().line("MONITOR");
    assert!(
        show(&refused).contains("limits.monitors"),
        "{}",
        show(&refused)
    );
    // What it may still do itself, in the server's words; a second MONITOR has no reply.
    let keyspace = b"-ERR Replica can't interact with the keyspace\r\n";
    monitor.expect("GET a", keyspace);
    monitor.expect("SET a b", keyspace);
    monitor.send(&[encode(&["MONITOR"]), encode(&["PING", "a"])].concat());
    let replies = monitor.replies(2);
    assert!(replies.contains(&b"$1\r\na\r\n".to_vec()));
    monitor.expect("RESET", b"+RESET\r\n");
    // (The line of RESET itself may have come before it ended.)
    proxy.client().expect("ECHO unseen", b"$6\r\nunseen\r\n");
    monitor.expect("GET a", b"$-1\r\n");
    // The place is free again, after RESET and after a hang-up.
    for _ in 0..2 {
        let next = proxy.wait_for_monitor();
        drop(next);
    }
}

/// Someone else's place may take a moment to become free.
trait WaitForMonitor {
    fn wait_for_monitor(&self) -> RawClient;
}

impl WaitForMonitor for Proxy {
    fn wait_for_monitor(&self) -> RawClient {
        let mut watching = None;
        self.wait_for("a place for MONITOR", SOON, || {
            let mut client = self.client();
            let reply = client.line("MONITOR");
            watching = (reply == b"+OK\r\n").then_some(client);
            watching.as_ref().map(|_| ()).ok_or_else(|| show(&reply))
        });
        watching.expect("waited for")
    }
}

#[test]
fn who_reads_too_slowly_is_told_how_much_was_left_out() {
    const VALUES: usize = 3000;
    const VALUE_BYTES: usize = 10_000;
    let cluster = boot_cluster(&redis());
    let buffer = ["--set", "limits.monitor_buffer=64KB", "--workers", "2"];
    let proxy = Proxy::start(&cluster, &[&ALLOWED[..], &buffer].concat());
    let mut monitor = watch(proxy.client());
    let mut client = proxy.client();
    let value = "v".repeat(VALUE_BYTES);
    for _ in 0..VALUES {
        assert_eq!(client.command(&["SET", "k", &value]), b"+OK\r\n");
    }
    // It reads again: everything that was sent is either seen or among those said to be left out.
    let (mut seen, mut dropped) = (0, 0);
    while seen + dropped < VALUES {
        let line = line(&mut monitor);
        match line.strip_prefix("[0 unix] \"SLOTWAY\" \"DROPPED\" \"") {
            Some(count) => {
                let count = count.trim_end_matches("\"\r\n");
                dropped += count.parse::<usize>().expect("a number");
            }
            None => {
                assert!(line.contains("\"SET\" \"k\""), "{line}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen + dropped, VALUES);
    assert!(seen > 0 && dropped > 0, "{seen} seen, {dropped} left out");
    client.expect("PING", b"+PONG\r\n");
    assert_eq!(line(&mut monitor), "[0 127.0.0.1] \"PING\"\r\n");
}
