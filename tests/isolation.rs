//! A shard that is stopped, slow or gone holds up nobody but those who wait for it: not the commands for other shards,
//! not other clients, and not the rest of the same client's pipeline, but for the order of its replies.
//!
//! Nothing here is proved by how long it takes. A shard is stopped with SIGSTOP, and what must not wait for it has to
//! come about before the test lets it go on: replies to other clients, or, for what stands behind a command that hangs,
//! the other nodes' own count of what they have executed.

#![allow(clippy::unwrap_used, reason = "in tests to fail is to panic")]

mod support;

use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions};
use std::time::Duration;
use support::{
    Proxy, RawClient, Scenario, ServerKind, cluster_options, encode, redis, rounds, show, valkey,
};

/// The shard that is in trouble, and two that are not.
const STUCK: usize = 0;
const FREE: usize = 1;
const OTHER: usize = 2;

/// Commands that have to be answered or executed meanwhile.
const MANY: usize = 1_000;

/// Of those that are read meanwhile, so many are sent at once.
const DEPTH: usize = 100;

/// How long that may take before the test fails.
const WAIT_MAX: Duration = Duration::from_secs(25);

/// Commands that one client may have in flight here, and that one lane may.
const CLIENT_IN_FLIGHT: usize = 100;
const LANE_IN_FLIGHT: usize = 300;

#[test]
fn nobody_waits_for_another_shard_on_redis() {
    (0..rounds()).for_each(|_| all(&redis()));
}

#[test]
fn nobody_waits_for_another_shard_on_valkey() {
    (0..rounds()).for_each(|_| all(&valkey()));
}

fn all(kind: &ServerKind) {
    // Nobody takes the stopped node's place.
    let options = ClusterOptions {
        replicas: 0,
        node_timeout: Duration::from_secs(60),
        ..cluster_options(kind)
    };
    let cluster = Cluster::boot(&options).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
    let mut stage = Stage { cluster };
    let scenes: [(&str, Scene); 6] = [
        ("a shard stopped, other clients", other_clients),
        ("a shard stopped, the same pipeline", the_same_pipeline),
        ("a shard stopped, commands of several shards", fan_out),
        (
            "a shard stopped, a client at its in-flight limit",
            a_client_at_its_limit,
        ),
        ("a shard stopped, its lane full", a_full_lane),
        // Last: it stays away.
        (
            "a shard gone, a pipeline over it and another",
            dead_and_living,
        ),
    ];
    for (what, scene) in scenes {
        let scenario = Scenario::begin(0, &format!("head of line: {what}"), kind.name);
        scene(&mut stage);
        scenario.passed();
    }
}

type Scene = fn(&mut Stage);

struct Stage {
    cluster: Cluster,
}

impl Stage {
    /// One worker: all clients share its lanes.
    fn proxy(&self, settings: &[&str]) -> Proxy {
        let mut args = vec!["--workers", "1", "--set", "timeouts.command=60s"];
        for setting in settings {
            args.extend(["--set", setting]);
        }
        let proxy = Proxy::start(&self.cluster, &args);
        // Every lane is there.
        let mut client = proxy.client();
        for node in [STUCK, FREE, OTHER] {
            client.expect(&format!("SET {} 0", self.key(node, "first")), b"+OK\r\n");
        }
        proxy
    }

    /// A key of a shard.
    fn key(&self, node: usize, name: &str) -> String {
        let (first, last) = self.cluster.booted_slots(node);
        let mut tags = (0..).map(|n| format!("{{{n}}}"));
        let tag = tags.find(|tag| (first..=last).contains(&Slot::of(tag.as_bytes()).number()));
        format!("{}{name}", tag.expect("every shard has some"))
    }

    /// How often a node has executed a command, as it says itself.
    fn executed(&self, node: usize, command: &str) -> usize {
        let text = self.cluster.ask(node, &["INFO", "commandstats"]).unwrap();
        let text = text.text();
        let prefix = format!("cmdstat_{command}:calls=");
        let calls = text.lines().find_map(|line| line.strip_prefix(&prefix));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    }

    /// Waits until a node has executed a command so often since `before`.
    fn wait_executed(&self, proxy: &Proxy, node: usize, command: &str, at_least: usize) {
        proxy.wait_for("it is executed", WAIT_MAX, || {
            match self.executed(node, command) {
                n if n >= at_least => Ok(()),
                n => Err(format!("{command}: {n} of {at_least}")),
            }
        });
    }

    fn stop(&self) {
        self.cluster.pause(STUCK).unwrap();
    }

    /// What came about until now did not wait for the shard, and slotway has not given it up either: whatever waited for it
    /// would have gone on then.
    fn go_on(&self, proxy: &Proxy) {
        let node = self.cluster.addr(STUCK).to_string();
        let given_up = proxy
            .metrics()
            .sum("slotway_upstream_errors_total", &[("node", &node)]);
        assert_eq!(given_up, 0.0, "the shard was given up meanwhile");
        self.cluster.resume(STUCK).unwrap();
    }
}

/// What hung is answered when the shard goes on, or its client was told that it had been silent for too long.
#[track_caller]
fn expect_or_lost(client: &mut RawClient, expected: &[u8]) {
    let reply = client.reply();
    let lost = reply.starts_with(b"-ERR slotway: ") || reply.starts_with(b"-CLUSTERDOWN slotway: ");
    assert!(lost || reply == expected, "{}", show(&reply));
}

/// Sends the command [`MANY`] times, a pipeline after the other: the shard is not given up before they are through. The
/// replies are those to the first, second, … one.
#[track_caller]
fn answered(client: &mut RawClient, command: &[&str], expected: impl Fn(usize) -> Vec<u8>) {
    let pipeline = encode(command).repeat(DEPTH);
    for first in (1..=MANY).step_by(DEPTH) {
        client.send(&pipeline);
        for n in first..first + DEPTH {
            assert_eq!(show(&client.reply()), show(&expected(n)), "{command:?}");
        }
    }
}

/// The same with INCR of a new key.
#[track_caller]
fn counts(client: &mut RawClient, key: &str) {
    let number = |n| format!(":{n}\r\n").into_bytes();
    answered(client, &["INCR", key], number);
}

fn other_clients(stage: &mut Stage) {
    let proxy = stage.proxy(&[]);
    let (stuck, free) = (stage.key(STUCK, "a"), stage.key(FREE, "others"));
    let mut waits = proxy.client();
    stage.stop();
    waits.send(&encode(&["SET", &stuck, "1"]));
    let mut client = proxy.client();
    counts(&mut client, &free);
    stage.go_on(&proxy);
    expect_or_lost(&mut waits, b"+OK\r\n");
}

fn the_same_pipeline(stage: &mut Stage) {
    let proxy = stage.proxy(&[]);
    let stuck = stage.key(STUCK, "a");
    let [free, other] = [FREE, OTHER].map(|node| stage.key(node, "pipeline"));
    let before = [FREE, OTHER].map(|node| stage.executed(node, "incr"));
    let mut client = proxy.client();
    stage.stop();
    let mut pipeline = encode(&["SET", &stuck, "1"]);
    for _ in 0..MANY {
        pipeline.extend(encode(&["INCR", &free]));
        pipeline.extend(encode(&["INCR", &other]));
    }
    client.send(&pipeline);
    stage.wait_executed(&proxy, FREE, "incr", before[0] + MANY);
    stage.wait_executed(&proxy, OTHER, "incr", before[1] + MANY);
    stage.go_on(&proxy);
    expect_or_lost(&mut client, b"+OK\r\n");
    for n in 1..=MANY {
        for _ in [&free, &other] {
            assert_eq!(show(&client.reply()), show(format!(":{n}\r\n").as_bytes()));
        }
    }
}

fn fan_out(stage: &mut Stage) {
    let proxy = stage.proxy(&[]);
    let [stuck, free, other] = [STUCK, FREE, OTHER].map(|node| stage.key(node, "spread"));
    let counter = stage.key(FREE, "behind");
    let mut waits = proxy.client();
    assert_eq!(
        waits.command(&["MSET", &stuck, "s", &free, "f", &other, "o"]),
        b"+OK\r\n"
    );
    let before = [FREE, OTHER].map(|node| stage.executed(node, "incr"));
    stage.stop();
    let mut pipeline = Vec::new();
    for _ in 0..MANY / 10 {
        pipeline.extend(encode(&["MGET", &stuck, &free, &other]));
        pipeline.extend(encode(&["INCR", &counter]));
        pipeline.extend(encode(&["DBSIZE"]));
    }
    waits.send(&pipeline);
    stage.wait_executed(&proxy, FREE, "incr", before[0] + MANY / 10);
    // Another client's commands of several shards, the stopped one not among them.
    let mut client = proxy.client();
    let values = |_| b"*2\r\n$1\r\nf\r\n$1\r\no\r\n".to_vec();
    answered(&mut client, &["MGET", &free, &other], values);
    stage.go_on(&proxy);
    for n in 1..=MANY / 10 {
        expect_or_lost(&mut waits, b"*3\r\n$1\r\ns\r\n$1\r\nf\r\n$1\r\no\r\n");
        assert_eq!(show(&waits.reply()), show(format!(":{n}\r\n").as_bytes()));
        let size = waits.reply();
        assert!(size[0] == b':' || size[0] == b'-', "{}", show(&size));
    }
}

fn a_client_at_its_limit(stage: &mut Stage) {
    let limit = format!("limits.client_in_flight={CLIENT_IN_FLIGHT}");
    let proxy = stage.proxy(&[&limit]);
    let (stuck, free) = (stage.key(STUCK, "a"), stage.key(FREE, "limit"));
    let before = stage.executed(FREE, "incr");
    let mut waits = proxy.client();
    stage.stop();
    // What it may have in flight is sent; what is behind that is not read.
    let mut pipeline = encode(&["SET", &stuck, "1"]);
    for _ in 0..MANY {
        pipeline.extend(encode(&["INCR", &free]));
    }
    waits.send(&pipeline);
    stage.wait_executed(&proxy, FREE, "incr", before + CLIENT_IN_FLIGHT - 1);
    let mut client = proxy.client();
    let own = stage.key(FREE, "limit-other");
    counts(&mut client, &own);
    let executed = stage.executed(FREE, "incr") - before;
    assert_eq!(executed, CLIENT_IN_FLIGHT - 1 + MANY, "and no more of it");
    stage.go_on(&proxy);
    expect_or_lost(&mut waits, b"+OK\r\n");
    for n in 1..=MANY {
        assert_eq!(show(&waits.reply()), show(format!(":{n}\r\n").as_bytes()));
    }
}

fn a_full_lane(stage: &mut Stage) {
    let limit = format!("limits.lane_in_flight={LANE_IN_FLIGHT}");
    let proxy = stage.proxy(&[&limit, "timeouts.queue=60s"]);
    let (stuck, free) = (stage.key(STUCK, "full"), stage.key(FREE, "full"));
    let mut waits = proxy.client();
    stage.stop();
    let before = stage.executed(FREE, "incr");
    waits.send(&encode(&["SET", &stuck, "1"]).repeat(LANE_IN_FLIGHT * 2));
    waits.send(&encode(&["INCR", &stage.key(FREE, "behind-full")]));
    // It has filled the lane.
    let node = stage.cluster.addr(STUCK).to_string();
    proxy.wait_for("the lane is full", WAIT_MAX, || {
        let metrics = proxy.metrics();
        match metrics.sum("slotway_upstream_in_flight", &[("node", &node)]) {
            n if n >= LANE_IN_FLIGHT as f64 => Ok(()),
            n => Err(format!("{n} in flight")),
        }
    });
    // What is behind it in the pipeline goes where there is room.
    stage.wait_executed(&proxy, FREE, "incr", before + 1);
    let mut client = proxy.client();
    counts(&mut client, &free);
    stage.go_on(&proxy);
    for _ in 0..LANE_IN_FLIGHT * 2 {
        expect_or_lost(&mut waits, b"+OK\r\n");
    }
    assert_eq!(show(&waits.reply()), show(b":1\r\n"));
}

fn dead_and_living(stage: &mut Stage) {
    let proxy = stage.proxy(&["timeouts.unavailable=1s"]);
    let (stuck, free) = (stage.key(STUCK, "a"), stage.key(FREE, "living"));
    let before = stage.executed(FREE, "incr");
    let mut client = proxy.client();
    stage.cluster.kill(STUCK);
    let mut pipeline = Vec::new();
    for _ in 0..MANY / 10 {
        pipeline.extend(encode(&["SET", &stuck, "1"]));
        pipeline.extend(encode(&["INCR", &free]));
        pipeline.extend(encode(&["MGET", &stuck, &free]));
    }
    client.send(&pipeline);
    // Without a reply read.
    stage.wait_executed(&proxy, FREE, "incr", before + MANY / 10);
    for n in 1..=MANY / 10 {
        for expected in ["an error", "a number", "an error"] {
            let reply = client.reply();
            match expected {
                "a number" => assert_eq!(show(&reply), show(format!(":{n}\r\n").as_bytes())),
                _ => assert!(
                    reply.starts_with(b"-")
                        && String::from_utf8_lossy(&reply).contains("slotway: "),
                    "{n}: {}",
                    show(&reply)
                ),
            }
        }
    }
}
