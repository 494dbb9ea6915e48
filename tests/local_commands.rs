//! What slotway answers itself is what one plain server answers: the same requests, valid and not, go to a plain
//! server of each kind and through the proxy, in RESP2, in RESP3 and across HELLO in the middle of a pipeline, and
//! the replies are compared byte for byte, except for what `local_commands/same.rs` names.

#![allow(
    clippy::unwrap_used,
    reason = "in a helper of a test, too, to fail is to panic"
)]

mod support;

#[path = "local_commands/requests.rs"]
mod requests;
#[path = "local_commands/same.rs"]
mod same;

use requests::{SESSIONS, Session, WITH_PASSWORD, args};
use slotway::demo::Server;
use std::net::SocketAddr;
use support::{Proxy, RawClient, SHOWN_WITHIN, ServerKind, boot_cluster, encode, servers, show};

#[test]
fn replies_are_those_of_a_plain_redis() {
    replies_are_those_of_a_plain(&support::redis());
}

#[test]
fn replies_are_those_of_a_plain_valkey() {
    replies_are_those_of_a_plain(&support::valkey());
}

/// The same with a password, which the clients of both must give.
#[test]
fn replies_are_those_of_a_plain_server_with_a_password() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let password = format!("auth.password_file={}", file.display());
    for kind in servers() {
        let settings = [("databases", "1"), ("requirepass", "secret")];
        let plain = Server::boot(&kind.path, &settings).expect("a plain server");
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "2", "--set", &password]);
        compare(&kind, plain.addr(), &proxy, WITH_PASSWORD);
    }
}

fn replies_are_those_of_a_plain(kind: &ServerKind) {
    let plain = Server::boot(&kind.path, &[("databases", "1")]).expect("a plain server");
    let cluster = boot_cluster(kind);
    let proxy = Proxy::start(&cluster, &["--workers", "2"]);
    proxy.wait_commands_of(plain.addr());
    compare(kind, plain.addr(), &proxy, SESSIONS);
}

fn compare(kind: &ServerKind, plain: SocketAddr, proxy: &Proxy, sessions: &[Session]) {
    let mut wrong = Vec::new();
    for session in sessions.iter().filter(|session| session.is_for(kind.name)) {
        for pipelined in [false, true] {
            let lines = session.lines();
            // CLIENT LIST would show clients of the session before.
            proxy.wait_for("clients of before are gone", SHOWN_WITHIN, || {
                let clients = proxy.metrics().sum("slotway_client_connections", &[]);
                match clients {
                    0.0 => Ok(()),
                    n => Err(format!("{n} clients")),
                }
            });
            let mut both = [RawClient::connect(plain), proxy.client()];
            let replies = both
                .each_mut()
                .map(|client| session_replies(client, &lines, pipelined));
            let answered = lines.iter().filter(|line| !requests::is_silent(line));
            for (at, line) in answered.enumerate() {
                let [theirs, ours] = replies.each_ref().map(|replies| replies.get(at));
                if !same::same(line, theirs, ours) {
                    let name = session.name;
                    let shown = difference(theirs, ours);
                    wrong.push(format!("{name} (pipelined: {pipelined}): {line}\n{shown}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{}: {} replies differ:\n{}",
        kind.name,
        wrong.len(),
        wrong.join("\n")
    );
}

fn difference(theirs: Option<&Vec<u8>>, ours: Option<&Vec<u8>>) -> String {
    let shown = |reply: Option<&Vec<u8>>| reply.map_or("nothing".to_owned(), |r| show(r));
    let mut text = format!("  plain: {}\n  ours:  {}", shown(theirs), shown(ours));
    if let (Some(theirs), Some(ours)) = (
        theirs.and_then(|r| same::info(r)),
        ours.and_then(|r| same::info(r)),
    ) {
        let missing: Vec<_> = theirs.iter().filter(|f| !ours.contains(f)).collect();
        let surplus: Vec<_> = ours.iter().filter(|f| !theirs.contains(f)).collect();
        text += &format!("\n  missing: {missing:?}\n  surplus: {surplus:?}");
    }
    text
}

fn session_replies(client: &mut RawClient, lines: &[&str], pipelined: bool) -> Vec<Vec<u8>> {
    let answered = |line: &&&str| !requests::is_silent(line);
    if pipelined {
        let all: Vec<u8> = lines.iter().flat_map(|l| encode(&args(l))).collect();
        client.send(&all);
        return client.try_replies(lines.iter().filter(answered).count());
    }
    let mut replies = Vec::new();
    for line in lines {
        client.send(&encode(&args(line)));
        if answered(&line) {
            replies.extend(client.try_replies(1));
        }
    }
    replies
}
