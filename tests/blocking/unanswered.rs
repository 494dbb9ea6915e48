//! Nodes that do not answer, or do not let slotway do what it has to: nobody waits for them for longer than they said.

use super::stage::{Stage, send};
use crate::support::node::{Action, FakeCluster};
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, encode, on_each, show};
use slotway::cluster::Slot;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Short, so that it is up while a node is silent.
const ARGS: [&str; 4] = ["--workers", "2", "--set", "timeouts.command=2s"];

fn id_of(client: &mut RawClient) -> String {
    let reply = String::from_utf8(client.line("CLIENT ID")).unwrap();
    reply.trim_matches([':', '\r', '\n']).to_owned()
}

/// A client that waits in BLPOP at a node, and its number.
fn parked(stage: &Stage) -> (RawClient, String) {
    let mut client = stage.proxy.client();
    let id = id_of(&mut client);
    let before = stage.blocked_at_nodes();
    send(&mut client, "BLPOP {q}1 0");
    stage.wait_at_nodes(before + 1);
    (client, id)
}

fn owner(stage: &Stage) -> usize {
    stage.cluster.owner_of(Slot::of(b"q").number()).unwrap()
}

/// Asks, with more in the pipeline, and is told that the client is not released.
#[track_caller]
fn expect_failure(asker: &mut RawClient, id: &str, says: &str) {
    asker.send(&[encode(&["CLIENT", "UNBLOCK", id]), encode(&["ECHO", "a"])].concat());
    let reply = show(&asker.reply());
    assert!(
        reply.starts_with("\"-ERR slotway: ") && reply.contains(says),
        "{reply}"
    );
    assert_eq!(asker.reply(), b"$1\r\na\r\n");
}

#[test]
fn a_node_that_refuses_to_unblock_is_told_of() {
    on_each(|kind| {
        let stage = Stage::set(kind, &ARGS);
        let mut asker = stage.proxy.client();
        let allow = |rule: &str| {
            for node in 0..stage.cluster.len() {
                let words = ["ACL", "SETUSER", "default", rule];
                assert!(!stage.cluster.ask(node, &words).unwrap().is_error());
            }
        };
        for rule in ["-client|unblock", "-client"] {
            allow(rule);
            let (mut client, id) = parked(&stage);
            for _ in 0..2 {
                expect_failure(&mut asker, &id, "CLIENT UNBLOCK");
            }
            if rule == "-client" {
                asker.expect("RPUSH {q}1 x", b":1\r\n");
                assert_eq!(client.reply(), b"*2\r\n$4\r\n{q}1\r\n$1\r\nx\r\n");
            } else {
                // The next one is tried again.
                allow("+client");
                asker.expect(&format!("CLIENT UNBLOCK {id}"), b":1\r\n");
                assert_eq!(client.reply(), b"*-1\r\n");
            }
            allow("+client");
            asker.expect(&format!("CLIENT UNBLOCK {id}"), b":0\r\n");
        }
        stage.wait_clean();
    });
}

#[test]
fn who_unblocks_a_client_of_a_silent_node_is_answered() {
    on_each(|kind| {
        let stage = Stage::set_steady(kind, &ARGS);
        let mut asker = stage.proxy.client();
        let (mut client, id) = parked(&stage);
        let node = owner(&stage);
        stage.cluster.pause(node).unwrap();
        expect_failure(&mut asker, &id, "not known");
        stage.cluster.resume(node).unwrap();
        // It may be released late, and loses nothing.
        stage.proxy.wait_for("a push", SHOWN_WITHIN, || {
            match &asker.line("RPUSH {q}1 x")[..] {
                b":1\r\n" => Ok(()),
                other => Err(show(other)),
            }
        });
        let left: &[u8] = match &client.reply()[..] {
            b"*-1\r\n" => b":1\r\n",
            b"*2\r\n$4\r\n{q}1\r\n$1\r\nx\r\n" => b":0\r\n",
            other => panic!("{}: {}", kind.name, show(other)),
        };
        asker.expect("LLEN {q}1", left);
        stage.wait_clean();
    });
}

/// The node has not even said yet by which number it knows the connection.
#[test]
fn who_unblocks_a_client_of_a_node_that_fell_silent_before_is_answered() {
    on_each(|kind| {
        let stage = Stage::set_steady(kind, &ARGS);
        let mut asker = stage.proxy.client();
        let mut client = stage.proxy.client();
        let id = id_of(&mut client);
        // Leaves a connection that nobody has asked for its number.
        client.expect("WATCH {q}1", b"+OK\r\n");
        client.expect("UNWATCH", b"+OK\r\n");
        stage.wait_gauge("slotway_leases", 0.0);
        let node = owner(&stage);
        stage.cluster.pause(node).unwrap();
        send(&mut client, "BLPOP {q}1 0");
        stage.wait_gauge("slotway_blocked_clients", 1.0);
        stage.wait_gauge("slotway_leases", 1.0);
        for _ in 0..2 {
            expect_failure(&mut asker, &id, "not known");
        }
        stage.cluster.resume(node).unwrap();
        stage.wait_at_nodes(1);
        asker.expect(&format!("CLIENT UNBLOCK {id}"), b":1\r\n");
        assert_eq!(client.reply(), b"*-1\r\n");
        stage.wait_clean();
    });
}

#[test]
fn a_command_whose_time_is_up_does_not_wait_for_a_silent_node() {
    on_each(|kind| {
        let stage = Stage::set_steady(kind, &ARGS);
        let mut clients = [parked(&stage).0, parked(&stage).0];
        stage.proxy.client().expect("RPUSH {q}1 x y", b":2\r\n");
        for client in &mut clients {
            assert!(client.reply().starts_with(b"*2\r\n"));
        }
        // Both connections to the node are there when it falls silent.
        let [pops, reads] = &mut clients;
        let node = owner(&stage);
        stage.cluster.pause(node).unwrap();
        send(pops, "BLPOP {q}1 0.1");
        send(reads, "XREAD BLOCK 100 STREAMS {q}2 0");
        assert_eq!(reads.reply(), b"*-1\r\n");
        let reply = show(&pops.reply());
        assert!(
            reply.starts_with("\"-ERR slotway: ") && reply.contains("unknown"),
            "{reply}"
        );
        stage.cluster.resume(node).unwrap();
        stage.wait_clean();
    });
}

/// A node that refuses the command has not waited for anything: nil would say that nothing has come.
#[test]
fn a_refused_command_is_not_told_that_nothing_came() {
    const REFUSAL: &[u8] = b"-CLUSTERDOWN Hash slot not served\r\n";
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| match call.name().as_str() {
        "BLPOP" => Some(vec![Action::Send(REFUSAL.to_vec())]),
        _ => None,
    });
    let args = ["--workers", "1", "--set", "timeouts.unavailable=1s"];
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    let reply = client.line("BLPOP {q}1 0.05");
    assert_eq!(show(&reply), show(REFUSAL));
    assert!(cluster.count(0, "BLPOP") > 1, "it was sent again");
    client.expect("ECHO a", b"$1\r\na\r\n");
}

/// A client may be blocked for days, and its node be demoted more than once meanwhile: each time is the first.
#[test]
fn a_blocked_client_survives_one_hand_over_after_the_other() {
    const DEMOTED: &[u8] =
        b"-UNBLOCKED force unblock from blocking operation, instance state changed \
        (master -> replica?)\r\n";
    // Longer than a command waits for a node that does not serve.
    const APART: Duration = Duration::from_millis(1500);
    let cluster = FakeCluster::start(1);
    let times = AtomicUsize::new(0);
    cluster.on(0, move |call| {
        let reply = match (&call.name()[..], times.load(Ordering::Relaxed)) {
            ("BLPOP", 0..3) => DEMOTED.to_vec(),
            ("BLPOP", _) => encode(&["{q}1", "x"]),
            _ => return None,
        };
        times.fetch_add(1, Ordering::Relaxed);
        Some(vec![
            Action::Until(Instant::now() + APART),
            Action::Send(reply),
        ])
    });
    let args = ["--workers", "1", "--set", "timeouts.unavailable=1s"];
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    assert_eq!(
        show(&client.line("BLPOP {q}1 0")),
        show(&encode(&["{q}1", "x"]))
    );
    assert_eq!(cluster.count(0, "BLPOP"), 4);
}
