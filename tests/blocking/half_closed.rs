//! A client that sends a pipeline and closes its sending side: a blocking command that has nothing to wait for holds nothing
//! up, as on a plain server, and one that has to wait ends with the client, and what is behind it too.

use super::stage::Stage;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, encode, encode_line, on_each, show};
use slotway::cluster::Slot;
use slotway::demo::Server;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So often each pipeline is sent: the end of the stream comes with it, or behind it.
const ROUNDS: usize = 10;

#[rustfmt::skip]
const PIPELINES: &[&[&str]] = &[
    &["RPUSH {a}1 x y", "BLPOP {a}1 0", "BRPOP {a}2 {a}1 0", "SET {a}k 1", "ECHO end"],
    &["RPUSH a1 x", "RPUSH a2 y z", "BLPOP a3 a1 a2 0", "BRPOP a1 a3 a2 0", "SET k 1", "ECHO end"],
    &["RPUSH {a}1 x", "BLMOVE {a}1 {a}2 LEFT RIGHT 0", "BLMPOP 0 1 {a}2 LEFT", "ECHO end"],
    &["ZADD z1 1 a 2 b", "BZPOPMIN z1 z2 0", "BZMPOP 0 2 z2 z1 MAX", "ECHO end"],
    &["XADD s1 1-1 f v", "XREAD BLOCK 0 STREAMS s1 0", "XREAD BLOCK 0 STREAMS s2 s1 0 0", "ECHO end"],
    &["XGROUP CREATE s1 g 0 MKSTREAM", "XADD s1 1-1 f v", "XREADGROUP GROUP g c BLOCK 0 STREAMS s1 >", "ECHO end"],
    &["SET wrong w", "BLPOP wrong 0", "BLPOP k wrong 0", "XREADGROUP GROUP none c BLOCK 0 STREAMS s3 >", "ECHO end"],
    &["BLPOP k nonsense", "BLPOP k -1", "BLPOP", "BLMPOP 0 2 k1 k2 UP", "ECHO end"],
    &["MULTI", "BLPOP {a}1 0", "EXEC", "ECHO end"],
    // These have to wait.
    &["SET before 1", "BLPOP {a}1 {a}2 0", "SET never 1"],
    &["SET before 1", "BLPOP a1 a2 0", "SET never 1"],
    &["SET before 1", "XREAD BLOCK 0 STREAMS s1 $", "SET never 1"],
    &["SET before 1", "XREAD BLOCK 0 STREAMS s1 s2 $ $", "SET never 1"],
    &["SET before 1", "BLPOP a1 30", "SET never 1"],
    &["RPUSH {a}1 x", "BLPOP {a}1 0", "BLPOP {a}1 0", "SET never 1"],
    &["SET before 1", "WAIT 100 0", "SET never 1"],
];

/// Their replies depend on the replicas that there are.
#[rustfmt::skip]
const NUMBERS: &[&[&str]] = &[
    &["SET before 1", "WAIT 0 0", "WAIT 0 1", "SET b2 1", "WAIT 0 0"],
    &["SET before 1", "WAITAOF 0 0 0", "SET b2 1", "WAITAOF 0 0 10"],
];

#[test]
fn a_pipeline_in_front_of_the_end_is_answered_as_by_a_plain_server() {
    on_each(|kind| {
        let stage = Stage::set(kind, &[]);
        let plain = Server::boot(&kind.path, &[]).unwrap();
        let mut clean = [stage.proxy.client(), RawClient::connect(plain.addr())];
        for pipeline in PIPELINES {
            for _ in 0..ROUNDS {
                for one in &mut clean {
                    one.expect("FLUSHALL", b"+OK\r\n");
                }
                let [got, expected] = [stage.proxy.addr(), plain.addr()]
                    .map(|addr| last_words(RawClient::connect(addr), pipeline));
                let what = format!("{}: {pipeline:?}", kind.name);
                assert_eq!(show(&got), show(&expected), "{what}");
                let [through, direct] = clean.each_mut().map(|one| one.line("EXISTS never k"));
                assert_eq!(show(&through), show(&direct), "{what}");
            }
        }
        stage.wait_clean();
    });
}

#[test]
fn replicas_and_disks_that_need_not_be_waited_for_hold_nothing_up() {
    on_each(|kind| {
        let stage = Stage::set(kind, &[]);
        for pipeline in NUMBERS {
            for _ in 0..ROUNDS {
                let mut lines = pipeline.to_vec();
                lines.push("ECHO end");
                let got = last_words(stage.proxy.client(), &lines);
                assert!(
                    got.ends_with(b"$3\r\nend\r\n"),
                    "{pipeline:?}: {}",
                    show(&got)
                );
            }
        }
        stage.wait_clean();
    });
}

/// From the second look on it is known that the command has to wait: what a node pops then goes back.
#[test]
fn what_a_later_look_pops_for_a_client_that_has_closed_is_put_back() {
    let cluster = FakeCluster::start(2);
    let gate = Gate::default();
    let mut keys = (0..).map(|n| format!("q{n}"));
    let keys = [0, 1].map(|node| {
        let is_its = |key: &String| cluster.owner(Slot::of(key.as_bytes()).number()) == node;
        keys.find(is_its).unwrap()
    });
    let (opens, looks) = (gate.clone(), AtomicUsize::new(0));
    cluster.on(0, move |call| {
        let send = |bytes: &[u8]| Action::Send(bytes.to_vec());
        match call.name().as_str() {
            "LPOP" => Some(match looks.fetch_add(1, Ordering::Relaxed) {
                1 => vec![Action::Wait(opens.clone()), send(b"$1\r\nx\r\n")],
                _ => vec![send(b"$-1\r\n")],
            }),
            "LPUSH" => Some(vec![send(b":1\r\n")]),
            _ => None,
        }
    });
    cluster.on(1, |call| {
        (call.name() == "LPOP").then(|| vec![Action::Send(b"$-1\r\n".to_vec())])
    });
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let said = |name: &str| {
        let calls = cluster.calls(0);
        calls.iter().filter(|call| call.name() == name).count()
    };
    let mut client = proxy.client();
    client.send(&encode(&["BLPOP", &keys[0], &keys[1], "0"]));
    proxy.wait_for("the second look", SHOWN_WITHIN, || match said("LPOP") {
        2.. => Ok(()),
        n => Err(format!("{n}")),
    });
    client.half_close();
    client.expect_close();
    gate.open();
    proxy.wait_for("it is put back", SHOWN_WITHIN, || match said("LPUSH") {
        1 => Ok(()),
        n => Err(format!("{n}")),
    });
    cluster.finish();
}

/// All that comes to a client that sends these lines, and then nothing more.
fn last_words(mut client: RawClient, lines: &[&str]) -> Vec<u8> {
    let bytes: Vec<u8> = lines.iter().flat_map(|line| encode_line(line)).collect();
    client.send(&bytes);
    client.half_close();
    client.rest()
}
