//! Scripts: without keys they run on one primary, EVALSHA works on every node that a script must be known to, however
//! the node came to lack it, and what a script says is not taken for what a node says.

mod support;

use std::time::Duration;

use slotway::cluster::Slot;
use slotway::demo::{Cluster, Reply};
use support::{Metrics, Proxy, RawClient, ServerKind, boot_cluster, encode, redis, show, valkey};

/// How long a failover may take.
const FAILOVER: Duration = Duration::from_secs(20);

/// Cannot word an error, and its executions can be counted.
const APPEND: &str = "return redis.call('APPEND', KEYS[1], ARGV[1])";
/// Could word an error.
const APPEND_OR_ERR: &str = "if ARGV[1] == '' then return redis.error_reply('ERR nothing') end \
                             return redis.call('APPEND', KEYS[1], ARGV[1])";
const COUNT_AND_LIE: &str = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";

#[test]
fn scripts_on_redis() {
    all(&redis());
}

#[test]
fn scripts_on_valkey() {
    all(&valkey());
}

fn all(kind: &ServerKind) {
    let mut cluster = boot_cluster(kind);
    without_keys(&cluster);
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let own_text = own_noscript(&cluster);
    unknown_scripts_are_unknown(&proxy, &own_text);
    every_node_gets_what_is_loaded(&cluster, &proxy, &own_text);
    a_script_follows_its_client(&proxy);
    no_reply_of_a_script_costs_others_their_connection(&cluster);
    for (body, key) in [(APPEND, "plain"), (APPEND_OR_ERR, "able")] {
        a_flushed_node_is_healed(&cluster, &proxy, body, key);
    }
    order_holds_while_it_is_healed(&cluster, &proxy, &own_text);
    forgeries_are_passed_on(&proxy, &own_text);
    what_exists_can_be_called(&cluster, &proxy, &own_text);
    all_workers_forget(&cluster, &own_text);
    a_promoted_replica_is_healed(&cluster, &proxy);
    replicas_that_are_away_are_left_out(&mut cluster, &proxy);
}

fn sha(client: &mut RawClient, body: &str) -> String {
    let reply = client.command(&["SCRIPT", "LOAD", body]);
    assert!(reply.starts_with(b"$40\r\n"), "{}", show(&reply));
    String::from_utf8_lossy(&reply[5..45]).into_owned()
}

fn retries(metrics: &Metrics) -> f64 {
    metrics.sum("slotway_retries_total", &[("reason", "script")])
}

fn owner(cluster: &Cluster, key: &str) -> usize {
    let slot = Slot::of(key.as_bytes()).number();
    cluster.owner_of(slot).expect("every slot has an owner")
}

/// What a node says of a script that it does not know.
fn own_noscript(cluster: &Cluster) -> Vec<u8> {
    let unknown = "0".repeat(40);
    let reply = RawClient::connect(cluster.addr(0)).command(&["EVALSHA", &unknown, "0"]);
    assert!(reply.starts_with(b"-NOSCRIPT "), "{}", show(&reply));
    reply
}

fn flush_at(cluster: &Cluster, node: usize) {
    let flushed = cluster.ask(node, &["SCRIPT", "FLUSH"]).expect("it answers");
    assert_eq!(flushed, Reply::Simple("OK".into()));
}

fn without_keys(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["--workers", "1"]);
    let mut client = proxy.client();
    let commands: Vec<u8> = (0..20)
        .flat_map(|i| encode(&["EVAL", "return ARGV[1]", "0", &i.to_string()]))
        .collect();
    let before = evals(cluster);
    client.send(&commands);
    for i in 0..20 {
        let text = i.to_string();
        let expected = format!("${}\r\n{text}\r\n", text.len());
        assert_eq!(show(&client.reply()), show(expected.as_bytes()));
    }
    let after = evals(cluster);
    let ran: Vec<u64> = after
        .iter()
        .zip(before)
        .map(|(a, b)| a - b)
        .filter(|&n| n > 0)
        .collect();
    assert_eq!(ran, [20], "all on one node");
    let sha = sha(&mut client, "return 7");
    for call in ["EVALSHA", "EVALSHA_RO"] {
        client.expect(&format!("{call} {sha} 0"), b":7\r\n");
    }

    let strict = Proxy::start(cluster, &["--set", "policy.keyless_scripts=error"]);
    let mut client = strict.client();
    for command in ["EVAL return 0", "EVALSHA_RO abc 0", "FCALL f 0"] {
        let refused = client.line(command);
        let text = String::from_utf8_lossy(&refused).into_owned();
        assert!(
            text.starts_with("-ERR slotway: ") && text.contains("policy.keyless_scripts"),
            "{text}"
        );
    }
    client.expect("MULTI", b"+OK\r\n");
    let refused = client.line("EVAL return 0");
    assert!(
        show(&refused).contains("policy.keyless_scripts"),
        "{}",
        show(&refused)
    );
    assert!(client.line("EXEC").starts_with(b"-EXECABORT "));
    client.expect("EVAL return 1 k", b"$-1\r\n");
    // What the server does not understand is for the server to say.
    let wrong = client.line("EVAL return x");
    assert!(!wrong.starts_with(b"-ERR slotway"), "{}", show(&wrong));
}

/// How many EVALs each primary has executed.
fn evals(cluster: &Cluster) -> Vec<u64> {
    let calls = |node| {
        let info = RawClient::connect(cluster.addr(node)).line("INFO commandstats");
        let info = String::from_utf8_lossy(&info).into_owned();
        let line = info
            .lines()
            .find_map(|l| l.strip_prefix("cmdstat_eval:calls="));
        line.map_or(0, |rest| {
            rest.split(',')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number")
        })
    };
    (0..cluster.primaries()).map(calls).collect()
}

fn unknown_scripts_are_unknown(proxy: &Proxy, own_text: &[u8]) {
    let unknown = "0123456789abcdef0123456789abcdef01234567";
    let mut client = proxy.client();
    client.expect(&format!("EVALSHA {unknown} 1 k"), own_text);
    client.expect(&format!("EVALSHA {unknown} 0"), own_text);
    client.expect("EVALSHA short 0", own_text);
}

fn every_node_gets_what_is_loaded(cluster: &Cluster, proxy: &Proxy, own_text: &[u8]) {
    let mut client = proxy.client();
    let sha = sha(&mut client, "return 'everywhere'");
    let known = |expected: i64| {
        for node in 0..cluster.len() {
            let reply = cluster
                .ask(node, &["SCRIPT", "EXISTS", &sha])
                .expect("it answers");
            assert_eq!(
                reply,
                Reply::Array(vec![Reply::Integer(expected)]),
                "node {node}"
            );
        }
    };
    known(1);
    client.expect(&format!("SCRIPT EXISTS {sha} abc"), b"*2\r\n:1\r\n:0\r\n");
    client.expect(
        &format!("EVALSHA {} 1 k", sha.to_uppercase()),
        b"$10\r\neverywhere\r\n",
    );
    client.expect("SCRIPT FLUSH", b"+OK\r\n");
    known(0);
    // A client that says so wants it forgotten.
    client.expect(&format!("EVALSHA {sha} 1 k"), own_text);
    client.expect(&format!("SCRIPT EXISTS {sha}"), b"*1\r\n:0\r\n");
}

/// EVAL on one node makes the script known to slotway, and so to all nodes: nothing is refused even once, so what
/// stands behind it in a pipeline sees its effect.
fn a_script_follows_its_client(proxy: &Proxy) {
    let mut client = proxy.client();
    let before = retries(&proxy.metrics());
    let body = "return redis.call('INCR', KEYS[1])";
    assert_eq!(client.command(&["EVAL", body, "1", "first"]), b":1\r\n");
    let sha = {
        let reply = client.command(&["EVAL", "return redis.sha1hex(ARGV[1])", "0", body]);
        String::from_utf8_lossy(&reply[5..45]).into_owned()
    };
    for key in ["a", "b", "c", "d", "e"] {
        client.send(&[encode(&["EVALSHA", &sha, "1", key]), encode(&["GET", key])].concat());
        let got = client.replies(2).concat();
        assert_eq!(show(&got), show(b":1\r\n$1\r\n1\r\n"));
    }
    assert_eq!(retries(&proxy.metrics()), before);
    client.expect("DEL a b c d e first", b":6\r\n");
}

fn a_flushed_node_is_healed(cluster: &Cluster, proxy: &Proxy, body: &str, key: &str) {
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut client = proxy.client();
        client.line(hello);
        client.line(&format!("DEL {key}"));
        let sha = sha(&mut client, body);
        client.expect(&format!("EVALSHA {sha} 1 {key} a"), b":1\r\n");
        let before = retries(&proxy.metrics());
        flush_at(cluster, owner(cluster, key));
        client.expect(&format!("EVALSHA {sha} 1 {key} b"), b":2\r\n");
        client.expect(&format!("EVALSHA {sha} 1 {key} c"), b":3\r\n");
        client.expect(&format!("GET {key}"), b"$3\r\nabc\r\n");
        assert_eq!(retries(&proxy.metrics()) - before, 1.0, "{hello} {body}");
    }
}

/// Many in one pipeline on a node that has lost the script: all are executed once, in their order, and whatever is
/// behind them for the same key is not executed before them.
fn order_holds_while_it_is_healed(cluster: &Cluster, proxy: &Proxy, own_text: &[u8]) {
    for body in [APPEND, APPEND_OR_ERR] {
        let mut client = proxy.client();
        client.expect("DEL {order}key {order}other", b":0\r\n");
        let sha = sha(&mut client, body);
        client.expect(&format!("EVALSHA {sha} 1 {{order}}key 0"), b":1\r\n");
        flush_at(cluster, owner(cluster, "{order}"));
        let mut pipeline = Vec::new();
        let mut expected = Vec::new();
        for i in 1..10 {
            pipeline.extend(encode(&[
                "EVALSHA",
                &sha,
                "1",
                "{order}key",
                &i.to_string(),
            ]));
            expected.extend(format!(":{}\r\n", i + 1).into_bytes());
            pipeline.extend(encode(&["INCR", "{order}other"]));
            expected.extend(format!(":{i}\r\n").into_bytes());
        }
        client.send(&pipeline);
        let got = client.replies(18).concat();
        assert_eq!(show(&got), show(&expected), "{body}");
        client.expect("GET {order}key", b"$10\r\n0123456789\r\n");

        // One that would be reversed with a read behind it that has already executed is not.
        flush_at(cluster, owner(cluster, "{order}"));
        let read = encode(&["GET", "{order}key"]);
        let call = encode(&["EVALSHA", &sha, "1", "{order}key", "!"]);
        client.send(&[call, read].concat());
        let got = client.replies(2).concat();
        let refused = [own_text, b"$10\r\n0123456789\r\n"].concat();
        let healed = b":11\r\n$11\r\n0123456789!\r\n";
        assert!(got == refused || got == healed, "{body}: {}", show(&got));
        client.expect("DEL {order}key {order}other", b":2\r\n");
    }
}

fn forgeries_are_passed_on(proxy: &Proxy, own_text: &[u8]) {
    let text = std::str::from_utf8(&own_text[1..own_text.len() - 2]).expect("text");
    let mut client = proxy.client();
    let sha = sha(&mut client, COUNT_AND_LIE);
    for round in 1..4 {
        let mut pipeline = encode(&["EVALSHA", &sha, "1", "forged", text]);
        pipeline.extend(encode(&["GET", "forged"]));
        client.send(&pipeline);
        let got = client.replies(2).concat();
        let expected = [own_text, format!("$1\r\n{round}\r\n").as_bytes()].concat();
        assert_eq!(show(&got), show(&expected));
    }
    let alone = client.command(&["EVALSHA", &sha, "1", "forged", text]);
    assert_eq!(show(&alone), show(own_text));
    client.expect("GET forged", b"$1\r\n4\r\n");
    client.expect("DEL forged", b":1\r\n");
}

fn a_promoted_replica_is_healed(cluster: &Cluster, proxy: &Proxy) {
    let mut client = proxy.client();
    let body = "return redis.call('APPEND', KEYS[1], ARGV[1] .. '!')";
    // With EVAL only the primary knows it.
    assert_eq!(
        client.command(&["EVAL", body, "1", "promoted", "a"]),
        b":2\r\n"
    );
    let reply = client.command(&["EVAL", "return redis.sha1hex(ARGV[1])", "0", body]);
    let sha = String::from_utf8_lossy(&reply[5..45]).into_owned();
    let primary = owner(cluster, "promoted");
    let replica = cluster.replica_of(primary).expect("it has one");
    client.expect(&format!("EVALSHA {sha} 1 promoted b"), b":4\r\n");
    cluster.failover(replica).expect("it is promoted");
    cluster.wait_promoted(replica, FAILOVER).expect("all agree");
    client.expect(&format!("EVALSHA {sha} 1 promoted c"), b":6\r\n");
    client.expect("GET promoted", b"$6\r\na!b!c!\r\n");
}

/// SCRIPT EXISTS says 1 after EVAL, as on one server; EVALSHA then finds the script on every node. A script that only one
/// node has, without slotway's knowing it, does not exist.
fn what_exists_can_be_called(cluster: &Cluster, proxy: &Proxy, own_text: &[u8]) {
    let mut client = proxy.client();
    let body = "return 'evaluated'";
    let reply = client.command(&["EVAL", "return redis.sha1hex(ARGV[1])", "0", body]);
    let sha = String::from_utf8_lossy(&reply[5..45]).into_owned();
    let exists = format!("SCRIPT EXISTS {sha} {}", sha.to_uppercase());
    RawClient::connect(cluster.addr(0)).command(&["SCRIPT", "LOAD", body]);
    client.expect(&exists, b"*2\r\n:0\r\n:0\r\n");
    for key in ["a", "b", "c"] {
        let at = owner(cluster, key);
        if at != 0 {
            client.expect(&format!("EVALSHA {sha} 1 {key}"), own_text);
        }
    }
    client.command(&["EVAL", body, "1", "a"]);
    client.expect(&exists, b"*2\r\n:1\r\n:1\r\n");
    for key in ["a", "b", "c"] {
        client.expect(&format!("EVALSHA {sha} 1 {key}"), b"$9\r\nevaluated\r\n");
    }
    client.expect("SCRIPT EXISTS short", b"*1\r\n:0\r\n");
    let refused = client.line("SCRIPT DEBUG YES");
    assert!(refused.starts_with(b"-ERR slotway: "), "{}", show(&refused));
}

/// Forms that no command gives: they come as from the node, and the shared connection goes on.
fn no_reply_of_a_script_costs_others_their_connection(cluster: &Cluster) {
    let proxy = Proxy::start(cluster, &["--workers", "1"]);
    let node = cluster.owner_of(Slot::of(b"k").number()).expect("it is up");
    let (mut direct, mut client) = (RawClient::connect(cluster.addr(node)), proxy.client());
    let nested =
        |levels: usize| format!("local r = 'x' for i = 1, {levels} do r = {{r}} end return r");
    let bodies = [
        "return {big_number = 'no number'}".into(),
        "return {big_number = ''}".into(),
        "return {big_number = 'two\\r\\n+lines'}".into(),
        nested(200),
        nested(7_000),
        // More than a server puts together: it ends it with an error, inside.
        nested(9_000),
    ];
    for hello in ["HELLO 2", "HELLO 3"] {
        direct.line(hello);
        client.line(hello);
        for body in &bodies {
            let eval = ["EVAL", body.as_str(), "1", "k"];
            let expected = direct.command(&eval);
            let got = client.command(&eval);
            assert!(got == expected, "{hello} {body}: {}", show(&got));
            client.expect("MULTI", b"+OK\r\n");
            client.command(&eval);
            let got = client.line("EXEC");
            let expected = [b"*1\r\n", &expected[..]].concat();
            assert!(got == expected, "{hello} {body}: {}", show(&got));
        }
    }
    let lost = proxy.metrics().sum("slotway_upstream_errors_total", &[]);
    assert_eq!(lost, 0.0);
}

/// SCRIPT FLUSH from a client of any worker: no worker gives the script to a node again.
fn all_workers_forget(cluster: &Cluster, own_text: &[u8]) {
    let proxy = Proxy::start(cluster, &["--workers", "2"]);
    let mut clients: Vec<RawClient> = (0..8).map(|_| proxy.client()).collect();
    let body = "return 'forgotten'";
    let sha = sha(&mut clients[0], body);
    for client in &mut clients {
        client.command(&["EVAL", body, "1", "k"]);
        client.expect(&format!("EVALSHA {sha} 1 k"), b"$9\r\nforgotten\r\n");
    }
    clients[0].expect("SCRIPT FLUSH", b"+OK\r\n");
    for client in &mut clients {
        client.expect(&format!("EVALSHA {sha} 1 k"), own_text);
        client.expect(&format!("SCRIPT EXISTS {sha}"), b"*1\r\n:0\r\n");
    }
}

/// A replica that hangs and one that is down do not keep scripts from being loaded.
fn replicas_that_are_away_are_left_out(cluster: &mut Cluster, proxy: &Proxy) {
    let impatient = Proxy::start(cluster, &["--set", "timeouts.command=1s"]);
    let replicas: Vec<usize> = (0..cluster.len())
        .filter(|&node| {
            let role = RawClient::connect(cluster.addr(node)).line("ROLE");
            show(&role).contains("slave")
        })
        .collect();
    cluster.pause(replicas[0]).expect("it hangs");
    let mut client = impatient.client();
    let sha = sha(&mut client, "return 'without it'");
    client.expect(&format!("EVALSHA {sha} 1 k"), b"$10\r\nwithout it\r\n");
    cluster.resume(replicas[0]).expect("it goes on");
    for i in 0..20 {
        client.expect(&format!("EVALSHA {sha} 1 {i}"), b"$10\r\nwithout it\r\n");
    }
    cluster.kill(replicas[1]);
    let mut client = proxy.client();
    client.expect("SCRIPT FLUSH", b"+OK\r\n");
    self::sha(&mut client, "return 'down'");
}
