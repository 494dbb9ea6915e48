//! CLIENT UNBLOCK, from another client on another worker: as a server does it, and without loss of what was popped.

use super::stage::{Stage, send};
use crate::support::{RawClient, SHOWN_WITHIN, ServerKind, on_each, redis, show, valkey};
use slotway::demo::{Server, Stop, wait_until};

/// Rounds of a push and an UNBLOCK at the same time.
const ROUNDS: usize = 150;

fn id_of(client: &mut RawClient) -> String {
    let reply = String::from_utf8(client.line("CLIENT ID")).unwrap();
    reply.trim_matches([':', '\r', '\n']).to_owned()
}

#[test]
fn clients_of_redis_are_unblocked_as_by_the_server() {
    all(&redis());
}

#[test]
fn clients_of_valkey_are_unblocked_as_by_the_server() {
    all(&valkey());
}

fn all(kind: &ServerKind) {
    let stage = Stage::set(kind, &["--workers", "2"]);
    let plain = Server::boot(&kind.path, &[]).unwrap();
    for hello in ["HELLO 2", "HELLO 3"] {
        for command in [
            "BLPOP {q}1 {q}2 0",
            "BLPOP q1 q2 0",
            "BLMPOP 0 1 {q}1 LEFT",
            "BZMPOP 60 2 q1 q2 MIN",
            "BLMOVE {q}1 {q}2 LEFT LEFT 0",
            "BRPOPLPUSH {q}1 {q}2 0",
            "BZPOPMIN q1 q2 q3 0",
            "XREAD BLOCK 0 STREAMS q1 q2 $ $",
            "XREAD BLOCK 0 STREAMS {q}1 $",
            "WAIT 5 0",
        ] {
            for how in ["", "TIMEOUT", "ERROR", "error"] {
                let got = unblock(&|| stage.proxy.client(), hello, command, how);
                let expected = unblock(&|| RawClient::connect(plain.addr()), hello, command, how);
                assert_eq!(expected.1, b":1\r\n", "{command} {how}");
                match command.starts_with("WAIT") && how != "ERROR" && how != "error" {
                    // As many replicas as there are: the plain server has none.
                    true => assert_eq!(got.1, expected.1),
                    false => assert_eq!(got, expected, "{}: {hello} {command} {how}", kind.name),
                }
            }
        }
    }
    // It found nothing and took nothing.
    let mut other = stage.proxy.client();
    other.expect("RPUSH {q}1 x", b":1\r\n");
    other.expect("LLEN {q}1", b":1\r\n");
    stage.wait_clean();
}

/// What the client gets, and what whoever unblocks it gets; who is not blocked is not unblocked.
fn unblock(
    connect: &dyn Fn() -> RawClient,
    hello: &str,
    command: &str,
    how: &str,
) -> (Vec<u8>, Vec<u8>) {
    let (mut client, mut other) = (connect(), connect());
    client.line(hello);
    let id = id_of(&mut client);
    let request = format!("CLIENT UNBLOCK {id} {how}");
    other.expect(&request, b":0\r\n");
    send(&mut client, command);
    wait_until(command, SHOWN_WITHIN, &Stop::default(), || {
        let reply = other.line(&format!("CLIENT LIST ID {id}"));
        match show(&reply).contains(" flags=b ") {
            true => Ok(()),
            false => Err(show(&reply)),
        }
    })
    .unwrap();
    let answer = other.line(&request);
    let reply = client.reply();
    other.expect(&request, b":0\r\n");
    client.expect("ECHO still-here", b"$10\r\nstill-here\r\n");
    (reply, answer)
}

/// The client gets the element or is unblocked, never both, and whoever unblocks it is told which.
#[test]
fn what_is_popped_meanwhile_is_not_lost() {
    on_each(|kind| {
        let stage = Stage::set(kind, &["--workers", "2"]);
        let (mut pushes, mut unblocks) = (stage.proxy.client(), stage.proxy.client());
        for command in ["BLPOP {q}1 {q}2 0", "BLPOP q1 {q}2 0"] {
            let mut client = stage.proxy.client();
            let request = format!("CLIENT UNBLOCK {}", id_of(&mut client));
            let mut left = 0;
            for round in 0..ROUNDS {
                send(&mut client, command);
                stage.wait_gauge("slotway_blocked_clients", 1.0);
                // Each of the two is sometimes first.
                let push = format!("RPUSH {{q}}2 {round}");
                match round % 2 {
                    0 => (send(&mut pushes, &push), send(&mut unblocks, &request)),
                    _ => (send(&mut unblocks, &request), send(&mut pushes, &push)),
                };
                let (answer, reply) = (unblocks.reply(), client.reply());
                assert!(pushes.reply().starts_with(b":"));
                match (&answer[..], &reply[..]) {
                    (b":1\r\n", b"*-1\r\n") => left += 1,
                    (b":0\r\n", popped) if popped.starts_with(b"*2\r\n") => {}
                    other => panic!("{}, {command}: {other:?}", kind.name),
                }
                let here = format!(":{left}\r\n");
                pushes.expect("LLEN {q}2", here.as_bytes());
                if left > 0 {
                    pushes.line("LPOP {q}2");
                    left -= 1;
                }
            }
        }
        stage.wait_clean();
    });
}
