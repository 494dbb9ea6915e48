//! The command table against real servers: the snapshot says what they say, keys are found where they find them,
//! and what does not exist is refused in their words. Needs `redis-server` 7.0 and Valkey 9.1 (`SLOTWAY_TEST_VALKEY`,
//! or `valkey-server` on PATH).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use slotway::command::{Command, CommandTable, Keys, Mode, Policy, render_snapshot};
use slotway::resp::{self, ReplyScanner, encode, parse_request};

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/command/snapshot.txt");
const REDIS: &str = "redis-7.0";
const VALKEY: &str = "valkey-9.1";

/// How long a server may take to accept connections.
const START_MAX: Duration = Duration::from_secs(20);

/// How long a server may take to answer one command.
const REPLY_MAX: Duration = Duration::from_secs(20);

/// A server that listens on a Unix socket only, in a directory of its own; ends with the value.
struct Server {
    child: Child,
    directory: tempfile::TempDir,
}

impl Server {
    fn redis() -> Self {
        Self::start("redis-server".into())
    }

    fn valkey() -> Self {
        let given = std::env::var_os("SLOTWAY_TEST_VALKEY");
        Self::start(given.map_or("valkey-server".into(), PathBuf::from))
    }

    fn start(program: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = Process::new(&program)
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--unixsocket",
                "socket",
                "--dir",
            ])
            .arg(directory.path())
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { child, directory }
    }

    fn connect(&self) -> Connection {
        let deadline = Instant::now() + START_MAX;
        loop {
            match UnixStream::connect(self.directory.path().join("socket")) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(REPLY_MAX)).unwrap();
                    return Connection(stream);
                }
                Err(error) => assert!(Instant::now() < deadline, "no server: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Connection(UnixStream);

impl Connection {
    /// Sends one command, and gives its whole reply.
    fn call(&mut self, words: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let mut request = Vec::new();
        encode::command(&mut request, words);
        self.0.write_all(&request).unwrap();
        let mut scanner = ReplyScanner::new();
        let mut reply = Vec::new();
        loop {
            let mut chunk = [0; 16 * 1024];
            let read = self.0.read(&mut chunk).unwrap();
            assert!(read > 0, "the server closed the connection");
            reply.extend_from_slice(&chunk[..read]);
            if let Some(length) = scanner.scan(&reply).unwrap() {
                assert_eq!(length, reply.len());
                return reply;
            }
        }
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn with_request<T>(words: &[impl AsRef<[u8]>], with: impl FnOnce(&resp::Request<'_>) -> T) -> T {
    let mut bytes = Vec::new();
    encode::command(&mut bytes, words);
    let mut spans = Vec::new();
    with(&parse_request(&bytes, &mut spans).unwrap())
}

/// The keys that slotway sees in a request, sorted; none where it calls the request malformed.
fn our_keys(table: &CommandTable, line: &str) -> Vec<String> {
    with_request(&words(line), |request| {
        let mut places = Keys::new();
        let command = table.lookup(request).unwrap();
        if command.keys(request, &mut places).is_err() {
            assert!(places.is_empty(), "{line}");
        }
        let key = |at: &u32| String::from_utf8(request.arg(*at as usize).to_vec()).unwrap();
        let mut keys: Vec<_> = places.iter().map(key).collect();
        keys.sort();
        keys
    })
}

/// The keys that a server sees, sorted; none where it answers with an error.
fn server_keys(server: &mut Connection, line: &str) -> Vec<String> {
    let reply = server.call(&words(&format!("COMMAND GETKEYS {line}")));
    let key = |range| String::from_utf8(resp::bulk(&reply[range]).unwrap().to_vec()).unwrap();
    let elements = resp::elements(&reply).unwrap_or_default();
    let mut keys: Vec<_> = elements.into_iter().map(key).collect();
    keys.sort();
    keys
}

/// Requests with keys in every kind of place, well formed or not.
const KEY_SAMPLES: &[&str] = &[
    "GET a",
    "set a v EX 10 NX GET",
    "MGET a b c",
    "MSET a 1 b 2",
    "MSETNX a 1 b 2",
    "DEL a b",
    "RENAME a b",
    "COPY a b REPLACE",
    "LMOVE a b LEFT RIGHT",
    "BITOP AND d a b",
    "PFMERGE d a b",
    "PFCOUNT a b",
    "SINTERSTORE d a b",
    "SINTERCARD 2 a b LIMIT 1",
    "SINTERCARD 3 a b",
    "SMOVE a b m",
    "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
    "ZUNIONSTORE d 3 a b",
    "ZINTER 2 a b WITHSCORES",
    "ZDIFFSTORE d 1 a",
    "ZRANGESTORE d s 0 -1",
    "ZMPOP 2 a b MIN",
    "LMPOP 2 a b LEFT COUNT 1",
    "LMPOP x a b LEFT",
    "BLMPOP 1 2 a b LEFT",
    "BLPOP a b 0",
    "BZPOPMIN a b 0",
    "LCS a b LEN",
    "GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m",
    "GEORADIUS a 1 2 3 m",
    "GEORADIUS a 1 2 3 m STORE d",
    "GEORADIUS a 1 2 3 m STORE",
    "GEORADIUS a 1 2 3 m COUNT 1 ASC STOREDIST e",
    "GEORADIUSBYMEMBER a m 3 m STORE d",
    "SORT a",
    "SORT a STORE d",
    "SORT a BY nosort GET # LIMIT 0 1 ASC store d",
    "SORT a STORE d STORE e",
    "SORT a GET STORE STORE d",
    "SORT a BY store x",
    "SORT a LIMIT store 1 ASC",
    "SORT_RO a BY nosort",
    "EVAL s 2 a b c",
    "EVAL s 0 a",
    "EVAL s 3 a b",
    "EVALSHA_RO s 1 a",
    "FCALL f 1 a b",
    "XADD a * f v",
    "XREAD STREAMS a b 0 0",
    "XREAD COUNT 1 BLOCK 0 STREAMS a b 0 0",
    "XREAD streams a 0",
    "XREAD STREAMS a b 0",
    "XREADGROUP GROUP streams streams STREAMS a >",
    "XREADGROUP GROUP g c NOACK COUNT 1 STREAMS a b > >",
    "XGROUP CREATE a g $",
    "XINFO STREAM a FULL",
    "OBJECT ENCODING a",
    "MEMORY USAGE a SAMPLES 5",
    "MIGRATE h 1 a 0 5",
    "MIGRATE h 1 a 0 5 COPY REPLACE AUTH KEYS",
    "MIGRATE h 1  0 5 KEYS a b",
    "MIGRATE h 1  0 5 AUTH2 u KEYS KEYS a b",
    "WATCH a b",
    "RESTORE a 0 v",
    "DUMP a",
    "HSET a f v",
    "PING",
    "DBSIZE",
];

/// As above, of Valkey only.
const VALKEY_KEY_SAMPLES: &[&str] = &[
    "MSETEX 2 a 1 b 2",
    "MSETEX 2 a 1 b 2 NX EX 10",
    "MSETEX 3 a 1 b 2",
    "DELIFEQ a v",
    "HGETEX a EX 10 FIELDS 1 f",
    "HSETEX a EX 10 FIELDS 1 f v",
];

#[test]
fn the_snapshot_says_what_the_servers_say() {
    let (redis, valkey) = (Server::redis(), Server::valkey());
    let redis = redis.connect().call(&["COMMAND"]);
    let valkey = valkey.connect().call(&["COMMAND"]);
    let now = render_snapshot(&[(REDIS, &redis), (VALKEY, &valkey)]).unwrap();
    if std::env::var_os("SLOTWAY_WRITE_SNAPSHOT").is_some() {
        std::fs::write(SNAPSHOT, &now).unwrap();
    }
    let checked_in = std::fs::read_to_string(SNAPSHOT).unwrap();
    let known: Vec<_> = checked_in.lines().collect();
    let changed: Vec<_> = now.lines().filter(|line| !known.contains(line)).collect();
    assert!(
        checked_in == now,
        "write it anew (src/command/snapshot.rs says how); changed: {changed:#?}"
    );
}

#[test]
fn keys_are_where_the_servers_find_them() {
    let table = CommandTable::builtin();
    let (redis, valkey) = (Server::redis(), Server::valkey());
    let (mut redis, mut valkey) = (redis.connect(), valkey.connect());
    for line in KEY_SAMPLES {
        let ours = our_keys(&table, line);
        assert_eq!(ours, server_keys(&mut redis, line), "redis: {line}");
        assert_eq!(ours, server_keys(&mut valkey, line), "valkey: {line}");
    }
    // COMMAND GETKEYS finds none here, but the node that gets it knows whose key it is, and redirects.
    assert_eq!(our_keys(&table, "PFMERGE d"), ["d"]);
    // Valkey sees only the last of two destinations; the key specifications of both servers name both.
    let two = "GEORADIUS a 1 2 3 m STORE d STOREDIST e";
    assert_eq!(our_keys(&table, two), server_keys(&mut redis, two));
    for line in VALKEY_KEY_SAMPLES {
        assert_eq!(
            our_keys(&table, line),
            server_keys(&mut valkey, line),
            "valkey: {line}"
        );
    }
}

/// The servers do not call a sharded channel a key, but it has a slot like one.
#[test]
fn sharded_channels_have_a_slot() {
    let table = CommandTable::builtin();
    assert_eq!(our_keys(&table, "SPUBLISH ch m"), ["ch"]);
}

/// Requests that no server can execute: wrong names, wrong numbers of arguments.
fn wrong_requests() -> Vec<Vec<Vec<u8>>> {
    let long = |byte, n| vec![byte; n];
    let lines = [
        "foo",
        "FOO a b",
        "client xx",
        "Client",
        "cOnFig foo bar",
        "command foo",
        "GET",
        "get a b",
        "set a",
        "mset a 1 b",
        "msetnx a 1 b",
        "client setname",
        "CONFIG GET",
        "object",
        "xgroup nope a",
        "cluster foo",
        "memory doctor x",
    ];
    let mut requests: Vec<Vec<Vec<u8>>> = lines
        .iter()
        .map(|line| {
            line.split(' ')
                .map(|word| word.as_bytes().to_vec())
                .collect()
        })
        .collect();
    requests.push(vec![
        long(b'f', 200),
        long(b'a', 126),
        long(b'b', 10),
        long(b'c', 10),
    ]);
    requests.push(vec![b"foo".to_vec(), long(b'a', 125), long(b'b', 10)]);
    requests.push(vec![
        b"foo".to_vec(),
        long(b'a', 124),
        long(b'b', 10),
        long(b'c', 10),
    ]);
    requests.push(vec![b"foo".to_vec(), long(b'a', 300)]);
    requests.push(vec![
        b"foo".to_vec(),
        b"a\0b".to_vec(),
        b"".to_vec(),
        b"x\r\ny'z\xff".to_vec(),
    ]);
    requests.push(vec![b"get\0".to_vec(), b"a".to_vec()]);
    requests.push(vec![b"".to_vec(), b"a".to_vec()]);
    requests.push(vec![b"client".to_vec(), long(b'x', 200)]);
    requests.push(vec![b"client".to_vec(), b"a\r\nb\0c".to_vec()]);
    requests
}

#[test]
fn what_does_not_exist_is_refused_in_the_servers_words() {
    let table = CommandTable::builtin();
    for server in [Server::redis(), Server::valkey()] {
        let mut connection = server.connect();
        for words in wrong_requests() {
            let theirs = connection.call(&words);
            let mut ours = Vec::new();
            with_request(&words, |request| match table.lookup(request) {
                Err(unknown) => unknown.write_to(&mut ours),
                Ok(command) => {
                    assert!(!command.arity_ok(request.len()), "{}", command.name);
                    encode::error(&mut ours, &command.arity_error());
                }
            });
            let (ours_text, theirs_text) = (
                String::from_utf8_lossy(&ours),
                String::from_utf8_lossy(&theirs),
            );
            assert_eq!(ours_text, theirs_text);
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn an_overlay_of_each_server_has_its_commands_and_no_others() {
    let builtin = CommandTable::builtin();
    let (redis, valkey) = (Server::redis(), Server::valkey());
    let redis = redis.connect().call(&["COMMAND"]);
    let valkey = valkey.connect().call(&["COMMAND"]);
    let of_redis = builtin.overlay(&[&redis]).unwrap();
    let of_valkey = builtin.overlay(&[&valkey]).unwrap();
    let of_both = of_redis.overlay(&[&redis, &valkey]).unwrap();

    assert!(of_redis.by_name("msetex").is_none());
    assert!(of_valkey.by_name("msetex").is_some());
    // A cluster that is being upgraded: a node says itself what it does not know.
    assert!(of_both.by_name("msetex").is_some());
    assert_eq!(of_redis.by_name("zrank").unwrap().arity, 3);
    assert_eq!(of_valkey.by_name("zrank").unwrap().arity, -3);
    assert_eq!(of_both.by_name("zrank").unwrap().arity, -3);
    // Answered by slotway, so that it does not matter that Redis 7.0 does not have it.
    assert!(of_redis.by_name("client|setinfo").is_some());

    let same = |a: &Command, b: &Command| {
        a.metric == b.metric && a.policy == b.policy && a.lookup == b.lookup
    };
    for table in [&of_redis, &of_valkey, &of_both] {
        for command in table.iter() {
            assert!(
                same(command, builtin.by_name(&command.name).unwrap()),
                "{}",
                command.name
            );
            assert_eq!(table.metric_names()[command.metric.index()], command.name);
        }
    }
}

#[test]
fn an_argument_may_decide() {
    let table = CommandTable::builtin();
    let policy = |line: &str| {
        with_request(&words(line), |request| {
            table.lookup(request).unwrap().policy_for(request)
        })
    };
    assert!(matches!(policy("EVAL s 0"), Policy::KeylessScript));
    assert_eq!(policy("EVAL s 1 a"), Policy::Route);
    assert!(matches!(
        policy("XREAD BLOCK 0 STREAMS a 0"),
        Policy::Mode(Mode::Blocking)
    ));
    assert_eq!(policy("XREAD COUNT 1 STREAMS BLOCK 0"), Policy::Route);
    assert!(matches!(
        policy("XREADGROUP GROUP g c block 1 STREAMS a >"),
        Policy::Mode(Mode::Blocking)
    ));
}

#[test]
fn msetex_is_served_on_request_and_its_conditions_are_never_cut() {
    let mut table = CommandTable::builtin();
    let policy = |table: &CommandTable, line: &str| {
        with_request(&words(line), |request| {
            table.lookup(request).unwrap().policy_for(request)
        })
    };
    for line in ["MSETEX 1 a 1", "MSETEX 1 a 1 NX", "MSETEX x a 1"] {
        assert!(matches!(policy(&table, line), Policy::Refused(_)), "{line}");
    }
    assert_eq!(table.apply(&["msetex".to_owned()], &[]), [""; 0]);
    assert!(matches!(
        policy(&table, "MSETEX 1 a NX EX 5"),
        Policy::Split(_)
    ));
    assert_eq!(policy(&table, "MSETEX 1 a 1 EX 5 nx"), Policy::Route);
    assert_eq!(policy(&table, "MSETEX x a 1"), Policy::Route);
}
