//! How many clients may be blocked and how many connections they use.

use super::stage::{Stage, info};
use crate::support::{redis, show, valkey};

#[test]
fn at_a_limit_the_client_is_told_which() {
    let args = [
        "--set",
        "limits.blocked_clients=2",
        "--set",
        "upstream.leases=1",
    ];
    let stage = Stage::set(&redis(), &args);
    let mut one = stage.parked("BLPOP {q}1 0");
    let mut other = stage.proxy.client();
    let reply = other.line("BLPOP {q}2 0");
    assert!(
        reply.starts_with(b"-ERR slotway: ") && show(&reply).contains("upstream.leases"),
        "{}",
        show(&reply)
    );
    let several = stage.blocked("BLPOP q1 q2 0");
    for command in ["BLPOP q1 q2 0", "BLPOP {q}2 0"] {
        let reply = other.line(command);
        assert!(
            reply.starts_with(b"-ERR slotway: ") && show(&reply).contains("limits.blocked_clients"),
            "{}",
            show(&reply)
        );
    }
    other.expect("RPUSH {q}1 a", b":1\r\n");
    assert_eq!(one.reply(), b"*2\r\n$4\r\n{q}1\r\n$1\r\na\r\n");
    other.expect("BLPOP {q}2 0.01", b"*-1\r\n");
    drop(several);
    stage.wait_clean();
}

/// WAIT has replicas asked over one, and goes on where there is none.
#[test]
fn what_no_client_is_told_is_not_counted_as_a_refusal() {
    let stage = Stage::set(&redis(), &["--set", "upstream.leases=1"]);
    let labels = [("limit", "upstream.leases")];
    let hits = || {
        stage
            .proxy
            .metrics()
            .sum("slotway_limit_hits_total", &labels)
    };
    let one = stage.parked("BLPOP {q}1 0");
    let mut other = stage.proxy.client();
    other.expect("SET a 1", b"+OK\r\n");
    let replicas = other.line("WAIT 9 100");
    assert!(replicas.starts_with(b":"), "{}", show(&replicas));
    assert_eq!(hits(), 0.0);
    let told = other.line("BLPOP {q}2 0");
    assert!(show(&told).contains("upstream.leases"), "{}", show(&told));
    assert_eq!(hits(), 1.0);
    drop(one);
    stage.wait_clean();
}

#[test]
fn connections_are_used_again() {
    let stage = Stage::set(&valkey(), &["--set", "cluster.refresh_interval=1h"]);
    let mut clients = [stage.proxy.client(), stage.proxy.client()];
    let owner = stage
        .cluster
        .owner_of(slotway::cluster::Slot::of(b"q").number())
        .unwrap();
    let connections = || info(&stage.cluster, owner, "total_connections_received:");
    clients[0].expect("BLPOP q 0.001", b"*-1\r\n");
    let before = connections();
    for _ in 0..20 {
        for client in &mut clients {
            client.expect("BLPOP q 0.001", b"*-1\r\n");
        }
    }
    // Each look at the node is a connection too.
    let asked = 1;
    assert!(
        connections() - before <= asked,
        "{}",
        connections() - before
    );
    // One that the node has closed meanwhile is not used.
    stage
        .cluster
        .ask(
            owner,
            &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"],
        )
        .unwrap();
    clients[1].expect("BLPOP q 0.001", b"*-1\r\n");
    // One that still waits for its reply is not given to another.
    drop(stage.parked("BLPOP q 0"));
    stage.wait_clean();
    clients[0].expect("RPUSH q a", b":1\r\n");
    clients[1].expect("BLPOP q 0", b"*2\r\n$1\r\nq\r\n$1\r\na\r\n");
}
