//! Scenario 2, seen from the shards that are not hit: while a primary is dead, and clients wait for it, the others answer
//! as much as before. Their clients send as fast as they are answered.

use super::kill::observe_proxy;
use crate::rig::stage::{CLUSTER_MAX, Stage, ms, slot_of, tags_in};
use crate::support::{RawClient, encode, is_long, one_or_all, rounds, valkey};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections to each of the others, and commands in each of their pipelines.
const CONNECTIONS: usize = 2;
const DEPTH: usize = 16;

/// Connections to the primary that is killed, and their rest between two commands: they take little of the machine, so
/// that the others do not gain by their waiting.
const DOOMED: usize = 8;
const REST: Duration = Duration::from_millis(5);

/// Over which the throughput before is measured.
const BEFORE: Duration = Duration::from_secs(2);

/// Replies that each of the others hears at least while the primary is dead: more than what was on its way when it died.
const GO_ON_MIN: u64 = 10 * DEPTH as u64;

/// What the others keep of their throughput, in percent, by median, in the long form.
const KEPT_MIN: u64 = 95;

#[test]
fn the_others_go_on_while_a_primary_is_dead() {
    let kinds = one_or_all(valkey());
    kinds.iter().for_each(|kind| go_on(&mut Stage::set(kind)));
}

fn go_on(stage: &mut Stage) {
    let (second, _) = stage.cluster.booted_slots(1);
    let (third, _) = stage.cluster.booted_slots(2);
    let doomed = tags_in(1, |slot| slot < second).remove(0);
    let others = [
        tags_in(CONNECTIONS, |slot| (second..third).contains(&slot)),
        tags_in(CONNECTIONS, |slot| slot >= third),
    ]
    .concat();
    let mut kept = Vec::new();
    for round in 0..rounds() {
        let seed = stage.seed + 1000 * round as u64;
        let mut row = stage.begin(2, "the other shards go on", seed);
        let killed = stage.cluster.owner_of(slot_of(&doomed)).expect("served");
        let crowd = Crowd::start(stage.proxy.addr(), &doomed, &others);
        let before = crowd.heard(|| std::thread::sleep(BEFORE));
        stage.cluster.kill(killed);
        let observer = observe_proxy(stage.proxy.addr(), doomed.clone(), Instant::now());
        let mut outage = Duration::ZERO;
        let during = crowd.heard(|| outage = observer.join().expect("the observer"));
        drop(crowd);
        row.figure("served again after", ms(outage));
        row.figure("replies of the others before", format!("{}/s", before.rate));
        row.figure("during the outage", format!("{}/s", during.rate));
        row.figure("kept", format!("{} %", 100 * during.rate / before.rate));
        kept.push(100 * during.rate / before.rate);
        let least = during.least;
        assert!(
            least >= GO_ON_MIN,
            "one of the others heard {least} replies"
        );
        stage.cluster.restart(killed).unwrap();
        row.passed();
        stage.flush();
    }
    kept.sort_unstable();
    let median = kept[kept.len() / 2];
    stage.say(&format!("the others kept {median} % by median"));
    if is_long() {
        assert!(median >= KEPT_MIN, "{kept:?}");
    }
}

/// All clients, until it is dropped.
struct Crowd {
    stop: Arc<AtomicBool>,
    /// Of each connection of the others.
    replies: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<()>>,
}

/// What the others have heard in some time.
struct Heard {
    /// Replies of all of them, per second.
    rate: u64,
    /// Replies of the one that heard least.
    least: u64,
}

impl Crowd {
    fn start(proxy: SocketAddr, doomed: &str, others: &[String]) -> Self {
        let mut crowd = Self {
            stop: Arc::default(),
            replies: Vec::new(),
            threads: Vec::new(),
        };
        for _ in 0..DOOMED {
            let request = encode(&["SET", doomed, "1"]);
            crowd.spawn(proxy, move |client| {
                client.wait_at_most(CLUSTER_MAX);
                client.send(&request);
                client.reply();
                std::thread::sleep(REST);
            });
        }
        for tag in others {
            let [set, get] = [encode(&["SET", tag, "1"]), encode(&["GET", tag])];
            let pipeline = [set, get].concat().repeat(DEPTH / 2);
            let replies = Arc::new(AtomicU64::new(0));
            crowd.replies.push(replies.clone());
            crowd.spawn(proxy, move |client| {
                client.send(&pipeline);
                let got = client.replies(DEPTH);
                let answered = got.iter().filter(|reply| reply[0] != b'-');
                replies.fetch_add(answered.count() as u64, Ordering::Relaxed);
            });
        }
        crowd
    }

    fn spawn(&mut self, proxy: SocketAddr, act: impl Fn(&mut RawClient) + Send + 'static) {
        let stop = self.stop.clone();
        self.threads.push(std::thread::spawn(move || {
            let mut client = RawClient::connect(proxy);
            while !stop.load(Ordering::Relaxed) {
                act(&mut client);
            }
        }));
    }

    /// What the others hear while `wait` waits.
    fn heard(&self, wait: impl FnOnce()) -> Heard {
        let counted = || self.replies.iter().map(|one| one.load(Ordering::Relaxed));
        let (before, since): (Vec<u64>, _) = (counted().collect(), Instant::now());
        wait();
        let heard: Vec<u64> = counted()
            .zip(before)
            .map(|(now, then)| now - then)
            .collect();
        let all: u64 = heard.iter().sum();
        Heard {
            rate: (all as f64 / since.elapsed().as_secs_f64()) as u64,
            least: heard.into_iter().min().expect("there are others"),
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
