//! The same lines to a plain server and through slotway: the same replies. One client watches, another one disturbs it.

use crate::support::{
    Proxy, RawClient, SHOWN_WITHIN, ServerKind, boot_cluster, encode, redis, show, valkey,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use slotway::demo::Server;
use std::net::SocketAddr;

/// Random conversations per kind of server.
const SEEDS: u64 = 60;

/// Conversations: lines of the client, and of the other one behind `>`.
const CASES: &[&[&str]] = &[
    &[
        "WATCH {t}a",
        "GET {t}a",
        "MULTI",
        "SET {t}a 1",
        "EXEC",
        "GET {t}a",
    ],
    &[
        "WATCH {t}a",
        "MULTI",
        "SET {t}a 1",
        "> SET {t}a 2",
        "EXEC",
        "GET {t}a",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}b 2",
        "MULTI",
        "SET {t}a 1",
        "EXEC",
        "GET {t}a",
    ],
    // Its own writes count, over the same connection or not.
    &["WATCH {t}a", "SET {t}a 1", "MULTI", "GET {t}a", "EXEC"],
    &["WATCH {t}a", "SET {t}b 1", "MULTI", "GET {t}b", "EXEC"],
    &[
        "WATCH {t}a",
        "EVAL return(redis.call('incr',KEYS[1])) 1 {t}a",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &["WATCH {t}a", "MSET {t}a 1 x 2", "MULTI", "GET {t}a", "EXEC"],
    &[
        "RPUSH {t}l a b",
        "WATCH {t}l",
        "BLPOP {t}l 0",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &[
        "SET {t}a 1",
        "WATCH {t}a",
        "FLUSHALL",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &[
        "SET {t}a 1",
        "WATCH {t}a",
        "> FLUSHALL",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &["WATCH {t}a", "> FLUSHALL", "MULTI", "GET {t}a", "EXEC"],
    // Nothing to execute.
    &["WATCH {t}a", "MULTI", "EXEC"],
    &["WATCH {t}a", "MULTI", "> SET {t}a 2", "EXEC"],
    &["WATCH {t}a", "MULTI", "PING", "ECHO x", "EXEC"],
    &["WATCH {t}a", "MULTI", "PING", "> SET {t}a 2", "EXEC"],
    &[
        "WATCH {t}a",
        "MULTI",
        "PING",
        "GET {t}a",
        "UNWATCH",
        "INCR {t}a",
        "PING",
        "EXEC",
    ],
    // Not executed is not executed, whoever would answer it.
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "MULTI",
        "CLIENT SETNAME x",
        "EXEC",
        "CLIENT GETNAME",
    ],
    &[
        "WATCH {t}a",
        "MULTI",
        "CLIENT SETNAME x",
        "CLIENT GETNAME",
        "EXEC",
        "CLIENT GETNAME",
    ],
    // One after the other.
    &[
        "WATCH {t}a",
        "WATCH {t}b",
        "> SET {t}b 2",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}b 2",
        "WATCH {t}b",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a {t}b {t}c",
        "> SET {t}c 2",
        "MULTI",
        "SET {t}a 1",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "WATCH {t}a",
        "MULTI",
        "SET {t}a 1",
        "EXEC",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "WATCH {t}a",
        "MULTI",
        "PING",
        "EXEC",
        "MULTI",
        "PING",
        "EXEC",
    ],
    // What ends a watch.
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "UNWATCH",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "UNWATCH x",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "MULTI",
        "DISCARD",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "DISCARD",
        "MULTI",
        "GET {t}a",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "MULTI",
        "DISCARD x",
        "EXEC",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "EXEC",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "EXEC x",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "MULTI",
        "EXEC x",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "MULTI",
        "NOPE",
        "EXEC",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "MULTI",
        "GET",
        "EXEC",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "> SET {t}a 2",
        "RESET",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "MULTI",
        "> SET {t}a 2",
        "RESET",
        "EXEC",
        "MULTI",
        "PING",
        "EXEC",
    ],
    // What is wrong.
    &[
        "WATCH",
        "MULTI",
        "WATCH {t}a",
        "EXEC",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "MULTI",
        "WATCH {t}b",
        "EXEC",
        "> SET {t}a 2",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "MULTI",
        "MULTI",
        "SET {t}a 1",
        "EXEC",
        "GET {t}a",
    ],
    &["UNWATCH", "UNWATCH", "EXEC", "DISCARD"],
    &[
        "SET {t}s x",
        "WATCH {t}s",
        "MULTI",
        "INCR {t}s",
        "SET {t}a 1",
        "EXEC",
        "GET {t}a",
    ],
    // Elsewhere at the same time.
    &[
        "WATCH {t}a",
        "SET other 1",
        "GET other",
        "DEL other x",
        "MULTI",
        "SET {t}a 1",
        "EXEC",
    ],
    &[
        "WATCH {t}a",
        "GET {t}a",
        "INCR {t}n",
        "MGET {t}a other {t}n",
        "LPOP {t}n",
        "GET",
        "MULTI",
        "EXEC",
    ],
    &[
        "CLIENT REPLY SKIP",
        "WATCH {t}a",
        "SET {t}b 1",
        "GET {t}b",
        "CLIENT REPLY SKIP",
        "GET {t}b",
        "MULTI",
        "EXEC",
    ],
    &[
        "HELLO 3",
        "WATCH {t}a",
        "HGETALL {t}h",
        "MULTI",
        "HGETALL {t}h",
        "EXEC",
    ],
    &[
        "HELLO 3",
        "WATCH {t}a",
        "> SET {t}a 2",
        "MULTI",
        "PING",
        "EXEC",
    ],
    &[
        "SUBSCRIBE c",
        "WATCH {t}a",
        "UNSUBSCRIBE c",
        "WATCH {t}a",
        "MULTI",
        "PING",
        "EXEC",
    ],
];

#[test]
fn every_reply_is_that_of_a_plain_redis() {
    compare(&redis());
}

#[test]
fn every_reply_is_that_of_a_plain_valkey() {
    compare(&valkey());
}

fn compare(kind: &ServerKind) {
    let plain = Server::boot(&kind.path, &[]).unwrap();
    let cluster = boot_cluster(kind);
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    proxy.wait_commands_of(plain.addr());
    for case in CASES {
        let steps: Vec<String> = case.iter().map(|&line| line.to_owned()).collect();
        same(kind, &steps, [plain.addr(), proxy.addr()], converse);
    }
    let (mut executed, mut nil) = (0, 0);
    for seed in 0..SEEDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let steps = sequence(&mut rng);
        let alone: Vec<String> = steps.iter().filter(|s| !is_others(s)).cloned().collect();
        let replies = same(kind, &steps, [plain.addr(), proxy.addr()], converse);
        same(kind, &alone, [plain.addr(), proxy.addr()], at_once);
        let of_exec = steps.iter().zip(&replies).filter(|(s, _)| *s == "EXEC");
        for (_, reply) in of_exec {
            executed += usize::from(matches!(reply.get(..2), Some(b"*1" | b"*2" | b"*3")));
            nil += usize::from(matches!(&reply[..], b"*-1\r\n" | b"_\r\n"));
        }
    }
    let least = SEEDS as usize / 4;
    assert!(executed > least && nil > least, "{executed} and {nil} nil");
    proxy.wait_for("no watch is left", SHOWN_WITHIN, || {
        let metrics = proxy.metrics();
        let left = ["slotway_watchers", "slotway_leases"].map(|name| metrics.sum(name, &[]));
        (left == [0.0, 0.0])
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
}

type Replies = Vec<Vec<u8>>;

fn same(
    kind: &ServerKind,
    steps: &[String],
    addrs: [SocketAddr; 2],
    run: fn(SocketAddr, &[String]) -> Replies,
) -> Replies {
    let [expected, got] = addrs.map(|addr| run(addr, steps));
    let shown = |replies: &Replies| {
        let lines = replies.iter().map(|reply| show(reply));
        lines.collect::<Vec<_>>()
    };
    assert!(
        expected == got,
        "{}: {steps:#?}\ngot      {:#?}\nexpected {:#?}",
        kind.name,
        shown(&got),
        shown(&expected)
    );
    got
}

fn is_others(step: &str) -> bool {
    step.starts_with("> ")
}

/// Step by step; a reply of nothing where there is none.
fn converse(addr: SocketAddr, steps: &[String]) -> Replies {
    let [mut client, mut other] = [(); 2].map(|()| RawClient::connect(addr));
    client.expect("FLUSHALL", b"+OK\r\n");
    let mut skip = false;
    let mut replies = Vec::new();
    for step in steps {
        let silent = std::mem::replace(&mut skip, step == "CLIENT REPLY SKIP");
        replies.push(match step.strip_prefix("> ") {
            Some(line) => other.line(line),
            None if silent || skip => {
                let words: Vec<&str> = step.split(' ').collect();
                client.send(&encode(&words));
                Vec::new()
            }
            None if step.starts_with("HELLO") => {
                // Its reply tells the connection's id.
                client.line(step);
                Vec::new()
            }
            None => client.line(step),
        });
    }
    replies
}

/// All in one write, and nothing more will come.
fn at_once(addr: SocketAddr, steps: &[String]) -> Replies {
    let mut client = RawClient::connect(addr);
    client.expect("FLUSHALL", b"+OK\r\n");
    let bytes = steps.iter().map(|step| {
        let words: Vec<&str> = step.split(' ').collect();
        encode(&words)
    });
    client.send(&bytes.collect::<Vec<_>>().concat());
    client.half_close();
    let mut replies = client.try_replies(steps.len());
    if let Some(hello) = steps.iter().position(|step| step == "HELLO 3") {
        replies[hello].clear();
    }
    replies
}

const WATCHES: &[&str] = &["WATCH {t}a", "WATCH {t}b", "WATCH {t}a {t}b {t}c"];

const COMMANDS: &[&str] = &[
    "GET {t}a",
    "SET {t}b 1",
    "INCR {t}c",
    "GET other",
    "SET other 1",
    "PING",
    "LPUSH {t}l x",
    "LRANGE {t}l 0 -1",
    "UNWATCH",
    "GET",
];

const OTHERS: &[&str] = &[
    "> SET {t}a x",
    "> DEL {t}a",
    "> INCR {t}c",
    "> SET {t}d x",
    "> GET {t}b",
    "> FLUSHALL",
];

fn sequence(rng: &mut StdRng) -> Vec<String> {
    let mut steps = Vec::new();
    if rng.random_bool(0.5) {
        steps.push("HELLO 3".to_owned());
    }
    let pick = |rng: &mut StdRng, from: &[&str]| from.choose(rng).map(|s| (*s).to_owned());
    for _ in 0..rng.random_range(1..5) {
        for _ in 0..rng.random_range(0..3) {
            steps.extend(pick(rng, WATCHES));
            if rng.random_bool(0.3) {
                steps.extend(pick(rng, COMMANDS));
            }
        }
        if rng.random_bool(0.3) {
            steps.extend(pick(rng, OTHERS));
        }
        steps.push("MULTI".to_owned());
        for _ in 0..rng.random_range(0..4) {
            // What is wrong aborts most of it.
            let from = if rng.random_bool(0.9) { 0..8 } else { 0..10 };
            steps.extend(pick(rng, &COMMANDS[from]).filter(|s| !s.contains("other")));
        }
        if rng.random_bool(0.2) {
            steps.extend(pick(rng, OTHERS));
        }
        let end = match rng.random_range(0..10) {
            0 => "DISCARD",
            1 => "EXEC x",
            _ => "EXEC",
        };
        steps.push(end.to_owned());
    }
    steps
}

/// A watched key that expires is a key that changed, although nobody wrote to it.
#[test]
fn a_watched_key_expires() {
    for kind in [redis(), valkey()] {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let [mut client, mut other] = [proxy.client(), proxy.client()];
        client.expect("SET {t}a x PX 1000", b"+OK\r\n");
        client.expect("WATCH {t}a", b"+OK\r\n");
        client.expect("GET {t}a", b"$1\r\nx\r\n");
        proxy.wait_for("it expires", SHOWN_WITHIN, || {
            let gone = other.line("PTTL {t}a") == b":-2\r\n";
            gone.then_some(()).ok_or_else(|| "not yet".into())
        });
        client.expect("MULTI", b"+OK\r\n");
        client.expect("SET {t}a y", b"+QUEUED\r\n");
        client.expect("EXEC", b"*-1\r\n");
        other.expect("EXISTS {t}a", b":0\r\n");
    }
}
