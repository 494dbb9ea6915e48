//! The slot map: an immutable snapshot of which node owns which slot. It is swapped whole, never edited in
//! place (invariant 7); `topology` builds and publishes it, sessions read it once per batch of commands.

use super::{SLOTS, Slot};
use rustc_hash::FxHashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Where a node is reached: host (name or IP without brackets) and port. Cheap to clone, compared by value.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddr {
    host: Arc<str>,
    port: u16,
}

impl NodeAddr {
    /// The address `host:port`; an IPv6 host comes without brackets.
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Parses `host:port` as nodes and configurations write it: split at the last colon, so that both
    /// `::1:6379` (as MOVED words it) and `[::1]:6379` work. `None` if there is no host or no valid port.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        let port = port.parse().ok().filter(|&p| p != 0)?;
        (!host.is_empty()).then(|| Self::new(host, port))
    }

    /// Name or IP, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Position of a node in [`SlotMap::nodes`]; only meaningful for the map it came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct NodeIndex(u16);

impl NodeIndex {
    /// As an index into [`SlotMap::nodes`].
    #[inline]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// One node that topology named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where clients of the cluster reach it (after `cluster.address_map`).
    pub addr: NodeAddr,
    /// Its 40-character node id; empty if the answer carried none.
    pub id: Arc<str>,
    /// Its part in its shard.
    pub shard: Shard,
    /// Config epoch under which it claims its slots.
    pub epoch: u64,
}

/// A node's part: primary, or replica of the primary at that index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shard {
    /// Owns slots, or could.
    Primary,
    /// Copies the primary with that index (`None`: its primary is not known here).
    ReplicaOf(Option<NodeIndex>),
}

const UNOWNED: u16 = u16::MAX;

/// Who owns which slot. Immutable; `version` differs between any two maps that were published.
#[derive(Clone)]
pub struct SlotMap {
    version: u64,
    owners: Box<[u16; SLOTS]>,
    nodes: Vec<Node>,
    /// Found once, when the map is built: every worker asks for them ten times a second.
    primaries: Vec<NodeIndex>,
}

impl SlotMap {
    /// A map that knows no node: what there is before the first answer.
    pub fn empty() -> Self {
        SlotMapBuilder::new().build(0)
    }

    /// Distinguishes published maps; 0 is the empty one.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The primary that owns `slot`.
    #[inline]
    pub fn owner(&self, slot: Slot) -> Option<NodeIndex> {
        let owner = self.owners[slot.index()];
        (owner != UNOWNED).then_some(NodeIndex(owner))
    }

    /// Every node topology named, replicas included.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node at `index`. Panics if `index` is of another map with more nodes.
    #[inline]
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.get()]
    }

    /// The node that is reached at `addr`.
    pub fn find(&self, addr: &NodeAddr) -> Option<NodeIndex> {
        let at = self.nodes.iter().position(|n| n.addr == *addr)?;
        Some(NodeIndex(at as u16))
    }

    /// The primaries that own at least one slot, in the order of their first slot.
    pub fn primaries(&self) -> Vec<NodeIndex> {
        self.primaries.clone()
    }

    /// The replicas of `primary`.
    pub fn replicas(&self, primary: NodeIndex) -> impl Iterator<Item = NodeIndex> {
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(_, n)| n.shard == Shard::ReplicaOf(Some(primary)))
            .map(|(i, _)| NodeIndex(i as u16))
    }

    /// How many slots have an owner.
    pub fn covered(&self) -> usize {
        self.owners.iter().filter(|&&o| o != UNOWNED).count()
    }

    /// Runs of neighbouring slots with one owner: first, last, owner.
    pub fn ranges(&self) -> Vec<(Slot, Slot, NodeIndex)> {
        let mut runs: Vec<(Slot, Slot, NodeIndex)> = Vec::new();
        let mut next = 0;
        for run in self.owners.chunk_by(|a, b| a == b) {
            let first = next;
            next += run.len() as u16;
            if run[0] != UNOWNED
                && let (Some(first), Some(last)) = (Slot::new(first), Slot::new(next - 1))
            {
                runs.push((first, last, NodeIndex(run[0])));
            }
        }
        runs
    }

    /// The slots that another node owns than by the map before.
    pub fn moved_since(&self, before: &Self) -> Vec<Slot> {
        let nodes = before.nodes.iter().zip(0..);
        let olds: FxHashMap<&NodeAddr, u16> = nodes.map(|(node, at)| (&node.addr, at)).collect();
        let old = |node: &Node| olds.get(&node.addr).copied();
        let then: Vec<Option<u16>> = self.nodes.iter().map(old).collect();
        let is_same = |slot: &Slot| match (self.owner(*slot), before.owner(*slot)) {
            (Some(now), Some(old)) => then[now.get()] == Some(old.0),
            (now, old) => now == old,
        };
        Slot::all().filter(|slot| !is_same(slot)).collect()
    }

    /// Whether both say the same about every slot and node; versions aside.
    pub fn same_content(&self, other: &Self) -> bool {
        self.owners == other.owners && self.nodes == other.nodes
    }

    /// A copy, as a starting point for a changed map.
    pub fn edit(&self) -> SlotMapBuilder {
        SlotMapBuilder {
            owners: self.owners.clone(),
            nodes: self.nodes.clone(),
        }
    }
}

impl fmt::Debug for SlotMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotMap v{} {:?} ", self.version, self.nodes)?;
        f.debug_list().entries(self.ranges()).finish()
    }
}

/// Builds a [`SlotMap`]; owned by whoever publishes maps, never shared.
pub struct SlotMapBuilder {
    owners: Box<[u16; SLOTS]>,
    nodes: Vec<Node>,
}

impl Default for SlotMapBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl SlotMapBuilder {
    /// No node, no slot owned.
    pub fn new() -> Self {
        Self {
            owners: Box::new([UNOWNED; SLOTS]),
            nodes: Vec::new(),
        }
    }

    /// Adds a node. `None` when the map already has 65,535 of them.
    pub fn add(&mut self, node: Node) -> Option<NodeIndex> {
        let index = u16::try_from(self.nodes.len())
            .ok()
            .filter(|&i| i != UNOWNED)?;
        self.nodes.push(node);
        Some(NodeIndex(index))
    }

    /// Makes `owner` the owner of `slot`.
    pub fn assign(&mut self, slot: Slot, owner: NodeIndex) {
        debug_assert!(owner.get() < self.nodes.len());
        self.owners[slot.index()] = owner.0;
    }

    /// The same for neighbouring slots, which are indexes here.
    pub(super) fn assign_run(&mut self, slots: Range<usize>, owner: NodeIndex) {
        debug_assert!(owner.get() < self.nodes.len());
        self.owners[slots].fill(owner.0);
    }

    /// Changes the part of a node in its shard.
    pub fn set_shard(&mut self, node: NodeIndex, shard: Shard) {
        self.nodes[node.get()].shard = shard;
    }

    /// The finished map.
    pub fn build(self, version: u64) -> SlotMap {
        let mut seen = vec![false; self.nodes.len()];
        let mut primaries = Vec::new();
        for &owner in self.owners.iter().filter(|&&o| o != UNOWNED) {
            if !std::mem::replace(&mut seen[owner as usize], true) {
                primaries.push(NodeIndex(owner));
            }
        }
        SlotMap {
            version,
            primaries,
            owners: self.owners,
            nodes: self.nodes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16, shard: Shard) -> Node {
        Node {
            addr: NodeAddr::new("127.0.0.1", port),
            id: "".into(),
            shard,
            epoch: 0,
        }
    }

    #[test]
    fn addresses_split_at_the_last_colon() {
        assert_eq!(
            NodeAddr::parse("::1:6379"),
            Some(NodeAddr::new("::1", 6379))
        );
        assert_eq!(
            NodeAddr::parse("[::1]:6379"),
            Some(NodeAddr::new("::1", 6379))
        );
        assert_eq!(
            NodeAddr::parse("redis-0.svc:7000"),
            Some(NodeAddr::new("redis-0.svc", 7000))
        );
        for bad in [
            "",
            ":6379",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:x",
        ] {
            assert_eq!(NodeAddr::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_map_knows_owners_replicas_and_ranges() {
        let mut b = SlotMapBuilder::new();
        let p = b.add(node(1, Shard::Primary)).unwrap();
        let q = b.add(node(2, Shard::Primary)).unwrap();
        let r = b.add(node(3, Shard::ReplicaOf(Some(p)))).unwrap();
        for slot in Slot::all().take(10) {
            b.assign(slot, if slot.number() < 5 { q } else { p });
        }
        let map = b.build(7);
        assert_eq!((map.version(), map.covered()), (7, 10));
        assert_eq!(map.primaries(), vec![q, p]);
        assert_eq!(map.replicas(p).collect::<Vec<_>>(), vec![r]);
        assert_eq!(map.ranges().len(), 2);
        assert_eq!(map.owner(Slot::new(10).unwrap()), None);
        assert_eq!(map.find(&NodeAddr::new("127.0.0.1", 3)), Some(r));
    }

    /// Nodes may stand in another order.
    #[test]
    fn slots_that_moved_are_known_by_address() {
        let slots = |ports: [u16; 3], owners: [Option<usize>; 4]| {
            let mut b = SlotMapBuilder::new();
            let nodes = ports.map(|port| b.add(node(port, Shard::Primary)).unwrap());
            for (slot, owner) in Slot::all().zip(owners) {
                if let Some(owner) = owner {
                    b.assign(slot, nodes[owner]);
                }
            }
            b.build(1)
        };
        let before = slots([1, 2, 3], [Some(0), Some(1), None, Some(2)]);
        let after = slots([2, 1, 4], [Some(1), Some(1), None, Some(2)]);
        let moved = after.moved_since(&before);
        assert_eq!(moved, [1, 3].map(|slot| Slot::new(slot).unwrap()));
        assert_eq!(after.moved_since(&after), []);
        assert_eq!(SlotMap::empty().moved_since(&before).len(), 3);
    }
}
