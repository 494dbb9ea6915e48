//! Refusals, losses and nonsense in every place of a block, from nodes that are strict: what they get is compared with the
//! script, ASKING included.

use crate::support::node::{Action, FakeCluster, Gate, Stage, Step, assert_reply};
use crate::support::{Proxy, show};

const OK: &[u8] = b"+OK\r\n";
const QUEUED: &[u8] = b"+QUEUED\r\n";
const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
const EXECUTED: &[u8] = b"*2\r\n:1\r\n:1\r\n";

const BLOCK: [&str; 4] = ["MULTI", "INCR a", "RPUSH a x", "EXEC"];

fn set_stage() -> Stage {
    Stage::set(&BLOCK, &["--set", "timeouts.command=2s"])
}

/// Every way in which a server says that nothing was executed, and where it says it.
#[test]
fn a_refused_block_is_sent_again_whole() {
    let stage = set_stage();
    let again: &[u8] = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
    let demoted: &[u8] =
        b"-EXECABORT Transaction discarded because of: LOADING Redis is loading the dataset in memory\r\n";
    let refusals: [[&[u8]; 4]; 5] = [
        [OK, again, QUEUED, ABORTED],
        [OK, QUEUED, again, ABORTED],
        [OK, QUEUED, QUEUED, again],
        [OK, QUEUED, QUEUED, demoted],
        [
            OK,
            b"-CLUSTERDOWN The cluster is down\r\n",
            b"-CLUSTERDOWN The cluster is down\r\n",
            ABORTED,
        ],
    ];
    let mut client = stage.proxy.client();
    for replies in refusals {
        stage.block(stage.owner, false, replies);
        stage.block(stage.owner, false, [OK, QUEUED, QUEUED, EXECUTED]);
        assert_reply(&stage.exec(&mut client), EXECUTED);
    }
    stage.cluster.finish();
}

#[test]
fn a_block_follows_its_slot() {
    // Refused as it is queued.
    let stage = set_stage();
    let mut client = stage.proxy.client();
    stage.cluster.give_slot(stage.slot, stage.other());
    let alone = [("MULTI", OK), ("EXEC", ABORTED)];
    let alone = alone.map(|(line, reply)| Step::expect(line).send(reply));
    stage.cluster.script(stage.owner, alone);
    stage.block(stage.other(), false, [OK, QUEUED, QUEUED, EXECUTED]);
    assert_reply(&stage.exec(&mut client), EXECUTED);
    stage.cluster.finish();

    // Refused by EXEC.
    let stage = set_stage();
    let mut client = stage.proxy.client();
    let gate = Gate::default();
    let lines = [("MULTI", OK), ("INCR a", QUEUED), ("RPUSH a x", QUEUED)];
    let steps = lines.map(|(line, reply)| Step::expect(line).send(reply));
    stage.cluster.script(stage.owner, steps);
    let exec = Step::expect("EXEC").then(Action::Wait(gate.clone()));
    let moved = stage.redirection("MOVED");
    stage.cluster.script(stage.owner, [exec.send(&moved)]);
    client.send_lines(&["MULTI", "INCR a", "RPUSH a x", "EXEC"]);
    stage.cluster.wait_played();
    stage.cluster.give_slot(stage.slot, stage.other());
    stage.block(stage.other(), false, [OK, QUEUED, QUEUED, EXECUTED]);
    gate.open();
    let expected = [OK, QUEUED, QUEUED, EXECUTED].concat();
    assert_reply(&client.replies(4).concat(), &expected);
    stage.cluster.finish();
}

#[test]
fn after_ask_asking_is_in_front_of_multi() {
    let stage = set_stage();
    stage.cluster.begin_migration(stage.slot, stage.other());
    let ask = stage.redirection("ASK");
    let mut client = stage.proxy.client();
    for replies in [
        [OK, &ask[..], QUEUED, ABORTED],
        [OK, QUEUED, QUEUED, &ask],
        [OK, &ask, &ask, ABORTED],
    ] {
        stage.block(stage.owner, false, replies);
        stage.block(stage.other(), true, [OK, QUEUED, QUEUED, EXECUTED]);
        assert_reply(&stage.exec(&mut client), EXECUTED);
    }
    // The slot is where it was.
    stage
        .cluster
        .script(stage.owner, [Step::expect("GET a").send(b"$1\r\n1\r\n")]);
    client.expect("GET a", b"$1\r\n1\r\n");
    stage.cluster.finish();
}

/// What else a node may find wrong as it queues: the client is told with EXEC.
#[test]
fn the_cause_is_in_execabort() {
    let stage = set_stage();
    let mut client = stage.proxy.client();
    let oom: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    stage.block(stage.owner, false, [OK, QUEUED, oom, ABORTED]);
    let told: &[u8] =
        b"-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > \
                        'maxmemory'.\r\n";
    assert_reply(&stage.exec(&mut client), told);
    stage.block(stage.owner, false, [OK, QUEUED, QUEUED, told]);
    assert_reply(&stage.exec(&mut client), told);
    stage.cluster.finish();
}

/// A script may answer what it likes: nothing in EXEC's array redirects anything.
#[test]
fn what_is_inside_an_array_is_no_redirection() {
    let stage = set_stage();
    let mut client = stage.proxy.client();
    for word in ["MOVED", "ASK"] {
        let array = [b"*2\r\n:1\r\n".to_vec(), stage.redirection(word)].concat();
        stage.block(stage.owner, false, [OK, QUEUED, QUEUED, &array]);
        assert_reply(&stage.exec(&mut client), &array);
    }
    let redirected = stage.proxy.metrics().sum("slotway_redirections_total", &[]);
    assert_eq!(redirected, 0.0);
    stage.cluster.finish();
}

/// What came before and what comes behind keep their order, also when the block is refused.
#[test]
fn a_block_keeps_its_place_among_the_requests_of_its_slot() {
    let stage = set_stage();
    let again: &[u8] = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
    let mut client = stage.proxy.client();
    let step = |line: &str, reply: &[u8]| Step::expect(line).send(reply);
    let gate = Gate::default();
    let node = stage.owner;
    stage.cluster.script(
        node,
        [Step::expect("SET a 0")
            .then(Action::Wait(gate.clone()))
            .send(OK)],
    );
    stage.block(node, false, [OK, QUEUED, QUEUED, again]);
    // In flight already when the block is refused: it reads another key.
    stage
        .cluster
        .script(node, [step("GET {a}other", b"$-1\r\n")]);
    stage.block(node, false, [OK, QUEUED, QUEUED, EXECUTED]);
    let lines = [
        "SET a 0",
        "MULTI",
        "INCR a",
        "RPUSH a x",
        "EXEC",
        "GET {a}other",
    ];
    client.send_lines(&lines);
    gate.open();
    let expected = [OK, OK, QUEUED, QUEUED, EXECUTED, b"$-1\r\n"].concat();
    assert_reply(&client.replies(6).concat(), &expected);

    // One that shares a key was executed behind it: the block is not sent again, and the client is told.
    stage.block(node, false, [OK, QUEUED, QUEUED, again]);
    stage.cluster.script(node, [step("GET a", b"$1\r\n0\r\n")]);
    client.send_lines(&["MULTI", "INCR a", "RPUSH a x", "EXEC", "GET a"]);
    let replies = client.replies(5);
    let told = b"-EXECABORT Transaction discarded because of: TRYAGAIN ";
    assert!(replies[3].starts_with(told), "{}", show(&replies[3]));
    assert_reply(&replies[4], b"$1\r\n0\r\n");
    stage.cluster.finish();
}

/// The bytes were handed over, then the connection was lost: it may have been executed, so it is not sent again.
#[test]
fn a_lost_block_is_not_sent_again() {
    for lost_at in 0..4 {
        let stage = set_stage();
        let mut client = stage.proxy.client();
        let lines = ["MULTI", "INCR a", "RPUSH a x", "EXEC"];
        let replies = [OK, QUEUED, QUEUED, EXECUTED];
        let steps = (0..=lost_at).map(|at| {
            let step = Step::expect(lines[at]);
            if at == lost_at {
                step.then(Action::Reset)
            } else {
                step.send(replies[at])
            }
        });
        stage.cluster.script(stage.owner, steps);
        let told = stage.exec(&mut client);
        assert!(
            told.starts_with(b"-ERR slotway: outcome unknown, connection to "),
            "{}",
            show(&told)
        );
        // The next one is none of the lost one's business.
        stage.block(stage.owner, false, [OK, QUEUED, QUEUED, EXECUTED]);
        assert_reply(&stage.exec(&mut client), EXECUTED);
        stage.cluster.finish();
    }
}

/// Replies that no transaction gives: the connection is not trusted any longer, and no reply reaches a client that is not
/// its own.
#[test]
fn replies_out_of_line_end_the_connection() {
    for replies in [
        [QUEUED, QUEUED, QUEUED, EXECUTED],
        [OK, OK, QUEUED, EXECUTED],
        [OK, QUEUED, b":1\r\n", EXECUTED],
        [
            b"-NOPERM this user has no permissions to run the 'multi' command\r\n",
            b":1\r\n",
            b":1\r\n",
            b"-ERR EXEC without MULTI\r\n",
        ],
    ] {
        let stage = set_stage();
        let mut client = stage.proxy.client();
        stage.cluster.on(stage.owner, {
            let replies = replies.map(<[u8]>::to_vec);
            move |call| {
                let lines = ["MULTI", "INCR", "RPUSH", "EXEC"];
                let at = lines.iter().position(|line| *line == call.name())?;
                Some(vec![Action::Send(replies[at].clone())])
            }
        });
        let told = stage.exec(&mut client);
        assert!(
            told.starts_with(b"-ERR slotway: outcome unknown, "),
            "{}",
            show(&told)
        );
        stage.cluster.finish();
    }
}

/// Nodes that do not list their commands: whether MULTI inside MULTI ends a transaction is known from what they are.
#[test]
fn a_nested_multi_is_what_it_is_for_the_server() {
    let stage = set_stage();
    let mut client = stage.proxy.client();
    for (line, told) in [
        ("MULTI", "-ERR MULTI calls can not be nested\r\n"),
        ("WATCH a", "-ERR WATCH inside MULTI is not allowed\r\n"),
    ] {
        client.expect("MULTI", OK);
        client.expect("INCR a", QUEUED);
        client.expect(line, told.as_bytes());
        client.expect("RPUSH a x", QUEUED);
        stage.block(stage.owner, false, [OK, QUEUED, QUEUED, EXECUTED]);
        client.expect("EXEC", EXECUTED);
    }
    stage.cluster.finish();

    let cluster = FakeCluster::start(2);
    for node in 0..2 {
        cluster.on(node, |call| {
            let info = "server_name:valkey\r\nvalkey_version:9.1.2\r\nredis_mode:cluster";
            let info = format!("${}\r\n{info}\r\n", info.len());
            match call.name().as_str() {
                "HELLO" => Some(vec![Action::Send(b"-ERR unknown command\r\n".to_vec())]),
                "INFO" => Some(vec![Action::Send(info.into_bytes())]),
                _ => None,
            }
        });
    }
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let mut client = proxy.client();
    for name in ["multi", "watch"] {
        client.expect("MULTI", OK);
        client.expect("INCR a", QUEUED);
        let line = if name == "watch" { "WATCH a" } else { "MULTI" };
        let told = format!("-ERR Command '{name}' not allowed inside a transaction\r\n");
        client.expect(line, told.as_bytes());
        client.expect("EXEC", ABORTED);
    }
    cluster.finish();
}
