//! SCAN over a cluster whose slots move while nobody but the scanner is there: no node tells a scanner that a slot has
//! moved, so the end of each shard makes slotway look. Without that, a whole refresh interval could pass.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use slotway::cluster::Slot;
use support::{Proxy, RawClient, boot_cluster, servers, show};

/// Keys in each round.
const KEYS: usize = 500;
/// The refreshes that scans ask for are a second apart, and the machine may be busy.
const NOTICED_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_scan_notices_moved_slots_and_misses_no_key() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--set", "cluster.refresh_interval=1h"]);
        let mut client = proxy.client();
        let keys: BTreeSet<String> = (0..KEYS).map(|i| format!("key:{i}")).collect();
        for key in &keys {
            client.expect(&format!("SET {key} v"), b"+OK\r\n");
        }
        assert_eq!(scan(&mut client, 50), keys);
        let refreshes = |result: &str| {
            let labels = [("trigger", "scanned"), ("result", result)];
            proxy
                .metrics()
                .sum("slotway_topology_refreshes_total", &labels)
        };
        assert_eq!(refreshes("changed"), 0.0);

        let slot = Slot::of(b"key:7").number();
        let from = cluster.owner_of(slot).expect("it has one");
        cluster.migrate_slot(slot, from, (from + 1) % 3).unwrap();
        proxy.wait_for("a scan notices the move", NOTICED_MAX, || {
            scan(&mut client, 50);
            match refreshes("changed") {
                0.0 => Err(format!(
                    "{} refreshes without change",
                    refreshes("unchanged")
                )),
                _ => Ok(()),
            }
        });
        assert_eq!(scan(&mut client, 50), keys, "{}", kind.name);
    }
}

/// Shards that hold fewer keys than are asked for are scanned in one call, as a single server would.
#[test]
fn a_small_database_needs_one_call() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut client = proxy.client();
        client.expect("SCAN 0", b"*2\r\n$1\r\n0\r\n*0\r\n");
        // In the order of their shards: the slots are 3300, 7365 and 15495.
        client.expect("MSET a 1 b 2 c 3", b"+OK\r\n");
        let all = b"*2\r\n$1\r\n0\r\n*3\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\na\r\n";
        client.expect("SCAN 0", all);
        client.expect("SCAN 0 COUNT 3 MATCH ?", all);
        client.expect("SCAN 0 TYPE list", b"*2\r\n$1\r\n0\r\n*0\r\n");
        // Enough is enough: the second shard is not asked.
        let first = client.line("SCAN 0 COUNT 1");
        assert!(first.ends_with(b"*1\r\n$1\r\nb\r\n"), "{}", show(&first));
        assert!(!first.starts_with(b"*2\r\n$1\r\n0\r\n"), "{}", show(&first));
        let expected = BTreeSet::from(["a", "b", "c"].map(str::to_owned));
        assert_eq!(scan(&mut client, 1), expected);
        assert_eq!(scan(&mut client, 2), expected);
        client.expect(
            "SCAN 0 COUNT x",
            b"-ERR value is not an integer or out of range\r\n",
        );
    }
}

/// The primary of the first shard dies while it is to be asked: its cursor must not be taken to another shard, where
/// it would skip keys.
#[test]
fn a_scan_that_meets_a_dead_primary_misses_no_key() {
    for kind in servers() {
        let mut cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--set", "timeouts.unavailable=60s"]);
        let mut client = proxy.client();
        let keys: BTreeSet<String> = (0..KEYS).map(|i| format!("key:{i}")).collect();
        for key in &keys {
            client.expect(&format!("SET {key} v"), b"+OK\r\n");
        }
        let first = cluster.owner_of(0).expect("it has one");
        let replica = cluster.replica_of(first).expect("it has one");
        proxy.wait_for("the replica has all keys", NOTICED_MAX, || {
            let size = |node| cluster.ask(node, &["DBSIZE"]).map(|r| r.text());
            match (size(first), size(replica)) {
                (Ok(a), Ok(b)) if a == b => Ok(()),
                (a, b) => Err(format!("{a:?} {b:?}")),
            }
        });
        cluster.kill(first);
        // Neither the first nor the third command of its client, so that its number names another shard.
        let mut scanner = proxy.client();
        scanner.wait_at_most(Duration::from_secs(90));
        scanner.expect("ECHO x", b"$1\r\nx\r\n");
        // A shard in one step: what is skipped is skipped for good.
        assert_eq!(scan(&mut scanner, KEYS), keys, "{}", kind.name);
    }
}

/// A whole scan: every key that it gives.
fn scan(client: &mut RawClient, count: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply =
            String::from_utf8(client.line(&format!("SCAN {cursor} COUNT {count}"))).expect("text");
        let lines: Vec<&str> = reply
            .split("\r\n")
            .filter(|l| !l.starts_with(['*', '$']))
            .collect();
        assert!(reply.starts_with("*2"), "{reply}");
        cursor = lines[0].to_owned();
        found.extend(
            lines[1..]
                .iter()
                .filter(|l| !l.is_empty())
                .map(|l| (*l).to_owned()),
        );
        if cursor == "0" {
            return found;
        }
    }
}
