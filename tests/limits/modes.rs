//! How many clients may have connections or buffers of their own, and how much goes into those: against real servers.

use super::{SHOWN_WITHIN, hits, set};
use crate::support::{Proxy, RawClient, boot_cluster, encode, redis, show, valkey};

fn refused(proxy: &Proxy, client: &mut RawClient, line: &str, option: &str) {
    let before = hits(proxy, option);
    let got = client.line(line);
    assert!(
        got.starts_with(b"-ERR slotway: ") && show(&got).contains(option),
        "{line}: {}",
        show(&got)
    );
    assert_eq!(hits(proxy, option), before + 1.0, "{option}");
}

#[test]
fn modes_are_bounded() {
    let cluster = boot_cluster(&redis());
    let args = set(&[
        "limits.transaction_commands=2",
        "limits.transaction_bytes=1KB",
        "limits.subscribers=1",
        "limits.subscriptions=2",
        "limits.blocked_clients=1",
        "limits.watchers=1",
        "limits.monitors=1",
        "limits.monitor_buffer=64KB",
        "policy.allow=[\"monitor\"]",
    ]);
    let proxy = Proxy::start(&cluster, &args);
    let (mut one, mut other) = (proxy.client(), proxy.client());
    // Between MULTI and EXEC.
    one.expect("MULTI", b"+OK\r\n");
    one.expect("SET a 1", b"+QUEUED\r\n");
    one.expect("SET a 2", b"+QUEUED\r\n");
    refused(&proxy, &mut one, "SET a 3", "limits.transaction_commands");
    assert!(one.line("EXEC").starts_with(b"-EXECABORT"));
    one.expect("MULTI", b"+OK\r\n");
    let long = format!("SET a {}", "v".repeat(1024));
    refused(&proxy, &mut one, &long, "limits.transaction_bytes");
    assert!(one.line("EXEC").starts_with(b"-EXECABORT"));
    one.expect("GET a", b"$-1\r\n");
    // Watching.
    one.expect("WATCH a", b"+OK\r\n");
    refused(&proxy, &mut other, "WATCH a", "limits.watchers");
    one.expect("UNWATCH", b"+OK\r\n");
    other.expect("WATCH a", b"+OK\r\n");
    other.expect("UNWATCH", b"+OK\r\n");
    // Subscribed.
    let mut subscriber = proxy.client();
    subscriber.line("SUBSCRIBE one");
    refused(
        &proxy,
        &mut subscriber,
        "SUBSCRIBE two three",
        "limits.subscriptions",
    );
    refused(&proxy, &mut other, "SUBSCRIBE one", "limits.subscribers");
    drop(subscriber);
    // Blocked.
    let mut blocked = proxy.client();
    blocked.send(&encode(&["BLPOP", "q", "0"]));
    proxy.wait_for("it is blocked", SHOWN_WITHIN, || {
        match proxy.metrics().sum("slotway_blocked_clients", &[]) {
            1.0 => Ok(()),
            n => Err(format!("{n} are")),
        }
    });
    for line in ["BLPOP q 0", "WAIT 9 0"] {
        refused(&proxy, &mut other, line, "limits.blocked_clients");
    }
    other.expect("RPUSH q a", b":1\r\n");
    assert_eq!(blocked.reply(), b"*2\r\n$1\r\nq\r\n$1\r\na\r\n");
    // Watching all others: one line is larger than its buffer.
    let mut monitor = proxy.client();
    monitor.expect("MONITOR", b"+OK\r\n");
    refused(&proxy, &mut other, "MONITOR", "limits.monitors");
    assert_eq!(hits(&proxy, "limits.monitor_buffer"), 0.0);
    let value = "v".repeat(100_000);
    assert_eq!(other.command(&["SET", "a", &value]), b"+OK\r\n");
    other.expect("STRLEN a", b":100000\r\n");
    let told = monitor.reply();
    assert!(show(&told).contains("DROPPED"), "{}", show(&told));
    assert_eq!(hits(&proxy, "limits.monitor_buffer"), 1.0);
}

#[test]
fn connections_of_single_clients_are_bounded() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &set(&["upstream.leases=1"]));
    let (mut one, mut other) = (proxy.client(), proxy.client());
    one.expect("WATCH a", b"+OK\r\n");
    refused(&proxy, &mut other, "WATCH b", "upstream.leases");
    refused(&proxy, &mut other, "BLPOP b 0", "upstream.leases");
    one.expect("UNWATCH", b"+OK\r\n");
    proxy.wait_for("its connection is free", SHOWN_WITHIN, || {
        match proxy.metrics().sum("slotway_leases", &[]) {
            0.0 => Ok(()),
            n => Err(format!("{n} are in use")),
        }
    });
    other.expect("WATCH b", b"+OK\r\n");
}

#[test]
fn scripts_are_bounded() {
    let cluster = boot_cluster(&valkey());
    for (option, setting) in [
        ("limits.scripts", "limits.scripts=2"),
        ("limits.script_bytes", "limits.script_bytes=1KB"),
    ] {
        let proxy = Proxy::start(&cluster, &set(&[setting]));
        let mut client = proxy.client();
        let body = |n: usize| format!("return {n} --{}", "x".repeat(400));
        let mut shas = Vec::new();
        for n in 0..3 {
            assert_eq!(hits(&proxy, option), 0.0, "{option}");
            assert_eq!(
                client.command(&["EVAL", &body(n), "1", "k"]),
                format!(":{n}\r\n").as_bytes()
            );
            shas.push(sha1_smol::Sha1::from(body(n)).digest().to_string());
        }
        assert_eq!(hits(&proxy, option), 1.0, "{option}");
        // Nodes forget behind our back: those that are kept are given to them again, the oldest is not.
        for node in 0..cluster.len() {
            cluster.ask(node, &["SCRIPT", "FLUSH"]).unwrap();
        }
        let got = client.line(&format!("EVALSHA {} 1 k", shas[0]));
        assert!(got.starts_with(b"-NOSCRIPT"), "{option}: {}", show(&got));
        for (n, sha) in shas.iter().enumerate().skip(1) {
            let line = format!("EVALSHA {sha} 1 k");
            client.expect(&line, format!(":{n}\r\n").as_bytes());
        }
    }
}
