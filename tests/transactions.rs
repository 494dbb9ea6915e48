//! MULTI, EXEC and DISCARD. The oracle is a plain server: the same bytes get the same replies (`oracle`). Redirections in
//! every place of a block come from scripted nodes (`scripted`), users who may not use MULTI are in `permitted`, slots that
//! move under transactions in `reshard`. What is
//! slotway's own is in this file: cross-slot transactions, what is refused in one, limits, and clients that leave.

#![allow(
    clippy::unwrap_used,
    reason = "in a helper of a test, too, to fail is to panic"
)]

#[path = "transactions/oracle.rs"]
mod oracle;
#[path = "transactions/permitted.rs"]
mod permitted;
#[path = "transactions/reshard.rs"]
mod reshard;
#[path = "transactions/scripted.rs"]
mod scripted;
mod support;

use support::{Proxy, RawClient, boot_cluster, encode, redis, servers, show};

/// Two keys of different slots, which are on different nodes.
const KEYS: [&str; 2] = ["a", "b"];

#[track_caller]
fn expect_start(client: &mut RawClient, line: &str, start: &str) {
    let reply = client.line(line);
    assert!(
        reply.starts_with(start.as_bytes()),
        "{line}: {}",
        show(&reply)
    );
}

const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";

#[test]
fn a_second_slot_is_refused_as_it_is_queued() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let mut client = proxy.client();
    let [a, b] = KEYS;
    for second in [format!("SET {b} 1"), format!("MGET {a} {b}")] {
        client.expect("MULTI", b"+OK\r\n");
        client.expect(&format!("SET {a} 1"), b"+QUEUED\r\n");
        expect_start(
            &mut client,
            &second,
            "-CROSSSLOT Keys in request don't hash to the same slot (slotway: 'a' and 'b'; ",
        );
        client.expect(&format!("SET {a} 2"), b"+QUEUED\r\n");
        client.expect("EXEC", ABORTED);
        client.expect(&format!("EXISTS {a} {b}"), b":0\r\n");
    }
    let refused = proxy
        .metrics()
        .sum("slotway_cross_slot_total", &[("outcome", "refused")]);
    assert_eq!(refused, 2.0);
}

#[test]
fn split_makes_one_transaction_of_each_slot() {
    let split = r#"policy.cross_slot_transactions="split""#;
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1", "--set", split]);
        let mut client = proxy.client();
        let lines = [
            "MULTI",
            "PING",
            "SET a 1",
            "SET b 2",
            "INCR a",
            "PUBLISH c m",
            "GET b",
            "LPUSH a x",
            "ECHO end",
            "EXEC",
            "MGET a b",
        ];
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let pipeline: Vec<u8> = lines.iter().flat_map(|l| encode(&words(l))).collect();
        client.send(&pipeline);
        let replies = client.replies(lines.len());
        let wrong_type = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        let executed = format!(
            "*8\r\n+PONG\r\n+OK\r\n+OK\r\n:2\r\n:0\r\n$1\r\n2\r\n{wrong_type}$3\r\nend\r\n"
        );
        assert_eq!(show(&replies[9]), show(executed.as_bytes()));
        assert_eq!(replies[10], b"*2\r\n$1\r\n2\r\n$1\r\n2\r\n");
        let split = proxy
            .metrics()
            .sum("slotway_cross_slot_total", &[("cmd", "exec")]);
        assert_eq!(split, 1.0);
    }
}

#[test]
fn what_does_not_belong_in_a_block_is_refused_as_it_is_queued() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        for hello in ["HELLO 2", "HELLO 3"] {
            client.line(hello);
            does_not_belong(&mut client, if hello == "HELLO 2" { 3 } else { 2 });
        }
        client.line("HELLO 2");
        // HELLO that changes nothing is answered when its turn comes.
        client.expect("MULTI", b"+OK\r\n");
        client.expect("HELLO 2", b"+QUEUED\r\n");
        client.expect("GET k", b"+QUEUED\r\n");
        let reply = client.line("EXEC");
        assert!(
            reply.starts_with(b"*2\r\n*14\r\n$6\r\nserver\r\n"),
            "{}",
            show(&reply)
        );
        assert!(reply.ends_with(b"$6\r\nbefore\r\n"), "{}", show(&reply));
    }
}

fn does_not_belong(client: &mut RawClient, other_version: u8) {
    let hello = format!("HELLO {other_version}");
    for line in [
        "SUBSCRIBE c",
        "PSUBSCRIBE c*",
        "SSUBSCRIBE c",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE c",
        "SUNSUBSCRIBE c",
        "MONITOR",
        "KEYS *",
        "SCAN 0",
        "DBSIZE",
        "FLUSHALL",
        "CLIENT LIST",
        "CLIENT KILL ID 99",
        "CLIENT UNBLOCK 99",
        "CLIENT TRACKING ON",
        "CONFIG SET maxmemory 1",
        &hello,
    ] {
        client.expect("SET k before", b"+OK\r\n");
        client.expect("MULTI", b"+OK\r\n");
        client.expect("SET k inside", b"+QUEUED\r\n");
        expect_start(client, line, "-ERR slotway: '");
        client.expect("EXEC", ABORTED);
        client.expect("GET k", b"$6\r\nbefore\r\n");
    }
    // This one is not allowed in a server either, or would take effect in the middle of EXEC's reply.
    client.expect("MULTI", b"+OK\r\n");
    expect_start(client, "CLIENT REPLY OFF", "-ERR ");
    client.expect("EXEC", ABORTED);
}

#[test]
fn a_transaction_that_is_too_long_is_refused() {
    let cluster = boot_cluster(&redis());
    for limit in [
        "limits.transaction_commands=3",
        "limits.transaction_bytes=1KB",
    ] {
        let proxy = Proxy::start(&cluster, &["--workers", "1", "--set", limit]);
        let mut client = proxy.client();
        let long = "x".repeat(400);
        for last in ["SET k 3", "PING"] {
            client.expect("MULTI", b"+OK\r\n");
            for value in ["1", "2"] {
                client.expect(&format!("SET k {long}{value}"), b"+QUEUED\r\n");
            }
            let (option, value) = limit.split_once('=').unwrap();
            if value == "3" {
                client.expect("ECHO 3", b"+QUEUED\r\n");
            } else {
                client.expect(&format!("ECHO {}", &long[..60]), b"+QUEUED\r\n");
                client.send(&encode(&["ECHO", &long]));
                let reply = String::from_utf8(client.reply()).unwrap();
                assert!(reply.contains(option), "{reply}");
            }
            if value == "3" {
                let reply = String::from_utf8(client.line(last)).unwrap();
                assert!(reply.starts_with("-ERR slotway: too much between MULTI and EXEC"));
                assert!(reply.contains(option), "{reply}");
            }
            client.expect("EXEC", ABORTED);
            client.expect("EXISTS k", b":0\r\n");
        }
    }
}

#[test]
fn a_client_that_leaves_before_exec_has_done_nothing() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        for leave in 0..3 {
            let mut client = proxy.client();
            client.expect("MULTI", b"+OK\r\n");
            client.expect("INCR counter", b"+QUEUED\r\n");
            match leave {
                0 => client.reset(),
                1 => {
                    client.half_close();
                    client.expect_close();
                }
                _ => {
                    client.expect("QUIT", b"+OK\r\n");
                    client.expect_close();
                }
            }
        }
        // Half of EXEC, then the end.
        let mut client = proxy.client();
        client.send(
            &[
                encode(&["MULTI"]),
                encode(&["INCR", "counter"]),
                b"*1\r\n$4\r\nEX".to_vec(),
            ]
            .concat(),
        );
        assert_eq!(client.replies(2).concat(), b"+OK\r\n+QUEUED\r\n");
        client.reset();
        // EXEC, and then the client leaves without waiting: all of it or nothing.
        for _ in 0..20 {
            let mut client = proxy.client();
            let block = ["MULTI", "INCR done", "RPUSH {done}list x", "EXEC"];
            let bytes = block.iter().flat_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                encode(&words)
            });
            let bytes: Vec<u8> = bytes.collect();
            client.send(&bytes);
            client.reset();
        }
        let mut other = proxy.client();
        other.expect("GET counter", b"$-1\r\n");
        // Both at one moment: more of them may still execute meanwhile.
        let both =
            "return {tonumber(redis.call('GET', KEYS[1]) or 0), redis.call('LLEN', KEYS[2])}";
        let reply = other.command(&["EVAL", both, "2", "done", "{done}list"]);
        let reply = String::from_utf8(reply).unwrap();
        let numbers: Vec<&str> = reply.lines().skip(1).collect();
        assert!(
            numbers.len() == 2 && numbers[0] == numbers[1],
            "{}: {reply}",
            kind.name
        );
    }
}

#[test]
fn a_client_must_authenticate_first() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret").unwrap();
    let cluster = boot_cluster(&redis());
    let option = format!("auth.password_file={}", file.display());
    let proxy = Proxy::start(&cluster, &["--set", &option]);
    let mut client = proxy.client();
    let refused = "NOAUTH Authentication required.";
    for line in ["MULTI", "DISCARD"] {
        client.expect(line, format!("-{refused}\r\n").as_bytes());
    }
    let aborted = format!("-EXECABORT Transaction discarded because of: {refused}\r\n");
    client.expect("EXEC", aborted.as_bytes());
    client.expect("AUTH secret", b"+OK\r\n");
    client.expect("MULTI", b"+OK\r\n");
    client.expect("AUTH wrong", b"+QUEUED\r\n");
    client.expect("AUTH secret", b"+QUEUED\r\n");
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    client.expect("EXEC", format!("*2\r\n{wrong}+OK\r\n").as_bytes());
}

/// NOSCRIPT inside EXEC would come after the effects of what is in front: the script is given to the node first.
#[test]
fn a_script_that_was_seen_is_known_in_a_transaction() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let mut client = proxy.client();
    let body = "return redis.call('INCR',KEYS[1])";
    let sha = client.command(&["SCRIPT", "LOAD", body]);
    let sha = String::from_utf8(sha[5..45].to_vec()).unwrap();
    for node in 0..cluster.len() {
        cluster.ask(node, &["SCRIPT", "FLUSH"]).unwrap();
    }
    client.expect("MULTI", b"+OK\r\n");
    client.expect("SET k 1", b"+QUEUED\r\n");
    client.expect("PING", b"+QUEUED\r\n");
    client.expect(&format!("EVALSHA {sha} 1 k"), b"+QUEUED\r\n");
    client.expect(&format!("EVALSHA {sha} 1 k"), b"+QUEUED\r\n");
    client.expect("EXEC", b"*4\r\n+OK\r\n+PONG\r\n:2\r\n:3\r\n");
}
