//! A node that is busy with one long command hears nobody: it is not taken for dead, however much waits to be sent to it.

mod support;

use slotway::demo::Cluster;
use support::{Proxy, RawClient, ServerKind, cluster_options, encode, redis, show, valkey};

/// Seven seconds: longer than the kernel's patience with a node that takes no bytes used to be. In Valkey time stands
/// still for a script until it is slow in the node's eyes.
const LONG: &str = "local since = redis.call('TIME') repeat local now = redis.call('TIME') until \
     (now[1] - since[1]) * 1000000 + now[2] - since[2] > 7000000 return redis.call('APPEND', KEYS[1], 'x')";

/// More than fits into the buffers between slotway and the node, one write for each client.
const WRITES: usize = 24;
const WRITE_BYTES: usize = 1024 * 1024;

#[test]
fn a_busy_node_is_not_dead_on_redis() {
    busy(&redis());
}

#[test]
fn a_busy_node_is_not_dead_on_valkey() {
    busy(&valkey());
}

fn busy(kind: &ServerKind) {
    let mut options = cluster_options(kind);
    // Nobody is told BUSY before, and nobody is promoted instead of it.
    for (name, value) in [
        ("busy-reply-threshold", "8000"),
        ("cluster-node-timeout", "60000"),
    ] {
        options.settings.push((name.into(), value.into()));
    }
    let cluster = Cluster::boot(&options).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
    // All on one connection, however large: what waits there is more than the kernel takes.
    let args = [
        "--workers",
        "1",
        "--set",
        "timeouts.command=1s",
        "--set",
        "upstream.bulk_from=512MB",
    ];
    let proxy = Proxy::start(&cluster, &args);
    let mut client = proxy.client();
    client.expect("SET {k}before 1", b"+OK\r\n");
    client.send(&encode(&["EVAL", LONG, "1", "{k}ran"]));

    let write = encode(&["SET", "{k}large", &"v".repeat(WRITE_BYTES)]);
    let mut writers: Vec<RawClient> = (0..WRITES).map(|_| proxy.client()).collect();
    for writer in &mut writers {
        writer.send(&write);
    }
    for writer in &mut writers {
        let reply = writer.reply();
        let late = reply.starts_with(b"-ERR slotway: no reply in time");
        assert!(late || reply == b"+OK\r\n", "{}", show(&reply));
    }
    assert_eq!(show(&client.reply()), show(b":1\r\n"));
    client.expect("GET {k}ran", b"$1\r\nx\r\n");
    client.expect("STRLEN {k}large", format!(":{WRITE_BYTES}\r\n").as_bytes());
    assert_eq!(
        proxy.metrics().sum("slotway_upstream_errors_total", &[]),
        0.0
    );
}
