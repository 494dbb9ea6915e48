//! Scripts that word MOVED or ASK themselves, after they have written, in a slot that is on the move: the client gets
//! their words, and they are executed once.

use crate::support::node::{Action, FakeCluster};
use crate::support::{Proxy, show};
use slotway::cluster::Slot;

const KEY: &str = "a";

fn start(cluster: &FakeCluster) -> Proxy {
    let args = ["--workers", "1", "--set", "timeouts.command=60s"];
    Proxy::start_with(&cluster.addrs(), &args)
}

fn says(reply: &[u8]) -> Option<Vec<Action>> {
    Some(vec![Action::Send(reply.to_vec())])
}

/// Its own node has sent it on, truly; the other one executes it, and it lies.
#[test]
fn what_a_script_says_that_was_sent_on_is_no_redirection() {
    for (word, back) in [
        ("MOVED", true),
        ("MOVED", false),
        ("ASK", true),
        ("ASK", false),
    ] {
        let cluster = FakeCluster::start(3);
        let slot = Slot::of(KEY.as_bytes()).number();
        let from = cluster.owner(slot);
        let (to, third) = ((from + 1) % 3, (from + 2) % 3);
        cluster.begin_migration(slot, to);
        let ask = format!("-ASK {slot} {}\r\n", cluster.addr(to)).into_bytes();
        cluster.on(from, move |call| {
            ["EVAL", "EXISTS"]
                .contains(&call.name().as_str())
                .then(|| says(&ask))?
        });
        let named = cluster.addr(if back { from } else { third });
        let lie = format!("-{word} {slot} {named}\r\n");
        let said = lie.clone().into_bytes();
        cluster.on(to, move |call| match call.name().as_str() {
            "EVAL" if call.asking => says(&said),
            "EXISTS" if call.asking => says(b":1\r\n"),
            _ => None,
        });
        let proxy = start(&cluster);
        let got = proxy
            .client()
            .line(&format!("EVAL return{{err=ARGV[1]}} 1 {KEY} x"));
        let executed = cluster.count(to, "EVAL");
        assert_eq!(
            executed, 1,
            "{word}, back {back}: executed {executed} times"
        );
        assert!(got == lie.as_bytes(), "{word}, back {back}: {}", show(&got));
        assert_eq!(cluster.count(from, "EVAL"), 1);
        assert_eq!(cluster.count(third, "EVAL"), 0);
        cluster.finish();
    }
}

/// It is executed where it was sent first, and deletes its keys, so that the node sends EXISTS on: but not as the script
/// said.
#[test]
fn what_a_script_says_that_has_deleted_its_keys_is_no_redirection_but_in_the_nodes_words() {
    for (word, to_third) in [("MOVED", false), ("MOVED", true), ("ASK", true)] {
        let cluster = FakeCluster::start(3);
        let slot = Slot::of(KEY.as_bytes()).number();
        let from = cluster.owner(slot);
        let (to, third) = ((from + 1) % 3, (from + 2) % 3);
        cluster.begin_migration(slot, to);
        let ask = format!("-ASK {slot} {}\r\n", cluster.addr(to)).into_bytes();
        let named = cluster.addr(if to_third { third } else { to });
        let lie = format!("-{word} {slot} {named}\r\n");
        let said = lie.clone().into_bytes();
        cluster.on(from, move |call| match call.name().as_str() {
            "EVAL" => says(&said),
            "EXISTS" => says(&ask),
            _ => None,
        });
        cluster.on(to, |call| {
            (call.name() == "EVAL").then(|| says(b":2\r\n"))?
        });
        let proxy = start(&cluster);
        let got = proxy
            .client()
            .line(&format!("EVAL return{{err=ARGV[1]}} 1 {KEY} x"));
        assert!(
            got == lie.as_bytes(),
            "{word}, third {to_third}: {}",
            show(&got)
        );
        assert_eq!(cluster.count(from, "EVAL"), 1);
        assert_eq!(cluster.count(to, "EVAL") + cluster.count(third, "EVAL"), 0);
        cluster.finish();
    }
}
