//! Invariant 6, shared connections have no state: a client sends every command and subcommand that either kind of
//! server has, with arguments that make sense and with junk, in RESP2 and RESP3, alone and between MULTI and EXEC.
//! After each, every node sees the lanes as they were (the same connections in the same state), and each lane still
//! answers the next request with that request's reply.
//!
//! Much of what is sent would stop or cripple a server (SHUTDOWN, DEBUG SLEEP, CLIENT KILL, CLIENT PAUSE,
//! CLIENT REPLY OFF): that it reaches no node is what is tested.

#[path = "lane_purity/commands.rs"]
mod commands;
mod support;

use std::collections::BTreeMap;

use slotway::cluster::Slot;
use slotway::demo::{Client, Cluster, ClusterOptions};
use support::{Proxy, RawClient, ServerKind, cluster_options, encode, redis, show, valkey};

/// Fields of CLIENT LIST that change with every command, or with time. All others are the connection's state.
const COUNTERS: &[&str] = &[
    "age",
    "idle",
    "qbuf",
    "qbuf-free",
    "argv-mem",
    "multi-mem",
    "rbs",
    "rbp",
    "obl",
    "oll",
    "omem",
    "tot-mem",
    "events",
    "cmd",
    "io-thread",
    "tot-net-in",
    "tot-net-out",
    "tot-cmds",
    "watch-mem",
];

#[test]
fn no_command_of_redis_leaves_a_trace_on_a_lane() {
    try_all(&redis());
}

#[test]
fn no_command_of_valkey_leaves_a_trace_on_a_lane() {
    try_all(&valkey());
}

fn try_all(kind: &ServerKind) {
    let mut options = ClusterOptions {
        primaries: 2,
        replicas: 1,
        ..cluster_options(kind)
    };
    let module = ("enable-module-command".to_owned(), "yes".to_owned());
    options.settings.push(module);
    let cluster = Cluster::boot(&options).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let mut lanes = Lanes::open(&proxy, &cluster);
    let before = lanes.states();
    assert_eq!(
        before.values().map(BTreeMap::len).collect::<Vec<_>>(),
        [2, 2, 2],
        "one lane for each node and protocol: {before:#?}"
    );

    let names = commands::of_server(&cluster);
    assert!(names.len() > 300, "COMMAND names {} commands", names.len());
    let mut sent = 0;
    for name in &names {
        for command in commands::variants(name, &lanes.ids) {
            for hello in ["HELLO 2", "HELLO 3"] {
                try_one(&proxy, hello, &command);
                let front = command[..command.len().min(2)].join(&b' ');
                if front.eq_ignore_ascii_case(b"client kill") {
                    lanes.reconnect(&proxy);
                }
                lanes.expect_same(&before, &command);
                sent += 1;
            }
        }
    }
    eprintln!("{}: {sent} requests of {} commands", kind.name, names.len());
}

/// Sends a command on a connection of its own, then the same between MULTI and EXEC, and reads whatever comes. The
/// close at the end says that all of it has been dealt with.
fn try_one(proxy: &Proxy, hello: &str, command: &[Vec<u8>]) {
    let mut client = proxy.client();
    let first = client.line(hello);
    assert!(matches!(first[0], b'*' | b'%'), "{hello}: {}", show(&first));
    let command = encode(command);
    let block = [encode(&["MULTI"]), command.clone(), encode(&["EXEC"])].concat();
    client.send(&[command, block].concat());
    client.half_close();
    client.rest();
}

/// The nodes' view of the proxy's shared connections, and clients that use each of them.
struct Lanes {
    nodes: Vec<Client>,
    /// In RESP2 and in RESP3.
    clients: Vec<RawClient>,
    /// A key of each primary.
    keys: Vec<String>,
    /// The lanes' connection ids, as arguments for CLIENT KILL and the like.
    ids: Vec<String>,
    nonce: u64,
}

type States = BTreeMap<usize, BTreeMap<String, String>>;

impl Lanes {
    /// Opens every lane that commands can use: two versions of RESP, all nodes.
    fn open(proxy: &Proxy, cluster: &Cluster) -> Self {
        let connect = |node| cluster.connect(node).expect("the node runs");
        let key_of = |primary| {
            let (first, last) = cluster.booted_slots(primary);
            let mut keys = (0..).map(|i| format!("canary:{i}"));
            keys.find(|key| (first..=last).contains(&Slot::of(key.as_bytes()).number()))
                .expect("every primary has slots")
        };
        let mut clients = vec![proxy.client(), proxy.client()];
        clients[1].line("HELLO 3");
        for client in &mut clients {
            // It goes to all nodes, replicas included.
            client.expect("SLOWLOG RESET", b"+OK\r\n");
        }
        let mut lanes = Self {
            nodes: (0..cluster.len()).map(connect).collect(),
            clients,
            keys: (0..cluster.primaries()).map(key_of).collect(),
            ids: Vec::new(),
            nonce: 0,
        };
        let states = lanes.states();
        lanes.ids = states.into_values().flat_map(BTreeMap::into_keys).collect();
        lanes
    }

    /// The proxy closes its own clients when one of them wants it to; what they share stays.
    fn reconnect(&mut self, proxy: &Proxy) {
        self.clients = vec![proxy.client(), proxy.client()];
        self.clients[1].line("HELLO 3");
    }

    /// For each node, its connections that are lanes: id, and everything that is state.
    fn states(&mut self) -> States {
        let mut all = States::new();
        for (node, client) in self.nodes.iter_mut().enumerate() {
            let list = client
                .command(&["CLIENT", "LIST"])
                .expect("the node answers")
                .text();
            all.insert(node, list.lines().filter_map(lane).collect());
        }
        all
    }

    /// The same connections in the same state, and each carries a request and its reply.
    fn expect_same(&mut self, before: &States, command: &[Vec<u8>]) {
        let shown = || {
            command
                .iter()
                .map(|word| show(word))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let after = self.states();
        assert!(
            after == *before,
            "after {}: {after:#?}, before: {before:#?}",
            shown()
        );
        for client in &mut self.clients {
            for key in &self.keys {
                self.nonce += 1;
                let value = format!("nonce-{}", self.nonce);
                client.send(&[encode(&["SET", key, &value]), encode(&["GET", key])].concat());
                let expected = format!("+OK\r\n${}\r\n{value}\r\n", value.len());
                let got = client.replies(2).concat();
                assert!(
                    got == expected.as_bytes(),
                    "after {}: {}",
                    shown(),
                    show(&got)
                );
            }
            // To every node.
            client.expect("SLOWLOG RESET", b"+OK\r\n");
        }
    }
}

/// Id and state of the connection that a line of CLIENT LIST describes, if it is a lane.
fn lane(line: &str) -> Option<(String, String)> {
    let fields: Vec<(&str, &str)> = line
        .split(' ')
        .filter_map(|field| field.split_once('='))
        .collect();
    let value = |name| {
        fields
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| *value)
    };
    if value("name") != Some("slotway") {
        return None;
    }
    let state = fields.iter().filter(|(name, _)| !COUNTERS.contains(name));
    let state: Vec<String> = state
        .map(|(name, value)| match (*name, *value) {
            // How many commands are queued. Valkey 9.1 says 0 from a connection's first EXEC on; an open MULTI shows in
            // the flags.
            ("multi", "0") => "multi=-1".to_owned(),
            _ => format!("{name}={value}"),
        })
        .collect();
    Some((value("id")?.to_owned(), state.join(" ")))
}
