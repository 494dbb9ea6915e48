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

use requests::{SESSIONS, args};
use slotway::demo::Server;
use std::time::Duration;
use support::{Proxy, RawClient, ServerKind, boot_cluster, encode, show};

/// How long the nodes' own COMMAND may take to be heard.
const TABLE_TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn replies_are_those_of_a_plain_redis() {
    replies_are_those_of_a_plain(&support::redis());
}

#[test]
fn replies_are_those_of_a_plain_valkey() {
    replies_are_those_of_a_plain(&support::valkey());
}

fn replies_are_those_of_a_plain(kind: &ServerKind) {
    let plain = Server::boot(&kind.path, &[("databases", "1")]).expect("a plain server");
    let cluster = boot_cluster(kind);
    let proxy = Proxy::start(&cluster, &["--workers", "2"]);
    let expected = RawClient::connect(plain.addr()).line("HTTL");
    proxy.wait_for("the nodes' own commands", TABLE_TIMEOUT, || {
        let got = proxy.client().line("HTTL");
        (got == expected).then_some(()).ok_or_else(|| show(&got))
    });
    let mut wrong = Vec::new();
    for session in SESSIONS.iter().filter(|session| session.is_for(kind.name)) {
        for pipelined in [false, true] {
            let lines = session.lines();
            let mut both = [RawClient::connect(plain.addr()), proxy.client()];
            let mut replies = both
                .iter_mut()
                .map(|client| session_replies(client, &lines, pipelined));
            let (theirs, ours) = (replies.next().unwrap(), replies.next().unwrap());
            for (at, line) in lines.iter().enumerate() {
                let (theirs, ours) = (theirs.get(at), ours.get(at));
                if !same::same(line, theirs, ours) {
                    let shown =
                        |reply: Option<&Vec<u8>>| reply.map_or("nothing".to_owned(), |r| show(r));
                    wrong.push(format!(
                        "{} (pipelined: {pipelined}): {line}\n  plain: {}\n  ours:  {}",
                        session.name,
                        shown(theirs),
                        shown(ours)
                    ));
                    if let (Some(theirs), Some(ours)) = (theirs, ours)
                        && let (Some(theirs), Some(ours)) = (same::info(theirs), same::info(ours))
                    {
                        let missing = theirs.iter().filter(|f| !ours.contains(f));
                        let surplus = ours.iter().filter(|f| !theirs.contains(f));
                        let (missing, surplus): (Vec<_>, Vec<_>) =
                            (missing.collect(), surplus.collect());
                        wrong.push(format!("  missing: {missing:?}\n  surplus: {surplus:?}"));
                    }
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
