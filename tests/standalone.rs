//! Servers without cluster support behind the proxy (`cluster.mode`): one primary and its replicas are one shard with all
//! slots. What works there, who is followed, and what is not taken for a primary. Against real servers.

mod support;

use slotway::demo::{Process, Reservation, Server, mortal};
use std::net::SocketAddr;
use std::process::Command;
use support::{
    Proxy, RawClient, SHOWN_WITHIN, ServerKind, boot_cluster, cluster_options, on_each, show,
};

fn boot(kind: &ServerKind) -> Server {
    Server::boot(&kind.path, &[("repl-diskless-sync-delay", "0")]).expect("a server")
}

fn say(server: &Server, line: &str) -> String {
    show(&RawClient::connect(server.addr()).line(line))
}

fn replicate(replica: &Server, primary: &Server) {
    let port = primary.addr().port();
    assert_eq!(
        say(replica, &format!("REPLICAOF 127.0.0.1 {port}")),
        show(b"+OK\r\n")
    );
}

/// Until the server has this many replicas that are in step.
fn wait_replicas(proxy: &Proxy, primary: &Server, count: usize) {
    proxy.wait_for("replicas are in step", SHOWN_WITHIN, || {
        let info = say(primary, "INFO replication");
        match info.matches("state=online").count() {
            n if n == count => Ok(()),
            _ => Err(info),
        }
    });
}

fn wait_primary(proxy: &Proxy, addr: SocketAddr) {
    proxy.wait_for("the primary is another", SHOWN_WITHIN, || {
        match proxy.owner_of(0) {
            Some(owner) if owner == addr.to_string() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// Until the proxy knows a primary and a replica.
fn wait_two(proxy: &Proxy) {
    proxy.wait_for("the replica is known", SHOWN_WITHIN, || {
        let status = proxy.json("/topology");
        match status["nodes"].as_array().map(Vec::len) {
            Some(2) => Ok(()),
            _ => Err(status.to_string()),
        }
    });
}

/// Until the servers were asked again, as they are now.
fn wait_asked(proxy: &Proxy) {
    let asked = || {
        proxy.json("/topology")["refreshes"]
            .as_u64()
            .expect("a number")
    };
    let before = asked();
    proxy.wait_for("it asks again", SHOWN_WITHIN, || match asked() {
        now if now > before + 2 => Ok(()),
        now => Err(format!("{now} times")),
    });
}

/// Why it is not ready.
fn wait_refusal(proxy: &Proxy, parts: &[&str]) {
    proxy.wait_for("it says why it is not ready", SHOWN_WITHIN, || {
        let status = proxy.json("/topology");
        let error = &status["last_error"];
        let told = format!("{} {}", error["error"], error["hint"]);
        match parts.iter().all(|part| told.contains(part)) {
            true => Ok(()),
            false => Err(told),
        }
    });
    let (status, _) = proxy.get("/readyz").expect("it answers");
    assert_eq!(status, 503);
}

#[test]
fn one_server_is_one_shard_with_all_slots() {
    on_each(|kind| {
        let server = boot(kind);
        let proxy = Proxy::start_with(&[server.addr()], &[]);
        let mut client = proxy.client();
        let conversations: &[(&str, &[u8])] = &[
            ("MSET a 1 b 2", b"+OK\r\n"),
            ("MGET a b c", b"*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"),
            ("DBSIZE", b":2\r\n"),
            (
                "SCAN 0 COUNT 1000 MATCH a",
                b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\na\r\n",
            ),
            ("MULTI", b"+OK\r\n"),
            ("INCR {a}n", b"+QUEUED\r\n"),
            ("INCR {a}n", b"+QUEUED\r\n"),
            ("EXEC", b"*2\r\n:1\r\n:2\r\n"),
            ("WATCH a", b"+OK\r\n"),
            ("UNWATCH", b"+OK\r\n"),
            ("EVAL return(redis.call('get',KEYS[1])) 1 a", b"$1\r\n1\r\n"),
            ("RPUSH l x", b":1\r\n"),
            ("BLPOP l 0", b"*2\r\n$1\r\nl\r\n$1\r\nx\r\n"),
            ("PUBLISH c m", b":0\r\n"),
            // As on a cluster: what works here works there.
            ("SELECT 1", b"-ERR DB index is out of range\r\n"),
        ];
        for (line, reply) in conversations {
            client.expect(line, reply);
        }
        assert!(client.line("SINTER a b").starts_with(b"-CROSSSLOT "));
        let mut listener = proxy.client();
        listener.line("SUBSCRIBE c");
        client.expect("PUBLISH c m", b":1\r\n");
        assert_eq!(
            listener.reply(),
            b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
        );
        // A pipeline comes back in order.
        for n in 0..1000 {
            client.send(&support::encode(&["SET", &format!("k{n}"), &n.to_string()]));
            client.send(&support::encode(&["GET", &format!("k{n}")]));
        }
        for (at, reply) in client.replies(2000).iter().enumerate().skip(1).step_by(2) {
            let n = (at / 2).to_string();
            assert_eq!(*reply, format!("${}\r\n{n}\r\n", n.len()).as_bytes());
        }
        let status = proxy.json("/topology");
        assert_eq!(status["standalone"], true);
        let (_, page) = proxy.get("/").expect("the page");
        assert!(page.contains("one server, no cluster: settled"), "{page}");
        assert_eq!(status["ranges"].as_array().unwrap().len(), 1, "{status:#}");
        assert_eq!(proxy.owner_of(16383), Some(server.addr().to_string()));
        assert_eq!(proxy.metrics().sum("slotway_slots_covered", &[]), 16384.0);
    });
}

#[test]
fn a_server_that_is_started_anew_is_found_again() {
    on_each(|kind| {
        let mut server = boot(kind);
        let proxy = Proxy::start_with(&[server.addr()], &["--set", "timeouts.unavailable=200ms"]);
        let mut client = proxy.client();
        client.expect("SET a 1", b"+OK\r\n");
        server.kill();
        assert!(client.line("GET a").starts_with(b"-CLUSTERDOWN slotway: "));
        proxy.wait_for("it is missed", SHOWN_WITHIN, || {
            match &proxy.json("/topology")["last_error"] {
                serde_json::Value::Null => Err("nothing is wrong".to_owned()),
                _ => Ok(()),
            }
        });
        server.restart().unwrap();
        proxy.wait_for("it is found", SHOWN_WITHIN, || {
            match &client.line("SET a 2")[..] {
                b"+OK\r\n" => Ok(()),
                other => Err(show(other)),
            }
        });
        assert_eq!(proxy.owner_of(0), Some(server.addr().to_string()));
    });
}

/// A client writes all the time, and gets no error; slotway follows a promotion by hand, and one after a crash.
#[test]
fn a_promotion_is_followed() {
    on_each(|kind| {
        let (mut first, second) = (boot(kind), boot(kind));
        replicate(&second, &first);
        let proxy = Proxy::start_with(
            &[first.addr()],
            &[
                "--set",
                "timeouts.unavailable=30s",
                "--set",
                "cluster.refresh_interval=200ms",
            ],
        );
        wait_replicas(&proxy, &first, 1);
        wait_two(&proxy);
        let mut client = proxy.client();
        client.expect("SET a 1", b"+OK\r\n");
        // By hand: two primaries for a moment, of which the one that was it stays it.
        say(&second, "REPLICAOF NO ONE");
        wait_asked(&proxy);
        client.expect("SET b 1", b"+OK\r\n");
        assert_eq!(say(&first, "GET b"), show(b"$1\r\n1\r\n"));
        replicate(&first, &second);
        // What is refused as by a replica is sent again.
        client.expect("SET c 1", b"+OK\r\n");
        wait_primary(&proxy, second.addr());
        assert_eq!(say(&second, "GET c"), show(b"$1\r\n1\r\n"));
        wait_replicas(&proxy, &second, 1);
        // And back: this time the primary is gone first.
        let mut second = second;
        wait_two(&proxy);
        second.kill();
        say(&first, "REPLICAOF NO ONE");
        client.expect("SET d 1", b"+OK\r\n");
        assert_eq!(say(&first, "GET d"), show(b"$1\r\n1\r\n"));
        wait_primary(&proxy, first.addr());
        // Who comes back as a primary of its own does not take over.
        second.restart().unwrap();
        wait_asked(&proxy);
        client.expect("SET e 1", b"+OK\r\n");
        assert_eq!(proxy.owner_of(0), Some(first.addr().to_string()));
        first.kill();
    });
}

#[test]
fn a_replica_leads_to_its_primary() {
    on_each(|kind| {
        let (mut primary, replica) = (boot(kind), boot(kind));
        replicate(&replica, &primary);
        let proxy = Proxy::start_with(&[replica.addr()], &[]);
        proxy.client().expect("SET a 1", b"+OK\r\n");
        assert_eq!(say(&primary, "GET a"), show(b"$1\r\n1\r\n"));
        proxy.wait_for("it was copied", SHOWN_WITHIN, || {
            match say(&replica, "GET a") {
                told if told == show(b"$1\r\n1\r\n") => Ok(()),
                told => Err(told),
            }
        });
        primary.kill();
        // One that is started now finds only the replica.
        let proxy = Proxy::spawn(&[replica.addr()], &[]);
        wait_refusal(&proxy, &["is a replica of", "REPLICAOF NO ONE"]);
        say(&replica, "REPLICAOF NO ONE");
        proxy.wait_ready();
        proxy.client().expect("GET a", b"$1\r\n1\r\n");
    });
}

#[test]
fn two_primaries_are_not_mixed() {
    on_each(|kind| {
        let (one, other) = (boot(kind), boot(kind));
        let proxy = Proxy::spawn(&[one.addr(), other.addr()], &[]);
        wait_refusal(&proxy, &["are both primaries", "REPLICAOF"]);
        replicate(&other, &one);
        proxy.wait_ready();
        assert_eq!(proxy.owner_of(0), Some(one.addr().to_string()));
    });
}

#[test]
fn a_cluster_wins_over_a_server_without_one() {
    on_each(|kind| {
        let server = boot(kind);
        let cluster = boot_cluster(kind);
        let seeds = [server.addr(), cluster.addrs()[0]];
        let proxy = Proxy::start_with(&seeds, &[]);
        assert_eq!(proxy.json("/topology")["standalone"], false);
        proxy.client().expect("SET a 1", b"+OK\r\n");
        assert_eq!(say(&server, "DBSIZE"), show(b":0\r\n"));
        assert!(
            proxy
                .log()
                .iter()
                .any(|line| line.contains("it is not part of one: it is not used"))
        );
        // Nor is a cluster that was found given up for it.
        let nodes = proxy.json("/topology")["nodes"].as_array().unwrap().len();
        assert_eq!(
            nodes,
            cluster_options(kind).primaries + cluster_options(kind).replicas
        );
    });
}

#[test]
fn a_cluster_that_comes_later_is_taken_up() {
    on_each(|kind| {
        let server = boot(kind);
        let later = Reservation::any_node().expect("a free port");
        let proxy = Proxy::start_with(
            &[server.addr(), later.addr()],
            &["--set", "cluster.refresh_interval=200ms"],
        );
        assert_eq!(proxy.json("/topology")["standalone"], true);
        let addr = later.addr();
        let node =
            Server::boot_at(later, &kind.path, &[("cluster-enabled", "yes")]).expect("a node");
        assert_eq!(node.addr(), addr);
        say(&node, "CLUSTER ADDSLOTSRANGE 0 16383");
        wait_primary(&proxy, addr);
        assert_eq!(proxy.json("/topology")["standalone"], false);
        proxy.client().expect("SET a 1", b"+OK\r\n");
        assert_eq!(say(&node, "GET a"), show(b"$1\r\n1\r\n"));
    });
}

#[test]
fn the_mode_is_what_it_is_set_to() {
    on_each(|kind| {
        let server = boot(kind);
        let proxy = Proxy::spawn(&[server.addr()], &["--set", "cluster.mode=cluster"]);
        wait_refusal(&proxy, &["it is not part of a cluster", "cluster.mode"]);
        let cluster = boot_cluster(kind);
        let proxy = Proxy::spawn(&cluster.addrs(), &["--set", "cluster.mode=standalone"]);
        wait_refusal(&proxy, &["it is part of a cluster", "cluster.mode"]);
        let proxy = Proxy::start_with(&[server.addr()], &["--set", "cluster.mode=standalone"]);
        proxy.client().expect("SET a 1", b"+OK\r\n");
    });
}

#[test]
fn a_sentinel_is_no_server() {
    on_each(|kind| {
        let dir = tempfile::tempdir().unwrap();
        let port = Reservation::any().unwrap();
        let file = dir.path().join("sentinel.conf");
        let text = format!(
            "port {}\ndir {}\n",
            port.addr().port(),
            dir.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = mortal(&kind.path);
        command
            .arg(&file)
            .arg("--sentinel")
            .stdout(std::process::Stdio::null());
        let _sentinel = Process::start(command).unwrap();
        let proxy = Proxy::spawn(&[port.addr()], &[]);
        wait_refusal(&proxy, &["it is a sentinel", "the servers that it watches"]);
    });
}

#[test]
fn tools_know_it_too() {
    on_each(|kind| {
        let (primary, replica) = (boot(kind), boot(kind));
        replicate(&replica, &primary);
        let run = |args: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_slotway"))
                .args(args)
                .output()
                .unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.success(), text)
        };
        let nodes = format!("{},{}", primary.addr(), replica.addr());
        let (ok, text) = run(&["check", "--probe", "--nodes", &nodes]);
        assert!(
            ok && text.contains("a primary with")
                && text.contains(&format!("a replica of {}", primary.addr())),
            "{text}"
        );
        let (ok, text) = run(&["explain", "--nodes", &primary.addr().to_string(), "GET a"]);
        assert!(ok && text.contains(&primary.addr().to_string()), "{text}");
        let (ok, text) = run(&[
            "check",
            "--probe",
            "--nodes",
            &nodes,
            "--set",
            "cluster.mode=cluster",
        ]);
        assert!(!ok && text.contains("cluster support disabled"), "{text}");
    });
}
