//! SIGTERM while clients are blocked, or listen: they are not waited for, and nothing popped is lost.

use super::stage::{Stage, send};
use crate::support::{RawClient, SHOWN_WITHIN, encode, on_each, show};
use rustix::process::Signal;
use slotway::cluster::Slot;

/// More than any test waits.
const ARGS: [&str; 6] = [
    "--workers",
    "2",
    "--set",
    "timeouts.drain=10m",
    "--set",
    "policy.allow=[\"monitor\"]",
];

/// Blocked clients while elements arrive.
const CLIENTS: usize = 40;

#[test]
fn clients_that_wait_for_something_are_not_waited_for() {
    on_each(|kind| {
        let mut stage = Stage::set(kind, &ARGS);
        let mut clients = vec![
            stage.parked("BLPOP {q}1 {q}2 0"),
            stage.parked("XREAD BLOCK 3600000 STREAMS {q}3 $"),
            stage.blocked("BLPOP q1 q2 0"),
        ];
        // What came before is still answered.
        let mut behind = stage.proxy.client();
        behind.send(&[encode(&["ECHO", "a"]), encode(&["BRPOP", "{q}1", "0"])].concat());
        assert_eq!(behind.reply(), b"$1\r\na\r\n");
        stage.wait_at_nodes(3);
        clients.push(behind);
        for (command, reply) in [
            (
                "SUBSCRIBE c",
                &b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"[..],
            ),
            (
                "SSUBSCRIBE c",
                b"*3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n",
            ),
            ("MULTI", b"+OK\r\n"),
            ("MONITOR", b"+OK\r\n"),
        ] {
            let mut client = stage.proxy.client();
            client.expect(command, reply);
            clients.push(client);
        }
        let mut waits = stage.proxy.client();
        waits.expect("SET {q}4 1", b"+OK\r\n");
        send(&mut waits, "WAIT 7 0");
        stage.proxy.wait_for("WAIT", SHOWN_WITHIN, || {
            let lines = stage.proxy.client().line("CLIENT LIST");
            let lines = String::from_utf8(lines).unwrap();
            match lines.contains("cmd=wait ") {
                true => Ok(()),
                false => Err(lines),
            }
        });
        stage.proxy.signal(Signal::TERM);
        for client in &mut clients {
            // Only the one that listens gets something.
            let rest = client.rest();
            assert!(
                rest.is_empty() || rest.starts_with(b"+1"),
                "{}",
                show(&rest)
            );
        }
        // It is told how many there are.
        let counted = waits.reply();
        assert!(counted.starts_with(b":"), "{}", show(&counted));
        waits.expect_close();
        assert!(stage.proxy.wait_exit().success());
        stage.wait_at_nodes(0);
    });
}

#[test]
fn what_is_popped_meanwhile_is_delivered() {
    on_each(|kind| {
        let mut stage = Stage::set(kind, &ARGS);
        let mut clients: Vec<RawClient> = (0..CLIENTS)
            .map(|n| match n % 2 {
                0 => stage.blocked("BLPOP {q}1 {q}2 0"),
                _ => stage.blocked("BRPOP q1 {q}1 0"),
            })
            .collect();
        stage.wait_at_nodes(CLIENTS as i64 / 2);
        let slot = Slot::of(b"{q}1").number();
        let owner = stage.cluster.owner_of(slot).unwrap();
        let mut direct = RawClient::connect(stage.cluster.addr(owner));
        let push = |n: usize| encode(&["RPUSH", "{q}1", &n.to_string()]);
        // Half of them before the signal, half after it, and no answer is waited for in between.
        direct.send(&(0..CLIENTS / 4).map(push).collect::<Vec<_>>().concat());
        stage.proxy.signal(Signal::TERM);
        direct.send(
            &(CLIENTS / 4..CLIENTS / 2)
                .map(push)
                .collect::<Vec<_>>()
                .concat(),
        );
        direct.replies(CLIENTS / 2);
        let delivered = clients
            .iter_mut()
            .map(RawClient::rest)
            .filter(|rest| !rest.is_empty())
            .count();
        assert!(stage.proxy.wait_exit().success());
        let left = format!(":{}\r\n", CLIENTS / 2 - delivered);
        direct.expect("LLEN {q}1", left.as_bytes());
    });
}
