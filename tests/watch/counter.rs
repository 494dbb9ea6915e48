//! What WATCH is for: clients that read a counter, and write it one higher if nobody else has meanwhile. The slot of the
//! counter moves there and back under them. No step is lost, and none is made twice.

use crate::support::{
    Proxy, RawClient, ServerKind, StopOnDrop, boot_cluster, encode, redis, show, valkey,
};
use slotway::cluster::Slot;
use slotway::demo::Cluster;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// Clients that count at the same time.
const CLIENTS: usize = 8;

/// Steps that each of them makes at least.
const STEPS: u64 = 20;

/// How often the slot moves.
const MOVES: usize = 4;

/// Keys of the slot besides the counter, so that a migration takes its time.
const FILLERS: usize = 50;

const KEY: &str = "{t}counter";

#[test]
fn a_counter_on_redis() {
    count(&redis());
}

#[test]
fn a_counter_on_valkey() {
    count(&valkey());
}

fn count(kind: &ServerKind) {
    let cluster = boot_cluster(kind);
    let proxy = Proxy::start(&cluster, &["--workers", "2"]);
    let mut client = proxy.client();
    client.expect(&format!("SET {KEY} 0"), b"+OK\r\n");
    for n in 0..FILLERS {
        client.expect(&format!("SET {{t}}{n} x"), b"+OK\r\n");
    }
    let moved = AtomicBool::new(false);
    let made = AtomicU64::new(0);
    let counts: Vec<Count> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let client = proxy.client();
                let (moved, made) = (&moved, &made);
                scope.spawn(move || step_by_step(client, n % 2 == 1, moved, made))
            })
            .collect();
        let _stop = StopOnDrop(&moved);
        migrate(&cluster, &proxy, &made);
        moved.store(true, Ordering::Relaxed);
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let done: u64 = counts.iter().map(|c| c.done).sum();
    let nil: u64 = counts.iter().map(|c| c.nil).sum();
    eprintln!("{}: {done} steps, {nil} times nil", kind.name);
    let value = client.line(&format!("GET {KEY}"));
    let expected = done.to_string();
    let expected = format!("${}\r\n{expected}\r\n", expected.len());
    assert!(
        value == expected.as_bytes(),
        "{}: {} after {done} acknowledged steps",
        kind.name,
        show(&value)
    );
    assert!(nil > 0, "they were never in each other's way");
    let unknown = proxy.metrics().sum("slotway_unknown_outcomes_total", &[]);
    assert_eq!(unknown, 0.0);
}

/// There and back, each time after some more steps.
fn migrate(cluster: &Cluster, proxy: &Proxy, made: &AtomicU64) {
    let slot = Slot::of(KEY.as_bytes()).number();
    for _ in 0..MOVES {
        let from = cluster.owner_of(slot).unwrap();
        let to = (from + 1) % 3;
        let more = |what: &str| {
            let before = made.load(Ordering::Relaxed);
            proxy.wait_for(what, std::time::Duration::from_secs(60), || {
                match made.load(Ordering::Relaxed) >= before + CLIENTS as u64 {
                    true => Ok(()),
                    false => Err("no progress".to_owned()),
                }
            });
        };
        more("steps before it moves");
        cluster.begin_migration(slot, from, to).unwrap();
        more("steps while it is to leave");
        cluster.move_all_keys(slot, from, to).unwrap();
        more("steps while it has left");
        cluster.finish_migration(slot, from, to).unwrap();
    }
}

#[derive(Default)]
struct Count {
    done: u64,
    nil: u64,
}

/// Counts until the slot has moved for the last time.
fn step_by_step(mut client: RawClient, resp3: bool, moved: &AtomicBool, made: &AtomicU64) -> Count {
    if resp3 {
        client.line("HELLO 3");
    }
    let nil: &[u8] = if resp3 { b"_\r\n" } else { b"*-1\r\n" };
    let mut count = Count::default();
    while !moved.load(Ordering::Relaxed) || count.done < STEPS {
        client.expect(&format!("WATCH {KEY}"), b"+OK\r\n");
        let value = client.line(&format!("GET {KEY}"));
        let text = String::from_utf8(value).unwrap();
        let value: u64 = text.lines().nth(1).unwrap().parse().unwrap();
        let next = (value + 1).to_string();
        client.send(
            &[
                encode(&["MULTI"]),
                encode(&["SET", KEY, &next]),
                encode(&["EXEC"]),
            ]
            .concat(),
        );
        let replies = client.replies(3);
        assert_eq!(replies[..2].concat(), b"+OK\r\n+QUEUED\r\n");
        match &replies[2][..] {
            b"*1\r\n+OK\r\n" => {
                count.done += 1;
                made.fetch_add(1, Ordering::Relaxed);
            }
            reply if reply == nil => count.nil += 1,
            other => panic!("EXEC: {}", show(other)),
        }
    }
    count
}
