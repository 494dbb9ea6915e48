//! The clients: so many at once, one life after the other, and what must be true when the last one is gone.

use super::life::{Life, Lived};
use crate::rig::counter::Ledger;
use crate::rig::findings::{Findings, Wrong};
use crate::rig::load::Durability;
use crate::rig::stage::{Stage, tags_in};
use crate::support::{Proxy, StopOnDrop, redis, rounds, valkey};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Clients at the same time.
const CLIENTS: usize = 24;

/// Lives of a round.
const LIVES: u64 = 1_000;

/// Slots that the keys are in, over all nodes.
const SLOTS: usize = 24;

/// How long the proxy may take to be as without clients, a busy machine included.
const EMPTY_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn bytes_split_anywhere_and_clients_that_go_on_redis() {
    split_and_go(&Stage::set(&redis()), "split, reset, half-closed");
}

#[test]
fn bytes_split_anywhere_and_clients_that_go_on_valkey() {
    split_and_go(&Stage::set(&valkey()), "split, reset, half-closed");
}

/// So little room that clients are held up, and go while they are; and two lanes to each node.
const LITTLE_ROOM: &[&str] = &[
    "--set",
    "limits.client_in_flight=20",
    "--set",
    "limits.lane_in_flight=100",
    "--set",
    "upstream.connections=2",
    "--set",
    "timeouts.queue=60s",
];

#[test]
fn clients_that_are_held_up_go_on_redis() {
    let stage = Stage::set_with(&redis(), LITTLE_ROOM);
    split_and_go(&stage, "split, reset, half-closed; little room");
    for limit in ["client_in_flight", "lane_in_flight"] {
        let metrics = stage.proxy.metrics();
        let limit = format!("limits.{limit}");
        let hits = metrics.sum("slotway_limit_hits_total", &[("limit", &limit)]);
        assert!(hits > 0.0, "{limit} was not reached");
    }
}

/// What all lives share.
pub struct Town {
    pub addr: SocketAddr,
    pub tags: Vec<String>,
    pub ledger: Ledger,
    pub seed: u64,
}

fn split_and_go(stage: &Stage, what: &str) {
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(1, what, seed);
        let lost_before = lost(&stage.proxy);
        let town = Town {
            addr: stage.proxy.addr(),
            tags: tags_in(SLOTS, |_| true),
            ledger: Ledger::new(&tags_in(SLOTS, |_| true), Durability::Kept),
            seed,
        };
        let lived = crowd(&town);
        stage.proxy.wait_for("nothing is left", EMPTY_WITHIN, || {
            stage.proxy.metrics().nothing_of_clients()
        });
        let mut findings = Findings::default();
        let (mut sent, mut ends) = (0, BTreeMap::new());
        let mut client = stage.proxy.client();
        for mut life in lived {
            life.settle(&mut client, &mut findings);
            sent += life.sent;
            *ends.entry(life.end).or_insert(0) += 1;
            findings.add(life.findings);
        }
        town.ledger.close(&mut client, &mut findings);
        drop(client);
        stage.say(&format!("split: {sent} sent, {ends:?}; {findings}"));
        row.figure("clients", LIVES);
        row.figure("sent", format!("{sent} commands"));
        row.figure("compared", format!("{} replies", findings.replies));
        for (end, count) in &ends {
            row.figure(end.name(), *count);
        }
        for (name, what) in [("crossed", Wrong::Crossed), ("twice", Wrong::Twice)] {
            row.figure(name, findings.count(what));
        }
        findings.assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked]);
        assert_eq!(ends.len(), 4, "every kind of end was lived: {ends:?}");
        // A client that goes costs nobody a connection to a node.
        assert_eq!(lost(&stage.proxy), lost_before, "lanes were lost");
        row.passed();
        stage.flush();
    }
}

fn crowd(town: &Town) -> Vec<Lived> {
    let lives = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let lived = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let all_is_well = StopOnDrop(&failed);
                while !failed.load(Ordering::Relaxed) {
                    let number = lives.fetch_add(1, Ordering::Relaxed);
                    if number >= LIVES {
                        break;
                    }
                    let life = Life::new(town, number).live();
                    lived.lock().unwrap().push(life);
                }
                std::mem::forget(all_is_well);
            });
        }
    });
    lived.into_inner().unwrap()
}

/// Connections to nodes that were lost or could not be made.
fn lost(proxy: &Proxy) -> f64 {
    proxy.metrics().sum("slotway_upstream_errors_total", &[])
}
