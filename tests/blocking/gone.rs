//! Clients that hang up while they are blocked: the node sees it, and what is pushed afterwards stays.

use super::stage::{Stage, send};
use crate::support::{SHOWN_WITHIN, on_each};

#[test]
fn a_client_that_hangs_up_takes_nothing_with_it() {
    on_each(|kind| {
        let stage = Stage::set(kind, &[]);
        let mut other = stage.proxy.client();
        drop(stage.parked("BLPOP {q}1 {q}2 0"));
        stage.wait_clean();
        stage.blocked("BLPOP q1 q2 0").reset();
        stage.wait_clean();
        let mut half = stage.parked("BRPOP {q}1 {q}2 0");
        half.half_close();
        half.expect_close();
        stage.wait_clean();
        // It has sent so much that it is not read to the end.
        let mut large = stage.parked("BRPOP {q}1 {q}2 0");
        for _ in 0..100 {
            send(&mut large, &format!("SET k {}", "v".repeat(4000)));
        }
        drop(large);
        stage.wait_clean();
        for queue in ["{q}1", "{q}2", "q1", "q2"] {
            other.expect(&format!("RPUSH {queue} x"), b":1\r\n");
            other.expect(&format!("LLEN {queue}"), b":1\r\n");
        }
        other.expect("EXISTS k", b":0\r\n");
        assert_eq!(stage.gauge("slotway_blocked_pushed_back_total"), 0.0);
    });
}

/// The pop is on its way to a node that does not answer when the client hangs up.
#[test]
fn what_was_popped_for_nobody_is_put_back_where_it_was() {
    #[rustfmt::skip]
    let cases = [
        ("BLPOP q1 q2 0",              "RPUSH q1 x y", "LRANGE q1 0 -1"),
        ("BRPOP q1 q2 0",              "RPUSH q1 x y", "LRANGE q1 0 -1"),
        ("BLMPOP 0 2 q1 q2 LEFT COUNT 2",  "RPUSH q1 x y z", "LRANGE q1 0 -1"),
        ("BLMPOP 0 2 q1 q2 RIGHT COUNT 2", "RPUSH q1 x y z", "LRANGE q1 0 -1"),
        ("BZPOPMIN q1 q2 0",           "ZADD q1 1.25 x inf y", "ZRANGE q1 0 -1 WITHSCORES"),
        ("BZMPOP 0 2 q1 q2 MAX COUNT 2", "ZADD q1 1.25 x 2 y 3 z", "ZRANGE q1 0 -1 WITHSCORES"),
    ];
    on_each(|kind| {
        let stage = Stage::set_steady(kind, &[]);
        let slot = slotway::cluster::Slot::of(b"q1").number();
        let owner = stage.cluster.owner_of(slot).unwrap();
        let mut other = stage.proxy.client();
        for (done, (command, push, look)) in cases.into_iter().enumerate() {
            other.line("FLUSHALL");
            other.line(push);
            let before = other.line(look);
            stage.cluster.pause(owner).unwrap();
            let client = stage.blocked(command);
            let node = stage.cluster.addr(owner).to_string();
            stage
                .proxy
                .wait_for("the pop is on its way", SHOWN_WITHIN, || {
                    let labels = [("node", node.as_str())];
                    match stage
                        .proxy
                        .metrics()
                        .sum("slotway_upstream_in_flight", &labels)
                    {
                        0.0 => Err("nothing in flight".into()),
                        _ => Ok(()),
                    }
                });
            drop(client);
            stage.wait_gauge("slotway_blocked_clients", 0.0);
            stage.cluster.resume(owner).unwrap();
            stage.wait_gauge("slotway_blocked_pushed_back_total", done as f64 + 1.0);
            stage
                .proxy
                .wait_for(command, SHOWN_WITHIN, || match other.line(look) {
                    now if now == before => Ok(()),
                    now => Err(crate::support::show(&now)),
                });
        }
        stage.wait_clean();
    });
}
