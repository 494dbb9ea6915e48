//! A slot moves back and forth between two primaries, key by key, while several clients run transactions on it, and the
//! nodes close their connections in between. Every transaction that was acknowledged is there, whole and once; of those
//! whose outcome the client could not be told, each at most once.

use crate::support::{Proxy, ServerKind, StopOnDrop, boot_cluster, encode, redis, show, valkey};
use slotway::cluster::Slot;
use slotway::demo::Cluster;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The two keys of every transaction.
const COUNTER: &str = "{moving}counter";
const LIST: &str = "{moving}list";

const CLIENTS: usize = 4;

/// How often the slot moves there and back.
const ROUNDS: usize = 3;

/// Transactions that are to be acknowledged between two steps of a move.
const BETWEEN: u64 = 40;

/// How long anything may take to happen under load.
const AT_MOST: Duration = Duration::from_secs(60);

#[test]
fn transactions_are_whole_and_happen_once_while_their_slot_moves_on_redis() {
    slot_moves(&redis());
}

#[test]
fn transactions_are_whole_and_happen_once_while_their_slot_moves_on_valkey() {
    slot_moves(&valkey());
}

/// What one client was told.
#[derive(Default)]
struct Told {
    acknowledged: Vec<String>,
    unknown: Vec<String>,
}

fn slot_moves(kind: &ServerKind) {
    let cluster = boot_cluster(kind);
    let proxy = Proxy::start(&cluster, &["--workers", "2"]);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let told: Vec<Told> = std::thread::scope(|scope| {
        let guard = StopOnDrop(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (proxy, stop, done) = (&proxy, &stop, &done);
                scope.spawn(move || transactions(proxy, number, stop, done))
            })
            .collect();
        for _ in 0..2 * ROUNDS {
            move_slot(&cluster, &proxy, &done);
        }
        drop(guard);
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    check(kind, &proxy, &told);
    for refusal in ["moved", "ask", "tryagain"] {
        let label = [("type", refusal)];
        let count = proxy.metrics().sum("slotway_redirections_total", &label);
        assert!(count > 0.0, "{}: no {refusal}", kind.name);
    }
}

/// One transaction after the other.
fn transactions(proxy: &Proxy, number: usize, stop: &AtomicBool, done: &AtomicU64) -> Told {
    let mut client = proxy.client();
    let mut told = Told::default();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("{number}:{turn}");
        let lines = [
            &["MULTI"][..],
            &["INCR", COUNTER],
            &["RPUSH", LIST, &id],
            &["EXEC"],
        ];
        client.send(&lines.map(encode).concat());
        let replies = client.replies(4);
        assert_eq!(replies[..3].concat(), b"+OK\r\n+QUEUED\r\n+QUEUED\r\n");
        let exec = String::from_utf8_lossy(&replies[3]).into_owned();
        let numbers: Vec<&str> = exec.split("\r\n").collect();
        match numbers[..] {
            // One counts what the other holds.
            ["*2", counter, length, ""] => {
                assert!(counter.starts_with(':') && counter == length, "{exec}");
                told.acknowledged.push(id);
                done.fetch_add(1, Ordering::Relaxed);
            }
            _ if exec.starts_with("-ERR slotway: outcome unknown") => told.unknown.push(id),
            _ if exec.starts_with("-EXECABORT ") => {}
            _ => panic!("{exec}"),
        }
    }
    told
}

/// To the other one of the first two primaries: the counter goes first, so that the keys are in two places for a while.
fn move_slot(cluster: &Cluster, proxy: &Proxy, done: &AtomicU64) {
    let slot = Slot::of(COUNTER.as_bytes()).number();
    let from = cluster.owner_of(slot).expect("an owner");
    let to = usize::from(from == 0);
    let progress = || {
        let goal = done.load(Ordering::Relaxed) + BETWEEN;
        proxy.wait_for("acknowledged transactions", AT_MOST, || {
            let now = done.load(Ordering::Relaxed);
            (now >= goal).then_some(()).ok_or_else(|| now.to_string())
        });
    };
    progress();
    cluster.begin_migration(slot, from, to).unwrap();
    progress();
    let refused = || {
        let label = [("type", "tryagain")];
        proxy.metrics().sum("slotway_redirections_total", &label)
    };
    let before = refused();
    cluster.move_keys(from, to, &[COUNTER]).unwrap();
    proxy.wait_for("a transaction between two nodes", AT_MOST, || {
        let now = refused();
        (now > before).then_some(()).ok_or_else(|| now.to_string())
    });
    cluster.move_all_keys(slot, from, to).unwrap();
    progress();
    // Those whose EXEC is on its way do not hear what became of it.
    for node in [from, to] {
        let kill = ["CLIENT", "KILL", "TYPE", "normal"];
        cluster.ask(node, &kill).unwrap();
    }
    progress();
    cluster.finish_migration(slot, from, to).unwrap();
}

fn check(kind: &ServerKind, proxy: &Proxy, told: &[Told]) {
    let mut client = proxy.client();
    let counter = String::from_utf8(client.line(&format!("GET {COUNTER}"))).unwrap();
    let list = String::from_utf8(client.line(&format!("LRANGE {LIST} 0 -1"))).unwrap();
    let mut there: HashMap<&str, usize> = HashMap::new();
    for line in list.split("\r\n").filter(|line| line.contains(':')) {
        *there.entry(line).or_default() += 1;
    }
    let acknowledged: Vec<&String> = told.iter().flat_map(|t| &t.acknowledged).collect();
    let unknown: Vec<&String> = told.iter().flat_map(|t| &t.unknown).collect();
    eprintln!(
        "{}: {} acknowledged, {} unknown, {} there",
        kind.name,
        acknowledged.len(),
        unknown.len(),
        there.len()
    );
    let counted = counter.split("\r\n").nth(1).unwrap_or_default();
    assert_eq!(
        counted,
        there.len().to_string(),
        "{}",
        show(counter.as_bytes())
    );
    let twice: Vec<_> = there.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    for id in &acknowledged {
        assert!(there.remove(id.as_str()).is_some(), "{id} is lost");
    }
    for id in &unknown {
        there.remove(id.as_str());
    }
    assert!(
        there.is_empty(),
        "told to be discarded, but there: {there:?}"
    );
}
