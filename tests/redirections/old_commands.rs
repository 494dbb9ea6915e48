//! Commands that have waited for something else for longer than `timeouts.command` when they are redirected: the
//! redirection is fresh, whatever the command's age.

use crate::support::node::{Action, Call, FakeCluster};
use crate::support::{Proxy, encode, show};
use slotway::cluster::Slot;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SHORT: &str = "timeouts.command=1s";
/// Longer than that.
const LONG: Duration = Duration::from_millis(1500);

fn start(cluster: &FakeCluster) -> Proxy {
    let mut args = vec!["--workers", "1", "--set", SHORT];
    args.extend(["--set", "timeouts.unavailable=60s"]);
    Proxy::start_with(&cluster.addrs(), &args)
}

/// When a node was first asked for it.
#[derive(Clone, Default)]
struct First(Arc<Mutex<Option<Instant>>>);

impl First {
    fn asked(&self) -> Instant {
        *self.0.lock().unwrap().get_or_insert_with(Instant::now)
    }
}

fn says(reply: &[u8]) -> Option<Vec<Action>> {
    Some(vec![Action::Send(reply.to_vec())])
}

/// A node that holds a slow command for longer than `timeouts.command`, as somebody's script would, and then refuses it;
/// it says the same to EXISTS, at once.
fn refuses_late(call: &Call, name: &str, refusal: &[u8]) -> Option<Vec<Action>> {
    match call.name() {
        asked if asked == name => Some(vec![
            Action::Until(Instant::now() + LONG),
            Action::Send(refusal.to_vec()),
        ]),
        asked if asked == "EXISTS" => says(refusal),
        _ => None,
    }
}

#[test]
fn a_redirection_is_followed_after_a_long_time_in_a_lane() {
    let commands = ["ZUNIONSTORE {a}to 1 {a}", "EVAL return(7) 1 {a}"];
    for (word, line) in ["MOVED", "ASK"]
        .iter()
        .flat_map(|w| commands.map(|c| (w, c)))
    {
        let cluster = FakeCluster::start(2);
        let slot = Slot::of(b"{a}").number();
        let from = cluster.owner(slot);
        let to = 1 - from;
        let name = line.split(' ').next().unwrap_or_default();
        let refusal = format!("-{word} {slot} {}\r\n", cluster.addr(to)).into_bytes();
        cluster.on(from, move |call| refuses_late(call, name, &refusal));
        cluster.on(to, move |call| {
            (call.name() == name).then(|| says(b":7\r\n"))?
        });
        let proxy = start(&cluster);
        let got = proxy.client().line(line);
        assert!(got == b":7\r\n", "{word} to {line}: {}", show(&got));
        assert_eq!(cluster.count(from, name), 1);
        assert_eq!(cluster.count(to, name), 1);
        cluster.finish();
    }
}

/// Slow commands that a node had for longer than `timeouts.unavailable` when it ceased to serve: they wait for it as others
/// do, with a slot and without one.
#[test]
fn how_long_an_unavailable_node_is_waited_for_counts_from_when_it_is() {
    let cluster = FakeCluster::start(1);
    let first = First::default();
    let refused: Mutex<Vec<String>> = Mutex::default();
    cluster.on(0, move |call| {
        let (refusal, reply): (&[u8], &[u8]) = match call.name().as_str() {
            "ZUNIONSTORE" => (b"-CLUSTERDOWN The cluster is down\r\n", b":7\r\n"),
            "KEYS" => (b"-LOADING the dataset\r\n", b"*0\r\n"),
            _ => return None,
        };
        let mut refused = refused.lock().unwrap();
        if refused.contains(&call.name()) {
            return says(reply);
        }
        refused.push(call.name());
        let ready = first.asked() + 2 * LONG;
        Some(vec![Action::Until(ready), Action::Send(refusal.to_vec())])
    });
    let mut args = vec!["--workers", "1"];
    args.extend(["--set", "timeouts.unavailable=2s"]);
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let (mut keyed, mut keyless) = (proxy.client(), proxy.client());
    keyed.send_lines(&["ZUNIONSTORE {a}to 1 {a}"]);
    keyless.send_lines(&["KEYS *"]);
    let got = [keyed.reply(), keyless.reply()].concat();
    assert!(got == b":7\r\n*0\r\n", "{}", show(&got));
    cluster.finish();
}

/// Both nodes have some of its keys, and TRYAGAIN comes after a long time: tried again all the same.
#[test]
fn a_late_tryagain_is_tried_again() {
    let cluster = FakeCluster::start(2);
    let slot = Slot::of(b"{a}").number();
    let from = cluster.owner(slot);
    let first = First::default();
    cluster.on(from, move |call| match call.name().as_str() {
        "ZUNIONSTORE" if first.asked() + LONG > Instant::now() => Some(vec![
            Action::Until(first.asked() + LONG),
            Action::Send(b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n".to_vec()),
        ]),
        "ZUNIONSTORE" => says(b":7\r\n"),
        _ => None,
    });
    let proxy = start(&cluster);
    proxy
        .client()
        .expect("ZUNIONSTORE {a}1 2 {a}2 {a}3", b":7\r\n");
    assert_eq!(cluster.count(from, "ZUNIONSTORE"), 2);
    cluster.finish();
}

/// A slot that nobody serves for longer than `timeouts.command`, and that is at another node then.
#[test]
fn a_redirection_is_followed_after_a_long_outage() {
    let cluster = FakeCluster::start(2);
    let slot = Slot::of(b"a").number();
    let from = cluster.owner(slot);
    let first = First::default();
    let moved = format!("-MOVED {slot} {}\r\n", cluster.addr(1 - from)).into_bytes();
    cluster.on(from, move |call| match call.name().as_str() {
        "SET" if first.asked() + LONG > Instant::now() => {
            says(b"-CLUSTERDOWN Hash slot not served\r\n")
        }
        "SET" => says(&moved),
        _ => None,
    });
    cluster.on(1 - from, |call| {
        (call.name() == "SET").then(|| says(b"+OK\r\n"))?
    });
    let proxy = start(&cluster);
    let mut client = proxy.client();
    client.send(&[encode(&["SET", "a", "1"]), encode(&["SET", "a", "2"])].concat());
    let got = client.replies(2).concat();
    assert!(got == b"+OK\r\n+OK\r\n", "{}", show(&got));
    assert_eq!(cluster.count(1 - from, "SET"), 2);
    cluster.finish();
}

/// How long nodes may keep a command from being executed counts from the first of a series of refusals, and ends.
#[test]
fn a_redirection_that_cannot_be_followed_is_given_up_in_time() {
    let cluster = FakeCluster::start(1);
    let slot = Slot::of(b"{a}").number();
    let refusal = format!("-MOVED {slot} 127.0.0.1:1\r\n").into_bytes();
    cluster.on(0, move |call| refuses_late(call, "ZUNIONSTORE", &refusal));
    let proxy = start(&cluster);
    let told = format!(
        "-CLUSTERDOWN slotway: not executed, its slot was on the move for longer than timeouts.command \
         (last MOVED {slot} 127.0.0.1:1); try again later\r\n"
    );
    proxy
        .client()
        .expect("ZUNIONSTORE {a}to 1 {a}", told.as_bytes());
    assert_eq!(cluster.count(0, "ZUNIONSTORE"), 1);
    cluster.finish();
}
