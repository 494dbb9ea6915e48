//! The same bytes to a plain server and, through slotway, to a cluster: the same replies. Sequences are drawn: commands
//! that succeed and that fail, when queued and when executed, local ones among them, blocking ones, nested MULTI, and
//! every way to end.

use crate::support::{self, Proxy, RawClient, ServerKind, encode, redis, show, valkey};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use slotway::demo::{Cluster, ClusterOptions, Server};

/// Sequences for each server.
const SEEDS: u64 = 400;

/// One step: a word per argument; `return …` is one.
const INSIDE: &[&str] = &[
    "SET {t}s text",
    "SET {t}s 7 GET",
    "GET {t}s",
    "GET {t}none",
    "INCR {t}n",
    "INCR {t}s",
    "GET {t}n",
    "MGET {t}s {t}none {t}n",
    "MSET {t}s 1 {t}n 2",
    "DEL {t}l {t}s",
    "RPUSH {t}l a b c",
    "LPOP {t}l",
    "LPOP {t}s",
    "LRANGE {t}l 0 -1",
    "BLPOP {t}l 0",
    "BLPOP {t}none {t}l 0",
    "BRPOPLPUSH {t}none {t}l 0",
    "BZPOPMIN {t}none 0",
    "BLMPOP 0 1 {t}none LEFT",
    "XADD {t}x * f v",
    "XLEN {t}x",
    "XREAD BLOCK 0 STREAMS {t}x $",
    "HSET {t}h f v",
    "HGETALL {t}h",
    "ZADD {t}z 1.5 m",
    "ZSCORE {t}z m",
    "ZSCORE {t}z none",
    "EXPIRE {t}s 1000",
    "OBJECT ENCODING {t}n",
    "RENAME {t}none {t}s",
    "EVAL return{KEYS[1],redis.call('get',KEYS[1])} 1 {t}s",
    "EVAL return(redis.error_reply('MOVED_1_h:1')) 1 {t}s",
    "PUBLISH channel message",
    "PING",
    "PING hello",
    "PING a b",
    "ECHO hello",
    "SELECT 0",
    "SELECT 3",
    "SELECT x",
    "CLIENT SETNAME name",
    "CLIENT GETNAME",
    "CLIENT SETNAME {a}\u{1}",
    "CLIENT NO-EVICT maybe",
    "READONLY",
    "ASKING",
    "CLUSTER INFO",
    "ROLE",
    "UNWATCH",
    "AUTH x",
    "HELLO 9",
    "WAIT 0 1",
];

/// What is refused when it is queued.
const WRONG: &[&str] = &[
    "NOPE x y",
    "GET",
    "SET {t}s",
    "CLIENT NOSUCH",
    "CLIENT REPLY",
    "MULTI x",
    "DISCARD x",
    "WATCH",
    "PING a b c",
    "UNWATCH x",
    "ECHO",
    "MULTI",
    "WATCH {t}s",
];

const OUTSIDE: &[&str] = &["EXEC", "DISCARD", "GET {t}s", "INCR {t}n", "PING", "EXEC x"];

#[test]
fn every_reply_is_that_of_a_plain_redis() {
    compare(&redis());
}

#[test]
fn every_reply_is_that_of_a_plain_valkey() {
    compare(&valkey());
}

fn compare(kind: &ServerKind) {
    let plain = Server::boot(&kind.path, &[("databases", "1")]).expect("a plain server");
    // Neither has replicas: WAIT tells how many there are that have acknowledged everything, just now.
    let cluster = Cluster::boot(&ClusterOptions {
        replicas: 0,
        ..support::cluster_options(kind)
    });
    let cluster = cluster.expect("a cluster");
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    proxy.wait_commands_of(plain.addr());
    let mut executed = 0;
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let steps = sequence(&mut rng);
        let bytes: Vec<u8> = steps.iter().flat_map(|s| encode(&words(s))).collect();
        let cuts: Vec<usize> = match rng.random_range(0..3) {
            0 => Vec::new(),
            1 => (1..bytes.len()).collect(),
            _ => (0..bytes.len())
                .step_by(rng.random_range(20..200))
                .collect(),
        };
        let run = |addr| {
            let mut client = RawClient::connect(addr);
            client.expect("FLUSHALL", b"+OK\r\n");
            client.send_in_pieces(&bytes, &cuts);
            client.try_replies(steps.len())
        };
        let (expected, got) = (run(plain.addr()), run(proxy.addr()));
        for (at, step) in steps.iter().enumerate() {
            let (expected, got) = (expected.get(at), got.get(at));
            // Its reply tells the connection's id.
            if step == "HELLO 3" && got.is_some_and(|r| r.starts_with(b"%7\r\n")) {
                continue;
            }
            let named = |reply: Option<&Vec<u8>>| reply.map(|r| show(&unstamped(r)));
            assert!(
                named(expected) == named(got),
                "{} seed {seed}, step {at} of {steps:#?}\n{step}: {:?}, plain: {:?}",
                kind.name,
                named(got),
                named(expected)
            );
            executed += usize::from(step == "EXEC" && got.is_some_and(|r| r.starts_with(b"*")));
        }
    }
    assert!(executed > SEEDS as usize / 4, "{executed} executed");
}

fn words(step: &str) -> Vec<String> {
    step.split(' ').map(|word| word.replace('_', " ")).collect()
}

/// Stream ids and ids of connections have no two servers in common.
fn unstamped(reply: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(reply);
    let line = |line: &str| match line.split_once('-') {
        Some((ms, n)) if ms.len() == 13 && n.parse::<u32>().is_ok() => "an id".to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = text.split("\r\n").map(line).collect();
    lines.join("\r\n").into_bytes()
}

fn sequence(rng: &mut StdRng) -> Vec<String> {
    let mut steps = Vec::new();
    if rng.random_bool(0.5) {
        steps.push("HELLO 3".to_owned());
    }
    let pick = |rng: &mut StdRng, from: &[&str]| from.choose(rng).map(|s| (*s).to_owned());
    for _ in 0..rng.random_range(1..5) {
        for _ in 0..rng.random_range(0..3) {
            steps.extend(pick(rng, OUTSIDE));
        }
        steps.push("MULTI".to_owned());
        let faulty = rng.random_bool(0.3);
        for _ in 0..rng.random_range(0..12) {
            let from = if faulty && rng.random_bool(0.2) {
                WRONG
            } else {
                INSIDE
            };
            steps.extend(pick(rng, from));
        }
        steps.push(
            match rng.random_range(0..12) {
                0 => "DISCARD",
                1 => "EXEC x",
                2 => "RESET",
                _ => "EXEC",
            }
            .to_owned(),
        );
    }
    steps
}
