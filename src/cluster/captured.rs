//! Answers captured from real clusters (3 primaries, 3 replicas, node timeout 2 s), for tests. A file is a sequence of
//! arrays, one per node that answered: address, then the raw replies to CLUSTER INFO, SHARDS, NODES and SLOTS.

use super::{AddressMap, Answers, NodeAddr, SlotsAnswer, View, parse_view};

/// One moment of one cluster.
#[derive(Clone, Copy)]
pub(super) struct Captured(&'static [u8]);

macro_rules! captured {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) const $name: [Captured; 2] = [
            Captured(include_bytes!(concat!("../../tests/data/topology/redis-7.0/", $file, ".resp"))),
            Captured(include_bytes!(concat!("../../tests/data/topology/valkey-9.1/", $file, ".resp"))),
        ];)*
    };
}

captured! {
    STABLE = "stable";
    MIGRATING = "migrating";
    KILLED = "killed";
    FAILED = "failed";
    PROMOTED = "promoted";
    RESUMED = "resumed";
    MAJORITY_DOWN = "majority-down";
}

/// Which of the two commands to take the addresses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Using {
    Shards,
    Slots,
}

/// The raw replies of one node.
pub(super) struct Raw {
    pub(super) source: NodeAddr,
    pub(super) info: &'static [u8],
    pub(super) shards: &'static [u8],
    pub(super) nodes: &'static [u8],
    pub(super) slots: &'static [u8],
}

impl Captured {
    /// What each node answered.
    pub(super) fn raw(self) -> Vec<Raw> {
        let mut rest = self.0;
        let mut found = Vec::new();
        while !rest.is_empty() {
            let len = crate::resp::ReplyScanner::new()
                .scan(rest)
                .unwrap()
                .unwrap();
            let parts = crate::resp::elements(&rest[..len]).unwrap();
            let source = crate::resp::bulk(&rest[parts[0].clone()]).unwrap();
            found.push(Raw {
                source: NodeAddr::parse(std::str::from_utf8(source).unwrap()).unwrap(),
                info: &rest[parts[1].clone()],
                shards: &rest[parts[2].clone()],
                nodes: &rest[parts[3].clone()],
                slots: &rest[parts[4].clone()],
            });
            rest = &rest[len..];
        }
        found
    }

    /// What each node believed.
    pub(super) fn views(self, using: Using) -> Vec<View> {
        self.raw()
            .iter()
            .map(|raw| {
                let slots = match using {
                    Using::Shards => SlotsAnswer::Shards(raw.shards),
                    Using::Slots => SlotsAnswer::Slots(raw.slots),
                };
                let answers = Answers {
                    info: raw.info,
                    nodes: raw.nodes,
                    slots,
                };
                parse_view(&raw.source, &answers, &AddressMap::default()).unwrap()
            })
            .collect()
    }
}
