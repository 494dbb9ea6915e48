//! What was true when a node did it, and comes when it is true no more.

use super::cast::{key_in, topology};
use super::tale::Tale;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, SHOWN_WITHIN, encode};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A slot of those that are failed over.
const SLOT: u16 = 100;

/// The others are of a node that nothing happens to.
const FAILED_OVER: (u16, u16) = (0, 8_191);

/// A worker asks replicas in place of an unreachable primary no more often.
const SCOUT_EVERY: Duration = Duration::from_millis(20);

/// Commands that the demoted node gets besides: the one that it executed while it was the primary, the one that it refuses
/// as the heir that it is taken for, and a question to it right at the beginning and at the end.
const BESIDES: usize = 4;

/// Node 0 and node 1 are one shard: `primary` is the one that has the slots.
fn tale(cluster: &FakeCluster, primary: usize, epoch: u64) -> Tale {
    let mut tale = Tale::of(cluster, 3);
    let replica = 1 - primary;
    tale.nodes[replica].slots.clear();
    tale.nodes[replica].flags = "slave";
    tale.nodes[replica].replicates = Some(primary);
    tale.nodes[primary].slots = vec![FAILED_OVER];
    tale.nodes[primary].epoch = epoch;
    tale.nodes[2].slots = vec![(FAILED_OVER.1 + 1, 16_383)];
    tale
}

/// A node executes a command while it is a primary, and its reply comes after it was demoted, while the new primary cannot
/// be reached: it is taken for the one that is promoted next. It says that it is not, which ends that: a command for the new
/// primary does not go to it again and again for as long as it waits.
#[test]
fn a_late_reply_makes_nobody_the_heir_for_good() {
    let cluster = FakeCluster::start(3);
    let gate = Gate::default();
    let told = Arc::new(Mutex::new(tale(&cluster, 1, 4)));
    let moved = format!("-MOVED {SLOT} {}\r\n", cluster.addr(0)).into_bytes();
    cluster.on(0, |_| Some(vec![Action::Close]));
    for node in [1, 2] {
        let (told, gate, moved) = (told.clone(), gate.clone(), moved.clone());
        cluster.on(node, move |call| {
            if let Some(answer) = told.lock().unwrap().answer(call) {
                return Some(vec![Action::Send(answer)]);
            }
            Some(match call.name().as_str() {
                "GET" => vec![
                    Action::Wait(gate.clone()),
                    Action::Send(b"$1\r\n1\r\n".to_vec()),
                ],
                "SET" => vec![Action::Send(moved.clone())],
                _ => return None,
            })
        });
    }
    let set = [
        "cluster.refresh_interval=100ms",
        "timeouts.unavailable=500ms",
    ];
    let args = ["--workers", "1", "--set", set[0], "--set", set[1]];
    let proxy = Proxy::start_with(&[cluster.addr(1), cluster.addr(2)], &args);
    let mut client = proxy.client();
    let key = key_in(SLOT);
    client.send(&encode(&["GET", &key]));
    proxy.wait_for(
        "the GET is at the primary",
        SHOWN_WITHIN,
        || match cluster.count(1, "GET") {
            1 => Ok(()),
            n => Err(format!("{n} GET")),
        },
    );
    *told.lock().unwrap() = tale(&cluster, 0, 9);
    wait_owner(&proxy, &cluster.addr(0).port().to_string());
    client.send(&encode(&["SET", &key, "2"]));
    let began = Instant::now();
    gate.open();
    assert_eq!(client.reply(), b"$1\r\n1\r\n");
    let reply = client.reply();
    assert!(reply.starts_with(b"-"), "{}", crate::support::show(&reply));
    let most = began.elapsed().as_micros() / SCOUT_EVERY.as_micros();
    let asked = cluster.count(1, "GET") + cluster.count(1, "SET");
    assert!(
        asked <= most as usize + BESIDES,
        "asked {asked} times, and {most} are the most there may be"
    );
    cluster.finish();
}

/// Waits until the slots are at the node with that port.
fn wait_owner(proxy: &Proxy, port: &str) {
    proxy.wait_for("the failover is known", SHOWN_WITHIN, || {
        let ranges = topology(proxy)["ranges"].to_string();
        let first = ranges.split('}').next().unwrap_or_default();
        match first.contains(port) {
            true => Ok(()),
            false => Err(ranges),
        }
    });
}
