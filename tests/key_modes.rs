//! The modes of redis-cli that look at every key, `--bigkeys`, `--memkeys` and `--hotkeys`, through slotway: what they
//! tell is true of the whole cluster, and the nodes are asked about every key once.
//!
//! They send DBSIZE, SCAN, and for the keys of each step a pipeline of TYPE and another of STRLEN, LLEN …, MEMORY USAGE or
//! OBJECT FREQ. From 7.2 on, and in Valkey, READONLY as well.

#[allow(dead_code, reason = "no script is run here")]
#[path = "clients/program.rs"]
mod program;
mod support;

use program::Program;
use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions};
use std::collections::BTreeMap;
use support::{Proxy, RawClient, ServerKind, boot_cluster, cluster_options, servers, show};

/// Small strings, over all primaries.
const FILLING: usize = 600;
/// Elements of the keys of one type, of which each primary has one.
const SIZES: [usize; 3] = [40, 10, 20];

/// A type: what redis-cli calls its elements, what counts them, and what adds the one with that number.
struct Type {
    name: &'static str,
    unit: &'static str,
    counts: &'static str,
    add: fn(&str, usize) -> String,
}

const TYPES: [Type; 6] = [
    Type {
        name: "string",
        unit: "bytes",
        counts: "strlen",
        add: |key, _| format!("APPEND {key} x"),
    },
    Type {
        name: "list",
        unit: "items",
        counts: "llen",
        add: |key, n| format!("RPUSH {key} {n}"),
    },
    Type {
        name: "set",
        unit: "members",
        counts: "scard",
        add: |key, n| format!("SADD {key} {n}"),
    },
    Type {
        name: "hash",
        unit: "fields",
        counts: "hlen",
        add: |key, n| format!("HSET {key} {n} v"),
    },
    Type {
        name: "zset",
        unit: "members",
        counts: "zcard",
        add: |key, n| format!("ZADD {key} {n} {n}"),
    },
    Type {
        name: "stream",
        unit: "entries",
        counts: "xlen",
        // Streams take memory in blocks of 4 KB.
        add: |key, n| format!("XADD {key} {}-1 f {}", n + 1, "v".repeat(400)),
    },
];

/// A key that this primary owns.
fn key_on(cluster: &Cluster, primary: usize, prefix: &str) -> String {
    let names = (0..).map(|n| format!("{prefix}:{n}"));
    let owner = |key: &String| cluster.owner_of(Slot::of(key.as_bytes()).number());
    let mut there = names.filter(|key| owner(key) == Some(primary));
    there.next().expect("there are enough names")
}

/// No numbers: keys of equal numbers would share one object, and its counter of accesses.
fn fill(client: &mut RawClient) -> Vec<String> {
    let keys: Vec<String> = (0..FILLING).map(|n| format!("filling:{n}")).collect();
    for key in &keys {
        client.expect(&format!("SET {key} v"), b"+OK\r\n");
    }
    keys
}

/// Keys of every type on every primary, the largest of each on another primary than that of the type before. The keys by
/// type, with their sizes in elements.
fn populate(
    cluster: &Cluster,
    client: &mut RawClient,
) -> BTreeMap<&'static str, Vec<(String, u64)>> {
    let mut keys = BTreeMap::new();
    for (nth, of) in TYPES.iter().enumerate() {
        let mut mine = Vec::new();
        for primary in 0..3 {
            let size = SIZES[(primary + nth) % SIZES.len()];
            let key = key_on(cluster, primary, of.name);
            for n in 0..size {
                let reply = client.line(&(of.add)(&key, n));
                assert_ne!(reply[0], b'-', "{}", show(&reply));
            }
            mine.push((key, size as u64));
        }
        keys.insert(of.name, mine);
    }
    let filling = fill(client).into_iter().map(|key| (key, 1));
    keys.get_mut("string").expect("a type").extend(filling);
    keys
}

fn redis_cli(proxy: &Proxy, args: &[&str]) -> Program {
    let mut program = Program::new("redis-cli");
    let (ip, port) = (proxy.addr().ip().to_string(), proxy.addr().port());
    program.args(["-h", &ip, "-p", &port.to_string()]);
    program.args(args);
    program
}

fn reset_counters(cluster: &Cluster) {
    for node in 0..cluster.len() {
        let reply = cluster.ask(node, &["CONFIG", "RESETSTAT"]);
        assert_eq!(reply.expect("it answers").text(), "OK");
    }
}

/// How often all nodes together were asked that.
fn asked(cluster: &Cluster, command: &str) -> u64 {
    let mark = format!("cmdstat_{command}:calls=");
    let of = |node| {
        let info = cluster
            .ask(node, &["INFO", "commandstats"])
            .expect("it answers");
        let info = info.text();
        let calls = info.lines().find_map(|line| line.strip_prefix(&mark));
        let calls = calls.and_then(|rest| rest.split(',').next());
        calls.map_or(0, |n| n.parse::<u64>().expect("a number"))
    };
    (0..cluster.len()).map(of).sum()
}

/// The summary says of every type what its largest key is, how many keys there are and how large they are together.
fn check_summary(
    printed: &str,
    keys: &BTreeMap<&str, Vec<(String, u64)>>,
    unit_of: impl Fn(&Type) -> &'static str,
) {
    let (_, summary) = printed.split_once("summary").expect("a summary");
    let all = || keys.values().flatten();
    let bytes: usize = all().map(|(key, _)| key.len()).sum();
    let mut expected = vec![
        format!("Sampled {} keys in the keyspace!\n", all().count()),
        format!("Total key length in bytes is {bytes} "),
    ];
    for of in &TYPES {
        let (mine, unit, name) = (&keys[of.name], unit_of(of), of.name);
        let (largest, size) = mine.iter().max_by_key(|(_, size)| size).expect("keys");
        let sum: u64 = mine.iter().map(|(_, size)| size).sum();
        expected.push(format!(
            "Biggest {name:>6} found '\"{largest}\"' has {size} {unit}\n"
        ));
        expected.push(format!("\n{} {name}s with {sum} {unit} (", mine.len()));
    }
    for line in expected {
        assert!(summary.contains(&line), "no {line:?} in\n{printed}");
    }
}

#[test]
fn bigkeys_finds_the_largest_key_of_each_type_and_asks_about_every_key_once() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut client = proxy.client();
        let keys = populate(&cluster, &mut client);
        reset_counters(&cluster);
        let printed = redis_cli(&proxy, &["--bigkeys"]).expect_success();
        check_summary(&printed, &keys, |of| of.unit);
        let all: usize = keys.values().map(Vec::len).sum();
        assert_eq!(asked(&cluster, "type"), all as u64, "{}", kind.name);
        for of in &TYPES {
            let calls = asked(&cluster, of.counts);
            assert_eq!(
                calls,
                keys[of.name].len() as u64,
                "{} {}",
                kind.name,
                of.counts
            );
        }
        // filling:1, :10 to :19, :100 to :199
        let printed = redis_cli(&proxy, &["--bigkeys", "--pattern", "filling:1*"]).expect_success();
        assert!(printed.contains("Sampled 111 keys"), "{printed}");
        // What newer ones send takes this error for a server without a cluster, and any other for their end.
        let reply = client.line("READONLY");
        let disabled = b"-ERR This instance has cluster support disabled\r\n";
        assert!(reply == b"+OK\r\n" || reply == disabled, "{}", show(&reply));
    }
}

#[test]
fn memkeys_finds_the_key_of_each_type_that_takes_most_memory() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut keys = populate(&cluster, &mut proxy.client());
        let mut nodes: Vec<_> = (0..3)
            .map(|node| cluster.connect(node).expect("it is up"))
            .collect();
        for (key, size) in keys.values_mut().flatten() {
            let owner = cluster.owner_of(Slot::of(key.as_bytes()).number());
            let node = &mut nodes[owner.expect("a primary")];
            let reply = node.command(&["MEMORY", "USAGE", key]).expect("it answers");
            *size = reply.integer().expect("a number") as u64;
        }
        reset_counters(&cluster);
        let printed = redis_cli(&proxy, &["--memkeys"]).expect_success();
        check_summary(&printed, &keys, |_| "bytes");
        let all: usize = keys.values().map(Vec::len).sum();
        assert_eq!(asked(&cluster, "type"), all as u64, "{}", kind.name);
        assert_eq!(asked(&cluster, "memory|usage"), all as u64, "{}", kind.name);
    }
}

/// Nodes that count every access, and forget none.
fn counting(kind: &ServerKind) -> ClusterOptions {
    let mut options = cluster_options(kind);
    let settings = [
        ("maxmemory-policy", "allkeys-lfu"),
        ("lfu-log-factor", "0"),
        ("lfu-decay-time", "0"),
    ];
    let settings = settings.map(|(name, value)| (name.into(), value.into()));
    options.settings.extend(settings);
    options
}

/// The hottest key is on the last primary; the others have others that are next.
#[test]
fn hotkeys_tells_the_hottest_keys_of_all_primaries_and_needs_the_policy_on_all_of_them() {
    for kind in servers() {
        let cluster = Cluster::boot(&counting(&kind)).expect("it boots");
        let proxy = Proxy::start(&cluster, &[]);
        let mut client = proxy.client();
        let all = fill(&mut client).len() as u64 + 3;
        let mut expected = Vec::new();
        for (primary, reads) in [(2, 60), (0, 40), (1, 20)] {
            let key = key_on(&cluster, primary, "hot");
            client.expect(&format!("SET {key} v"), b"+OK\r\n");
            for _ in 0..reads {
                client.expect(&format!("GET {key}"), b"$1\r\nv\r\n");
            }
            // A new key begins with 5.
            let counter = reads + 5;
            expected.push(format!(
                "hot key found with counter: {counter}\tkeyname: \"{key}\""
            ));
        }
        reset_counters(&cluster);
        let printed = redis_cli(&proxy, &["--hotkeys"]).expect_success();
        let sampled = format!("Sampled {all} keys in the keyspace!");
        assert!(printed.contains(&sampled), "{}: {printed}", kind.name);
        let found = printed
            .lines()
            .filter(|line| line.starts_with("hot key found"));
        let found: Vec<&str> = found.take(3).collect();
        assert_eq!(found, expected, "{}: {printed}", kind.name);
        assert_eq!(asked(&cluster, "object|freq"), all, "{}", kind.name);

        let other = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
        assert_eq!(cluster.ask(1, &other).expect("it answers").text(), "OK");
        let (code, printed) = redis_cli(&proxy, &["--hotkeys"]).run();
        assert_eq!(code, Some(1), "{}: {printed}", kind.name);
        let said = "Error: ERR An LFU maxmemory policy is not selected";
        assert!(printed.contains(said), "{}: {printed}", kind.name);
    }
}
