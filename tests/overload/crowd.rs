//! Real servers behind lanes with little room, and three and six times as many clients as it takes to fill them: pipelines
//! of plain, split and MULTI commands, each client in its own keys. Nothing is lost or crossed, order is kept, and all of
//! it is served.
//!
//! How fast that goes is measured, and compared with the same clients where there is room enough. It is no verdict: here it
//! is the machine that has no more to give, which the clients and six servers share with the proxy, and more clients cost
//! more of it themselves. What becomes of the goodput where a node has no more to give is `paced`'s business.

use crate::support::{
    Proxy, RawClient, Scenario, ServerKind, boot_cluster, encode, redis, rounds, seed, show, valkey,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Clients: two of them fill the lanes, and four have all that is to be had. Then three and six times as many.
const RAMP: [u64; 5] = [1, 2, 4, 12, 24];

/// Each number of clients has so many turns, one after the other: what else the machine does meets all of them.
const TURNS: u64 = 7;

/// Rounds of requests that are written at once.
const DEPTH: u64 = 32;

/// How long a step takes.
const STEP: Duration = Duration::from_millis(400);

#[test]
fn waiting_for_room_loses_nothing_redis() {
    (0..rounds()).for_each(|_| round(&redis()));
}

#[test]
fn waiting_for_room_loses_nothing_valkey() {
    (0..rounds()).for_each(|_| round(&valkey()));
}

fn round(kind: &ServerKind) {
    let seed = seed(kind.name);
    let mut scenario = Scenario::begin(17, "lanes with little room", kind.name);
    scenario.seeded(seed);
    let cluster = boot_cluster(kind);
    let start = |room: &[&str]| {
        let mut args = vec!["--workers", "1"];
        let times = ["timeouts.queue=60s", "timeouts.command=60s"];
        let set = room.iter().chain(&times);
        set.for_each(|one| args.extend(["--set", one]));
        Proxy::start(&cluster, &args)
    };
    let proxies = [start(&["limits.lane_in_flight=16"]), start(&[])];
    let mut rates = RAMP.map(|_| [Vec::new(), Vec::new()]);
    for turn in 0..TURNS {
        for (rates, clients) in rates.iter_mut().zip(RAMP) {
            for (rates, proxy) in rates.iter_mut().zip(&proxies) {
                rates.push(step(proxy.addr(), clients, seed + turn));
            }
        }
    }
    let [little, enough] = [0, 1].map(|which| Rates::of(&rates, which));
    for proxy in &proxies {
        let metrics = proxy.metrics();
        let refused = metrics.sum("slotway_upstream_errors_total", &[("reason", "queue")]);
        assert_eq!(refused, 0.0, "there was time enough");
    }
    let crowded = proxies[0].metrics();
    let full = crowded.sum(
        "slotway_limit_hits_total",
        &[("limit", "limits.lane_in_flight")],
    );
    assert!(full > 0.0, "nobody had to wait");
    scenario.figure("peak", format!("{:.0} /s", little.peak));
    scenario.figure("throughput at 3×", percent(little.three));
    scenario.figure("throughput at 6×", percent(little.six));
    scenario.figure("at 3× with room enough", percent(enough.three));
    scenario.figure("at 6× with room enough", percent(enough.six));
    scenario.passed();
}

fn percent(part: f64) -> String {
    format!("{:.0} %", 100.0 * part)
}

/// The peak, in commands per second, and what is left of it: each turn is compared with the one at the peak beside it.
struct Rates {
    peak: f64,
    three: f64,
    six: f64,
}

impl Rates {
    fn of(rates: &[[Vec<f64>; 2]; 5], which: usize) -> Self {
        let of = |n: usize| &rates[n][which];
        let medians = rates.each_ref().map(|rates| median(rates[which].clone()));
        let [ramp @ .., _, _] = medians;
        let best = (0..ramp.len()).max_by(|&a, &b| ramp[a].total_cmp(&ramp[b]));
        let best = best.expect("a ramp");
        let left = |n: usize| {
            let pairs = of(n).iter().zip(of(best));
            median(pairs.map(|(rate, peak)| rate / peak).collect())
        };
        Self {
            peak: ramp[best],
            three: left(ramp.len()),
            six: left(ramp.len() + 1),
        }
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Commands per second of so many clients.
fn step(addr: SocketAddr, clients: u64, seed: u64) -> f64 {
    let since = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|n| std::thread::spawn(move || client(addr, n, seed + n)))
        .collect();
    let commands: u64 = threads
        .into_iter()
        .map(|t| t.join().expect("a client"))
        .sum();
    commands as f64 / since.elapsed().as_secs_f64()
}

/// Writes and reads its own keys; returns how many commands it has sent.
fn client(addr: SocketAddr, number: u64, seed: u64) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut client = RawClient::connect(addr);
    let until = Instant::now() + STEP;
    let (mut sent, mut value) = (0, 0u64);
    while Instant::now() < until {
        let (mut requests, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..DEPTH {
            value += 1;
            let n = rng.random_range(0..1_000);
            let [a, b] = [format!("{number}:{n}:a"), format!("{number}:{n}:b")];
            let text = value.to_string();
            let bulk = format!("${}\r\n{text}\r\n", text.len());
            let mut one = |words: &[&str], reply: String| {
                requests.extend(encode(words));
                expected.push(reply);
            };
            match rng.random_range(0..3) {
                0 => {
                    one(&["SET", &a, &text], "+OK\r\n".into());
                    one(&["GET", &a], bulk);
                }
                1 => {
                    one(&["MSET", &a, &text, &b, &text], "+OK\r\n".into());
                    one(&["MGET", &b, &a], format!("*2\r\n{bulk}{bulk}"));
                }
                _ => {
                    one(&["MULTI"], "+OK\r\n".into());
                    one(&["SET", &a, &text], "+QUEUED\r\n".into());
                    one(&["GET", &a], "+QUEUED\r\n".into());
                    one(&["EXEC"], format!("*2\r\n+OK\r\n{bulk}"));
                }
            }
        }
        client.send(&requests);
        for wanted in &expected {
            let reply = client.reply();
            assert!(
                reply == wanted.as_bytes(),
                "{} for {wanted:?}",
                show(&reply)
            );
        }
        sent += expected.len() as u64;
    }
    sent
}
