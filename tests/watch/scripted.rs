//! What nodes and connections may do while a client watches, from nodes that are strict: what they get, and over which
//! connection, is compared with the script.

use crate::support::node::{Action, Gate, Stage, Step, assert_reply};
use crate::support::{RawClient, show};

const OK: &[u8] = b"+OK\r\n";
const QUEUED: &[u8] = b"+QUEUED\r\n";
const NIL: &[u8] = b"*-1\r\n";
const EXECUTED: &[u8] = b"*1\r\n:1\r\n";
const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";

const BLOCK: [&str; 3] = ["MULTI", "INCR a", "EXEC"];

fn set_stage(options: &[&str]) -> Stage {
    Stage::set(&BLOCK, options)
}

/// A client that watches `a` at the owner.
fn watching(stage: &Stage) -> RawClient {
    let mut client = stage.proxy.client();
    stage.step(stage.owner, "WATCH a", false, OK);
    client.expect("WATCH a", OK);
    client
}

fn lost(stage: &Stage) -> f64 {
    stage.proxy.metrics().sum("slotway_watches_lost_total", &[])
}

/// The slot's commands go over the connection that watches, those of other slots do not, all in their order.
#[test]
fn what_is_read_and_what_is_watched_come_over_one_connection() {
    let stage = set_stage(&[]);
    let (elsewhere, owner) = (stage.elsewhere(), stage.owner);
    let get = format!("GET {elsewhere}");
    let set = format!("SET {elsewhere} 1");
    let lines = ["WATCH a", &set, "GET a", &get, "SET {a}b 1"];
    for (line, reply) in lines
        .iter()
        .zip([OK, OK, b"$1\r\n1\r\n", b"$1\r\n1\r\n", OK])
    {
        stage.step(owner, line, false, reply);
    }
    stage.block(owner, false, [OK, QUEUED, EXECUTED]);
    let mut client = stage.proxy.client();
    client.send_lines(&lines);
    assert_reply(
        &client.replies(5).concat(),
        b"+OK\r\n+OK\r\n$1\r\n1\r\n$1\r\n1\r\n+OK\r\n",
    );
    assert_reply(&stage.exec(&mut client), EXECUTED);
    let calls = stage.cluster.calls(owner);
    let connection = |line: &str| {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let call = calls.iter().find(|call| call.args == words);
        call.unwrap_or_else(|| panic!("{line}")).connection
    };
    let own = connection("WATCH a");
    for line in ["GET a", "SET {a}b 1", "MULTI", "INCR a", "EXEC"] {
        assert_eq!(connection(line), own, "{line}");
    }
    assert!(connection(&get) != own && connection(&set) != own);
    stage.cluster.finish();
}

#[test]
fn a_connection_that_is_lost_before_exec_makes_it_nil() {
    // With nothing in between, and with commands that find out.
    for found_out in [false, true] {
        let stage = set_stage(&[]);
        let mut client = watching(&stage);
        stage.cluster.disconnect(stage.owner);
        if found_out {
            stage.step(stage.owner, "SET a 1", false, OK);
            client.expect("SET a 1", OK);
            client.expect("WATCH {a}b", OK);
        }
        assert_reply(&stage.exec(&mut client), NIL);
        assert_eq!(lost(&stage), 1.0);
        // The next one is none of its business.
        stage.block(stage.owner, false, [OK, QUEUED, EXECUTED]);
        assert_reply(&stage.exec(&mut client), EXECUTED);
        stage.cluster.finish();
    }
}

#[test]
fn once_exec_was_handed_over_nobody_knows() {
    for lost_at in 0..3 {
        let stage = set_stage(&[]);
        let mut client = watching(&stage);
        let lines = ["MULTI", "INCR a", "EXEC"];
        let steps = (0..=lost_at).map(|at| match at == lost_at {
            true => Step::expect(lines[at]).then(Action::Reset),
            false => Step::expect(lines[at]).send([OK, QUEUED][at]),
        });
        stage.cluster.script(stage.owner, steps);
        let told = stage.exec(&mut client);
        let unknown = b"-ERR slotway: outcome unknown, connection to ";
        assert!(told.starts_with(unknown), "{}", show(&told));
        let metrics = stage.proxy.metrics();
        assert_eq!(metrics.sum("slotway_unknown_outcomes_total", &[]), 1.0);
        assert_eq!(lost(&stage), 0.0);
        // The watch is over.
        stage.block(stage.owner, false, [OK, QUEUED, EXECUTED]);
        assert_reply(&stage.exec(&mut client), EXECUTED);
        stage.cluster.finish();
    }
}

#[test]
fn an_exec_that_is_not_answered_in_time_is_unknown_too() {
    for watches in [true, false] {
        let stage = set_stage(&["--set", "timeouts.command=2s"]);
        let mut client = match watches {
            true => watching(&stage),
            false => stage.proxy.client(),
        };
        let gate = Gate::default();
        let multi = Step::expect("MULTI").then(Action::Wait(gate.clone()));
        stage.cluster.script(stage.owner, [multi]);
        let told = stage.exec(&mut client);
        assert!(
            told.starts_with(b"-ERR slotway: no reply in time (timeouts.command"),
            "{}",
            show(&told)
        );
        let rest = ["INCR a", "EXEC"].map(|line| Step::expect(line).send(OK));
        stage.cluster.script(stage.owner, rest);
        gate.open();
        stage.cluster.wait_played();
        stage.block(stage.owner, false, [OK, QUEUED, EXECUTED]);
        assert_reply(&stage.exec(&mut client), EXECUTED);
        stage.cluster.finish();
    }
}

/// What got no reply in time over the client's own connection may still be executed: nothing of its slot overtakes it on
/// another one, before the node is done with that.
#[test]
fn what_was_late_on_its_own_connection_is_not_overtaken() {
    for way in ["command", "exec", "block", "exec after ASK"] {
        let options = ["timeouts.command=2s", "timeouts.unavailable=60s"];
        let stage = set_stage(&options.map(|option| ["--set", option]).concat());
        let ask = stage.redirection("ASK");
        let (mut client, node) = match way {
            "block" => (stage.proxy.client(), stage.owner),
            "exec after ASK" => {
                stage.cluster.begin_migration(stage.slot, stage.other());
                stage.step(stage.owner, "WATCH a", false, &ask);
                stage.step(stage.other(), "WATCH a", true, OK);
                let mut client = stage.proxy.client();
                client.expect("WATCH a", OK);
                (client, stage.other())
            }
            _ => (watching(&stage), stage.owner),
        };
        let is_exec = way.starts_with("exec");
        let gate = Gate::default();
        let line = match way {
            "command" => "SET a 1",
            _ if is_exec => "MULTI",
            _ => "BLPOP a 0.1",
        };
        let late = Step::expect(line).then(Action::Wait(gate.clone()));
        stage.cluster.script(node, [late]);
        let told = match is_exec {
            true => stage.exec(&mut client),
            false => client.line(line),
        };
        let told = show(&told);
        assert!(told.contains("outcome unknown"), "{told}");
        // Behind it on the lane that others use: it comes, so SET would have come, too.
        let elsewhere = stage.elsewhere();
        stage.step(stage.owner, &format!("GET {elsewhere}"), false, OK);
        client.send_lines(&["SET a 2", &format!("GET {elsewhere}")]);
        stage.cluster.wait_played();
        if is_exec {
            let rest = ["INCR a", "EXEC"].map(Step::expect);
            stage.cluster.script(node, rest);
        }
        if node != stage.owner {
            stage.step(stage.owner, "SET a 2", false, &ask);
        }
        stage.step(node, "SET a 2", node != stage.owner, OK);
        gate.open();
        assert_reply(&client.replies(2).concat(), &[OK, OK].concat());
        stage.cluster.finish();
    }
}

/// Replies that no transaction gives, or that a user gets who may not begin one: the commands may have been executed.
#[test]
fn replies_out_of_line_are_never_taken_for_execs() {
    for replies in [
        [QUEUED, QUEUED, EXECUTED],
        [OK, b":1\r\n", EXECUTED],
        [
            b"-NOPERM this user has no permissions to run the 'multi' command\r\n",
            b":1\r\n",
            b"-ERR EXEC without MULTI\r\n",
        ],
    ] {
        let stage = set_stage(&[]);
        let mut client = watching(&stage);
        let replies = replies.map(<[u8]>::to_vec);
        stage.cluster.on(stage.owner, move |call| {
            let lines = ["MULTI", "INCR", "EXEC"];
            let at = lines.iter().position(|line| *line == call.name())?;
            Some(vec![Action::Send(replies[at].clone())])
        });
        let told = stage.exec(&mut client);
        let unknown = b"-ERR slotway: outcome unknown, ";
        assert!(told.starts_with(unknown), "{}", show(&told));
        stage.cluster.finish();
    }
}

#[test]
fn watch_follows_its_slot() {
    let stage = set_stage(&[]);
    let mut client = stage.proxy.client();
    stage.cluster.give_slot(stage.slot, stage.other());
    stage.step(stage.other(), "WATCH a", false, OK);
    client.expect("WATCH a", OK);
    assert_eq!(stage.cluster.refusals().len(), 1);
    stage.block(stage.other(), false, [OK, QUEUED, EXECUTED]);
    assert_reply(&stage.exec(&mut client), EXECUTED);
    stage.cluster.finish();
}

#[test]
fn a_slot_that_moved_makes_exec_nil_once() {
    // MOVED as it is queued, and from EXEC; or before, to a command of the client.
    for way in ["queue", "exec", "command"] {
        let stage = set_stage(&[]);
        let mut client = watching(&stage);
        let moved = stage.redirection("MOVED");
        match way {
            "queue" => {
                stage.cluster.give_slot(stage.slot, stage.other());
                let alone = [("MULTI", OK), ("EXEC", ABORTED)];
                let alone = alone.map(|(line, reply)| Step::expect(line).send(reply));
                stage.cluster.script(stage.owner, alone);
            }
            "exec" => stage.block(stage.owner, false, [OK, QUEUED, &moved]),
            _ => {
                stage.cluster.give_slot(stage.slot, stage.other());
                stage.step(stage.other(), "SET a 1", false, OK);
                client.expect("SET a 1", OK);
            }
        }
        assert_reply(&stage.exec(&mut client), NIL);
        assert_eq!(lost(&stage), 1.0, "{way}");
        if way == "exec" {
            stage.cluster.give_slot(stage.slot, stage.other());
        }
        stage.step(stage.other(), "WATCH a", false, OK);
        client.expect("WATCH a", OK);
        stage.block(stage.other(), false, [OK, QUEUED, EXECUTED]);
        assert_reply(&stage.exec(&mut client), EXECUTED);
        stage.cluster.finish();
    }
}

/// While the slot migrates, a key that is not at the old place is watched at the new one, with ASKING in front of
/// everything.
#[test]
fn a_key_on_its_way_is_watched_where_it_will_be() {
    let stage = set_stage(&[]);
    stage.cluster.begin_migration(stage.slot, stage.other());
    let ask = stage.redirection("ASK");
    let mut client = stage.proxy.client();
    for nothing in [false, true] {
        stage.step(stage.owner, "WATCH a", false, &ask);
        stage.step(stage.other(), "WATCH a", true, OK);
        client.expect("WATCH a", OK);
        stage.step(stage.other(), "GET a", true, b"$-1\r\n");
        client.expect("GET a", b"$-1\r\n");
        if nothing {
            let steps = [("MULTI", OK), ("EXEC", b"*0\r\n")];
            let steps = steps.map(|(line, reply)| Step::expect(line).asking(true).send(reply));
            stage.cluster.script(stage.other(), steps);
            client.send_lines(&["MULTI", "PING", "EXEC"]);
            assert_reply(
                &client.replies(3).concat(),
                b"+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n",
            );
        } else {
            stage.block(stage.other(), true, [OK, QUEUED, EXECUTED]);
            assert_reply(&stage.exec(&mut client), EXECUTED);
        }
    }
    assert_eq!(lost(&stage), 0.0);
    // One that was watched at the old place: the client tries again, and finds it.
    stage.step(stage.owner, "WATCH a", false, OK);
    client.expect("WATCH a", OK);
    stage.block(stage.owner, false, [OK, &ask, ABORTED]);
    assert_reply(&stage.exec(&mut client), NIL);
    // A command about another key follows it, and the watch stays.
    stage.step(stage.owner, "WATCH a", false, OK);
    client.expect("WATCH a", OK);
    stage.step(stage.owner, "GET {a}b", false, &ask);
    stage.step(stage.owner, "GET {a}b", false, &ask);
    stage.step(stage.other(), "GET {a}b", true, b"$-1\r\n");
    client.expect("GET {a}b", b"$-1\r\n");
    stage.block(stage.owner, false, [OK, QUEUED, EXECUTED]);
    assert_reply(&stage.exec(&mut client), EXECUTED);
    stage.cluster.finish();
}

/// Keys on both sides of a migration: to watch again would not help, so the client is told, as by the node.
#[test]
fn a_block_that_the_node_cannot_have_now_is_an_error() {
    let stage = set_stage(&[]);
    let mut client = watching(&stage);
    let again = "TRYAGAIN Multiple keys request during rehashing of slot";
    let refusal = format!("-{again}\r\n");
    stage.block(stage.owner, false, [OK, refusal.as_bytes(), ABORTED]);
    let told = format!("-EXECABORT Transaction discarded because of: {again}\r\n");
    assert_reply(&stage.exec(&mut client), told.as_bytes());
    assert_eq!(lost(&stage), 0.0);
    stage.cluster.finish();
}

/// Two nodes that send the keys back and forth.
#[test]
fn a_watch_that_no_node_takes_is_an_error() {
    let stage = set_stage(&[]);
    for node in 0..2 {
        let to = stage.cluster.addr(1 - node);
        let moved = format!("-MOVED {} {to}\r\n", stage.slot).into_bytes();
        stage.cluster.on(node, move |call| {
            (call.name() == "WATCH").then(|| vec![Action::Send(moved.clone())])
        });
    }
    let told = stage.proxy.client().line("WATCH a");
    let prefix = b"-CLUSTERDOWN slotway: not executed, ";
    assert!(told.starts_with(prefix), "{}", show(&told));
    let asked = [0, 1].map(|node| stage.cluster.count(node, "WATCH"));
    assert_eq!(asked, [3, 3]);
    stage.cluster.finish();
}

#[test]
fn what_the_node_finds_wrong_as_it_queues_is_told() {
    let stage = set_stage(&[]);
    let mut client = watching(&stage);
    let oom = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    stage.block(stage.owner, false, [OK, oom, ABORTED]);
    assert_reply(
        &stage.exec(&mut client),
        b"-EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.\r\n",
    );
    stage.cluster.finish();
}

/// What ends a watch before EXEC is told to the node before anybody else gets the connection.
#[test]
fn a_connection_is_used_again_once_nothing_is_watched() {
    for end in ["UNWATCH", "RESET", "DISCARD", "NOPE"] {
        let stage = set_stage(&["--set", "upstream.leases=1"]);
        let mut client = watching(&stage);
        let gate = Gate::default();
        let unwatch = Step::expect("UNWATCH").then(Action::Wait(gate.clone()));
        stage.cluster.script(stage.owner, [unwatch.send(OK)]);
        match end {
            "UNWATCH" => client.expect("UNWATCH", OK),
            "RESET" => client.expect("RESET", b"+RESET\r\n"),
            _ => {
                client.expect("MULTI", OK);
                client.line(end);
                client.line("EXEC");
            }
        }
        let mut other = stage.proxy.client();
        let told = other.line("WATCH a");
        assert!(
            told.starts_with(b"-ERR slotway: too many connections"),
            "{}",
            show(&told)
        );
        gate.open();
        stage.proxy.wait_for("it is free", TIMEOUT, || {
            let leases = stage.proxy.metrics().sum("slotway_leases", &[]);
            (leases == 0.0)
                .then_some(())
                .ok_or_else(|| format!("{leases}"))
        });
        let before = stage.cluster.accepted(stage.owner);
        stage.step(stage.owner, "WATCH a", false, OK);
        other.expect("WATCH a", OK);
        stage.block(stage.owner, false, [OK, QUEUED, EXECUTED]);
        assert_reply(&stage.exec(&mut other), EXECUTED);
        assert_eq!(stage.cluster.accepted(stage.owner), before, "{end}");
        stage.cluster.finish();
    }
}

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);
