//! Signals under load (`reliability.md`, scenario 16), on real servers: SIGHUP disturbs nobody; SIGTERM lets every
//! command that was read be answered, executes none of the others, and ends the process within `timeouts.drain`.
//!
//! `SLOTWAY_LONG=1 cargo test --test signals -- --nocapture --test-threads 1` repeats it 20 times and asserts the time.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{
    Proxy, SHOWN_WITHIN, Scenario, ServerKind, boot_cluster, encode, is_long, redis, reply_end,
    rounds, show, valkey,
};

/// `timeouts.drain`.
const DRAIN: Duration = Duration::from_secs(10);

/// Connections, each with a counter of its own. Every fourth has a large value appended to its pipeline's replies.
const CONNECTIONS: u64 = 8;

/// Commands that a connection has on their way at a time.
const DEPTH: u64 = 64;

/// Bytes of the value that some connections read.
const LARGE_BYTES: usize = 100 * 1024;

/// Commands that all of them are through with before something happens.
const WARM: u64 = 2_000;

#[test]
fn signals_under_load_lose_nothing_redis() {
    (0..rounds()).for_each(|_| round(&redis()));
}

#[test]
fn signals_under_load_lose_nothing_valkey() {
    (0..rounds()).for_each(|_| round(&valkey()));
}

fn round(kind: &ServerKind) {
    let mut scenario = Scenario::begin(16, "SIGHUP, then SIGTERM under load", kind.name);
    let cluster = boot_cluster(kind);
    let drain = format!("timeouts.drain={}s", DRAIN.as_secs());
    let mut proxy = Proxy::start(&cluster, &["--workers", "2", "--set", &drain]);
    let large = "x".repeat(LARGE_BYTES);
    assert_eq!(
        proxy.client().command(&["SET", "large", &large]),
        b"+OK\r\n"
    );
    let replies = Arc::new(AtomicU64::new(0));
    let start = |n| start(proxy.addr(), n, replies.clone());
    let load: Vec<_> = (0..CONNECTIONS).map(start).collect();
    let heard = |wanted: u64| {
        proxy.wait_for("the load goes on", SHOWN_WITHIN, || {
            let heard = replies.load(Ordering::Relaxed);
            let enough = heard >= wanted;
            enough.then_some(()).ok_or(format!("{heard} replies"))
        });
    };
    heard(WARM);
    for n in 1..=5u64 {
        proxy.signal(Signal::HUP);
        proxy.wait_for("SIGHUP is logged", SHOWN_WITHIN, || {
            let log = proxy.log();
            let said = log.iter().filter(|line| line.contains("SIGHUP")).count() as u64;
            (said == n).then_some(()).ok_or(log.join("\n"))
        });
        heard(replies.load(Ordering::Relaxed) + WARM);
    }
    assert!(load.iter().all(|one| !one.is_finished()), "SIGHUP ended it");
    let since = Instant::now();
    proxy.signal(Signal::TERM);
    let status = proxy.wait_exit();
    let took = since.elapsed();
    assert!(status.success(), "{status}");
    let log = proxy.log().join("\n");
    assert!(!log.contains("closing the clients that are left"), "{log}");
    let acked: Vec<u64> = load
        .into_iter()
        .map(|one| one.join().expect("a connection's thread"))
        .collect();
    let other = Proxy::start(&cluster, &[]);
    for (n, acked) in acked.iter().enumerate() {
        let executed = other.client().command(&["GET", &counter(n as u64)]);
        let text = acked.to_string();
        let expected = format!("${}\r\n{text}\r\n", text.len()).into_bytes();
        // Fewer: an acknowledgement of nothing. More: a reply that was lost.
        assert_eq!(show(&executed), show(&expected), "connection {n}");
    }
    let total: u64 = acked.iter().sum();
    scenario.figure("commands answered", total);
    scenario.figure("replies lost", 0);
    scenario.figure("SIGTERM to the end", format!("{} ms", took.as_millis()));
    if is_long() {
        assert!(took < DRAIN, "the end took {took:?}");
    }
    scenario.passed();
}

fn counter(connection: u64) -> String {
    format!("counter:{connection}")
}

/// Counts until the other side closes; gives the last number that it heard.
fn start(addr: SocketAddr, n: u64, replies: Arc<AtomicU64>) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).expect("connecting");
        stream
            .set_read_timeout(Some(SHOWN_WITHIN))
            .expect("a timeout");
        let mut writer = stream.try_clone().expect("a copy");
        let incr = encode(&["INCR", &counter(n)]);
        let large = n.is_multiple_of(4).then(|| encode(&["GET", "large"]));
        let batch = [
            incr.repeat(DEPTH as usize),
            large.clone().unwrap_or_default(),
        ]
        .concat();
        // Writes all the time, so that something is on its way whenever the signal comes.
        let sender = std::thread::spawn(move || while writer.write_all(&batch).is_ok() {});
        let (mut unread, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
        let (mut last, mut gets) = (0, 0);
        // A reset may follow the last reply: more was sent than was read.
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            unread.extend_from_slice(&chunk[..read]);
            let mut at = 0;
            while let Some(end) = reply_end(&unread, at) {
                match &unread[at..end] {
                    reply if reply[0] == b'$' && large.is_some() => {
                        assert_eq!(last % DEPTH, 0, "its place is behind all of a batch");
                        assert!(reply.len() > LARGE_BYTES, "all of it");
                        gets += 1;
                    }
                    reply => {
                        let expected = format!(":{}\r\n", last + 1);
                        assert_eq!(show(reply), show(expected.as_bytes()), "in order");
                        last += 1;
                    }
                }
                at = end;
                replies.fetch_add(1, Ordering::Relaxed);
            }
            unread.drain(..at);
        }
        assert!(gets <= last / DEPTH, "no surplus reply");
        // As clients do that see the end: they close.
        let _ = stream.shutdown(std::net::Shutdown::Both);
        sender.join().expect("the sender");
        last
    })
}
