//! Functions, and what a node answers while a script keeps it busy. A plain server of the same kind is the oracle: the
//! same bytes to it, and through slotway to a cluster, get the same replies.

mod support;

use slotway::demo::{Cluster, Server};
use std::time::{Duration, Instant};
use support::{Proxy, RawClient, ServerKind, cluster_options, encode, redis, show, valkey};

/// How long a shard that comes back may take until the others know.
const SHARD_BACK: Duration = Duration::from_secs(20);

const LIBRARY: &str = "#!lua name=lib\nredis.register_function('put', function(keys, args) \
     return redis.call('SET', keys[1], args[1]) end)";
const READER: &str = "#!lua name=reader\nredis.register_function{function_name='peek', flags={'no-writes'}, \
     callback=function(keys, args) if #keys == 0 then return args end return redis.call('GET', keys[1]) end}";
/// Runs until it is killed.
const SPINNER: &str = "#!lua name=spinner\nredis.register_function{function_name='spin', flags={'no-writes'}, \
     callback=function() while true do end end}";
const SPIN: &str = "while true do end";
/// Writes, and so cannot be killed; ends by itself.
const STUBBORN: &str = "redis.call('SET', KEYS[1], 'x') local since = redis.call('TIME') repeat \
     local now = redis.call('TIME') until (now[1] - since[1]) * 1000000 + now[2] - since[2] > 3000000 return 'done'";

#[test]
fn functions_on_redis() {
    all(&redis());
}

#[test]
fn functions_on_valkey() {
    all(&valkey());
}

fn all(kind: &ServerKind) {
    let mut options = cluster_options(kind);
    // A node that a script keeps busy is not replaced.
    options.node_timeout = Duration::from_secs(60);
    options
        .settings
        .push(("busy-reply-threshold".into(), "20".into()));
    let mut cluster = Cluster::boot(&options).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
    let plain = Server::boot(&kind.path, &[("busy-reply-threshold", "20")]).expect("it boots");
    let proxy = Proxy::start(
        &cluster,
        &["--workers", "1", "--set", "timeouts.unavailable=300ms"],
    );
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut both = Both::new(&plain, &proxy, hello);
        both.sequence();
        every_primary_has_it(&cluster, &mut both);
        for (run, kill, other) in [
            (
                &["EVAL", SPIN, "1", "k"][..],
                "SCRIPT KILL",
                "FUNCTION KILL",
            ),
            (&["FCALL", "spin", "1", "k"], "FUNCTION KILL", "SCRIPT KILL"),
            (&["FCALL_RO", "spin", "0"], "FUNCTION KILL", "SCRIPT KILL"),
        ] {
            both.killed(&plain, &proxy, hello, run, kill, other);
        }
        both.not_killed(&plain, &proxy, hello);
    }
    a_shard_that_is_down_is_named(&mut cluster, &proxy);
}

/// A client of the plain server, and one of slotway.
struct Both {
    plain: RawClient,
    ours: RawClient,
}

impl Both {
    fn new(plain: &Server, proxy: &Proxy, hello: &str) -> Self {
        let mut both = Self {
            plain: RawClient::connect(plain.addr()),
            ours: proxy.client(),
        };
        both.plain.line(hello);
        both.ours.line(hello);
        both
    }

    /// The same request to both: the same reply.
    #[track_caller]
    fn same<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Vec<u8> {
        let expected = self.plain.command(args);
        let got = self.ours.command(args);
        let request = encode(args);
        assert_eq!(show(&got), show(&expected), "{}", show(&request));
        got
    }

    #[track_caller]
    fn line(&mut self, line: &str) -> Vec<u8> {
        self.same(&line.split(' ').collect::<Vec<_>>())
    }

    fn sequence(&mut self) {
        self.line("FUNCTION FLUSH SYNC");
        self.line("FUNCTION STATS");
        self.line("FUNCTION KILL");
        self.line("SCRIPT KILL");
        self.same(&["FUNCTION", "LOAD", LIBRARY]);
        self.same(&["FUNCTION", "LOAD", LIBRARY]);
        self.same(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
        self.same(&["FUNCTION", "LOAD", "MAYBE", LIBRARY]);
        for wrong in ["return 1", "#!lua name=x\nreturn", "#!lisp name=x\n()"] {
            self.same(&["FUNCTION", "LOAD", wrong]);
        }
        for line in [
            "FCALL put 1 k value",
            "GET k",
            "FCALL_RO put 1 k value",
            "FCALL put 0",
            "FCALL nosuch 1 k",
            "FCALL nosuch 0",
            "FCALL put x",
            "FCALL put -1",
            "FCALL put 5 k",
            "FCALL put",
            "FUNCTION LIST",
            "FUNCTION LIST WITHCODE",
            "FUNCTION LIST LIBRARYNAME l*",
            "FUNCTION LIST LIBRARYNAME x*",
            "FUNCTION LIST NONSENSE",
            "FUNCTION STATS",
            "FUNCTION HELP",
            "FUNCTION NONSENSE",
            "FUNCTION RESTORE nonsense",
            "FUNCTION DELETE nosuch",
        ] {
            self.line(line);
        }
        let dump = self.line("FUNCTION DUMP");
        let start = dump.iter().position(|b| *b == b'\n').expect("a bulk") + 1;
        let payload = &dump[start..dump.len() - 2];
        self.same(&[&b"FUNCTION"[..], b"RESTORE", payload]);
        self.same(&[&b"FUNCTION"[..], b"RESTORE", payload, b"REPLACE"]);
        self.line("FUNCTION DELETE lib");
        self.line("FUNCTION DELETE lib");
        self.line("FCALL put 1 k value");
        self.same(&[&b"FUNCTION"[..], b"RESTORE", payload]);
        self.same(&["FUNCTION", "LOAD", READER]);
        for line in [
            "FCALL_RO peek 1 k",
            "FCALL peek 1 none",
            "FCALL_RO peek 0 a b",
        ] {
            self.line(line);
        }
        self.same(&[&b"FUNCTION"[..], b"RESTORE", payload, b"FLUSH"]);
        self.line("FCALL_RO peek 1 k");
        self.line("FUNCTION FLUSH ASYNC");
        self.line("FUNCTION LIST");
        self.line("FUNCTION FLUSH NONSENSE");
        self.same(&["FUNCTION", "LOAD", SPINNER]);
    }

    /// Somebody runs a script that does not end, on the lane that all share: it is seen, and killed, as on a plain server.
    fn killed(
        &mut self,
        plain: &Server,
        proxy: &Proxy,
        hello: &str,
        run: &[&str],
        kill: &str,
        other: &str,
    ) {
        let mut runners = Both::new(plain, proxy, hello);
        runners.plain.send(&encode(run));
        runners.ours.send(&encode(run));
        let plain_stats = self.plain.line("FUNCTION STATS");
        let stats = self.ours.line("FUNCTION STATS");
        assert_eq!(show(&timeless(&stats)), show(&timeless(&plain_stats)));
        self.line(other);
        // Whoever does not share the connection of the script is told that the node is busy.
        if run[2] == "1" {
            let mut elsewhere = Both::new(plain, proxy, another(hello));
            elsewhere.line("GET k");
        }
        self.line(kill);
        let expected = runners.plain.reply();
        assert!(
            show(&expected).contains("killed by user"),
            "{}",
            show(&expected)
        );
        assert_eq!(show(&runners.ours.reply()), show(&expected));
        self.line(kill);
        self.line("GET k");
    }

    fn not_killed(&mut self, plain: &Server, proxy: &Proxy, hello: &str) {
        let mut runners = Both::new(plain, proxy, hello);
        let run = encode(&["EVAL", STUBBORN, "1", "k"]);
        runners.plain.send(&run);
        runners.ours.send(&run);
        self.line("SCRIPT KILL");
        for mut runner in [runners.plain, runners.ours] {
            assert_eq!(show(&runner.reply()), show(b"$4\r\ndone\r\n"));
        }
        self.line("SCRIPT KILL");
    }
}

/// The version that `hello` does not ask for: its clients have another lane.
fn another(hello: &str) -> &'static str {
    match hello {
        "HELLO 2" => "HELLO 3",
        _ => "HELLO 2",
    }
}

/// Without the time that the function has been running for.
fn timeless(stats: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"$11\r\nduration_ms\r\n:";
    let Some(at) = stats.windows(NAME.len()).position(|w| w == NAME) else {
        return stats.to_vec();
    };
    let from = at + NAME.len();
    let digits = stats[from..].iter().take_while(|b| b.is_ascii_digit());
    [&stats[..from], &stats[from + digits.count()..]].concat()
}

fn every_primary_has_it(cluster: &Cluster, both: &mut Both) {
    both.same(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
    for node in 0..cluster.primaries() {
        assert!(has_library(cluster, node), "node {node}");
    }
    both.line("FUNCTION DELETE lib");
    for node in 0..cluster.primaries() {
        assert!(!has_library(cluster, node), "node {node}");
    }
}

fn has_library(cluster: &Cluster, node: usize) -> bool {
    let list = RawClient::connect(cluster.addr(node)).line("FUNCTION LIST LIBRARYNAME lib");
    show(&list).contains("library_name")
}

/// What only some nodes have done is said, with the node that has not; done again when it is back, it is whole.
fn a_shard_that_is_down_is_named(cluster: &mut Cluster, proxy: &Proxy) {
    let (lost, addr) = (1, cluster.addr(1));
    let replica = cluster.replica_of(lost).expect("it has one");
    cluster.kill(replica);
    cluster.kill(lost);
    let mut client = proxy.client();
    let refused = client.command(&["FUNCTION", "LOAD", LIBRARY]);
    let text = String::from_utf8_lossy(&refused).into_owned();
    assert!(
        text.starts_with('-') && text.contains(&addr.to_string()) && text.contains("REPLACE"),
        "{text}"
    );
    assert!(has_library(cluster, 0) && has_library(cluster, 2));
    cluster.restart(lost).expect("it is back");
    let until = Instant::now() + SHARD_BACK;
    loop {
        let reply = client.command(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
        if reply == b"$3\r\nlib\r\n" {
            break;
        }
        assert!(Instant::now() < until, "{}", show(&reply));
    }
    assert!((0..cluster.primaries()).all(|node| has_library(cluster, node)));
}
