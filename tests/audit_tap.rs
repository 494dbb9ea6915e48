//! `slotway audit` in front of one real server: nothing that passes is changed, what would fail or change on a cluster is
//! told by client and command, and nothing of an application can break by it.

mod support;

use rustix::process::Signal;
use serde_json::Value;
use slotway::demo::Server;
use std::process::Command;
use support::{Proxy, RawClient, SHOWN_WITHIN, ServerKind, boot_cluster, encode, on_each};

fn boot(kind: &ServerKind) -> Server {
    Server::boot(&kind.path, &[("databases", "16")]).expect("a server")
}

/// Two servers of a kind, one with a tap in front.
struct Scene {
    direct: Server,
    behind: Server,
    tap: Proxy,
}

impl Scene {
    fn begin(kind: &ServerKind, args: &[&str]) -> Self {
        let (direct, behind) = (boot(kind), boot(kind));
        let tap = Proxy::audit(behind.addr(), args);
        Self {
            direct,
            behind,
            tap,
        }
    }

    fn clients(&self) -> [RawClient; 2] {
        [RawClient::connect(self.direct.addr()), self.tap.client()]
    }
}

#[track_caller]
fn of_kind<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let all = report["findings"].as_array().expect("a list");
    all.iter()
        .find(|f| f["kind"] == kind)
        .unwrap_or_else(|| panic!("{kind}: {report:#}"))
}

/// What the application says, in one go, and so many replies.
const CONVERSATIONS: &[(&[&str], usize)] = &[
    (&["SET a 1", "GET a", "GET none", "INCR a", "NOSUCH x"], 5),
    (
        &["SELECT 3", "SET a 2", "SELECT 0", "GET a", "SELECT 99"],
        5,
    ),
    (&["MULTI", "SET x 1", "SET y 2", "MGET x y", "EXEC"], 5),
    (&["WATCH x y", "MULTI", "DISCARD", "EXEC"], 4),
    (
        &["EVAL return(redis.call('mget','x','y')) 0", "EVALSHA abc 0"],
        2,
    ),
    (
        &[
            "MSET p 1 q 2",
            "RENAME p r",
            "SWAPDB 0 1",
            "SWAPDB 0 1",
            "MOVE r 5",
        ],
        5,
    ),
    (
        &["CLIENT SETNAME app", "CLIENT GETNAME", "CLIENT NO-EVICT on"],
        3,
    ),
    (&["RPUSH l 1 2", "BLPOP m l 0", "BRPOPLPUSH l m 0"], 3),
    (&["SUBSCRIBE c d", "PING", "UNSUBSCRIBE c d", "PING"], 6),
    (
        &[
            "HELLO 3",
            "HSET h f v",
            "HGETALL h",
            "SUBSCRIBE c",
            "GET x",
            "UNSUBSCRIBE",
        ],
        6,
    ),
    (&["CLIENT REPLY SKIP", "SET a 9", "GET a"], 1),
    (
        &[
            "SORT l BY w_* GET #",
            "OBJECT ENCODING l",
            "DBSIZE",
            "CONFIG GET databases",
        ],
        4,
    ),
    (
        &[
            "CLUSTER INFO",
            "READONLY",
            "DEBUG SLEEP 0",
            "LOLWUT VERSION 0 1",
        ],
        4,
    ),
    (&["GET", "SET a", "HELLO 9", "RESET"], 4),
];

/// HELLO tells the number of the connection.
fn without_id(reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply).into_owned();
    match text.split_once("$2\r\nid\r\n") {
        Some((before, after)) => {
            let (_, after) = after.split_once("\r\n").expect("a number");
            format!("{before}{after}")
        }
        None => text,
    }
}

#[test]
fn what_passes_is_what_the_server_says() {
    on_each(|kind| {
        let scene = Scene::begin(kind, &[]);
        for (lines, count) in CONVERSATIONS {
            let [direct, behind] = scene.clients().map(|mut client| {
                client.send_lines(lines);
                let replies = client.replies(*count);
                replies.iter().map(|r| without_id(r)).collect::<Vec<_>>()
            });
            assert_eq!(direct, behind, "{lines:?}");
        }
        // In pieces, inline, and what is no request at all: the server's own error, and its end of the connection.
        let [direct, behind] = scene.clients().map(|mut client| {
            let bytes = [
                encode(&["SET", "k", "v"]),
                b"GET k\r\n*1\r\n:1\r\n".to_vec(),
            ]
            .concat();
            let cuts: Vec<usize> = (1..bytes.len()).collect();
            client.send_in_pieces(&bytes, &cuts);
            client.rest()
        });
        assert_eq!(direct, behind);
        assert!(direct.ends_with(b"\r\n") && direct.len() > 20);
        let [direct, behind] = scene.clients().map(|mut client| {
            client.send_lines(&["QUIT"]);
            client.rest()
        });
        assert_eq!(direct, behind);
        // A client that sends no more gets what it asked for.
        let [direct, behind] = scene.clients().map(|mut client| {
            client.send_lines(&["GET k", "GET k"]);
            let replies = client.replies(2);
            client.half_close();
            (replies, client.rest())
        });
        assert_eq!(direct, behind);
    });
}

#[test]
fn large_values_and_deep_pipelines_pass_both_ways() {
    on_each(|kind| {
        let scene = Scene::begin(kind, &[]);
        let value = vec![b'v'; 40 << 20];
        let mut client = scene.tap.client();
        assert_eq!(client.command(&[&b"SET"[..], b"large", &value]), b"+OK\r\n");
        let got = client.command(&["GET", "large"]);
        assert!(got.len() > value.len() && got.ends_with(b"vvv\r\n"));
        assert!(got[11..got.len() - 2] == value[..]);
        const COMMANDS: usize = 50_000;
        let mut bytes = Vec::new();
        for n in 0..COMMANDS {
            bytes.extend(encode(&["INCRBY", "n", &n.to_string()]));
        }
        client.send(&bytes);
        let mut sum = 0;
        for (n, reply) in client.replies(COMMANDS).iter().enumerate() {
            sum += n;
            assert_eq!(reply, format!(":{sum}\r\n").as_bytes());
        }
        // Both directions of the large value were seen; what passed is not kept.
        let report = scene.tap.json("/audit");
        let big = of_kind(&report, "big_value");
        assert_eq!(
            (&big["count"], &big["found"][0]["examples"][0]),
            (&2.into(), &"large".into())
        );
        assert_eq!(report["commands"], COMMANDS + 2);
        let peak = scene.tap.peak();
        assert!(peak < 40 << 20, "{peak} bytes were resident");
    });
}

#[test]
fn messages_and_what_blocks_come_when_they_come() {
    on_each(|kind| {
        let scene = Scene::begin(kind, &[]);
        let mut other = RawClient::connect(scene.behind.addr());
        let (mut listener, mut waiter) = (scene.tap.client(), scene.tap.client());
        listener.command(&["SUBSCRIBE", "c"]);
        other.command(&["PUBLISH", "c", "hello"]);
        assert_eq!(
            listener.reply(),
            b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"
        );
        let mut monitor = scene.tap.client();
        assert_eq!(monitor.command(&["MONITOR"]), b"+OK\r\n");
        waiter.send(&encode(&["BLPOP", "one", "two", "0"]));
        let seen = monitor.reply();
        assert!(seen.windows(5).any(|w| w == b"BLPOP"));
        other.command(&["RPUSH", "two", "x"]);
        assert_eq!(waiter.reply(), b"*2\r\n$3\r\ntwo\r\n$1\r\nx\r\n");
        // A client that is reset is one the server loses, too.
        let clients = |other: &mut RawClient| {
            let list = String::from_utf8(other.command(&["CLIENT", "LIST"])).unwrap();
            list.lines().filter(|line| line.contains("addr=")).count()
        };
        assert_eq!(clients(&mut other), 4);
        listener.reset();
        monitor.reset();
        scene
            .tap
            .wait_for("the server loses them", SHOWN_WITHIN, || {
                match clients(&mut other) {
                    2 => Ok(()),
                    more => Err(format!("{more} clients")),
                }
            });
    });
}

#[test]
fn the_report_tells_who_would_meet_what() {
    on_each(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let files = ["r.json", "r.html", "r.txt"].map(|name| dir.path().join(name));
        for (n, file) in files.iter().enumerate() {
            let args = ["--report", file.to_str().unwrap()];
            let mut scene = Scene::begin(kind, &args);
            let mut web = scene.tap.client();
            web.command(&["CLIENT", "SETNAME", "web<i>"]);
            web.command(&["SINTER", "a", "b"]);
            web.command(&["SELECT", "4"]);
            web.command(&["MSET", "a", "secret", "b", "secret"]);
            let mut jobs = scene.tap.client();
            jobs.command(&["HELLO", "3", "SETNAME", "jobs"]);
            for line in [
                "MULTI",
                "SET a secret",
                "SET b secret",
                "EXEC",
                "BLMPOP 0.01 2 a b LEFT",
            ] {
                jobs.line(line);
            }
            jobs.command(&["EVAL", "return 'secret'", "0"]);
            let (_, page) = scene.tap.get("/").unwrap();
            assert!(page.contains("web&lt;i&gt;"), "{page}");
            assert_eq!(scene.tap.get("/hotkeys").unwrap().0, 404);
            scene.tap.signal(Signal::INT);
            assert!(scene.tap.wait_exit().success());
            let log = scene.tap.log().join("\n");
            let written = std::fs::read_to_string(file).unwrap();
            for told in [&log, &written, &page] {
                assert!(!told.contains("secret"), "{told}");
            }
            // SINTER, SELECT and the second SET of the transaction fail; MSET, BLMPOP and EVAL change.
            let verdict = "5 of 11 commands would be served as by one server; 3 would fail, 3 would change, 0 cost more.";
            match n {
                0 => {
                    let report: Value = serde_json::from_str(&written).unwrap();
                    let client = |kind| of_kind(&report, kind)["found"][0]["client"].clone();
                    for (kind, name) in [
                        ("cross_slot", "web<i>"),
                        ("select", "web<i>"),
                        ("split_write", "web<i>"),
                        ("cross_slot_transaction", "jobs"),
                        ("keyless_script", "jobs"),
                    ] {
                        assert_eq!(client(kind), name, "{kind}");
                    }
                }
                1 => assert!(
                    written.contains(verdict) && written.contains("web&lt;i&gt;"),
                    "{written}"
                ),
                _ => assert!(written.starts_with(verdict), "{written}"),
            }
            assert!(log.contains(verdict), "{log}");
        }
    });
}

#[test]
fn at_the_end_replies_on_their_way_are_delivered() {
    on_each(|kind| {
        let mut scene = Scene::begin(kind, &["--set", "timeouts.drain=30s"]);
        let mut other = RawClient::connect(scene.behind.addr());
        let (mut waiter, mut idle) = (scene.tap.client(), scene.tap.client());
        idle.command(&["PING"]);
        let mut monitor = RawClient::connect(scene.behind.addr());
        monitor.command(&["MONITOR"]);
        waiter.send(&encode(&["BLPOP", "l", "0"]));
        monitor.reply();
        scene.tap.signal(Signal::INT);
        // Who waits for nothing is closed, and nobody is let in.
        idle.expect_close();
        other.command(&["RPUSH", "l", "x"]);
        assert_eq!(waiter.reply(), b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n");
        waiter.expect_close();
        assert!(scene.tap.wait_exit().success());
    });
}

#[test]
fn a_server_that_is_away_is_said_to_be_and_is_found_again() {
    on_each(|kind| {
        let mut server = boot(kind);
        let tap = Proxy::audit(server.addr(), &[]);
        let mut client = tap.client();
        client.command(&["PING"]);
        server.kill();
        client.expect_close();
        let told = String::from_utf8(tap.client().rest()).unwrap();
        let expected = format!(
            "-ERR slotway: the audited server {} cannot be reached: ",
            server.addr()
        );
        assert!(told.starts_with(&expected), "{told}");
        server.restart().unwrap();
        assert_eq!(tap.client().command(&["PING"]), b"+PONG\r\n");
    });
}

#[test]
fn clients_beyond_the_limit_are_turned_away() {
    on_each(|kind| {
        let scene = Scene::begin(kind, &["--set", "limits.clients=2"]);
        let mut clients = [scene.tap.client(), scene.tap.client()];
        for client in &mut clients {
            client.command(&["PING"]);
        }
        assert_eq!(
            scene.tap.client().rest(),
            b"-ERR max number of clients reached\r\n"
        );
    });
}

#[test]
fn in_front_of_a_cluster_it_is_the_proxy() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let mut proxy = Proxy::audit(cluster.addrs()[0], &[]);
        let mut client = proxy.client();
        client.command(&["SET", "a", "1"]);
        assert!(
            client
                .command(&["SINTER", "a", "b"])
                .starts_with(b"-CROSSSLOT ")
        );
        assert_eq!(of_kind(&proxy.json("/audit"), "cross_slot")["count"], 1);
        assert_eq!(proxy.get("/metrics").unwrap().0, 200);
        proxy.signal(Signal::TERM);
        assert!(proxy.wait_exit().success());
        let log = proxy.log().join("\n");
        assert!(log.contains("1 of 2 commands would be served"), "{log}");
    });
}

#[test]
fn what_cannot_be_audited_is_said_at_once() {
    on_each(|kind| {
        let server = Server::boot(&kind.path, &[("requirepass", "secret")]).expect("a server");
        let audit = |args: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_slotway"))
                .arg("audit")
                .args(["--listen", "127.0.0.1:0", "--admin", "off"])
                .args(args)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stderr).unwrap()
        };
        let addr = server.addr().to_string();
        let told = audit(&["--upstream", &addr]);
        assert!(
            told.contains("NOAUTH") && told.contains("upstream.password_file"),
            "{told}"
        );
        let told = audit(&["--upstream", &addr, "--report", "/nowhere/report.txt"]);
        assert!(
            told.contains("cannot be written to /nowhere/report.txt"),
            "{told}"
        );
        let told = audit(&["--upstream", "127.0.0.1:1"]);
        assert!(
            told.contains("127.0.0.1:1") && told.contains("cannot be reached"),
            "{told}"
        );
    });
}
