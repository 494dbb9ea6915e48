//! `limits.memory`, in small: hostile loads are in `tests/hostile_load.rs`.

use super::{SHOWN_WITHIN, hits, others_are_served, set, start};
use crate::support::node::{Action, FakeCluster};
use crate::support::{Proxy, RawClient, encode, show};
use rustix::process::Signal;
use std::cell::Cell;

/// A client that sends the beginning of a SET with a large value, and later more of it.
struct Stalled<'a> {
    proxy: &'a Proxy,
    /// What all of them hold.
    held: &'a Cell<f64>,
    client: RawClient,
}

impl<'a> Stalled<'a> {
    fn new(proxy: &'a Proxy, held: &'a Cell<f64>) -> Self {
        let mut client = proxy.client();
        client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\na\r\n${}\r\n", 100 << 20).as_bytes());
        Self {
            proxy,
            held,
            client,
        }
    }

    /// Sends so many MB more, and waits until the proxy has seen that it holds them, or has closed somebody.
    fn send(&mut self, mb: usize) {
        self.client.send(&vec![b'v'; mb << 20]);
        self.held.set(self.held.get() + (mb << 20) as f64);
        let most = self.held.get();
        self.proxy.wait_for("it is held", SHOWN_WITHIN, || {
            match sum(self.proxy, "slotway_memory_bytes") {
                n if n >= most || closed(self.proxy) > 0.0 => Ok(()),
                n => Err(format!("{n} bytes")),
            }
        });
    }
}

fn sum(proxy: &Proxy, name: &str) -> f64 {
    proxy.metrics().sum(name, &[])
}

fn closed(proxy: &Proxy) -> f64 {
    let memory = [("reason", "memory")];
    proxy
        .metrics()
        .sum("slotway_client_connections_rejected_total", &memory)
}

#[test]
fn what_is_large_is_refused_then_the_largest_client_is_closed() {
    let (cluster, proxy, _gate) = start(&["limits.memory=72MB"]);
    let mset = encode(&["MSET", "k", &"v".repeat(100_000)]);
    let mut client = proxy.client();
    let mut is_taken = || {
        client.send(&mset);
        let got = client.reply();
        let refused = got.starts_with(b"-OOM slotway: limits.memory is nearly reached");
        assert!(refused || got == b"+taken\r\n", "{}", show(&got));
        !refused
    };
    let held = Cell::new(0.0);
    let (mut small, mut large) = (Stalled::new(&proxy, &held), Stalled::new(&proxy, &held));
    large.send(40);
    small.send(2);
    assert!(is_taken());
    let mut queued = proxy.client();
    queued.expect("MULTI", b"+OK\r\n");
    queued.send(&mset);
    assert_eq!(queued.reply(), b"+QUEUED\r\n");
    assert_eq!(hits(&proxy, "limits.memory"), 0.0);
    // Towards the limit: nothing large is taken.
    while is_taken() {
        small.send(1);
    }
    assert!(hits(&proxy, "limits.memory") >= 1.0);
    // Not just about: what is freed in a moment makes no difference.
    small.send(1);
    let aborted = queued.line("EXEC");
    let scarce = b"-EXECABORT Transaction discarded because of: OOM slotway: limits.memory";
    assert!(aborted.starts_with(scarce), "{}", show(&aborted));
    assert_eq!(closed(&proxy), 0.0);
    others_are_served(&proxy);
    // Beyond it: the largest is closed, and nobody else.
    while closed(&proxy) == 0.0 {
        small.send(1);
    }
    large.client.expect_close();
    proxy.wait_for(
        "large requests are taken again",
        SHOWN_WITHIN,
        || match is_taken() {
            true => Ok(()),
            false => Err(format!("{} B", sum(&proxy, "slotway_memory_bytes"))),
        },
    );
    small.send(1);
    others_are_served(&proxy);
    assert_eq!(closed(&proxy), 1.0);
    cluster.finish();
}

/// More clients than there is memory for, none of which holds so much that closing it would help. All come at once, so that
/// some are read after the limit was passed.
#[test]
fn nobody_is_forgotten_when_nobody_can_be_closed() {
    let (cluster, proxy, _gate) = start(&["limits.memory=32MB"]);
    let mset = encode(&["MSET", "k", &"v".repeat(8_000)]);
    let (begin, end) = mset.split_at(mset.len() - 1);
    let mut clients: Vec<_> = (0..3_000).map(|_| proxy.client()).collect();
    proxy.signal(Signal::STOP);
    clients.iter_mut().for_each(|client| client.send(begin));
    proxy.signal(Signal::CONT);
    let mut any = false;
    for client in &mut clients {
        client.send(end);
        let got = client.reply();
        let refused = got.starts_with(b"-OOM slotway: limits.memory is nearly reached");
        assert!(refused || got == b"+taken\r\n", "{}", show(&got));
        any |= refused;
    }
    assert!(any, "the limit was not reached");
    assert_eq!(closed(&proxy), 0.0);
    others_are_served(&proxy);
    cluster.finish();
}

/// A name is as long as a client likes, and kept for as long as the client is there.
#[test]
fn what_clients_call_themselves_counts() {
    const NAME_BYTES: usize = 4 << 20;
    const CLIENTS: usize = 40;
    let (cluster, proxy, _gate) = start(&["limits.memory=32MB"]);
    let name = "n".repeat(NAME_BYTES);
    let commands: [&[&str]; 2] = [
        &["CLIENT", "SETNAME", &name],
        &["CLIENT", "SETINFO", "LIB-NAME", &name],
    ];
    let mut one = proxy.client();
    assert_eq!(one.command(commands[0]), b"+OK\r\n");
    proxy.wait_for("it counts", SHOWN_WITHIN, || {
        match sum(&proxy, "slotway_memory_bytes") {
            n if n >= NAME_BYTES as f64 => Ok(()),
            n => Err(format!("{n} bytes")),
        }
    });
    let mut others: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for (n, client) in others.iter_mut().enumerate() {
        // Refused, or closed on the way, as soon as there is no room.
        let request = encode(commands[n % 2]);
        client.try_send_in_pieces(&request, &[request.len()]);
        let _ = client.try_replies(1);
    }
    let peak = proxy.peak();
    assert!(peak <= (32 << 20) / 10 * 11, "{} MB", peak >> 20);
    others_are_served(&proxy);
    cluster.finish();
}

/// What comes behind a MULTI that is refused would be executed one by one, as soon as there is memory again.
#[test]
fn transactions_begin_however_little_memory_there_is() {
    let (cluster, proxy, gate) = start(&["limits.memory=32MB", "timeouts.queue=60s"]);
    let eval = encode(&["EVAL", &"-".repeat(8_000), "1", "k"]);
    let mut others: Vec<_> = (0..3_000).map(|_| proxy.client()).collect();
    others.iter_mut().for_each(|other| other.send(&eval));
    let mut first = proxy.client();
    proxy.wait_for("nothing is taken", SHOWN_WITHIN, || {
        let got = first.line("MGET k");
        let is_refused = got.starts_with(b"-OOM slotway: limits.memory");
        is_refused.then_some(()).ok_or_else(|| show(&got))
    });
    // What that one has asked for before may still be with the node.
    let mut client = proxy.client();
    client.expect("WATCH k", b"+OK\r\n");
    client.expect("MULTI", b"+OK\r\n");
    let queued = client.line("MGET k");
    assert!(queued.starts_with(b"-OOM slotway: "), "{}", show(&queued));
    let ended = client.line("EXEC");
    assert!(ended.starts_with(b"-EXECABORT "), "{}", show(&ended));
    // What was taken is not counted as refused.
    proxy.wait_for("each refusal is counted", SHOWN_WITHIN, || {
        let oom = [("err", "OOM")];
        let told = proxy.metrics().sum("slotway_command_errors_total", &oom);
        match hits(&proxy, "limits.memory") {
            hits if hits == told => Ok(()),
            hits => Err(format!("{hits} are counted, {told} were told")),
        }
    });
    gate.open();
    cluster.finish();
}

/// Commands that wait, each as large as can be, many of them. What is kept of a command, whether one node has it or several
/// are asked again and again, is little more than the command, and counts.
#[test]
fn commands_that_wait_count() {
    const KEYS: usize = 50;
    const CLIENTS: usize = 500;
    /// So many are waited for alone: there is room for them.
    const COUNTED: usize = 50;
    const MEMORY: usize = 32 << 20;
    let key = |n: usize| format!("{n:v<1024}");
    let apart = || (0..KEYS).map(key);
    let together = || (0..KEYS).map(|n| format!("{{t}}{}", key(n)));
    let many = ["BLMPOP", "0", "50"].map(str::to_owned).into_iter();
    let streams = ["XREAD", "BLOCK", "0", "STREAMS"]
        .map(str::to_owned)
        .into_iter();
    let list = || std::iter::once("BLPOP".to_owned());
    let from_now = std::iter::repeat_n("$".to_owned(), KEYS);
    let scenes: [(&str, Vec<String>); 4] = [
        (
            "BLPOP at one node",
            list().chain(together()).chain(["0".into()]).collect(),
        ),
        (
            "BLPOP at several",
            list().chain(apart()).chain(["0".into()]).collect(),
        ),
        (
            "BLMPOP",
            many.chain(apart()).chain(["LEFT".into()]).collect(),
        ),
        ("XREAD", streams.chain(apart()).chain(from_now).collect()),
    ];
    for (scene, words) in scenes {
        let cluster = FakeCluster::start(1);
        cluster.on(0, |call| {
            let reply: &[u8] = match call.name().as_str() {
                "BLPOP" => b"",
                "CLIENT" if call.args[1].eq_ignore_ascii_case(b"ID") => b":1\r\n",
                "LPOP" => b"$-1\r\n",
                "LMPOP" | "XREAD" => b"*-1\r\n",
                "XREVRANGE" => b"*0\r\n",
                "GETRANGE" => b"+nonce\r\n",
                _ => return None,
            };
            Some(vec![Action::Send(reply.to_vec())])
        });
        let memory = format!("limits.memory={MEMORY}");
        let proxy = Proxy::start_with(&cluster.addrs(), &set(&[&memory]));
        let request = encode(&words);
        let mut clients = Vec::new();
        for n in 1..=CLIENTS {
            let mut client = proxy.client();
            client.try_send_in_pieces(&request, &[request.len()]);
            clients.push(client);
            if n != COUNTED {
                continue;
            }
            let least = (n * request.len()) as f64;
            proxy.wait_for(scene, SHOWN_WITHIN, || {
                match sum(&proxy, "slotway_memory_bytes") {
                    held if held >= least && held <= least * 1.5 => Ok(()),
                    held => Err(format!("{held} bytes for {least}")),
                }
            });
        }
        proxy.wait_for("room is made", SHOWN_WITHIN, || match closed(&proxy) {
            0.0 => Err("nobody is closed".to_owned()),
            _ => Ok(()),
        });
        others_are_served(&proxy);
        let peak = proxy.peak() as usize;
        assert!(peak <= MEMORY / 10 * 14, "{scene}: {} MB", peak >> 20);
        drop(clients);
        cluster.finish();
    }
}

/// One message for many who do not read, and messages faster than anybody reads: what each of them is to get counts as soon
/// as it is there, and so does what has come and was not looked at.
#[test]
fn what_listeners_do_not_read_counts() {
    const LISTENERS: usize = 60;
    const MESSAGES: usize = 200;
    const MEMORY: usize = 32 << 20;
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| match call.name().as_str() {
        "SUBSCRIBE" => {
            let message = [
                ">3",
                "$7\r\nmessage",
                "$1\r\nc",
                "$50000",
                &"v".repeat(50_000),
                "",
            ];
            let all = message.join("\r\n").repeat(MESSAGES);
            let begun = b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
            Some(vec![Action::Send([begun, all.as_bytes()].concat())])
        }
        "GETRANGE" => Some(vec![Action::Send(b"+nonce\r\n".to_vec())]),
        _ => None,
    });
    let memory = format!("limits.memory={MEMORY}");
    let proxy = Proxy::start_with(&cluster.addrs(), &set(&[&memory]));
    let mut listeners: Vec<_> = (0..LISTENERS).map(|_| proxy.client()).collect();
    let subscribe = encode(&["SUBSCRIBE", "c"]);
    listeners.iter_mut().for_each(|l| l.send(&subscribe));
    proxy.wait_for("room is made", SHOWN_WITHIN, || match closed(&proxy) {
        0.0 => Err("nobody is closed".to_owned()),
        _ => Ok(()),
    });
    others_are_served(&proxy);
    let peak = proxy.peak() as usize;
    assert!(peak <= MEMORY / 10 * 14, "{} MB", peak >> 20);
    drop(listeners);
    cluster.finish();
}

/// They are kept for all clients, so that nobody can be closed for them: they take a part of the memory, and no more.
#[test]
fn scripts_count() {
    const SCRIPTS: usize = 100;
    const SCRIPT_BYTES: usize = 100_000;
    const SHARE: usize = (32 << 20) / 8;
    let (cluster, proxy, gate) = start(&["limits.memory=32MB"]);
    gate.open();
    let mut client = proxy.client();
    let held = || sum(&proxy, "slotway_script_memory_bytes") as usize;
    let mut eval = |n: usize| {
        let script = format!("return {n} --{}", "x".repeat(SCRIPT_BYTES));
        assert_eq!(client.command(&["EVAL", &script, "1", "k"]), b"$-1\r\n");
    };
    (0..10).for_each(&mut eval);
    proxy.wait_for("they count", SHOWN_WITHIN, || match held() {
        n if (10 * SCRIPT_BYTES..=11 * SCRIPT_BYTES).contains(&n) => Ok(()),
        n => Err(format!("{n} bytes")),
    });
    (10..SCRIPTS).for_each(&mut eval);
    let hit = || hits(&proxy, "limits.script_bytes");
    assert!(hit() >= 1.0, "{SCRIPTS} scripts are kept");
    proxy.wait_for("no more are kept", SHOWN_WITHIN, || match held() {
        n if (SHARE - 2 * SCRIPT_BYTES..=SHARE / 10 * 11).contains(&n) => Ok(()),
        n => Err(format!("{n} bytes")),
    });
    drop(client);
    proxy.wait_for("they are no client's", SHOWN_WITHIN, || {
        proxy.metrics().nothing_of_clients()
    });
    cluster.finish();
}
