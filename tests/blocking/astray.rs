//! Nodes that send a blocked client on and on: as long as its slot changes its owner it follows, for as long as it takes;
//! where the nodes merely send it back and forth it gets an error.

use super::stage::send;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, SHOWN_WITHIN, show};
use slotway::cluster::Slot;
use std::time::{Duration, Instant};

fn moved(cluster: &FakeCluster, to: usize) -> Action {
    let slot = Slot::of(b"a").number();
    Action::Send(format!("-MOVED {slot} {}\r\n", cluster.addr(to)).into_bytes())
}

/// Each keeps it for a while, as a node does that serves the slot.
#[test]
fn two_nodes_that_send_a_blocked_client_back_and_forth_do_not_loop() {
    const HOPS_MAX: usize = 5;
    const KEPT: Duration = Duration::from_millis(150);
    let cluster = FakeCluster::start(2);
    for node in 0..2 {
        let moved = moved(&cluster, 1 - node);
        cluster.on(node, move |call| {
            let sent_on = [Action::Until(Instant::now() + KEPT), moved.clone()];
            (call.name() == "BLPOP").then(|| sent_on.to_vec())
        });
    }
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let mut client = proxy.client();
    let told = client.line("BLPOP a 0");
    let prefix = b"-CLUSTERDOWN slotway: not executed, ";
    assert!(told.starts_with(prefix), "{}", show(&told));
    let asked = cluster.count(0, "BLPOP") + cluster.count(1, "BLPOP");
    assert_eq!(asked, HOPS_MAX + 1);
    client.expect("ECHO a", b"$1\r\na\r\n");
    cluster.finish();
}

/// Its slot moves more often than a command may be redirected.
#[test]
fn a_blocked_client_follows_its_slot_as_often_as_it_moves() {
    const MOVES: usize = 3;
    let cluster = FakeCluster::start(2);
    let slot = Slot::of(b"a").number();
    let first = cluster.owner(slot);
    let gates: Vec<Gate> = (0..MOVES).map(|_| Gate::default()).collect();
    for node in 0..2 {
        let (moved, gates) = (moved(&cluster, 1 - node), gates.clone());
        let asked = std::sync::atomic::AtomicUsize::new(0);
        cluster.on(node, move |call| {
            if call.name() != "BLPOP" {
                return None;
            }
            let turn = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let stay = 2 * turn + usize::from(node != first);
            Some(match gates.get(stay) {
                Some(gate) => vec![Action::Wait(gate.clone()), moved.clone()],
                None => vec![Action::Send(b"*2\r\n$1\r\na\r\n$1\r\nx\r\n".to_vec())],
            })
        });
    }
    let set = ["limits.redirections=1", "cluster.refresh_interval=100ms"];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut client = proxy.client();
    send(&mut client, "BLPOP a 0");
    let mut owner = first;
    let asked = || cluster.count(0, "BLPOP") + cluster.count(1, "BLPOP");
    for (stay, gate) in gates.iter().enumerate() {
        proxy.wait_for("it is there", SHOWN_WITHIN, || match asked() {
            n if n == stay + 1 => Ok(()),
            n => Err(format!("asked {n} times")),
        });
        owner = 1 - owner;
        cluster.give_slot(slot, owner);
        let to = cluster.addr(owner).to_string();
        proxy.wait_for("the map names the new owner", SHOWN_WITHIN, || {
            let (_, body) = proxy.get("/topology").ok_or("no answer")?;
            let topology: serde_json::Value =
                serde_json::from_str(&body).map_err(|e| e.to_string())?;
            let ranges = topology["ranges"].as_array().ok_or("no ranges")?;
            let its = |range: &&serde_json::Value| {
                let bound = |name: &str| range[name].as_u64().unwrap_or(u64::MAX);
                (bound("first")..=bound("last")).contains(&u64::from(slot))
            };
            let range = ranges.iter().find(its).ok_or("unowned")?.to_string();
            match range.contains(&to) {
                true => Ok(()),
                false => Err(range),
            }
        });
        gate.open();
    }
    assert_eq!(client.reply(), b"*2\r\n$1\r\na\r\n$1\r\nx\r\n");
    cluster.finish();
}
