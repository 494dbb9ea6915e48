//! Real servers behind lanes with little room, and three times as many clients as it takes to fill them: pipelines of
//! plain, split and MULTI commands, each client in its own keys. Nothing is lost or crossed, order is kept, and waiting
//! for room costs no throughput to speak of.

use crate::support::{
    Proxy, RawClient, Scenario, ServerKind, boot_cluster, encode, is_long, redis, rounds, seed,
    show, valkey,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Clients while the peak is looked for, and then three times as many.
const RAMP: [u64; 4] = [2, 4, 8, 24];

/// Each number of clients has so many turns, one after the other: what else the machine does meets all of them.
const TURNS: u64 = 5;

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
    let set = [
        "limits.lane_in_flight=16",
        "timeouts.queue=60s",
        "timeouts.command=60s",
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start(&cluster, &args);
    let mut rates = RAMP.map(|_| Vec::new());
    for turn in 0..TURNS {
        for (rates, clients) in rates.iter_mut().zip(RAMP) {
            rates.push(step(proxy.addr(), clients, seed + turn));
        }
    }
    let [few, some, most, over] = rates.map(median);
    let peak = few.max(some).max(most);
    let metrics = proxy.metrics();
    let refused = metrics.sum("slotway_upstream_errors_total", &[("reason", "queue")]);
    assert_eq!(refused, 0.0, "there was time enough");
    scenario.figure("peak", format!("{peak:.0} /s"));
    scenario.figure("throughput at 3×", format!("{:.0} %", 100.0 * over / peak));
    assert!(!is_long() || over >= 0.9 * peak, "{over:.0} of {peak:.0}");
    scenario.passed();
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
