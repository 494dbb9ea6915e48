//! Nodes that take down every command they get, and answer each so that the proxy is content.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::support::node::{Action, Call, FakeCluster};

/// What a node answers to commands that are not `+OK`.
const ANSWERS: &[(&str, &[u8])] = &[
    ("SCAN", b"*2\r\n$1\r\n0\r\n*0\r\n"),
    ("DBSIZE", b":0\r\n"),
    ("DEL", b":0\r\n"),
    ("UNLINK", b":0\r\n"),
    ("EXISTS", b":0\r\n"),
    ("TOUCH", b":0\r\n"),
    ("WAIT", b":0\r\n"),
    ("KEYS", b"*0\r\n"),
    ("BLPOP", b"*-1\r\n"),
    ("BRPOP", b"*-1\r\n"),
    ("LPOP", b"$-1\r\n"),
    ("RPOP", b"$-1\r\n"),
    ("LMPOP", b"*-1\r\n"),
    ("ZMPOP", b"*-1\r\n"),
    ("ZPOPMIN", b"*0\r\n"),
    ("ZPOPMAX", b"*0\r\n"),
];

/// How the proxy cleans a connection that a client has left, at some time after that.
const AFTERWARDS: &[&str] = &["UNWATCH", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"];

/// See the module.
pub struct Recorder {
    pub cluster: FakeCluster,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Recorder {
    /// Starts so many nodes.
    pub fn start(nodes: usize) -> Self {
        let cluster = FakeCluster::start(nodes);
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        for node in 0..nodes {
            let calls = Arc::clone(&calls);
            // Commands queued on a connection, behind MULTI.
            let queued: Mutex<HashMap<usize, usize>> = Mutex::default();
            cluster.on(node, move |call| {
                if is_housekeeping(call) {
                    return None;
                }
                if !AFTERWARDS.contains(&call.name().as_str()) {
                    calls.lock().unwrap().push(call.clone());
                }
                let reply = answer(call, &mut queued.lock().unwrap());
                Some(vec![Action::Send(reply)])
            });
        }
        Self { cluster, calls }
    }

    /// What has come since the last time, the proxy's own questions left out.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

/// What the proxy asks by itself, word for word: nothing else is left out.
fn is_housekeeping(call: &Call) -> bool {
    let args: Vec<&[u8]> = call.args.iter().map(Vec::as_slice).collect();
    match args[..] {
        [b"CLIENT", b"SETNAME", name] => name.starts_with(b"slotway"),
        [
            b"CLUSTER",
            b"INFO" | b"NODES" | b"SHARDS" | b"SLOTS" | b"MYID",
        ] => true,
        // What a lane asks of its own: a word that nobody can guess.
        [b"PING", word] => word.len() == 16 && word.iter().all(u8::is_ascii_hexdigit),
        [b"HELLO", ..] | [b"PING"] | [b"COMMAND"] | [b"INFO", b"server"] => true,
        [b"CONFIG", b"GET", b"cluster-node-timeout"] => true,
        _ => false,
    }
}

fn answer(call: &Call, queued: &mut HashMap<usize, usize>) -> Vec<u8> {
    let name = call.name();
    match (name.as_str(), queued.get_mut(&call.connection)) {
        ("MULTI", _) => {
            queued.insert(call.connection, 0);
            return b"+OK\r\n".to_vec();
        }
        ("EXEC", Some(count)) => {
            let reply = format!("*{count}\r\n{}", "+OK\r\n".repeat(*count));
            queued.remove(&call.connection);
            return reply.into_bytes();
        }
        ("DISCARD", _) => {
            queued.remove(&call.connection);
            return b"+OK\r\n".to_vec();
        }
        (_, Some(count)) => {
            *count += 1;
            return b"+QUEUED\r\n".to_vec();
        }
        _ => {}
    }
    let subscription = [
        "SUBSCRIBE",
        "PSUBSCRIBE",
        "SSUBSCRIBE",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE",
        "SUNSUBSCRIBE",
    ];
    if subscription.contains(&name.as_str()) {
        return subscribed(call);
    }
    if matches!(name.as_str(), "MGET" | "JSON.MGET") {
        let keys = call.args.len() - 1 - usize::from(name == "JSON.MGET");
        return format!("*{keys}\r\n{}", "$-1\r\n".repeat(keys)).into_bytes();
    }
    let known = ANSWERS.iter().find(|(known, _)| *known == name);
    known.map_or(b"+OK\r\n".to_vec(), |(_, reply)| reply.to_vec())
}

/// One message for each channel.
fn subscribed(call: &Call) -> Vec<u8> {
    let kind = if call.proto == 3 { '>' } else { '*' };
    let name = call.name().to_ascii_lowercase();
    let mut out = Vec::new();
    for (at, channel) in call.args[1..].iter().enumerate() {
        out.extend(
            format!(
                "{kind}3\r\n${}\r\n{name}\r\n${}\r\n",
                name.len(),
                channel.len()
            )
            .bytes(),
        );
        out.extend_from_slice(channel);
        out.extend(format!("\r\n:{}\r\n", at + 1).bytes());
    }
    out
}
