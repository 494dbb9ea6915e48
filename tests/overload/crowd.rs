//! Real servers behind lanes with little room, and three and six times as many clients as have all that is to be had:
//! pipelines of plain, split and MULTI commands, each client in its own keys. Nothing is lost or crossed, order is kept, and all of
//! it is served.
//!
//! How fast that goes is measured, and compared in the same turn with the same clients where there is room enough. It is no
//! verdict: here it is the machine that has no more to give, which the clients and six servers share with the proxy, and
//! more clients cost more of it themselves. What becomes of the goodput where a node has no more to give is `paced`'s business.

use crate::support::{
    Proxy, RawClient, Scenario, ServerKind, boot_cluster, encode, is_long, redis, rounds, seed,
    show, valkey,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Clients: four have all that is to be had, and then three and six times as many come.
const RAMP: [u64; 3] = [4, 12, 24];

/// Each number of clients has so many turns, one after the other: what else the machine does meets all of them.
fn turns() -> u64 {
    if is_long() { 7 } else { 1 }
}

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
    let mut steps = Vec::new();
    for turn in 0..turns() {
        let step = |clients| {
            [0, 1].map(|which| {
                let proxy: &Proxy = &proxies[which];
                let before = waited(proxy);
                let rate = step(proxy.addr(), clients, seed + turn);
                let waited = waited(proxy) - before;
                match which {
                    0 => assert!(waited > clients as f64, "{clients}: {waited} waited"),
                    _ => assert_eq!(waited, 0.0, "there is room enough"),
                }
                rate
            })
        };
        steps.push(RAMP.map(step));
    }
    for proxy in &proxies {
        let metrics = proxy.metrics();
        let refused = metrics.sum("slotway_upstream_errors_total", &[("reason", "queue")]);
        assert_eq!(refused, 0.0, "there was time enough");
    }
    // Of each turn, and then of all turns.
    let rate = |of: &dyn Fn(&[[f64; 2]; 3]) -> f64| median(steps.iter().map(of).collect());
    scenario.figure("4 clients", format!("{:.0} /s", rate(&|step| step[0][0])));
    let percent = |of: &dyn Fn(&[[f64; 2]; 3]) -> f64| format!("{:.0} %", 100.0 * rate(of));
    for (n, name) in [(1, "3×"), (2, "6×")] {
        scenario.figure(name, percent(&|step| step[n][0] / step[0][0]));
    }
    for (n, name) in ["1×", "3×", "6×"].into_iter().enumerate() {
        let name = format!("{name}, of that with room enough");
        scenario.figure(&name, percent(&|step| step[n][0] / step[n][1]));
    }
    scenario.passed();
}

/// Requests that found no room in their lane so far.
fn waited(proxy: &Proxy) -> f64 {
    let room = [("limit", "limits.lane_in_flight")];
    proxy.metrics().sum("slotway_limit_hits_total", &room)
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
