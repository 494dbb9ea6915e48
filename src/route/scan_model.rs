//! Scans model clusters whose slots move and whose primaries are replaced between, and during, the steps,
//! and checks the promise: what was there all the time is returned, and the scan ends once the cluster rests.

use super::scan::*;
use crate::cluster::{Node, NodeAddr, NodeIndex, Shard, Slot, SlotMap, SlotMapBuilder};
use crate::resp::{encode, parse_request};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A key, as far as this matters: its slot, and which of the slot's keys it is.
type Key = (u16, u8);

/// Shards with a primary and a replica each; slots in steps of [`STRIDE`], so that a model has few.
struct Cluster {
    /// Per shard the identities of its two nodes, the primary first.
    shards: Vec<[u16; 2]>,
    owners: Vec<usize>,
    version: u64,
}

const STRIDE: u16 = 1024;

#[derive(Clone, Debug)]
enum Event {
    Move { slot: usize, to: usize },
    Promote { shard: usize },
    Nothing,
}

impl Cluster {
    fn new(shards: usize) -> Self {
        let slots = usize::from(16_384 / STRIDE);
        Self {
            shards: (0..shards as u16).map(|s| [2 * s, 2 * s + 1]).collect(),
            owners: (0..slots).map(|slot| slot * shards / slots).collect(),
            version: 1,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Move { slot, to } => {
                let slots = self.owners.len();
                self.owners[slot % slots] = to % self.shards.len();
            }
            Event::Promote { shard } => {
                let shards = self.shards.len();
                self.shards[shard % shards].reverse();
            }
            Event::Nothing => return,
        }
        self.version += 1;
    }

    fn map(&self) -> SlotMap {
        let mut builder = SlotMapBuilder::new();
        let node = |identity: u16, shard| Node {
            addr: NodeAddr::new("127.0.0.1", 7_000 + identity),
            id: format!("{identity:040x}").into(),
            shard,
            epoch: 0,
        };
        let mut primaries = Vec::new();
        for [primary, replica] in &self.shards {
            let index = builder.add(node(*primary, Shard::Primary)).unwrap();
            builder
                .add(node(*replica, Shard::ReplicaOf(Some(index))))
                .unwrap();
            primaries.push(index);
        }
        for slot in Slot::all() {
            let owner = self.owners[usize::from(slot.number() / STRIDE)];
            builder.assign(slot, primaries[owner]);
        }
        builder.build(self.version)
    }

    /// A node's SCAN: its keys in the order of a hash with its own seed; the cursor is the next hash.
    fn scan(
        &self,
        identity: u16,
        cursor: u64,
        count: usize,
        keys: &BTreeSet<Key>,
    ) -> (u64, Vec<Key>) {
        let Some(shard) = self
            .shards
            .iter()
            .position(|nodes| nodes.contains(&identity))
        else {
            return (0, Vec::new());
        };
        let own = |key: &&Key| self.owners[usize::from(key.0 / STRIDE)] == shard;
        let mut table: BTreeMap<u64, Key> = BTreeMap::new();
        for key in keys.iter().filter(own) {
            table.insert(1 + place(identity, *key), *key);
        }
        let mut rest = table.range(cursor..);
        let found = rest.by_ref().take(count).map(|(_, key)| *key).collect();
        (rest.next().map_or(0, |(place, _)| *place), found)
    }
}

fn place(identity: u16, key: Key) -> u64 {
    let mixed = (u64::from(identity) << 32 | u64::from(key.0) << 8 | u64::from(key.1))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 36
}

/// Scans to the end, with two events around each step: one while the node is asked, one before the next.
/// The answer: what was returned, and in how many steps.
fn scan_through(
    cluster: &mut Cluster,
    keys: &BTreeSet<Key>,
    count: usize,
    events: &[Event],
) -> (BTreeSet<Key>, usize) {
    let mut events = events.iter();
    let mut seen = BTreeSet::new();
    let (mut client_cursor, mut steps) = (0, 0);
    loop {
        let map = cluster.map();
        let order = ScanOrder::of(&map);
        let step = order
            .resume(&map, client_cursor)
            .expect("the model has shards");
        let identity = map.node(step.node).addr.port() - 7_000;
        if steps % 2 == 0 {
            cluster.happen(events.next().unwrap_or(&Event::Nothing));
        }
        let (node_cursor, found) = cluster.scan(identity, step.node_cursor, count, keys);
        seen.extend(found);
        cluster.happen(events.next().unwrap_or(&Event::Nothing));
        client_cursor = step.next(node_cursor, cluster.version).unwrap();
        assert!(client_cursor < 1 << 63);
        steps += 1;
        assert!(steps < 10_000, "the scan does not end");
        if client_cursor == 0 {
            return (seen, steps);
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Nothing),
        2 => (0usize..64, 0usize..8).prop_map(|(slot, to)| Event::Move { slot, to }),
        1 => (0usize..8).prop_map(|shard| Event::Promote { shard }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_that_was_there_throughout_is_missed(
        shards in 1usize..6,
        keys in prop::collection::btree_set((0u16..16_384, 0u8..3), 0..60),
        count in 1usize..8,
        events in prop::collection::vec(event(), 0..40),
    ) {
        let mut cluster = Cluster::new(shards);
        let (seen, _) = scan_through(&mut cluster, &keys, count, &events);
        prop_assert_eq!(seen, keys);
    }

    #[test]
    fn any_cursor_leads_to_an_end(shards in 1usize..6, garbage: u64) {
        let cluster = Cluster::new(shards);
        let map = cluster.map();
        let order = ScanOrder::of(&map);
        let step = order.resume(&map, garbage).unwrap();
        prop_assert!(step.node_cursor == 0 || garbage & 0xff_ffff != 0);
        prop_assert!(map.primaries().contains(&step.node));
    }
}

fn many_keys() -> BTreeSet<Key> {
    (0..16_384).step_by(100).map(|slot| (slot, 0)).collect()
}

fn nodes_of(map: &SlotMap) -> Vec<NodeIndex> {
    map.primaries()
}

#[test]
fn a_quiet_cluster_is_scanned_once() {
    let keys = many_keys();
    let (seen, steps) = scan_through(&mut Cluster::new(3), &keys, 10, &[]);
    assert_eq!(seen, keys);
    assert!(steps <= keys.len() / 10 + 3, "{steps} steps");
}

#[test]
fn a_promotion_repeats_its_shard_and_no_other() {
    let mut cluster = Cluster::new(3);
    let map = cluster.map();
    let order = ScanOrder::of(&map);
    let second = order
        .resume(&map, order.resume(&map, 0).unwrap().next(0, 1).unwrap())
        .unwrap();
    let inside = second.next(99, 1).unwrap();
    assert_eq!(order.resume(&map, inside).unwrap().node_cursor, 99);

    cluster.happen(&Event::Promote { shard: 1 });
    let map = cluster.map();
    let step = ScanOrder::of(&map).resume(&map, inside).unwrap();
    assert_eq!((step.node, step.node_cursor), (nodes_of(&map)[1], 0));
    // Another shard's promotion changes nothing for this one.
    cluster.happen(&Event::Promote { shard: 1 });
    cluster.happen(&Event::Promote { shard: 0 });
    let map = cluster.map();
    let step = ScanOrder::of(&map).resume(&map, inside).unwrap();
    assert_eq!((step.node, step.node_cursor), (nodes_of(&map)[1], 99));
}

#[test]
fn slots_moving_among_shards_still_to_come_do_not_disturb() {
    let mut cluster = Cluster::new(4);
    let map = cluster.map();
    let order = ScanOrder::of(&map);
    let inside = order.resume(&map, 0).unwrap().next(7, 1).unwrap();
    cluster.happen(&Event::Move { slot: 15, to: 2 });
    let map = cluster.map();
    assert_eq!(
        ScanOrder::of(&map)
            .resume(&map, inside)
            .unwrap()
            .node_cursor,
        7
    );
    // A slot that comes to the shard at hand may have come to a bucket already passed.
    cluster.happen(&Event::Move { slot: 15, to: 0 });
    let map = cluster.map();
    assert_eq!(
        ScanOrder::of(&map)
            .resume(&map, inside)
            .unwrap()
            .node_cursor,
        0
    );
}

#[test]
fn a_step_during_which_the_map_changed_is_repeated() {
    let map = Cluster::new(1).map();
    let step = ScanOrder::of(&map).resume(&map, 0).unwrap();
    for node_cursor in [0, 5] {
        let again = step.next(node_cursor, 2).unwrap();
        assert_ne!(again, 0);
        assert_eq!(ScanOrder::of(&map).resume(&map, again), Some(step));
    }
}

#[test]
fn a_thousand_shards_have_a_thousand_tags_and_small_cursors() {
    let mut builder = SlotMapBuilder::new();
    for number in 0..1_000u16 {
        let node = builder.add(Node {
            addr: NodeAddr::new("10.0.0.1", 1 + number),
            id: "".into(),
            shard: Shard::Primary,
            epoch: 0,
        });
        (0..16).for_each(|at| builder.assign(Slot::new(number * 16 + at).unwrap(), node.unwrap()));
    }
    let map = builder.build(1);
    let order = ScanOrder::of(&map);
    let (mut client_cursor, mut visited) = (0, Vec::new());
    loop {
        let step = order.resume(&map, client_cursor).unwrap();
        visited.push(step.node);
        assert!(step.next((1 << 29) - 1, 1).unwrap() < 1 << 53);
        client_cursor = step.next(0, 1).unwrap();
        if client_cursor == 0 {
            break;
        }
    }
    assert_eq!(visited, map.primaries());
}

#[test]
fn requests_and_replies_get_the_other_sides_cursor() {
    let map = Cluster::new(2).map();
    let order = ScanOrder::of(&map);
    let step = order.resume(&map, 0).unwrap();
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &["scan", "+0", "MATCH", "a*", "COUNT", "5"]);
    let mut spans = Vec::new();
    let mut out = Vec::new();
    step.request(&parse_request(&bytes, &mut spans).unwrap(), &mut out);
    let mut expected = Vec::new();
    encode::command(&mut expected, &["scan", "0", "MATCH", "a*", "COUNT", "5"]);
    assert_eq!(out, expected);

    let replied = |reply: &str| {
        let mut out = Vec::new();
        match step.page(reply.as_bytes(), 1) {
            Ok(page) => scan_reply(page.cursor, page.count, page.keys, &mut out),
            Err(text) => encode::error(&mut out, text),
        }
        String::from_utf8(out).unwrap()
    };
    let next = step.next(17, 1).unwrap().to_string();
    let expected = format!("*2\r\n${}\r\n{next}\r\n*1\r\n$1\r\na\r\n", next.len());
    assert_eq!(replied("*2\r\n$2\r\n17\r\n*1\r\n$1\r\na\r\n"), expected);
    let counted = |words: &[&str]| {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        encode::command(&mut bytes, words);
        scan_count(&parse_request(&bytes, &mut spans).unwrap())
    };
    assert_eq!(counted(&["SCAN", "0"]), 10);
    assert_eq!(counted(&["SCAN", "0", "MATCH", "COUNT", "count", "7"]), 7);
    assert_eq!(counted(&["SCAN", "0", "COUNT", "x"]), 10);
    for odd in [
        "+OK\r\n",
        "*2\r\n:1\r\n*0\r\n",
        "*2\r\n$1\r\nx\r\n*0\r\n",
        "*2\r\n$18\r\n999999999999999999\r\n*0\r\n",
    ] {
        assert!(replied(odd).starts_with("-ERR slotway: "), "{odd}");
    }
}

#[test]
fn cursors_are_read_as_servers_read_them() {
    assert_eq!(scan_cursor(b"0"), Some(0));
    assert_eq!(scan_cursor(b"+5"), Some(5));
    assert_eq!(scan_cursor(b"05"), Some(5));
    assert_eq!(scan_cursor(b"18446744073709551615"), Some(u64::MAX));
    for bad in [
        "",
        "+",
        "abc",
        "-1",
        " 5",
        "5 ",
        "0x10",
        "18446744073709551616",
    ] {
        assert_eq!(scan_cursor(bad.as_bytes()), None, "{bad}");
    }
    let empty = SlotMap::empty();
    assert_eq!(ScanOrder::of(&empty).resume(&empty, 5), None);
}
