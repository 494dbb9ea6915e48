//! The load: threads with one pipelining connection each, driven by checkers, while the test does its worst.

use super::counter::{Counter, Ledger};
use super::findings::{Findings, Keys, Outcome};
use super::list::List;
use super::nonce::Nonce;
use super::order::Order;
use super::reply::Reply;
use crate::support::{Proxy, RawClient, encode};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use slotway::demo::{Stop, wait_until};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections per kind of checker; every other one speaks RESP3.
const CONNECTIONS: usize = 2;

/// Pipeline depths; a connection changes its depth all the time.
const DEPTHS: [usize; 5] = [1, 2, 8, 32, 64];

/// Bursts of a connection that follow each other without a pause, so that there is always something in flight when
/// something else is sent.
const BURSTS: usize = 16;

/// The rest after them: leaves room for the servers on a small machine. No condition waits for it.
const REST: Duration = Duration::from_millis(50);

/// `timeouts.command` of the proxy, and `timeouts.unavailable` but for the network's scenes, so long that a slow machine is not taken for a node that
/// does not answer or serve (and less than a client waits here). TRYAGAIN after it is no longer passed on for the
/// order's sake.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long progress may take.
const PROGRESS_MAX: Duration = Duration::from_secs(60);

/// Whether the cluster may lose acknowledged writes by what the test does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// No.
    Kept,
    /// A primary is killed: what it had not replicated yet is gone.
    MayLose,
}

/// What one connection sends, and what it thinks of the replies.
pub trait Checker: Send + 'static {
    /// What it remembers of a command.
    type Op: Send;
    /// Appends the next command.
    fn next(&mut self, rng: &mut StdRng, out: &mut Vec<u8>) -> Self::Op;
    /// How many keys of one slot it names.
    fn keys(op: &Self::Op) -> Keys;
    /// Compares the reply. Called in the order of the commands.
    fn hear(&mut self, op: Self::Op, outcome: Outcome, findings: &mut Findings);
    /// Compares what is there in the end.
    fn settle(&mut self, client: &mut RawClient, findings: &mut Findings);
}

/// A running load.
pub struct Load {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Findings>>,
    /// Replies of the connections whose commands name one key.
    progress: Vec<Arc<AtomicU64>>,
    ledger: Ledger,
}

impl Load {
    /// Starts it; all checkers use keys with all of these tags.
    pub fn start(proxy: &Proxy, tags: &[String], durability: Durability, seed: u64) -> Self {
        let mut load = Self {
            addr: proxy.addr(),
            stop: Arc::default(),
            threads: Vec::new(),
            progress: Vec::new(),
            ledger: Ledger::new(tags, durability),
        };
        let ledger = load.ledger.clone();
        for connection in 0..CONNECTIONS {
            let seed = seed + 10 * connection as u64;
            load.spawn(Nonce::new(connection, tags), connection, seed);
            load.spawn(Counter::new(&ledger), connection, seed + 1);
            load.spawn(List::new(connection, tags), connection, seed + 2);
            // A slot that is held half-migrated holds up commands of several keys: it need not progress.
            load.spawn_quiet(Order::new(connection, tags), connection, seed + 3);
        }
        load.progressed(50);
        load
    }

    fn spawn<C: Checker>(&mut self, checker: C, connection: usize, seed: u64) {
        let progress = self.spawn_quiet(checker, connection, seed);
        self.progress.push(progress);
    }

    fn spawn_quiet<C: Checker>(
        &mut self,
        checker: C,
        connection: usize,
        seed: u64,
    ) -> Arc<AtomicU64> {
        let progress = Arc::new(AtomicU64::new(0));
        let mut connection = Connection {
            client: connect(self.addr, connection),
            checker,
            waiting: VecDeque::new(),
            findings: Findings::default(),
            progress: progress.clone(),
        };
        let stop = self.stop.clone();
        self.threads
            .push(std::thread::spawn(move || connection.run(seed, &stop)));
        progress
    }

    /// Waits until every connection that names single keys has heard so many replies more.
    #[track_caller]
    pub fn progressed(&self, replies: u64) {
        let targets: Vec<u64> = self
            .progress
            .iter()
            .map(|p| p.load(Ordering::Relaxed) + replies)
            .collect();
        let progressed = wait_until("the load goes on", PROGRESS_MAX, &Stop::default(), || {
            let late = self.progress.iter().zip(&targets);
            let late = late.filter(|(p, target)| p.load(Ordering::Relaxed) < **target);
            match late.count() {
                0 => Ok(()),
                n => Err(format!("{n} connections stand still")),
            }
        });
        progressed.unwrap();
    }

    /// Ends it, reads every reply, and compares what is there in the end.
    pub fn finish(mut self) -> Findings {
        self.stop.store(true, Ordering::Relaxed);
        let mut findings = Findings::default();
        for thread in self.threads.drain(..) {
            findings.add(thread.join().expect("a connection's thread"));
        }
        let mut client = RawClient::connect(self.addr);
        self.ledger.close(&mut client, &mut findings);
        findings
    }
}

/// When the test has failed: its connections end before the proxy does.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn connect(addr: SocketAddr, connection: usize) -> RawClient {
    let mut client = RawClient::connect(addr);
    if connection % 2 == 1 {
        let hello = client.command(&["HELLO", "3"]);
        assert_eq!(hello[0], b'%', "HELLO 3 is answered with a map");
    }
    client
}

struct Connection<C: Checker> {
    client: RawClient,
    checker: C,
    waiting: VecDeque<(C::Op, Instant)>,
    findings: Findings,
    progress: Arc<AtomicU64>,
}

impl<C: Checker> Connection<C> {
    fn run(&mut self, seed: u64, stop: &AtomicBool) -> Findings {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = Vec::new();
        let mut bursts = 0;
        while !stop.load(Ordering::Relaxed) {
            let depth = *DEPTHS.choose(&mut rng).expect("not empty");
            bytes.clear();
            while self.waiting.len() < depth {
                let op = self.checker.next(&mut rng, &mut bytes);
                self.waiting.push_back((op, Instant::now()));
            }
            self.client.send(&bytes);
            let stay = rng.random_range(0..depth);
            self.hear_until(stay);
            bursts += 1;
            if bursts % BURSTS == 0 {
                std::thread::sleep(REST);
            }
        }
        self.hear_until(0);
        self.client.send(&encode(&["PING", "the end"]));
        assert_eq!(
            self.client.reply(),
            b"$7\r\nthe end\r\n",
            "no surplus reply"
        );
        self.checker.settle(&mut self.client, &mut self.findings);
        std::mem::take(&mut self.findings)
    }

    fn hear_until(&mut self, stay: usize) {
        while self.waiting.len() > stay
            && let Some((op, sent)) = self.waiting.pop_front()
        {
            let reply = Reply::parse(&self.client.reply());
            let after = sent.elapsed();
            self.findings.replies += 1;
            self.findings.slowest = self.findings.slowest.max(after);
            let outcome = match &reply {
                Reply::Error(text) => self.findings.error(C::keys(&op), text, after, PATIENCE),
                _ => Outcome::Done(reply),
            };
            self.checker.hear(op, outcome, &mut self.findings);
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
    }
}
