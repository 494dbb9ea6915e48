//! Clients that do not care how it goes: requests come when they come, at random moments with a mean rate, whatever
//! became of those before. Each asks for a word of its own; a reply is good if it is that word, and in time.

use super::NO_ROOM;
use crate::support::{encode, reply_end, show};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::AddAssign;
use std::time::{Duration, Instant};

/// How the error begins that says that no reply came within `timeouts.command`.
const LATE: &[u8] = b"-ERR slotway: no reply in time";

/// A reply may take so long before the test fails.
const REPLY_MAX: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Offer {
    /// Requests per second, of all connections together.
    pub rate: u32,
    /// For so long.
    pub time: Duration,
    /// A reply that comes later is of no use to its client.
    pub patience: Duration,
    /// Connections.
    pub connections: u32,
}

/// What became of it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Outcome {
    /// Requests.
    pub offered: u64,
    /// The right replies, in time.
    pub good: u64,
    /// The right replies, too late.
    pub stale: u64,
    /// Refused for lack of room.
    pub refused: u64,
    /// `timeouts.command` was over.
    pub late: u64,
    /// The longest time until a refusal.
    pub slowest_refusal: Duration,
    /// Until all was answered.
    pub took: Duration,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.offered += other.offered;
        self.good += other.good;
        self.stale += other.stale;
        self.refused += other.refused;
        self.late += other.late;
        self.slowest_refusal = self.slowest_refusal.max(other.slowest_refusal);
    }
}

impl Outcome {
    /// Good replies per second, until the last reply.
    pub fn goodput(&self) -> f64 {
        self.good as f64 / self.took.as_secs_f64()
    }
}

impl Offer {
    /// Makes it; every request has been answered when this returns.
    pub fn make(&self, addr: SocketAddr, seed: u64) -> Outcome {
        let one = |n: u32| {
            let offer = *self;
            std::thread::spawn(move || offer.one(addr, n, seed + u64::from(n)))
        };
        let since = Instant::now();
        let threads: Vec<_> = (0..self.connections).map(one).collect();
        let mut all = Outcome::default();
        for thread in threads {
            all += thread.join().expect("a connection's thread");
        }
        all.took = since.elapsed();
        all
    }

    /// One connection: a thread that sends at drawn moments, and this one, which reads.
    fn one(&self, addr: SocketAddr, number: u32, seed: u64) -> Outcome {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(REPLY_MAX)).unwrap();
        let moments = self.moments(seed);
        let start = Instant::now();
        let mut out = stream.try_clone().unwrap();
        let plan = moments.clone();
        let sender = std::thread::spawn(move || {
            for (n, moment) in plan.iter().enumerate() {
                std::thread::sleep((start + *moment).saturating_duration_since(Instant::now()));
                out.write_all(&encode(&["GET", &word(number, n)]))
                    .expect("sending");
            }
        });
        let mut outcome = Outcome {
            offered: moments.len() as u64,
            ..Outcome::default()
        };
        let mut reader = Replies {
            stream,
            unread: Vec::new(),
            at: 0,
        };
        for (n, moment) in moments.iter().enumerate() {
            let reply = reader.next();
            outcome.note(&reply, &word(number, n), start + *moment, self.patience);
        }
        sender.join().expect("the sender");
        outcome
    }

    /// When requests are due: a Poisson process.
    fn moments(&self, seed: u64) -> Vec<Duration> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mean = f64::from(self.connections) / f64::from(self.rate);
        let mut at = 0.0;
        let mut moments = Vec::new();
        while at < self.time.as_secs_f64() {
            moments.push(Duration::from_secs_f64(at));
            at += -mean * (1.0 - rng.random::<f64>()).ln();
        }
        moments
    }
}

impl Outcome {
    fn note(&mut self, reply: &[u8], word: &str, due: Instant, patience: Duration) {
        let after = due.elapsed();
        if reply == format!("+{word}\r\n").as_bytes() {
            match after <= patience {
                true => self.good += 1,
                false => self.stale += 1,
            }
        } else if reply == NO_ROOM {
            self.refused += 1;
            self.slowest_refusal = self.slowest_refusal.max(after);
        } else if reply.starts_with(LATE) {
            self.late += 1;
        } else {
            panic!("asked for {word}, got {}", show(reply));
        }
    }
}

/// So that keys are spread over all slots.
fn word(connection: u32, n: usize) -> String {
    format!("{connection}.{n}")
}

struct Replies {
    stream: TcpStream,
    unread: Vec<u8>,
    at: usize,
}

impl Replies {
    fn next(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = reply_end(&self.unread, self.at) {
                let reply = self.unread[self.at..end].to_vec();
                self.at = end;
                return reply;
            }
            self.unread.drain(..self.at);
            self.at = 0;
            let mut chunk = [0; 64 * 1024];
            let n = self.stream.read(&mut chunk).expect("reading");
            assert!(n > 0, "closed");
            self.unread.extend_from_slice(&chunk[..n]);
        }
    }
}
