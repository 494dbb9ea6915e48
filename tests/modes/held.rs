//! Clients that are in the middle of something when the fault comes, and go on after it: a MULTI that is open, a watch,
//! a command that blocks for as long as it takes, at one node or over all.

use super::cast::Tag;
use crate::rig::stage::{CLUSTER_MAX, Stage};
use crate::support::{RawClient, encode, show};

/// What becomes of what a client has at the node that the fault is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The node is gone, and all its connections.
    Killed,
    /// The slot is elsewhere, and no connection is broken.
    Moved,
}

/// See the module. One for each tag.
pub struct Held {
    tag: String,
    multi: RawClient,
    watch: RawClient,
    blocked: RawClient,
}

impl Held {
    /// All of them. No other client blocks or watches yet, so that it can be seen from outside that these do.
    pub fn start(stage: &Stage, tags: &[Tag], round: usize) -> Vec<Self> {
        let held = tags.iter().map(|(tag, _)| Self::on(stage, tag, round));
        let held: Vec<Self> = held.collect();
        let watched = held.len() as f64;
        stage.proxy.wait_for("clients watch", CLUSTER_MAX, || {
            match stage.proxy.metrics().sum("slotway_watchers", &[]) {
                n if n >= watched => Ok(()),
                n => Err(format!("{n}")),
            }
        });
        for held in &held {
            held.wait_parked(stage);
        }
        held
    }

    fn on(stage: &Stage, tag: &str, round: usize) -> Self {
        let tag = format!("{tag}:held:{round}");
        let [mut multi, mut watch, mut blocked] = [(); 3].map(|()| stage.proxy.client());
        multi.expect("MULTI", b"+OK\r\n");
        multi.expect(&format!("RPUSH {tag}:multi 1"), b"+QUEUED\r\n");
        watch.expect(&format!("WATCH {tag}:watch"), b"+OK\r\n");
        watch.expect(&format!("GET {tag}:watch"), b"$-1\r\n");
        watch.expect("MULTI", b"+OK\r\n");
        watch.expect(&format!("RPUSH {tag}:watched 1"), b"+QUEUED\r\n");
        blocked.send(&encode(&["BLPOP", &format!("{tag}:blocked"), "0"]));
        Self {
            tag,
            multi,
            watch,
            blocked,
        }
    }

    /// The node itself has the client that waits: nothing else looks for this key.
    fn wait_parked(&self, stage: &Stage) {
        let slot = crate::rig::stage::slot_of(&self.tag);
        stage
            .proxy
            .wait_for("a client is blocked", CLUSTER_MAX, || {
                let owner = stage.cluster.owner_of(slot).ok_or("no owner")?;
                let list = stage.cluster.ask(owner, &["CLIENT", "LIST"]);
                let list = list.map_err(|error| error.to_string())?.text();
                let blocked = list.lines().filter(|line| line.contains(" flags=b"));
                match blocked.count() {
                    0 => Err("none".to_owned()),
                    _ => Ok(()),
                }
            });
    }

    /// All go on. `fault`: what has happened to the shard of this tag, if anything has.
    pub fn release(mut self, stage: &Stage, fault: Option<Fault>) {
        let tag = &self.tag;
        let mut other = stage.proxy.client();
        // Nothing of it was sent, so it is executed like any other.
        self.multi.expect("EXEC", b"*1\r\n:1\r\n");
        other.expect(&format!("LLEN {tag}:multi"), b":1\r\n");
        // The watch is lost with its connection, or with its slot.
        let (exec, length) = match fault {
            Some(_) => ("*-1\r\n", ":0\r\n"),
            None => ("*1\r\n:1\r\n", ":1\r\n"),
        };
        self.watch.expect("EXEC", exec.as_bytes());
        other.expect(&format!("LLEN {tag}:watched"), length.as_bytes());
        let pushed = other.line(&format!("RPUSH {tag}:blocked 1"));
        assert_eq!(show(&pushed), show(b":1\r\n"));
        let got = self.blocked.reply();
        let key = format!("{tag}:blocked");
        match fault {
            Some(Fault::Killed) => {
                let unknown = got.starts_with(b"-ERR slotway: outcome unknown");
                assert!(unknown, "{}", show(&got));
                self.blocked.expect(&format!("LPOP {key}"), b"$1\r\n1\r\n");
            }
            Some(Fault::Moved) | None => assert_eq!(show(&got), show(&encode(&[&key[..], "1"]))),
        }
        for client in [&mut self.multi, &mut self.watch, &mut self.blocked] {
            client.expect("EXEC", b"-ERR EXEC without MULTI\r\n");
            client.expect(&format!("LLEN {tag}:multi"), b":1\r\n");
        }
    }
}
