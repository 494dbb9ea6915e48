//! What operators do to a running cluster, step by step, so that a test can stop in the middle: failovers, and
//! slots moved from one primary to another.

use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::wait::{Stop, wait_until};
use super::{Error, Reply};

/// How long a failover may take.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long it may take until a node has heard of another's epoch.
const EPOCH_TIMEOUT: Duration = Duration::from_secs(30);

/// A server gives a manual failover up after 5 s (its `CLUSTER_MF_TIMEOUT`); Redis 7.0 does so now and then when its
/// clients write all the time.
const FAILOVER_GIVEN_UP_AFTER: Duration = Duration::from_secs(7);
/// Keys that one MIGRATE moves at most.
const KEYS_PER_MIGRATE: &str = "100";
/// How long one MIGRATE may block the two nodes.
const MIGRATE_TIMEOUT_MS: &str = "5000";

impl Cluster {
    /// Whether a node says of itself that it is a primary with slots.
    pub fn is_primary(&self, node: usize) -> Result<bool, Error> {
        let lines = self.nodes_seen_by(node)?;
        let mut own = lines.iter().filter(|line| line.is("myself"));
        Ok(own.any(|line| line.is("master") && !line.slots.is_empty()))
    }

    /// The running node that says of itself that it serves `slot`; the one with the highest config epoch if
    /// several do.
    pub fn owner_of(&self, slot: u16) -> Option<usize> {
        (0..self.len())
            .filter(|&node| self.node(node).is_running())
            .filter_map(|node| {
                let lines = self.nodes_seen_by(node).ok()?;
                let own = lines.into_iter().find(|line| line.is("myself"))?;
                (own.is("master") && own.serves(slot)).then_some((own.epoch, node))
            })
            .max()
            .map(|(_, node)| node)
    }

    /// A running replica of `primary`, if it has one.
    pub fn replica_of(&self, primary: usize) -> Option<usize> {
        let lines = self.nodes_seen_by(primary).ok()?;
        (0..self.len())
            .filter(|&node| self.node(node).is_running())
            .find(|&node| {
                lines.iter().any(|line| {
                    line.id == self.id(node) && line.primary.as_deref() == Some(self.id(primary))
                })
            })
    }

    /// CLUSTER FAILOVER to a replica; returns when every running node sees it as the primary of its slots.
    pub fn failover(&self, replica: usize) -> Result<(), Error> {
        self.failover_with(replica, &["CLUSTER", "FAILOVER"])
    }

    /// The same with the given command, e.g. `CLUSTER FAILOVER TAKEOVER`.
    pub fn failover_with(&self, replica: usize, command: &[&str]) -> Result<(), Error> {
        self.expect_ok(replica, command)?;
        let deadline = Instant::now() + FAILOVER_TIMEOUT;
        loop {
            let promoted = self.wait_promoted(replica, FAILOVER_GIVEN_UP_AFTER);
            if promoted.is_ok() || Instant::now() > deadline {
                return promoted;
            }
            // An attempt that the server gave up is made again; one that has succeeded meanwhile is refused.
            let _ = self.expect_ok(replica, command);
        }
    }

    /// Waits until every running node sees `node` as a primary with slots, and all nodes agree on the rest.
    pub fn wait_promoted(&self, node: usize, at_most: Duration) -> Result<(), Error> {
        let what = format!("node {node} is the primary");
        wait_until(&what, at_most, &Stop::default(), || {
            for seer in (0..self.len()).filter(|&seer| self.node(seer).is_running()) {
                let lines = self
                    .nodes_seen_by(seer)
                    .map_err(|error| error.to_string())?;
                let line = lines.iter().find(|line| line.id == self.id(node));
                if !line.is_some_and(|line| line.is("master") && !line.slots.is_empty()) {
                    return Err(format!("node {seer} sees {line:?}"));
                }
            }
            Ok(())
        })
    }

    /// Marks a slot as moving from one primary to another: from here on `from` answers ASK for keys it does
    /// not have, and `to` serves the slot after ASKING only.
    pub fn begin_migration(&self, slot: u16, from: usize, to: usize) -> Result<(), Error> {
        let slot = slot.to_string();
        self.expect_ok(
            to,
            &["CLUSTER", "SETSLOT", &slot, "IMPORTING", self.id(from)],
        )?;
        self.expect_ok(
            from,
            &["CLUSTER", "SETSLOT", &slot, "MIGRATING", self.id(to)],
        )
    }

    /// Moves these keys of a moving slot.
    pub fn move_keys<K: AsRef<[u8]>>(
        &self,
        from: usize,
        to: usize,
        keys: &[K],
    ) -> Result<(), Error> {
        let port = self.addr(to).port().to_string();
        let mut args: Vec<&[u8]> = vec![b"MIGRATE", b"127.0.0.1", port.as_bytes(), b"", b"0"];
        args.push(MIGRATE_TIMEOUT_MS.as_bytes());
        if let Some(password) = &self.password {
            args.extend([b"AUTH".as_slice(), password.as_bytes()]);
        }
        args.push(b"KEYS");
        args.extend(keys.iter().map(AsRef::as_ref));
        let shown = ["MIGRATE", "127.0.0.1", &port];
        let reply = self
            .command(from, &args)
            .map_err(|error| Error::io("MIGRATE", error))?;
        match &reply {
            Reply::Simple(text) if text == "OK" || text == "NOKEY" => Ok(()),
            other => Err(self.refused(from, &shown, other)),
        }
    }

    /// Moves all keys of a moving slot.
    pub fn move_all_keys(&self, slot: u16, from: usize, to: usize) -> Result<(), Error> {
        let slot = slot.to_string();
        loop {
            let question = ["CLUSTER", "GETKEYSINSLOT", &slot, KEYS_PER_MIGRATE];
            let reply = self.ask(from, &question)?;
            let keys: Vec<&[u8]> = reply
                .elements()
                .iter()
                .filter_map(|key| match key {
                    Reply::Bulk(bytes) => Some(bytes.as_slice()),
                    _ => None,
                })
                .collect();
            if keys.is_empty() {
                return Ok(());
            }
            self.move_keys(from, to, &keys)?;
        }
    }

    /// Gives a moving slot to its new primary, on all primaries.
    pub fn finish_migration(&self, slot: u16, from: usize, to: usize) -> Result<(), Error> {
        self.wait_for_epoch(from, to)?;
        let slot = slot.to_string();
        let args = ["CLUSTER", "SETSLOT", &slot, "NODE", self.id(to)];
        self.expect_ok(to, &args)?;
        self.expect_ok(from, &args)?;
        for node in (0..self.len()).filter(|&n| n != from && n != to) {
            if self.node(node).is_running() && self.is_primary(node)? {
                self.expect_ok(node, &args)?;
            }
        }
        Ok(())
    }

    /// A server that is given a slot takes the highest epoch that it has heard of. If that is not as high as the old owner's,
    /// a message of that one which is on its way takes the slot back, and each of the two points to the other from then on.
    fn wait_for_epoch(&self, from: usize, to: usize) -> Result<(), Error> {
        let what = format!("node {to} has heard of the epoch of node {from}");
        let epoch = |node, field| {
            let epoch = self.field(node, &["CLUSTER", "INFO"], field);
            let epoch = epoch.map_err(|error| error.to_string())?;
            epoch.parse::<u64>().map_err(|error| error.to_string())
        };
        wait_until(&what, EPOCH_TIMEOUT, &Stop::default(), || {
            let (heard, own) = (
                epoch(to, "cluster_current_epoch")?,
                epoch(from, "cluster_my_epoch")?,
            );
            match heard >= own {
                true => Ok(()),
                false => Err(format!("{heard} of {own}")),
            }
        })
    }

    /// Takes back the marks of a moving slot; keys that moved stay where they are.
    pub fn abort_migration(&self, slot: u16, from: usize, to: usize) -> Result<(), Error> {
        let slot = slot.to_string();
        self.expect_ok(from, &["CLUSTER", "SETSLOT", &slot, "STABLE"])?;
        self.expect_ok(to, &["CLUSTER", "SETSLOT", &slot, "STABLE"])
    }

    /// Moves a whole slot with its keys.
    pub fn migrate_slot(&self, slot: u16, from: usize, to: usize) -> Result<(), Error> {
        self.begin_migration(slot, from, to)?;
        self.move_all_keys(slot, from, to)?;
        self.finish_migration(slot, from, to)
    }
}
