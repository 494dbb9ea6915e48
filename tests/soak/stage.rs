//! Where the soak plays, how long it goes on, and what is compared in the end.

use super::life::live;
use super::plain::SCRIPT;
use super::queues::Queues;
use super::visitor::Town;
use crate::support::{Kept, Proxy, ServerKind, StopOnDrop, boot_cluster, seed, wait_empty};
use slotway::demo::Cluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Clients at the same time.
const CLIENTS: usize = 12;

/// Lives of one round.
const LIVES: u64 = 2000;

/// Rounds of the short form. Memory is compared between its first and its second half.
const ROUNDS: usize = 12;

/// How much the memory after a round of the second half may be above that after one of the first, the least of each:
/// two of the steps in which the allocator takes memory from the system. In the short form that finds 350 bytes a life,
/// in the long form a few.
const MEMORY_SLACK: u64 = 4 * 1024 * 1024;

/// See the module.
pub struct Stage {
    pub cluster: Cluster,
    pub proxy: Proxy,
    kind: ServerKind,
    town: Arc<Town>,
    /// Lives so far.
    lives: AtomicU64,
}

impl Stage {
    /// Boots all of it.
    pub fn set(kind: &ServerKind) -> Self {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &["--workers", "2"]);
        let seed = seed(kind.name);
        let sha = proxy.client().command(&["SCRIPT", "LOAD", SCRIPT]);
        let town = Town {
            addr: proxy.addr(),
            queues: Queues::new(),
            sha: String::from_utf8(sha[5..45].to_vec()).expect("a hash"),
            seed,
        };
        Self {
            cluster,
            proxy,
            kind: kind.clone(),
            town: Arc::new(town),
            lives: AtomicU64::default(),
        }
    }

    /// Round after round; after each of them nothing may be left.
    pub fn soak(&self) {
        let begun = Instant::now();
        let mut kept: Vec<Kept> = Vec::new();
        while kept.len() < ROUNDS || begun.elapsed() < minutes() {
            self.round();
            kept.push(wait_empty(&self.proxy, &self.cluster));
            self.say(&kept[kept.len() - 1]);
        }
        let (first, second) = kept.split_at(kept.len() / 2);
        let least = |kept: &[Kept]| kept.iter().map(|k| k.memory).min().expect("some");
        // The first quarter warms up what is kept for good: the allocator's pages, tables, pools.
        let quarter = kept.len() / 4;
        let (before, after) = (
            least(&first[quarter..]),
            least(&second[second.len() - quarter..]),
        );
        assert!(
            after <= before + MEMORY_SLACK,
            "memory grew from {before} to {after} bytes"
        );
        let files = second.last().map(|k| k.files);
        assert_eq!(files, first.last().map(|k| k.files), "file descriptors");
    }

    fn round(&self) {
        let until = self.lives.load(Ordering::Relaxed) + LIVES;
        let failed = AtomicBool::default();
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let all_is_well = StopOnDrop(&failed);
                    while !failed.load(Ordering::Relaxed) {
                        let life = self.lives.fetch_add(1, Ordering::Relaxed);
                        if life >= until {
                            break;
                        }
                        live(&self.town, life);
                    }
                    std::mem::forget(all_is_well);
                });
            }
        });
        self.lives.store(until, Ordering::Relaxed);
        let mut client = self.proxy.client();
        self.town.queues.settle(&mut client);
        client.expect("FLUSHALL", b"+OK\r\n");
    }

    fn say(&self, kept: &Kept) {
        let lives = self.lives.load(Ordering::Relaxed);
        eprintln!("{}: after {lives} lives {kept:?}", self.kind.name);
    }
}

/// How long it goes on at least: `SLOTWAY_SOAK_MINUTES`.
fn minutes() -> Duration {
    let minutes = std::env::var("SLOTWAY_SOAK_MINUTES").unwrap_or_default();
    let minutes = match &minutes[..] {
        "" => 0,
        text => text.parse().expect("SLOTWAY_SOAK_MINUTES is a number"),
    };
    Duration::from_secs(60 * minutes)
}
