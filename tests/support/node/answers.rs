//! What a scripted node answers by itself: the questions of a handshake and about the cluster, in the words of
//! Redis 7.0. COMMAND is refused, so that the proxy keeps the table it was built with.

use super::{Call, Shared, State};

/// The reply to a standing question; `None` if the command is data.
pub(super) fn standing(shared: &Shared, state: &State, call: &Call, proto: u8) -> Option<Vec<u8>> {
    let word = |i: usize| call.args.get(i).map(|arg| arg.to_ascii_uppercase());
    let name = call.name();
    let sub = word(1).unwrap_or_default();
    let reply = match (name.as_str(), sub.as_slice()) {
        ("HELLO", _) => hello(call.connection, proto),
        ("AUTH" | "CLIENT" | "READONLY" | "READWRITE" | "ASKING", _) => b"+OK\r\n".to_vec(),
        ("PING", b"") => b"+PONG\r\n".to_vec(),
        ("PING", _) => bulk(&String::from_utf8_lossy(&call.args[1])),
        ("COMMAND", _) => {
            b"-NOPERM this user has no permissions to run the 'command' command\r\n".to_vec()
        }
        ("INFO", _) => bulk("# Server\r\nredis_version:7.0.15\r\nredis_mode:cluster\r\n"),
        ("CONFIG", b"GET") => config(call, proto),
        ("CLUSTER", b"MYID") => bulk(&shared.id(call.node)),
        ("CLUSTER", b"INFO") => cluster_info(state),
        ("CLUSTER", b"NODES") => bulk(&nodes(shared, state, call.node)),
        ("CLUSTER", b"SLOTS") => slots(shared, state),
        ("CLUSTER", b"SHARDS") => shards(shared, state, proto),
        _ => return None,
    };
    Some(reply)
}

/// The keys of the data commands that scripts use.
pub(super) fn keys(args: &[Vec<u8>]) -> Vec<&[u8]> {
    let name = args[0].to_ascii_uppercase();
    let rest = || args[1..].iter().map(Vec::as_slice);
    match name.as_slice() {
        b"MGET" | b"DEL" | b"UNLINK" | b"EXISTS" | b"TOUCH" => rest().collect(),
        b"MSET" | b"MSETNX" => rest().step_by(2).collect(),
        b"EVAL" | b"EVALSHA" | b"FCALL" | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL_RO" => {
            let count = args
                .get(2)
                .map(|n| String::from_utf8_lossy(n).parse().unwrap_or(0));
            rest().skip(2).take(count.unwrap_or(0)).collect()
        }
        b"DBSIZE" | b"KEYS" | b"SCAN" | b"FLUSHALL" | b"FLUSHDB" | b"RANDOMKEY" | b"MULTI"
        | b"EXEC" | b"DISCARD" | b"SCRIPT" | b"ECHO" | b"TIME" | b"LASTSAVE" | b"WAIT"
        | b"FUNCTION" => Vec::new(),
        _ => rest().take(1).collect(),
    }
}

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A map in RESP3, a flat array in RESP2.
fn map(entries: &[(&str, Vec<u8>)], proto: u8) -> Vec<u8> {
    let mut out = match proto {
        3 => format!("%{}\r\n", entries.len()),
        _ => format!("*{}\r\n", entries.len() * 2),
    }
    .into_bytes();
    for (name, value) in entries {
        out.extend(bulk(name));
        out.extend_from_slice(value);
    }
    out
}

fn integer(number: usize) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}

fn array(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", elements.len()).into_bytes();
    out.extend(elements.concat());
    out
}

fn hello(connection: usize, proto: u8) -> Vec<u8> {
    let entries = [
        ("server", bulk("redis")),
        ("version", bulk("7.0.15")),
        ("proto", integer(proto.into())),
        ("id", integer(connection + 1)),
        ("mode", bulk("cluster")),
        ("role", bulk("master")),
        ("modules", array(&[])),
    ];
    map(&entries, proto)
}

fn config(call: &Call, proto: u8) -> Vec<u8> {
    match call.args.get(2).map(Vec::as_slice) {
        Some(b"cluster-node-timeout") => map(&[("cluster-node-timeout", bulk("2000"))], proto),
        _ => map(&[], proto),
    }
}

fn cluster_info(state: &State) -> Vec<u8> {
    let nodes = state.epochs.len();
    let epoch = state.epochs.iter().max().expect("a node");
    bulk(&format!(
        "cluster_state:ok\r\ncluster_slots_assigned:16384\r\ncluster_slots_ok:16384\r\ncluster_slots_pfail:0\r\n\
         cluster_slots_fail:0\r\ncluster_known_nodes:{nodes}\r\ncluster_size:{nodes}\r\n\
         cluster_current_epoch:{epoch}\r\ncluster_my_epoch:{epoch}\r\n"
    ))
}

/// A node's slots as inclusive ranges.
fn ranges(state: &State, node: usize) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for (slot, owner) in state.owners.iter().enumerate() {
        if *owner == node {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
    }
    ranges
}

fn nodes(shared: &Shared, state: &State, asked: usize) -> String {
    let mut out = String::new();
    for (node, epoch) in state.epochs.iter().enumerate() {
        let addr = shared.addr(node);
        let bus = addr.port() + 10_000;
        let flags = if node == asked {
            "myself,master"
        } else {
            "master"
        };
        let id = shared.id(node);
        out.push_str(&format!(
            "{id} {addr}@{bus} {flags} - 0 0 {epoch} connected"
        ));
        for (first, last) in ranges(state, node) {
            match first == last {
                true => out.push_str(&format!(" {first}")),
                false => out.push_str(&format!(" {first}-{last}")),
            }
        }
        out.push('\n');
    }
    out
}

fn slots(shared: &Shared, state: &State) -> Vec<u8> {
    let mut entries = Vec::new();
    for node in 0..state.epochs.len() {
        let addr = shared.addr(node);
        for (first, last) in ranges(state, node) {
            let node = array(&[
                bulk(&addr.ip().to_string()),
                integer(addr.port().into()),
                bulk(&shared.id(node)),
                array(&[]),
            ]);
            entries.push(array(&[integer(first), integer(last), node]));
        }
    }
    array(&entries)
}

fn shards(shared: &Shared, state: &State, proto: u8) -> Vec<u8> {
    let shard = |node: usize| {
        let addr = shared.addr(node);
        let bounds = ranges(state, node).into_iter().flat_map(|(a, b)| [a, b]);
        let bounds: Vec<Vec<u8>> = bounds.map(integer).collect();
        let entry = [
            ("id", bulk(&shared.id(node))),
            ("port", integer(addr.port().into())),
            ("ip", bulk(&addr.ip().to_string())),
            ("endpoint", bulk(&addr.ip().to_string())),
            ("role", bulk("master")),
            ("replication-offset", integer(0)),
            ("health", bulk("online")),
        ];
        map(
            &[
                ("slots", array(&bounds)),
                ("nodes", array(&[map(&entry, proto)])),
            ],
            proto,
        )
    };
    let shards: Vec<Vec<u8>> = (0..state.epochs.len()).map(shard).collect();
    array(&shards)
}
