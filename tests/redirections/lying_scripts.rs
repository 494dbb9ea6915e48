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

/// A slot on its way from the first node to the second; the third has nothing to do with it.
struct Scene {
    cluster: FakeCluster,
    slot: u16,
    nodes: [usize; 3],
}

impl Scene {
    fn set() -> Self {
        let cluster = FakeCluster::start(3);
        let slot = Slot::of(KEY.as_bytes()).number();
        let from = cluster.owner(slot);
        let nodes = [from, (from + 1) % 3, (from + 2) % 3];
        cluster.begin_migration(slot, nodes[1]);
        Self {
            cluster,
            slot,
            nodes,
        }
    }

    fn redirection(&self, word: &str, to: usize) -> String {
        format!("-{word} {} {}\r\n", self.slot, self.cluster.addr(to))
    }

    /// What the client is told, and how often each node has got the script.
    fn plays(self, case: &str, lie: &str, executed: [usize; 3]) {
        let proxy = start(&self.cluster);
        let got = proxy
            .client()
            .line(&format!("EVAL return{{err=ARGV[1]}} 1 {KEY} x"));
        assert!(got == lie.as_bytes(), "{case}: {}", show(&got));
        let evals = self.nodes.map(|node| self.cluster.count(node, "EVAL"));
        assert_eq!(evals, executed, "{case}");
        self.cluster.finish();
    }
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
        let scene = Scene::set();
        let [from, to, third] = scene.nodes;
        let ask = scene.redirection("ASK", to).into_bytes();
        scene.cluster.on(from, move |call| {
            ["EVAL", "EXISTS"]
                .contains(&call.name().as_str())
                .then(|| says(&ask))?
        });
        let lie = scene.redirection(word, if back { from } else { third });
        let said = lie.clone().into_bytes();
        scene
            .cluster
            .on(to, move |call| match call.name().as_str() {
                "EVAL" if call.asking => says(&said),
                "EXISTS" if call.asking => says(b":1\r\n"),
                _ => None,
            });
        scene.plays(&format!("{word}, back {back}"), &lie, [1, 1, 0]);
    }
}

/// It is executed where it was sent first, and deletes its keys, so that the node sends EXISTS on: but not as the script
/// said.
#[test]
fn what_a_script_says_that_has_deleted_its_keys_is_no_redirection_but_in_the_nodes_words() {
    for (word, to_third) in [("MOVED", false), ("MOVED", true), ("ASK", true)] {
        let scene = Scene::set();
        let [from, to, third] = scene.nodes;
        let ask = scene.redirection("ASK", to).into_bytes();
        let lie = scene.redirection(word, if to_third { third } else { to });
        let said = lie.clone().into_bytes();
        scene
            .cluster
            .on(from, move |call| match call.name().as_str() {
                "EVAL" => says(&said),
                "EXISTS" => says(&ask),
                _ => None,
            });
        scene.cluster.on(to, |call| {
            (call.name() == "EVAL").then(|| says(b":2\r\n"))?
        });
        scene.plays(&format!("{word}, third {to_third}"), &lie, [1, 0, 0]);
    }
}
