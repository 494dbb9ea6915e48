//! Two scripted nodes and a proxy in front of them: a stage for what becomes of one slot's transactions.

use super::{FakeCluster, Step};
use crate::support::{Proxy, RawClient, show};
use slotway::cluster::Slot;

const OK: &[u8] = b"+OK\r\n";
const QUEUED: &[u8] = b"+QUEUED\r\n";

/// The owner of the slot of `a`, and the other node.
pub struct Stage {
    pub cluster: FakeCluster,
    pub proxy: Proxy,
    pub slot: u16,
    pub owner: usize,
    block: &'static [&'static str],
}

impl Stage {
    /// `block`: the transaction that is played, from MULTI to EXEC.
    pub fn set(block: &'static [&'static str], options: &[&str]) -> Self {
        let cluster = FakeCluster::start(2);
        let options = [&["--workers", "1"], options].concat();
        let proxy = Proxy::start_with(&cluster.addrs(), &options);
        let slot = Slot::of(b"a").number();
        let owner = cluster.owner(slot);
        Self {
            cluster,
            proxy,
            slot,
            owner,
            block,
        }
    }

    pub fn other(&self) -> usize {
        1 - self.owner
    }

    /// A key of another slot of the same node.
    pub fn elsewhere(&self) -> String {
        let mut keys = (0..).map(|n| format!("k{n}"));
        let found = keys.find(|key| {
            let slot = Slot::of(key.as_bytes()).number();
            slot != self.slot && self.cluster.owner(slot) == self.owner
        });
        found.expect("it has thousands")
    }

    /// To the other node.
    pub fn redirection(&self, word: &str) -> Vec<u8> {
        let to = self.cluster.addr(self.other());
        format!("-{word} {} {to}\r\n", self.slot).into_bytes()
    }

    /// A node gets that line and gives that reply.
    pub fn step(&self, node: usize, line: &str, asking: bool, reply: &[u8]) {
        let step = Step::expect(line).asking(asking).send(reply);
        self.cluster.script(node, [step]);
    }

    /// A node gets the block and gives these replies.
    pub fn block<const N: usize>(&self, node: usize, asking: bool, replies: [&[u8]; N]) {
        assert_eq!(self.block.len(), N);
        for (line, reply) in self.block.iter().zip(replies) {
            self.step(node, line, asking, reply);
        }
    }

    /// What the client gets for EXEC.
    pub fn exec(&self, client: &mut RawClient) -> Vec<u8> {
        client.send_lines(self.block);
        let mut replies = client.replies(self.block.len());
        let told = replies.pop().expect("that to EXEC");
        let queued = vec![QUEUED; replies.len() - 1].concat();
        assert_eq!(replies.concat(), [OK, &queued].concat());
        told
    }
}

#[track_caller]
pub fn assert_reply(got: &[u8], expected: &[u8]) {
    assert!(
        got == expected,
        "got {}, expected {}",
        show(got),
        show(expected)
    );
}
