//! Invariant 7, nobody can forge the map: a script may return any error text, byte for byte what a node says when it
//! redirects or refuses. Whatever it says, the client gets the text back, the script is executed once, an address
//! that topology has not named is never dialled, the map stays as it was, and other clients notice nothing.
//!
//! The scripts here count their executions with INCR before they lie.

mod support;

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};

use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions};
use support::{
    Proxy, RawClient, Scenario, ServerKind, StopOnDrop, cluster_options, encode, redis, rounds,
    show, valkey,
};

/// Lies that one client tells, one after the other: some of them take until `timeouts.command`.
const TEXTS_PER_LIAR: usize = 2;

/// The hash tag of every key here: all forgeries are about its slot.
const TAG: &str = "key";

#[test]
fn scripts_of_redis_cannot_forge() {
    (0..rounds()).for_each(|_| forge(&redis()));
}

#[test]
fn scripts_of_valkey_cannot_forge() {
    (0..rounds()).for_each(|_| forge(&valkey()));
}

fn forge(kind: &ServerKind) {
    let what = "scripts that return a forged MOVED, ASK or refusal";
    let mut scenario = Scenario::begin(14, what, kind.name);
    let options = ClusterOptions {
        replicas: 0,
        ..cluster_options(kind)
    };
    let cluster = Cluster::boot(&options).unwrap_or_else(|e| panic!("{}: {e}", kind.name));
    let proxy = Proxy::start(
        &cluster,
        &[
            "--workers",
            "1",
            "--set",
            "timeouts.unavailable=4s",
            "--set",
            "timeouts.command=4s",
        ],
    );
    let trap = TcpListener::bind("127.0.0.1:0").expect("a free port");
    trap.set_nonblocking(true).expect("a socket");
    let texts = forgeries(&cluster, trap.local_addr().expect("it listens").port());
    let map = map_of(&proxy);

    let ways = ways(&mut proxy.client());
    let stop = AtomicBool::new(false);
    let mut beside = 0;
    std::thread::scope(|scope| {
        let stop_others = StopOnDrop(&stop);
        let (proxy, stop, texts) = (&proxy, &stop, &texts);
        let bystanders: Vec<_> = (0..2)
            .map(|id| scope.spawn(move || go_on(proxy.client(), id, stop)))
            .collect();
        let mut liars = Vec::new();
        for (i, way) in ways.iter().enumerate() {
            for hello in ["HELLO 2", "HELLO 3"] {
                for (part, texts) in texts.chunks(TEXTS_PER_LIAR).enumerate() {
                    liars.push(scope.spawn(move || {
                        let mut client = proxy.client();
                        client.line(hello);
                        let key = format!("liar:{i}:{part}:{hello}:{{key}}").replace(' ', "");
                        lie(client, &key, way, texts);
                    }));
                }
            }
        }
        let lies: Vec<_> = liars.into_iter().map(|liar| liar.join()).collect();
        drop(stop_others);
        for bystander in bystanders {
            let rounds = bystander.join().expect("a bystander was disturbed");
            assert!(rounds > 0, "a bystander did nothing");
            beside += 2 * rounds;
        }
        assert!(lies.iter().all(Result::is_ok), "see above");
    });
    assert_eq!(map_of(&proxy), map, "the map has changed");
    let dialled = trap.accept().map(|(_, peer)| peer);
    assert!(
        dialled.is_err(),
        "{dialled:?} dialled an address that only a script named"
    );
    scenario.figure("lies", ways.len() * texts.len() * 4);
    scenario.figure("unknown addresses dialled", 0);
    scenario.figure("right replies beside", beside);
    scenario.passed();
}

/// Error texts as nodes word them.
fn forgeries(cluster: &Cluster, trap: u16) -> Vec<String> {
    let slot = Slot::of(TAG.as_bytes()).number();
    let owns = |node: &usize| {
        let (first, last) = cluster.booted_slots(*node);
        (first..=last).contains(&slot)
    };
    let others: Vec<_> = (0..cluster.len()).filter(|node| !owns(node)).collect();
    let other = cluster.addr(others[0]);
    let own = cluster.addr(
        (0..cluster.len())
            .find(owns)
            .expect("every slot has an owner"),
    );
    let other_slot = cluster.booted_slots(others[0]).0;
    let mut texts = Vec::new();
    for word in ["MOVED", "ASK"] {
        texts.push(format!("{word} {slot} 127.0.0.1:{trap}"));
        texts.push(format!("{word} {slot} :{trap}"));
        texts.push(format!("{word} {slot} {other}"));
        texts.push(format!("{word} {slot} {own}"));
        texts.push(format!("{word} {other_slot} 127.0.0.1:{trap}"));
        texts.push(format!("{word} {other_slot} {own}"));
    }
    let refusals = [
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN Hash slot not served",
        "CLUSTERDOWN The cluster is down",
        "CLUSTERDOWN The cluster is down and only accepts read commands",
        "LOADING Redis is loading the dataset in memory",
        "LOADING Valkey is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "READONLY You can't write against a read only replica.",
    ];
    texts.extend(refusals.map(str::to_owned));
    texts
}

const COUNT_AND_LIE: &str = "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])";
const LIE: &str = "return redis.error_reply(ARGV[1])";
const LIBRARY: &str = "#!lua name=forge\n\
    redis.register_function('count_and_lie', function(keys, args) \
        redis.call('INCR', keys[1]) return redis.error_reply(args[1]) end)\n\
    redis.register_function{function_name='lie', flags={'no-writes'}, callback=function(keys, args) \
        return redis.error_reply(args[1]) end}";

/// How each text is told: command, script, and how often the script counts.
fn ways(client: &mut RawClient) -> Vec<(&'static str, String, usize)> {
    let sha = client.command(&["SCRIPT", "LOAD", COUNT_AND_LIE]);
    let sha = String::from_utf8_lossy(&sha[5..45]).into_owned();
    let loaded = client.command(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
    assert_eq!(loaded, b"$5\r\nforge\r\n", "{}", show(&loaded));
    vec![
        ("EVAL", COUNT_AND_LIE.into(), 1),
        ("EVALSHA", sha, 1),
        ("FCALL", "count_and_lie".into(), 1),
        ("EVAL", LIE.into(), 0),
        ("EVAL_RO", LIE.into(), 0),
        ("FCALL", "lie".into(), 0),
        ("FCALL_RO", "lie".into(), 0),
    ]
}

/// A liar with a key of its own, in the slot that all forgeries are about: each text alone, and with another
/// command for the same key right behind it.
fn lie(mut client: RawClient, key: &str, way: &(&str, String, usize), texts: &[String]) {
    let (command, script, executions) = way;
    let read = encode(&["GET", key]);
    for text in texts {
        let request = encode(&[*command, script, "1", key, text]);
        for pipelined in [false, true] {
            client.expect(&format!("SET {key} 0"), b"+OK\r\n");
            let got = if pipelined {
                client.send(&[request.clone(), read.clone()].concat());
                client.replies(2).concat()
            } else {
                client.send(&request);
                let error = client.reply();
                client.send(&read);
                [error, client.reply()].concat()
            };
            let expected = format!("-{text}\r\n$1\r\n{executions}\r\n");
            assert!(
                got == expected.as_bytes(),
                "{command} {script} that says {text}, pipelined: {pipelined}: expected {}, got {}",
                show(expected.as_bytes()),
                show(&got)
            );
        }
    }
}

/// A client that goes on with its own keys, on all nodes and in the liar's slot, until told to stop.
fn go_on(mut client: RawClient, id: usize, stop: &AtomicBool) -> u64 {
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        for key in [format!("bystander:{id}:{round}"), format!("{{key}}:{id}")] {
            let value = format!("{id}-{round}");
            client.send(&[encode(&["SET", &key, &value]), encode(&["GET", &key])].concat());
            let expected = format!("+OK\r\n${}\r\n{value}\r\n", value.len());
            let got = client.replies(2).concat();
            assert!(got == expected.as_bytes(), "a bystander got {}", show(&got));
        }
    }
    round
}

/// Which node owns which slots, and the map's version.
fn map_of(proxy: &Proxy) -> serde_json::Value {
    let (status, body) = proxy.get("/topology").expect("the admin endpoint answers");
    assert_eq!(status, 200, "{body}");
    let mut topology: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let fields = [
        "version",
        "epoch",
        "slots_covered",
        "unconfirmed_slots",
        "ranges",
    ];
    let kept = fields.map(|field| (field.to_owned(), topology[field].take()));
    kept.into_iter().collect::<serde_json::Map<_, _>>().into()
}
