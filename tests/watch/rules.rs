//! What is slotway's own: one slot, limits, clients that leave, connections and slots that go while keys are watched.

use crate::support::{Proxy, RawClient, SHOWN_WITHIN, boot_cluster, encode, redis, servers, show};
use slotway::cluster::Slot;
use slotway::demo::Cluster;

const QUEUED: &[u8] = b"+QUEUED\r\n";
const OK: &[u8] = b"+OK\r\n";
const NIL: &[u8] = b"*-1\r\n";

#[track_caller]
fn told(client: &mut RawClient, line: &str, parts: &[&str]) {
    let reply = String::from_utf8(client.line(line)).unwrap();
    let all = parts.iter().all(|part| reply.contains(part));
    assert!(all, "{line}: {reply}");
}

/// MULTI, INCR, EXEC: the reply to EXEC.
fn incr(client: &mut RawClient, key: &str) -> Vec<u8> {
    let lines = [&["MULTI"][..], &["INCR", key], &["EXEC"]];
    client.send(&lines.map(encode).concat());
    client.replies(3).remove(2)
}

fn wait_gauges(proxy: &Proxy, watchers: f64, leases: f64) {
    proxy.wait_for("watchers and leases", SHOWN_WITHIN, || {
        let metrics = proxy.metrics();
        let got = ["slotway_watchers", "slotway_leases"].map(|name| metrics.sum(name, &[]));
        match got == [watchers, leases] {
            true => Ok(()),
            false => Err(format!("{got:?}")),
        }
    });
}

fn owner(cluster: &Cluster, key: &str) -> usize {
    let slot = Slot::of(key.as_bytes()).number();
    cluster.owner_of(slot).unwrap()
}

#[test]
fn all_that_is_watched_and_executed_is_in_one_slot() {
    let cluster = boot_cluster(&redis());
    let split = r#"policy.cross_slot_transactions="split""#;
    for options in [&["--workers", "1"][..], &["--workers", "1", "--set", split]] {
        let proxy = Proxy::start(&cluster, options);
        let mut client = proxy.client();
        let refused = [
            "-CROSSSLOT Keys in request don't hash to the same slot (slotway: 'a' and 'b'; ",
            "{tag}",
        ];
        told(&mut client, "WATCH a b", &refused);
        client.expect("WATCH a {a}x", OK);
        told(&mut client, "WATCH b", &refused);
        // Nothing is lost by that.
        assert_eq!(incr(&mut client, "{a}n"), b"*1\r\n:1\r\n");
        client.expect("WATCH a", OK);
        client.expect("MULTI", OK);
        told(&mut client, "SET b 1", &refused);
        client.expect("SET a 1", QUEUED);
        told(&mut client, "EXEC", &["-EXECABORT "]);
        client.expect("EXISTS a", b":0\r\n");
        client.expect("DEL {a}n", b":1\r\n");
        let crossed = [("outcome", "refused")];
        let crossed = proxy.metrics().sum("slotway_cross_slot_total", &crossed);
        assert_eq!(crossed, 3.0);
    }
}

#[test]
fn limits_are_told_by_name() {
    let cluster = boot_cluster(&redis());
    for limit in [
        "limits.watchers=1",
        "upstream.leases=1",
        "limits.transaction_bytes=1KB",
    ] {
        let proxy = Proxy::start(&cluster, &["--workers", "1", "--set", limit]);
        let name = limit.split_once('=').unwrap().0;
        let [mut one, mut other] = [proxy.client(), proxy.client()];
        one.expect("WATCH {t}a", OK);
        wait_gauges(&proxy, 1.0, 1.0);
        if name == "limits.transaction_bytes" {
            one.expect(&format!("WATCH {{t}}{}", "x".repeat(1000)), OK);
            told(
                &mut one,
                &format!("WATCH {{t}}{}", "y".repeat(30)),
                &["-ERR slotway: ", name],
            );
        } else {
            told(&mut other, "WATCH {t}a", &["-ERR slotway: ", name]);
        }
        assert_eq!(incr(&mut one, "{t}n")[..4], b"*1\r\n"[..]);
        wait_gauges(&proxy, 0.0, 0.0);
        other.expect("WATCH {t}a", OK);
        assert_eq!(incr(&mut other, "{t}n")[..4], b"*1\r\n"[..]);
    }
}

#[test]
fn a_client_that_leaves_takes_its_watch_with_it() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let options = ["--workers", "1", "--set", "upstream.leases=1"];
        let proxy = Proxy::start(&cluster, &options);
        let mut other = proxy.client();
        for leave in 0..4 {
            let mut client = proxy.client();
            client.expect("WATCH {t}a", OK);
            client.expect("GET {t}none", b"$-1\r\n");
            match leave {
                0 => client.reset(),
                1 => drop(client),
                2 => client.expect("QUIT", OK),
                _ => {
                    // In the middle of EXEC: all of it, or nothing.
                    client.send(&[encode(&["MULTI"]), encode(&["EXEC"])].concat());
                    client.reset();
                }
            }
            wait_gauges(&proxy, 0.0, 0.0);
            // Whoever has its connection now is not told of what the other one watched.
            let mut next = proxy.client();
            next.expect("WATCH {t}b", OK);
            other.expect("SET {t}a x", OK);
            assert_eq!(incr(&mut next, "{t}n")[..4], b"*1\r\n"[..], "{leave}");
        }
    }
}

/// A node ends the connection, a replica takes over, the slot moves: nil, once, and then it works.
#[test]
fn a_watch_that_is_lost_is_a_key_that_changed() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut client = proxy.client();
        let slot = Slot::of(b"{t}").number();
        for (lost, way) in ["kill", "move", "failover"].into_iter().enumerate() {
            let from = owner(&cluster, "{t}");
            client.expect("WATCH {t}a", OK);
            match way {
                "kill" => {
                    let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
                    cluster.ask(from, &kill).unwrap();
                }
                "move" => cluster.migrate_slot(slot, from, (from + 1) % 3).unwrap(),
                _ => cluster.failover(cluster.replica_of(from).unwrap()).unwrap(),
            }
            let reply = incr(&mut client, "{t}n");
            assert!(reply == NIL, "{} {way}: {}", kind.name, show(&reply));
            let counted = proxy.metrics().sum("slotway_watches_lost_total", &[]);
            assert_eq!(counted, lost as f64 + 1.0, "{} {way}", kind.name);
            client.expect("WATCH {t}a", OK);
            let expected = format!("*1\r\n:{}\r\n", lost + 1);
            let reply = incr(&mut client, "{t}n");
            assert!(reply == expected.as_bytes(), "{way}: {}", show(&reply));
        }
    }
}

/// Half-way through a migration: keys that are still at the old place, keys that are at the new one already, and keys that
/// nobody has made yet.
#[test]
fn keys_can_be_watched_while_their_slot_migrates() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let [mut client, mut other] = [proxy.client(), proxy.client()];
        let slot = Slot::of(b"{t}").number();
        let from = owner(&cluster, "{t}");
        let to = (from + 1) % 3;
        for key in ["{t}stays", "{t}goes"] {
            client.expect(&format!("SET {key} 1"), OK);
        }
        cluster.begin_migration(slot, from, to).unwrap();
        cluster.move_keys(from, to, &["{t}goes"]).unwrap();
        for (key, value) in [("{t}stays", 2), ("{t}goes", 2), ("{t}new", 1)] {
            client.expect(&format!("WATCH {key}"), OK);
            client.line(&format!("GET {key}"));
            let expected = format!("*1\r\n:{value}\r\n");
            let reply = incr(&mut client, key);
            assert!(
                reply == expected.as_bytes(),
                "{} {key}: {}",
                kind.name,
                show(&reply)
            );
            client.expect(&format!("WATCH {key}"), OK);
            other.expect(&format!("SET {key} 7"), OK);
            assert_eq!(incr(&mut client, key), NIL, "{} {key}", kind.name);
        }
        let lost = || proxy.metrics().sum("slotway_watches_lost_total", &[]);
        assert_eq!(lost(), 0.0);
        // The node that imports the slot would take any key for one that nobody has made.
        client.expect("WATCH {t}goes", OK);
        client.expect("GET {t}stays", b"$1\r\n7\r\n");
        client.expect("INCR {t}stays", b":8\r\n");
        client.expect("MGET {t}goes {t}goes", b"*2\r\n$1\r\n7\r\n$1\r\n7\r\n");
        assert_eq!(incr(&mut client, "{t}stays"), NIL, "{}", kind.name);
        assert_eq!(lost(), 1.0);
        client.expect("WATCH {t}goes", OK);
        client.expect("WATCH {t}goes", OK);
        assert_eq!(incr(&mut client, "{t}goes"), b"*1\r\n:8\r\n");
        client.expect("WATCH {t}goes", OK);
        client.expect("WATCH {t}stays", OK);
        client.expect("GET {t}stays", b"$1\r\n8\r\n");
        assert_eq!(incr(&mut client, "{t}stays"), NIL, "{}", kind.name);
        assert_eq!(lost(), 2.0);
        client.expect("GET {t}stays", b"$1\r\n8\r\n");
        cluster.move_all_keys(slot, from, to).unwrap();
        cluster.finish_migration(slot, from, to).unwrap();
    }
}
