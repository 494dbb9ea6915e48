//! Clients in every mode that a connection can be in, each in a thread of its own, while a test does its worst to the
//! cluster: they push and pop, add and read, run transactions, watch, publish and subscribe. What they were told is in
//! books that are compared in the end with what is there.

use super::blocks::{Optimist, Optimists, Transactions, Transactor};
use super::channels::{Channel, Publisher, Subscriber, Way};
use super::diary::{Acts, Diary, Done};
use super::queues::{Popper, Pusher, Queue};
use super::streams::{Adder, Reader, Stream};
use crate::rig::findings::Findings;
use crate::rig::load::Durability;
use crate::support::{RawClient, Scenario};
use slotway::demo::{Stop, wait_until};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two things that one client does: leaves room for the servers on a small machine.
const REST: Duration = Duration::from_millis(4);

/// How long progress may take.
const PROGRESS_MAX: Duration = Duration::from_secs(90);

/// Clients of a kind per tag.
const CLIENTS: usize = 2;

/// One client.
pub trait Actor: Send + 'static {
    /// What it is called in the table.
    const KIND: &'static str;
    /// Does one thing.
    fn act(&mut self, diary: &mut Diary) -> Done;
    /// Goes away, when nothing more is wanted of it.
    fn leave(&mut self, _: &mut Diary) {}
}

/// What many clients were told of the same keys.
pub trait Book: Send + Sync {
    /// Whether the cluster may lose what is in these keys by what the test does.
    fn durability(&self) -> Durability;
    /// After all of them have left: compares.
    fn close(&self, client: &mut RawClient, findings: &mut Findings);
}

/// A tag, and whether what is in its slot may be lost.
pub type Tag = (String, Durability);

/// See the module.
pub struct Cast {
    addr: SocketAddr,
    /// Consumers leave first: some wait until something comes.
    consumers: Troupe,
    producers: Troupe,
    books: Vec<Arc<dyn Book>>,
    /// Where they publish.
    pub channels: Vec<Arc<Channel>>,
}

#[derive(Default)]
struct Troupe {
    stop: Arc<AtomicBool>,
    threads: Vec<(&'static str, JoinHandle<Diary>)>,
    progress: Vec<(&'static str, Arc<AtomicU64>)>,
}

/// What all of them have to say.
pub struct Report {
    /// By kind of client.
    pub acts: BTreeMap<&'static str, Acts>,
    /// What must not be, in keys of which the cluster loses nothing.
    pub kept: Findings,
    /// The same of keys of which it may.
    pub may_lose: Findings,
}

/// What the faults of a round did to the nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nodes {
    Kept,
    /// One was lost: what it had sent its subscribers may come once more by way of another node.
    Lost,
}

impl Cast {
    /// All of them, on keys with these tags.
    pub fn start(addr: SocketAddr, tags: &[Tag]) -> Self {
        let mut cast = Self {
            addr,
            consumers: Troupe::default(),
            producers: Troupe::default(),
            books: Vec::new(),
            channels: Vec::new(),
        };
        for tag in tags {
            cast.on_one_slot(tag);
        }
        let everywhere = Arc::new(Queue::over(tags));
        cast.queue(&everywhere, &["BLPOP", "BRPOP"]);
        let news = Arc::new(Channel::common());
        cast.channel(&news, &[Way::Plain, Way::Pattern]);
        cast.progressed(1);
        cast
    }

    fn on_one_slot(&mut self, tag: &Tag) {
        let addr = self.addr;
        let queue = Arc::new(Queue::on(tag));
        self.queue(&queue, &["BLPOP", "BRPOP", "BLMPOP", "BLMOVE"]);
        let stream = Arc::new(Stream::new(tag));
        self.books.push(stream.clone());
        self.producers.play(Adder::new(addr, &stream));
        let blocks = Arc::new(Transactions::new(tag));
        self.books.push(blocks.clone());
        let watched = Arc::new(Optimists::new(tag));
        self.books.push(watched.clone());
        for number in 0..CLIENTS {
            self.consumers.play(Reader::new(addr, &stream));
            self.producers.play(Transactor::new(addr, &blocks, number));
            self.producers.play(Optimist::new(addr, &watched, number));
        }
        let channel = Arc::new(Channel::sharded(&tag.0));
        self.channel(&channel, &[Way::Sharded]);
    }

    /// Each way to pop by one who waits until something comes, and one who waits for a while.
    fn queue(&mut self, queue: &Arc<Queue>, ways: &[&'static str]) {
        self.books.push(queue.clone());
        self.producers.play(Pusher::new(self.addr, queue));
        for (number, way) in ways.iter().enumerate() {
            let patience = if number % 2 == 0 { "0" } else { "0.2" };
            let popper = Popper::new(self.addr, queue, way, patience);
            self.consumers.play(popper);
        }
    }

    fn channel(&mut self, channel: &Arc<Channel>, ways: &[Way]) {
        for (number, way) in ways.iter().enumerate() {
            let subscriber = Subscriber::new(self.addr, channel, *way, 2 + number % 2);
            self.consumers.play(subscriber);
        }
        self.producers.play(Publisher::new(self.addr, channel));
        self.channels.push(channel.clone());
    }

    /// Waits until each of them has done so many things more.
    #[track_caller]
    pub fn progressed(&self, times: u64) {
        let all = || {
            self.consumers
                .progress
                .iter()
                .chain(&self.producers.progress)
        };
        let targets: Vec<u64> = all()
            .map(|(_, done)| done.load(Ordering::Relaxed) + times)
            .collect();
        let progressed = wait_until("all go on", PROGRESS_MAX, &Stop::default(), || {
            let late = all().zip(&targets);
            let late = late.filter(|((_, done), target)| done.load(Ordering::Relaxed) < **target);
            let late: Vec<&str> = late.map(|((kind, _), _)| *kind).collect();
            match late.is_empty() {
                true => Ok(()),
                false => Err(format!("these stand still: {late:?}")),
            }
        });
        progressed.unwrap();
    }

    /// How messages came around faults; none twice while no node was lost.
    pub fn note_messages(&self, row: &mut Scenario, nodes: Nodes) {
        let counted = self.channels.iter().map(|channel| channel.late_and_twice());
        let sum = |(a, b): (u64, u64), (late, twice)| (a + late, b + twice);
        let (late, twice) = counted.fold((0, 0), sum);
        row.figure("messages behind newer ones", late);
        row.figure("messages that came twice", twice);
        assert!(
            twice == 0 || nodes == Nodes::Lost,
            "{twice} messages came twice"
        );
    }

    /// All leave, and the books are compared with what is there.
    pub fn finish(mut self) -> Report {
        let mut report = Report {
            acts: BTreeMap::new(),
            kept: Findings::default(),
            may_lose: Findings::default(),
        };
        for troupe in [&mut self.consumers, &mut self.producers] {
            for (kind, diary) in troupe.end() {
                let mut diary = diary.expect("a client's thread");
                report.kept.add(std::mem::take(&mut diary.wrong));
                report.acts.entry(kind).or_default().add(diary);
            }
        }
        let mut client = RawClient::connect(self.addr);
        for book in &self.books {
            let findings = match book.durability() {
                Durability::Kept => &mut report.kept,
                Durability::MayLose => &mut report.may_lose,
            };
            book.close(&mut client, findings);
        }
        report
    }
}

/// When the test has failed: they end before the proxy does.
impl Drop for Cast {
    fn drop(&mut self) {
        for troupe in [&mut self.consumers, &mut self.producers] {
            drop(troupe.end());
        }
    }
}

impl Troupe {
    fn play<A: Actor>(&mut self, mut actor: A) {
        let progress = Arc::new(AtomicU64::new(0));
        self.progress.push((A::KIND, progress.clone()));
        let stop = self.stop.clone();
        let run = move || {
            let mut diary = Diary::default();
            while !stop.load(Ordering::Relaxed) {
                if actor.act(&mut diary) == Done::Yes {
                    diary.succeeded();
                    progress.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(REST);
            }
            actor.leave(&mut diary);
            diary
        };
        self.threads.push((A::KIND, std::thread::spawn(run)));
    }

    fn end(&mut self) -> Vec<(&'static str, std::thread::Result<Diary>)> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.drain(..);
        threads
            .map(|(kind, thread)| (kind, thread.join()))
            .collect()
    }
}
