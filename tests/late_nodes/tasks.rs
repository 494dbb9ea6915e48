//! What tasks carry out (blocking commands, and what goes over the lease of a client that watches) does not overtake a
//! request of the same client and slot that is still at its node, and whose client was told that no reply came.

use super::super::{SHOWN_WITHIN, encode, send};
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, RawClient, show};
use slotway::cluster::Slot;

/// Two nodes. One of them is silent from the first of these commands on.
struct Stage {
    cluster: FakeCluster,
    proxy: Proxy,
    client: RawClient,
    gate: Gate,
    silent: usize,
}

impl Stage {
    /// Everything else is answered with `OK`, blocks and pops as what they are.
    fn set(late: &'static str, patience: &str) -> Self {
        let cluster = FakeCluster::start(2);
        let gate = Gate::default();
        let node_of = |key: &str| cluster.owner(Slot::of(key.as_bytes()).number());
        let (silent, other) = (node_of("{a}"), node_of("{b}"));
        assert_ne!(silent, other);
        for node in [silent, other] {
            let held = gate.clone();
            cluster.on(node, move |call| match call.name().as_str() {
                name if name == late && node == silent => Some(vec![
                    Action::Wait(held.clone()),
                    Action::Send(b"$-1\r\n".to_vec()),
                ]),
                "LPOP" | "GET" => send(b"$-1\r\n"),
                "BLPOP" => send(b"*-1\r\n"),
                "WATCH" | "MULTI" => send(b"+OK\r\n"),
                "INCR" => send(b"+QUEUED\r\n"),
                "EXEC" => send(b"*1\r\n:1\r\n"),
                _ => None,
            });
        }
        let mut args = vec!["--workers", "1", "--set", "timeouts.command=2s"];
        args.extend(["--set", "timeouts.slow_command=2s", "--set", patience]);
        let proxy = Proxy::start_with(&cluster.addrs(), &args);
        let client = proxy.client();
        Self {
            cluster,
            proxy,
            client,
            gate,
            silent,
        }
    }

    /// The client is told that no reply came to that command; it is at the node still.
    #[track_caller]
    fn is_late(&mut self, line: &str) {
        let got = self.client.line(line);
        let no_reply = b"-ERR slotway: no reply in time";
        assert!(got.starts_with(no_reply), "{}", show(&got));
    }

    /// Sends these. The last one waits, which counts as an attempt now and then, and comes to no node.
    #[track_caller]
    fn waits(&mut self, lines: &[&str]) {
        let last = lines.last().map(|line| line.split(' ').next());
        let last = last.flatten().unwrap_or_default();
        let before = self.count(last);
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            self.client.send(&encode(&words));
        }
        let attempts = || {
            let reason = [("reason", "not_sent")];
            let metrics = self.proxy.metrics();
            metrics.sum("slotway_retries_total", &reason)
        };
        let enough = attempts() + 3.0;
        self.proxy.wait_for("it waits", SHOWN_WITHIN, || {
            assert_eq!(self.count(last), before, "{last} overtakes");
            match attempts() {
                n if n >= enough => Ok(()),
                n => Err(format!("{n} of {enough}")),
            }
        });
    }

    fn count(&self, name: &str) -> usize {
        let count = |name| self.cluster.count(self.silent, name);
        // With keys of several slots it comes as LPOP.
        count(name) + if name == "BLPOP" { count("LPOP") } else { 0 }
    }

    #[track_caller]
    fn goes_on(mut self, replies: &[&[u8]]) {
        self.gate.open();
        for reply in replies {
            let got = self.client.reply();
            assert!(got == *reply, "{}", show(&got));
        }
        self.cluster.finish();
    }
}

/// `timeouts.unavailable`, for as long as it takes.
const PATIENT: &str = "timeouts.unavailable=60s";

/// The client has a connection of another protocol to the node by then.
#[test]
fn a_step_of_a_blocking_command_does_not_overtake_a_late_one() {
    let mut stage = Stage::set("LPOP", PATIENT);
    stage.is_late("BLPOP {a}1 {b}1 0");
    assert_eq!(stage.client.line("HELLO 3")[0], b'%');
    stage.waits(&["BLPOP {a}1 {b}1 0.01"]);
    stage.goes_on(&[b"_\r\n"]);
}

#[test]
fn what_goes_over_a_lease_does_not_overtake_a_late_command() {
    for (line, reply) in [
        ("WATCH {a}1", &b"+OK\r\n"[..]),
        ("BLPOP {a}2 1", b"*-1\r\n"),
    ] {
        let mut stage = Stage::set("SET", PATIENT);
        stage.is_late("SET {a}1 x");
        stage.waits(&[line]);
        stage.goes_on(&[reply]);
    }
}

/// A script of a client that watches does not go over its lease.
#[test]
fn what_a_watching_client_asks_of_its_slot_does_not_overtake_its_late_script() {
    let queued: &[&[u8]] = &[b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n:1\r\n"];
    for (lines, replies) in [
        (&["GET {a}1"][..], &[&b"$-1\r\n"[..]][..]),
        (&["WATCH {a}2"], &[b"+OK\r\n"]),
        (&["MULTI", "INCR {a}1", "EXEC"], queued),
    ] {
        let mut stage = Stage::set("EVAL", PATIENT);
        stage.client.expect("WATCH {a}1", b"+OK\r\n");
        stage.is_late("EVAL return(1) 1 {a}1");
        stage.waits(lines);
        stage.goes_on(replies);
    }
}

/// Its EXEC is refused in the word that clients of transactions expect where nothing was executed.
#[test]
fn an_exec_that_waits_for_a_late_command_for_too_long_is_aborted() {
    let mut stage = Stage::set("EVAL", "timeouts.unavailable=100ms");
    stage.client.expect("WATCH {a}1", b"+OK\r\n");
    stage.is_late("EVAL return(1) 1 {a}1");
    stage.client.expect("MULTI", b"+OK\r\n");
    stage.client.expect("INCR {a}1", b"+QUEUED\r\n");
    let got = stage.client.line("EXEC");
    let overdue =
        b"-EXECABORT Transaction discarded because of: ERR slotway: not sent, an earlier command";
    assert!(got.starts_with(overdue), "{}", show(&got));
    assert_eq!(stage.count("EXEC"), 0, "sent after all");
    stage.gate.open();
    stage.cluster.finish();
}

/// Not for ever: it is refused then, and what comes next is carried out.
#[test]
fn what_waits_for_a_late_command_for_too_long_is_not_sent() {
    let mut stage = Stage::set("SET", "timeouts.unavailable=100ms");
    stage.is_late("SET {a}1 x");
    let got = stage.client.line("WATCH {a}1");
    let overdue = b"-ERR slotway: not sent, an earlier command of this connection";
    assert!(got.starts_with(overdue), "{}", show(&got));
    assert_eq!(stage.count("WATCH"), 0, "sent after all");
    stage.client.expect("GET {b}1", b"$-1\r\n");
    stage.gate.open();
    stage.client.expect("WATCH {a}1", b"+OK\r\n");
    stage.cluster.finish();
}
