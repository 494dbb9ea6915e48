//! Clients that make the proxy keep as much as they can: readers that do not read, writers that stall in the middle of a
//! value, huge sizes that are declared, long pipelines from many. The resident memory of the process stays within
//! `limits.memory` and a tenth, whatever they do, one after the other or all at once, and others are served meanwhile
//! (scenario 12).

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use slotway::cluster::Slot;
use slotway::demo::Cluster;
use support::{
    Proxy, RawClient, Scenario, ServerKind, StopOnDrop, boot_steady_cluster, encode, is_long,
    redis, rounds, show, valkey,
};

/// How long a load may take to have its whole effect.
const LOADED_WITHIN: Duration = Duration::from_secs(120);
/// How long a client waits for bytes that were asked for.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// Threads that send.
const SENDERS: usize = 8;
/// So many requests of others are measured while nothing else happens.
const ALONE: usize = 2000;
/// Large values that a slow reader asks a node itself for.
const DIRECT_READS: usize = 4;
const MB: usize = 1 << 20;
/// Large values in a huge one.
const HUGE: usize = 4;
const NO_VALUE: &[u8] = b"$-1\r\n";
/// The node with the large value, and one without.
const BUSY: usize = 0;
const FREE: usize = 1;

/// What hostile clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Load {
    /// Ask for large values, and read nothing.
    SlowReaders,
    /// Send the half of a large value.
    StalledWriters,
    /// Declare more than anybody could keep, and send nothing of it.
    Declared,
    /// Send long pipelines before they read.
    Pipelines,
    /// Send pipelines that nobody would wait for, and go.
    EndlessPipelines,
    /// Ask for huge values over connections of their own, and read nothing: every other one watches, the rest block.
    OwnConnections,
}

/// Those of which somebody may get all that was asked for.
const ALL: [Load; 4] = [
    Load::SlowReaders,
    Load::StalledWriters,
    Load::Declared,
    Load::Pipelines,
];

/// How many, and what they may cost.
struct Scale {
    memory: usize,
    readers: usize,
    reads: usize,
    writers: usize,
    commands: usize,
    /// In a pipeline whose end nobody waits for.
    endless: usize,
}

const SHORT: Scale = Scale {
    memory: 128 * MB,
    readers: 100,
    reads: 4,
    writers: 1000,
    commands: 1000,
    endless: 10_000,
};

const LONG: Scale = Scale {
    memory: 256 * MB,
    readers: 100,
    reads: 20,
    writers: 1000,
    commands: 10_000,
    endless: 100_000,
};

/// One load after the other, then all at once. The short form is satisfied with one kind of server for each.
#[test]
fn memory_is_bounded_whatever_clients_do() {
    allow_many_files();
    let scale = if is_long() { &LONG } else { &SHORT };
    let stages = [Stage::new(&redis()), Stage::new(&valkey())];
    let scenes: [&[Load]; 7] = [
        &[Load::SlowReaders],
        &[Load::StalledWriters],
        &[Load::Declared],
        &[Load::Pipelines],
        &[Load::EndlessPipelines],
        &ALL,
        &[Load::OwnConnections],
    ];
    for (n, loads) in scenes.into_iter().enumerate() {
        for (m, stage) in stages.iter().enumerate() {
            if is_long() || n % 2 == m {
                (0..rounds()).for_each(|_| stage.scene(loads, scale));
            }
        }
    }
}

struct Stage {
    kind: &'static str,
    cluster: Cluster,
}

impl Stage {
    fn new(kind: &ServerKind) -> Self {
        Self {
            kind: kind.name,
            // Nodes that take all that is sent to them are no dead nodes.
            cluster: boot_steady_cluster(kind),
        }
    }

    fn start(&self, scale: &Scale) -> Proxy {
        let memory = format!("limits.memory={}MB", scale.memory / MB);
        let mut args = vec!["--workers", "2", "--set", &memory];
        // Others may have to wait for their turn at a node: that is measured, and no error.
        args.extend([
            "--set",
            "timeouts.command=60s",
            "--set",
            "timeouts.queue=60s",
        ]);
        Proxy::start(&self.cluster, &args)
    }

    fn scene(&self, loads: &[Load], scale: &Scale) {
        let what = match loads {
            [load] => load.what(),
            _ => "slow readers, stalled writers, huge sizes and long pipelines at once",
        };
        let mut scenario = Scenario::begin(12, what, self.kind);
        let proxy = self.start(scale);
        let large = self.key(BUSY, "large");
        let value = vec![b'v'; MB];
        let set = proxy.client().command(&[b"SET", large.as_bytes(), &value]);
        assert_eq!(set, b"+OK\r\n");
        if loads == [Load::OwnConnections] {
            make_huge(&proxy, &large, &value);
        }
        let keys = [self.key(BUSY, "none"), self.key(FREE, "none")];
        let requests: Vec<_> = loads.iter().map(|l| l.requests(scale, &large)).collect();

        let addrs = [proxy.addr(); 2];
        let alone = others(addrs, &keys, &|served| served < ALONE);
        let clients: Vec<_> = requests
            .iter()
            .map(|requests| connect_all(proxy.addr(), requests.len()))
            .collect();
        if loads == [Load::SlowReaders] {
            let whole = clients
                .iter()
                .flatten()
                .map(|client| has_read(client, &large, &value));
            assert!(
                whole.into_iter().all(|whole| whole),
                "their first large value"
            );
        }
        let (clients, during) = while_served(addrs, &keys, || {
            std::thread::scope(|scope| {
                for (clients, requests) in clients.iter().zip(&requests) {
                    scope.spawn(move || send_all(clients, requests));
                }
            });
            wait_settled(&proxy, loads, scale, &requests);
            clients
        });
        let standing = others(addrs, &keys, &|served| served < ALONE);
        let closed = || closed_for_memory(&proxy);
        let answered: Vec<_> = loads
            .iter()
            .zip(clients)
            .map(|(load, clients)| load.judge(scale, clients, &large, &value, &closed))
            .collect();
        if loads == [Load::Declared] {
            assert_eq!(closed(), 0, "they cost nothing");
        }
        let peak = proxy.peak() as usize;
        scenario.figure("clients", requests.iter().map(Vec::len).sum::<usize>());
        scenario.figure("resident, at most", format!("{} MB", peak / MB));
        scenario.figure("limits.memory", format!("{} MB", scale.memory / MB));
        scenario.figure("closed for it", closed());
        record_waits(&mut scenario, [&alone, &during, &standing]);
        scenario.figure("answered to the end", answered.iter().sum::<usize>());
        assert_bounded(&proxy, loads, scale, peak);
        proxy.wait_for("they are forgotten", LOADED_WITHIN, || {
            match gauge(&proxy, "slotway_client_connections") {
                0.0 => Ok(()),
                n => Err(format!("{n} clients")),
            }
        });
        let direct = match loads {
            [Load::SlowReaders] => Some(self.direct_readers(scale, &large, &keys)),
            [Load::StalledWriters] => Some(self.direct_writers(&requests[0], &keys)),
            _ => None,
        };
        if let Some(direct) = direct {
            scenario.figure("p99 of others, direct", format!("{direct:.1} ms"));
            if is_long() {
                assert_served(loads, [&alone, &during, &standing], direct);
            }
        }
        scenario.passed();
    }

    /// What others wait whose clients, like the slow readers, are connected to the node itself: p99 in milliseconds.
    fn direct_readers(&self, scale: &Scale, large: &str, keys: &[String; 2]) -> f64 {
        let node = |at: usize| self.cluster.addr(at);
        let readers = connect_all(node(BUSY), scale.readers);
        // The server keeps what they do not read.
        let reads = read_of(large).repeat(DIRECT_READS);
        let requests = vec![Bytes::from(reads); scale.readers];
        let mut asked = RawClient::connect(node(BUSY));
        let mut calls = || {
            let all = String::from_utf8_lossy(&asked.line("INFO commandstats")).into_owned();
            let calls = all
                .split_once("cmdstat_getrange:calls=")
                .map(|(_, rest)| rest);
            let calls = calls.and_then(|rest| rest.split(',').next()?.parse::<usize>().ok());
            calls.unwrap_or(0)
        };
        let before = calls();
        let ((), [busy, _]) = while_served([node(BUSY), node(FREE)], keys, || {
            send_all(&readers, &requests);
            let all = before + scale.readers * DIRECT_READS;
            while calls() < all {}
        });
        p99(&busy)
    }

    /// The same, when the writers stall in the middle of what they send to the node itself, which keeps all of it.
    fn direct_writers(&self, requests: &[Bytes], keys: &[String; 2]) -> f64 {
        let node = |at: usize| self.cluster.addr(at);
        let writers = connect_all(node(BUSY), requests.len());
        let ((), [busy, _]) = while_served([node(BUSY), node(FREE)], keys, || {
            send_all(&writers, requests);
        });
        p99(&busy)
    }

    /// A key of a shard; those with different names are in different slots.
    fn key(&self, node: usize, name: &str) -> String {
        let (first, last) = self.cluster.booted_slots(node);
        let mut keys = (0..).map(|n| format!("{name}{n}"));
        let key = keys.find(|key| (first..=last).contains(&Slot::of(key.as_bytes()).number()));
        key.expect("every shard has some")
    }
}

impl Load {
    fn what(self) -> &'static str {
        match self {
            Self::SlowReaders => "slow readers of 1 MB values",
            Self::StalledWriters => "clients stalled in the middle of 1 MB values",
            Self::Declared => "huge sizes declared",
            Self::Pipelines => "long pipelines from 1,000 clients",
            Self::EndlessPipelines => "endless pipelines from 1,000 clients",
            Self::OwnConnections => "watchers and blocking consumers of 4 MB",
        }
    }

    /// What each client sends.
    fn requests(self, scale: &Scale, large: &str) -> Vec<Bytes> {
        let get = |n: usize| encode(&["GET", &format!("nothing:{n}")]);
        match self {
            Self::SlowReaders => {
                let reads = read_of(large).repeat(scale.reads);
                vec![Bytes::from(reads); scale.readers]
            }
            Self::StalledWriters => {
                let mut half = format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${MB}\r\n").into_bytes();
                half.resize(half.len() + MB / 2, b'v');
                vec![Bytes::from(half); scale.writers]
            }
            Self::Declared => {
                let sizes = [
                    "*2000000000\r\n",
                    "*1048576\r\n",
                    "*1048576\r\n$536870912\r\n",
                ];
                let sizes = sizes.iter().cycle().take(scale.writers);
                sizes
                    .map(|size| Bytes::from_static(size.as_bytes()))
                    .collect()
            }
            Self::Pipelines => {
                let pipeline = |n| (0..scale.commands).flat_map(|at| get(n + at)).collect();
                (0..scale.writers).map(pipeline).collect()
            }
            Self::EndlessPipelines => {
                let pipeline = (0..scale.endless).flat_map(get);
                vec![pipeline.collect(); scale.writers]
            }
            Self::OwnConnections => {
                let [value, stream] = huge(large);
                let watches = [
                    encode(&["WATCH", &value]),
                    encode(&["GETRANGE", &value, "0", "-1"]),
                ];
                let blocks = [
                    "XREAD", "COUNT", "100", "BLOCK", "0", "STREAMS", &stream, "0",
                ];
                let two = [Bytes::from(watches.concat()), encode(&blocks).into()];
                two.into_iter().cycle().take(scale.readers).collect()
            }
        }
    }

    /// What became of the clients. Says how many got all they asked for.
    fn judge(
        self,
        scale: &Scale,
        clients: Vec<TcpStream>,
        large: &str,
        value: &[u8],
        closed: &dyn Fn() -> usize,
    ) -> usize {
        match self {
            Self::SlowReaders => {
                let all = bulk(value).repeat(scale.reads);
                let whole = clients
                    .into_iter()
                    .filter(|client| is_answered(client, &all));
                let whole = whole.count();
                // More are closed while others are read from.
                let closed = closed();
                assert!(
                    whole + closed >= scale.readers,
                    "{whole} answered, {closed} closed"
                );
                whole
            }
            // The half of a value has no answer.
            Self::StalledWriters => {
                assert!(closed() > 0, "it had to close some");
                0
            }
            Self::OwnConnections => {
                let two = huge_replies(large, value);
                let clients = clients.into_iter().zip(two.iter().cycle());
                let whole = clients
                    .filter(|(client, reply)| is_answered(client, reply))
                    .count();
                let closed = closed();
                assert!(closed > 0, "it had to close some");
                assert!(
                    whole + closed >= scale.readers,
                    "{whole} answered, {closed} closed"
                );
                whole
            }
            Self::Declared | Self::EndlessPipelines => 0,
            Self::Pipelines => {
                let each = clients.into_iter().map(|c| answered(c, scale.commands));
                let each: Vec<usize> = each.flatten().collect();
                assert!(
                    each.len() + closed() >= scale.writers,
                    "{} served",
                    each.len()
                );
                each.iter().sum()
            }
        }
    }
}

fn connect_all(addr: SocketAddr, clients: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let stream = TcpStream::connect(addr).expect("it accepts");
        let set = stream.set_write_timeout(Some(LOADED_WITHIN));
        set.and_then(|()| stream.set_read_timeout(Some(READ_WITHIN)))
            .expect("a socket");
        stream
    };
    (0..clients).map(connect).collect()
}

/// Whether a client asks for a value and reads it.
fn has_read(mut client: &TcpStream, key: &str, value: &[u8]) -> bool {
    client.write_all(&read_of(key)).is_ok() && is_answered(client, &bulk(value))
}

/// How slow readers read: in other words than others, so that it can be counted.
fn read_of(large: &str) -> Vec<u8> {
    encode(&["GETRANGE", large, "0", "-1"])
}

/// A huge value and a huge stream on the same node.
fn huge(large: &str) -> [String; 2] {
    ["value", "stream"].map(|what| format!("{{{large}}}:{what}"))
}

fn make_huge(proxy: &Proxy, large: &str, value: &[u8]) {
    let [huge, stream] = huge(large);
    let mut client = proxy.client();
    client.wait_at_most(READ_WITHIN);
    client.line(&format!("DEL {huge} {stream}"));
    for n in 1..=HUGE {
        let appended = client.command(&[b"APPEND", huge.as_bytes(), value]);
        assert_eq!(appended, format!(":{}\r\n", n * value.len()).as_bytes());
        let id = format!("{n}-1");
        let added = client.command(&[b"XADD", stream.as_bytes(), id.as_bytes(), b"f", value]);
        assert_eq!(added, bulk(id.as_bytes()));
    }
}

/// What a watcher and a consumer get.
fn huge_replies(large: &str, value: &[u8]) -> [Vec<u8>; 2] {
    let [_, stream] = huge(large);
    let watcher = [b"+OK\r\n", &bulk(&value.repeat(HUGE))[..]].concat();
    let mut consumer = b"*1\r\n*2\r\n".to_vec();
    consumer.extend(bulk(stream.as_bytes()));
    consumer.extend(format!("*{HUGE}\r\n").as_bytes());
    for n in 1..=HUGE {
        consumer.extend(b"*2\r\n");
        consumer.extend(bulk(format!("{n}-1").as_bytes()));
        consumer.extend(b"*2\r\n$1\r\nf\r\n");
        consumer.extend(bulk(value));
    }
    [watcher, consumer]
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// Sends each client its bytes, as far as they are taken.
fn send_all(clients: &[TcpStream], requests: &[Bytes]) {
    let share = clients.len().div_ceil(SENDERS);
    std::thread::scope(|scope| {
        for (clients, requests) in clients.chunks(share).zip(requests.chunks(share)) {
            scope.spawn(move || {
                for (mut client, request) in clients.iter().zip(requests) {
                    // It may be closed meanwhile.
                    let _ = client.write_all(request);
                }
            });
        }
    });
}

/// Whether a client reads exactly this.
fn is_answered(mut client: &TcpStream, expected: &[u8]) -> bool {
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).is_ok() && got == expected
}

/// How many of its requests a client got the value for; `None` if it was closed. The others were refused, because the nodes
/// did not get to them in time: nothing else is to be seen.
fn answered(mut client: TcpStream, commands: usize) -> Option<usize> {
    let (mut got, mut values, mut replies) = (Vec::new(), 0, 0);
    while replies < commands {
        let mut part = [0; 16 * 1024];
        let n = client.read(&mut part).ok().filter(|n| *n > 0)?;
        got.extend_from_slice(&part[..n]);
        let whole = got
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        for line in got[..whole].split_inclusive(|&byte| byte == b'\n') {
            let known = line == NO_VALUE || line.starts_with(b"-ERR slotway: not sent");
            assert!(known, "{}", show(line));
            values += usize::from(line == NO_VALUE);
            replies += 1;
        }
        got.drain(..whole);
    }
    Some(values)
}

/// All that was sent has been taken, or as much as there is room for, and nothing is on its way from the nodes any more.
fn wait_settled(proxy: &Proxy, loads: &[Load], scale: &Scale, requests: &[Vec<Bytes>]) {
    let clients: usize = requests.iter().map(Vec::len).sum();
    let bytes: usize = requests.iter().flatten().map(Bytes::len).sum();
    let (bytes, on_its_way_max) = match loads {
        // Enough for everybody to have had a turn.
        [Load::EndlessPipelines] => (scale.memory / 2, f64::MAX),
        // They have asked once before.
        [Load::SlowReaders] => (bytes + bytes / scale.reads, 2.0),
        [_] => (bytes, 2.0),
        // Of the many that are slowed there is always something on its way.
        _ => (bytes, f64::MAX),
    };
    proxy.wait_for("it is loaded", LOADED_WITHIN, || {
        let metrics = proxy.metrics();
        let came = metrics.sum("slotway_client_connections_total", &[]) as usize;
        let unanswered = metrics.sum("slotway_upstream_in_flight", &[]);
        let closed = metrics.sum("slotway_client_connections_rejected_total", &[]);
        let received = metrics.sum("slotway_client_received_bytes_total", &[]) as usize;
        let taken = received >= bytes || closed > 0.0;
        // Those that wait for room in a lane are not in flight.
        let answered = metrics.sum("slotway_commands_total", &[("cmd", "getrange")]);
        let each = (scale.reads + 1) as f64;
        let all_read =
            loads != [Load::SlowReaders] || answered >= (scale.readers as f64 - closed) * each;
        match came > clients && unanswered <= on_its_way_max && taken && all_read {
            true => Ok(()),
            false => Err(format!(
                "{came} clients, {received} B, {unanswered} in flight"
            )),
        }
    });
}

/// How long others waited: alone, while the load came, and once it stood.
fn record_waits(scenario: &mut Scenario, waits: [&[Vec<Duration>; 2]; 3]) {
    for (node, name) in ["same node", "another node"].into_iter().enumerate() {
        let [alone, during, standing] = waits.map(|waits| format!("{:.1} ms", p99(&waits[node])));
        scenario.figure(&format!("p99 of others, {name}"), during);
        scenario.figure(&format!("once it stands, {name}"), standing);
        scenario.figure(&format!("alone, {name}"), alone);
    }
}

/// Others are served as without slotway at least while slow readers ask or writers come, and as if they were alone once
/// those do nothing any more.
fn assert_served(loads: &[Load], waits: [&[Vec<Duration>; 2]; 3], direct: f64) {
    let [alone, during, standing] = waits.map(|waits| p99(&waits[BUSY]));
    let most = match loads {
        [Load::SlowReaders] => direct / 2.0,
        _ => direct * 2.0,
    };
    assert!(
        during <= most,
        "{loads:?}: others wait {during:.1} ms, and {direct:.1} ms without slotway"
    );
    assert!(
        standing <= alone * 2.0,
        "{loads:?}: others wait {standing:.2} ms, and {alone:.2} ms alone"
    );
}

fn closed_for_memory(proxy: &Proxy) -> usize {
    let memory = [("reason", "memory")];
    let metrics = proxy.metrics();
    metrics.sum("slotway_client_connections_rejected_total", &memory) as usize
}

/// `limits.memory` and a tenth.
fn assert_bounded(proxy: &Proxy, loads: &[Load], scale: &Scale, peak: usize) {
    let allowed = scale.memory / 10 * 11;
    assert!(
        peak <= allowed,
        "{loads:?}: {} MB are resident, {} MB are allowed",
        peak / MB,
        allowed / MB
    );
    let counted = gauge(proxy, "slotway_memory_bytes") as usize;
    assert!(counted <= scale.memory, "{loads:?}: {counted} B");
}

fn gauge(proxy: &Proxy, name: &str) -> f64 {
    proxy.metrics().sum(name, &[])
}

/// How long others wait for the keys of each node, while this happens.
fn while_served<T>(
    addrs: [SocketAddr; 2],
    keys: &[String; 2],
    happens: impl FnOnce() -> T,
) -> (T, [Vec<Duration>; 2]) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let over = StopOnDrop(&stop);
        let others = scope.spawn(|| others(addrs, keys, &|_| !stop.load(Ordering::Relaxed)));
        let result = happens();
        drop(over);
        (result, others.join().expect("somebody else was disturbed"))
    })
}

/// Two clients, one for each key, that go on until told.
fn others(
    addrs: [SocketAddr; 2],
    keys: &[String; 2],
    go_on: &(impl Fn(usize) -> bool + Sync),
) -> [Vec<Duration>; 2] {
    let served = |addr, key: &str| {
        let mut client = RawClient::connect(addr);
        let mut waits = Vec::new();
        while waits.is_empty() || go_on(waits.len()) {
            let since = Instant::now();
            let reply = client.line(&format!("GET {key}"));
            // A node that is asked for too much cannot serve everybody in time.
            let refused = reply.starts_with(b"-ERR slotway: not sent");
            assert!(reply == NO_VALUE || refused, "{}", show(&reply));
            waits.push(since.elapsed());
        }
        waits
    };
    std::thread::scope(|scope| {
        let [one, other] = keys;
        let one = scope.spawn(|| served(addrs[0], one));
        let other = scope.spawn(|| served(addrs[1], other));
        [one, other].map(|thread| thread.join().expect("it is served"))
    })
}

/// In milliseconds.
fn p99(waits: &[Duration]) -> f64 {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    let wait = sorted.get(sorted.len() * 99 / 100);
    wait.expect("some were served").as_secs_f64() * 1000.0
}

/// As many as the system lets this process have.
fn allow_many_files() {
    let most = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    );
}
