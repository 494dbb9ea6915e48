//! Clients that break the protocol, on purpose or not. What is wrong is said in the words of Redis, then the
//! connection is closed, and nothing of the broken request, nor of what follows it, reaches a node: the scripted
//! node takes no command that is not expected. What is merely unusual (blank lines, a half-closed connection, huge
//! pipelines, resets) disturbs nobody.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::node::{Action, FakeCluster};
use support::{Proxy, RawClient, SHOWN_WITHIN, StopOnDrop, encode, show};

/// Clients that declare much and send nothing.
const STALLED: usize = 1000;
/// What all of them together may cost, resident: read buffers and sessions, with a wide margin. Declared sizes alone
/// would be a hundred times as much.
const STALLED_BYTES_MAX: u64 = 128 << 20;
/// The same for address space, where reserving for declared sizes would show first.
const STALLED_VIRTUAL_MAX: f64 = (1u64 << 30) as f64;
/// More than any line of a request may have, in bytes.
const LONG: usize = 70 * 1024;

/// A node that answers `GETRANGE key nonce …` with the nonce, and expects no other data command.
fn echoing() -> (FakeCluster, Proxy) {
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| {
        let nonce = (call.name() == "GETRANGE").then(|| call.args[2].as_slice())?;
        Some(vec![Action::Send([b"+", nonce, b"\r\n"].concat())])
    });
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    (cluster, proxy)
}

fn ask(key: &str, nonce: &str) -> Vec<u8> {
    encode(&["GETRANGE", key, nonce, "0"])
}

#[test]
fn protocol_errors_are_said_and_close_the_connection() {
    let (cluster, proxy) = echoing();
    let long = "1".repeat(LONG);
    let cases: Vec<(Vec<u8>, &str)> = [
        ("*x\r\n", "invalid multibulk length"),
        ("*+1\r\n$4\r\nPING\r\n", "invalid multibulk length"),
        ("*01\r\n$4\r\nPING\r\n", "invalid multibulk length"),
        ("*2000000000\r\n", "invalid multibulk length"),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*3\r\n$3\r\nSET\r\n$-1\r\n", "invalid bulk length"),
        ("*3\r\n$3\r\nSET\r\n$x\r\n", "invalid bulk length"),
        ("*3\r\n$3\r\nSET\r\n$+1\r\na\r\n", "invalid bulk length"),
        ("*3\r\n$3\r\nSET\r\n$01\r\na\r\n", "invalid bulk length"),
        ("*3\r\n$3\r\nSET\r\n$536870913\r\n", "invalid bulk length"),
        ("*3\r\n$3\r\nSET\r\n+OK\r\n", "expected '$', got '+'"),
        (
            "*3\r\n$3\r\nSET\r\n*1\r\n$1\r\na\r\n",
            "expected '$', got '*'",
        ),
        (
            "*3\r\n$3\r\nSET\r\n$1\r\naXX$1\r\nb\r\n",
            "expected CRLF after bulk string",
        ),
        ("SET a \"b\r\n", "unbalanced quotes in request"),
    ]
    .into_iter()
    .map(|(bytes, text)| (bytes.as_bytes().to_vec(), text))
    .chain([
        (
            format!("*{long}").into_bytes(),
            "too big mbulk count string",
        ),
        (
            format!("*3\r\n$3\r\nSET\r\n${long}").into_bytes(),
            "too big bulk count string",
        ),
        (format!("SET {long}").into_bytes(), "too big inline request"),
    ])
    .collect();
    for (broken, text) in &cases {
        let mut client = proxy.client();
        // What came before is answered; what comes after is not looked at.
        let after = encode(&["SET", "never", "1"]);
        client.send(&[ask("a", "before"), broken.clone(), after].concat());
        let got = client.rest();
        let expected = format!("+before\r\n-ERR Protocol error: {text}\r\n");
        assert!(
            got == expected.as_bytes(),
            "{}: got {}",
            show(broken),
            show(&got)
        );
    }
    let counted = proxy
        .metrics()
        .sum("slotway_command_errors_total", &[("source", "proxy")]);
    assert_eq!(counted, cases.len() as f64);
    cluster.finish();
}

#[test]
fn another_protocol_is_closed_at_once() {
    let (cluster, proxy) = echoing();
    let requests = [
        "POST / HTTP/1.1\r\nContent-Length: 50\r\n\r\nSET never 1\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET never 1\r\n",
        "post /\r\nSET never 1\r\n",
    ];
    // `GET /` with two more words has too many arguments: that much is answered before the next line is read.
    for request in requests {
        let mut client = proxy.client();
        client.send(request.as_bytes());
        let got = client.rest();
        assert!(
            got.is_empty() || got == b"-ERR wrong number of arguments for 'get' command\r\n",
            "{}",
            show(&got)
        );
    }
    proxy.wait_for("it is in the log", SHOWN_WITHIN, || {
        let log = proxy.log().join("\n");
        match log.matches("cross-protocol").count() {
            n if n == requests.len() => Ok(()),
            _ => Err(log),
        }
    });
    cluster.finish();
}

#[test]
fn empty_requests_are_no_requests() {
    let (cluster, proxy) = echoing();
    let mut client = proxy.client();
    for empty in ["\r\n", "\n", "*0\r\n", "*-1\r\n", "*-5\r\n", "   \r\n"] {
        client.send(&[empty.as_bytes(), &ask("a", "next")].concat());
        assert_eq!(client.reply(), b"+next\r\n", "after {empty:?}");
    }
    cluster.finish();
}

#[test]
fn declared_sizes_cost_nothing() {
    let (cluster, proxy) = echoing();
    let virtual_bytes = || proxy.metrics().sum("process_virtual_memory_bytes", &[]);
    let (resident, reserved) = (proxy.rss(), virtual_bytes());
    let declared = [
        "*1048576\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536000000\r\nabc",
        "*1048576\r\n$4\r\nMGET\r\n$500000000\r\n",
        "SET a ",
    ];
    let mut stalled: Vec<RawClient> = (0..STALLED).map(|_| proxy.client()).collect();
    for (client, bytes) in stalled.iter_mut().zip(declared.iter().cycle()) {
        client.send(bytes.as_bytes());
    }
    // All of it has arrived when the bytes are counted.
    let sent: usize = (0..STALLED)
        .map(|i| declared[i % declared.len()].len())
        .sum();
    proxy.wait_for("all is read", SHOWN_WITHIN, || {
        let received = proxy
            .metrics()
            .sum("slotway_client_received_bytes_total", &[]);
        if received >= sent as f64 {
            Ok(())
        } else {
            Err(format!("{received} of {sent}"))
        }
    });
    let grown = proxy.rss().saturating_sub(resident);
    assert!(
        grown < STALLED_BYTES_MAX,
        "{STALLED} stalled clients cost {grown} bytes"
    );
    let grown = virtual_bytes() - reserved;
    assert!(
        grown < STALLED_VIRTUAL_MAX,
        "{STALLED} stalled clients reserve {grown} bytes"
    );
    let mut client = proxy.client();
    client.send(&ask("a", "other"));
    assert_eq!(client.reply(), b"+other\r\n");
    drop(stalled);
    cluster.finish();
}

#[test]
fn a_half_closed_client_gets_all_its_replies() {
    let (cluster, proxy) = echoing();
    for length in [1, 10, 2000] {
        let nonces: Vec<String> = (0..length).map(|i| format!("n{i}")).collect();
        let mut client = proxy.client();
        client.send(
            &nonces
                .iter()
                .flat_map(|nonce| ask(nonce, nonce))
                .collect::<Vec<u8>>(),
        );
        // A request that does not end is not answered.
        client.send(b"*3\r\n$3\r\nSET\r\n");
        client.half_close();
        let expected: String = nonces.iter().map(|nonce| format!("+{nonce}\r\n")).collect();
        let got = client.rest();
        assert!(
            got == expected.as_bytes(),
            "{length} commands: got {}",
            show(&got)
        );
    }
    cluster.finish();
}

#[test]
fn ten_thousand_commands_in_one_write_are_answered_in_order() {
    const COMMANDS: usize = 10_000;
    let (cluster, proxy) = echoing();
    let mut client = proxy.client();
    // More than fit in flight, so that the proxy stops reading in between.
    let nonces: Vec<String> = (0..2 * COMMANDS).map(|i| format!("n{i}")).collect();
    client.send(
        &nonces
            .iter()
            .flat_map(|nonce| ask(nonce, nonce))
            .collect::<Vec<u8>>(),
    );
    for nonce in &nonces {
        assert_eq!(client.reply(), format!("+{nonce}\r\n").as_bytes());
    }
    cluster.finish();
}

#[test]
fn clients_that_reset_in_mid_pipeline_leave_nothing_behind() {
    const RESETS: usize = 200;
    let (cluster, proxy) = echoing();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop_others = StopOnDrop(&stop);
        let others: Vec<_> = (0..2)
            .map(|id| {
                scope.spawn({
                    let (proxy, stop) = (&proxy, &stop);
                    move || {
                        let mut client = proxy.client();
                        let mut round = 0;
                        while !stop.load(Ordering::Relaxed) {
                            let nonces: Vec<String> =
                                (0..10).map(|i| format!("other{id}-{round}-{i}")).collect();
                            client.send(
                                &nonces
                                    .iter()
                                    .flat_map(|nonce| ask("o", nonce))
                                    .collect::<Vec<u8>>(),
                            );
                            for nonce in &nonces {
                                let got = client.reply();
                                assert!(
                                    got == format!("+{nonce}\r\n").as_bytes(),
                                    "{nonce}: got {}",
                                    show(&got)
                                );
                            }
                            round += 1;
                        }
                        round
                    }
                })
            })
            .collect();
        for reset in 0..RESETS {
            let mut client = proxy.client();
            let nonce = format!("reset{reset}");
            let mut pipeline = ask("r", &nonce).repeat(1 + reset % 50);
            // Often the last request is cut off.
            pipeline.truncate(pipeline.len() - reset % 7);
            client.send(&pipeline);
            if reset % 3 == 0 {
                // Some are in the middle of the replies.
                if pipeline.len() > 200 {
                    assert_eq!(client.reply(), format!("+{nonce}\r\n").as_bytes());
                }
            }
            client.reset();
        }
        drop(stop_others);
        for other in others {
            assert!(other.join().expect("a bystander was disturbed") > 0);
        }
    });
    proxy.wait_for("they are forgotten", SHOWN_WITHIN, || {
        let left = proxy.metrics().sum("slotway_client_connections", &[]);
        let waiting = proxy.metrics().sum("slotway_upstream_in_flight", &[]);
        if left + waiting == 0.0 {
            Ok(())
        } else {
            Err(format!("{left} clients, {waiting} requests"))
        }
    });
    cluster.finish();
}
