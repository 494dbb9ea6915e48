//! Real answers of both servers, the odd addresses the documentation allows, and broken input.

use super::super::captured::{
    Captured, FAILED, KILLED, MAJORITY_DOWN, MIGRATING, PROMOTED, RESUMED, STABLE, Using,
};
use super::super::view::Direction;
use super::*;
use crate::resp::encode;
use proptest::prelude::*;

const ID_A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const ID_B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn asked() -> NodeAddr {
    NodeAddr::new("asked.example", 7000)
}

fn bulk(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode::bulk(&mut out, text.as_bytes());
    out
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    encode::array(&mut out, items.len());
    items.iter().for_each(|i| out.extend_from_slice(i));
    out
}

fn number(n: i64) -> Vec<u8> {
    format!(":{n}\r\n").into_bytes()
}

/// One shard with all slots and one node: `fields` are the node's.
fn one_shard(fields: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let node: Vec<Vec<u8>> = fields
        .iter()
        .flat_map(|(k, v)| [bulk(k), v.clone()])
        .collect();
    let slots = array(&[number(0), number(16383)]);
    array(&[array(&[
        bulk("slots"),
        slots,
        bulk("nodes"),
        array(&[array(&node)]),
    ])])
}

fn parse(nodes: &[u8], slots: SlotsAnswer<'_>, map: &AddressMap) -> Result<View, ParseError> {
    let info = bulk("cluster_state:ok\r\ncluster_current_epoch:6\r\n");
    let answers = Answers {
        info: &info,
        nodes,
        slots,
    };
    parse_view(&asked(), &answers, map)
}

/// The address that comes of an endpoint, an ip and a port in CLUSTER SHARDS.
fn address(endpoint: Vec<u8>, port: i64, map: &AddressMap) -> Result<NodeAddr, ParseError> {
    let shards = one_shard(&[
        ("id", bulk(ID_A)),
        ("port", number(port)),
        ("ip", bulk("10.0.0.1")),
        ("endpoint", endpoint),
        ("role", bulk("master")),
    ]);
    let nodes = bulk(&format!(
        "{ID_A} 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383\n"
    ));
    parse(&nodes, SlotsAnswer::Shards(&shards), map).map(|view| view.nodes[0].addr.clone())
}

#[test]
fn every_captured_answer_is_understood_alike_from_shards_and_slots() {
    let moments = [
        STABLE,
        MIGRATING,
        KILLED,
        FAILED,
        PROMOTED,
        RESUMED,
        MAJORITY_DOWN,
    ];
    for captured in moments.into_iter().flatten() {
        let by_shards = captured.views(Using::Shards);
        let by_slots = captured.views(Using::Slots);
        assert!(by_shards.len() >= 4);
        for (a, b) in by_shards.iter().zip(&by_slots) {
            assert_eq!(a.nodes.len(), 6);
            assert_eq!(a.nodes[a.myself.unwrap()].addr, a.source);
            let owners = |v: &View| {
                v.nodes
                    .iter()
                    .map(|n| (n.id.clone(), n.addr.clone(), n.slots.clone()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(owners(a), owners(b));
        }
    }
}

#[test]
fn a_view_has_epochs_roles_and_health() {
    for captured in FAILED {
        let view = captured.views(Using::Shards).remove(0);
        assert_eq!(
            (view.state, view.current_epoch >= 6),
            (ClusterState::Fail, true)
        );
        let dead: Vec<_> = view
            .nodes
            .iter()
            .filter(|n| n.health == Health::Failed)
            .collect();
        assert_eq!(dead.len(), 1);
        assert_eq!((dead[0].epoch, dead[0].role.clone()), (1, Role::Primary));
        assert_eq!(dead[0].slots, [SlotRange::new(0, 5460).unwrap()]);
        let replicas = view
            .nodes
            .iter()
            .filter(|n| matches!(n.role, Role::ReplicaOf(Some(_))));
        assert_eq!(replicas.count(), 3);
    }
}

#[test]
fn slots_on_their_way_are_seen() {
    for captured in MIGRATING {
        let views = captured.views(Using::Shards);
        let moves: Vec<_> = views.iter().flat_map(|v| &v.migrating).collect();
        assert_eq!(moves.len(), 2);
        assert_eq!(
            (moves[0].slot.number(), moves[0].direction),
            (93, Direction::Leaving)
        );
        assert_eq!(
            (moves[1].slot.number(), moves[1].direction),
            (93, Direction::Arriving)
        );
        assert_eq!(moves[0].peer, views[1].nodes[views[1].myself.unwrap()].id);
    }
}

#[test]
fn addresses_are_those_meant_for_clients() {
    let map = AddressMap::default();
    let is = |host: &str, port| Ok(NodeAddr::new(host, port));
    assert_eq!(
        address(bulk("redis-0.example"), 6379, &map),
        is("redis-0.example", 6379)
    );
    assert_eq!(
        address(bulk("2001:db8::1"), 6379, &map),
        is("2001:db8::1", 6379)
    );
    assert_eq!(
        address(b"$-1\r\n".to_vec(), 6380, &map),
        is("asked.example", 6380)
    );
    assert_eq!(address(bulk(""), 6380, &map), is("asked.example", 6380));
    for skipped in [bulk("?"), bulk("two words"), bulk(&"x".repeat(300))] {
        assert_eq!(address(skipped, 6379, &map), Err(ParseError::NoNodes));
    }
    assert_eq!(address(bulk("h"), 0, &map), Err(ParseError::NoNodes));
    assert_eq!(address(bulk("h"), 65_536, &map), Err(ParseError::NoNodes));

    let map = AddressMap::new([(
        NodeAddr::new("10.0.0.1", 6379),
        NodeAddr::new("203.0.113.9", 30_001),
    )]);
    assert_eq!(
        address(bulk("10.0.0.1"), 6379, &map),
        is("203.0.113.9", 30_001)
    );
    assert_eq!(address(bulk("10.0.0.1"), 6380, &map), is("10.0.0.1", 6380));
}

#[test]
fn cluster_nodes_alone_is_enough_and_so_is_the_other() {
    let refused = SlotsAnswer::Slots(b"-NOPERM this user has no permissions\r\n");
    let nodes = format!(
        "{ID_A} ::1:6379@16379,host-a,shard-id=1 myself,master - 0 0 7 connected 0 5-16383 [1->-{ID_B}] [77]\n\
         {ID_B} :6380@16380 slave,fail? {ID_A} 0 0 7 connected\n\
         {ID_B} :0@0 slave,noaddr {ID_A} 0 0 7 disconnected\n\
         {ID_B} 10.0.0.2:6380 handshake - 0 0 0 connected\n\
         nowhere 10.0.0.3:0@16381 master - 0 0 3 connected\n"
    );
    let view = parse(&bulk(&nodes), refused, &AddressMap::default()).unwrap();
    assert_eq!(view.nodes.len(), 2);
    let names = [ID_A, "nowhere", "nobody"].map(|id| view.names(id));
    assert_eq!(names, [true, true, false]);
    assert_eq!(view.nodes[0].addr, NodeAddr::new("::1", 6379));
    assert_eq!(view.nodes[1].addr, NodeAddr::new("asked.example", 6380));
    assert_eq!(view.nodes[1].health, Health::Suspected);
    assert_eq!(view.migrating.len(), 1);

    for using in [Using::Shards, Using::Slots] {
        for raw in PROMOTED.iter().flat_map(|c: &Captured| c.raw()) {
            let slots = match using {
                Using::Shards => SlotsAnswer::Shards(raw.shards),
                Using::Slots => SlotsAnswer::Slots(raw.slots),
            };
            let view = parse(b"-NOPERM no\r\n", slots, &AddressMap::default()).unwrap();
            let owned: usize = view
                .nodes
                .iter()
                .flat_map(|n| &n.slots)
                .map(|r| r.indexes().count())
                .sum();
            assert_eq!(owned, 16_384, "{using:?}");
            let serving = raw.info.windows(16).any(|w| w == b"cluster_state:ok");
            let dead = view.nodes.iter().find(|n| n.health == Health::Failed);
            assert!(
                !serving || dead.is_none_or(|n| n.slots.is_empty()),
                "9.1 lists it beside its successor"
            );
        }
    }
}

#[test]
fn broken_answers_are_errors_with_a_name() {
    let fine = bulk(&format!(
        "{ID_A} 10.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-16383\n"
    ));
    let shards = SlotsAnswer::Shards(b"*0\r\n");
    let map = AddressMap::default();
    assert!(parse(&fine, shards, &map).is_ok());
    let nodes = |text: &str| parse(&bulk(text), shards, &map).unwrap_err();
    let invalid = |part| ParseError::Invalid("CLUSTER NODES", part);
    assert_eq!(nodes(""), ParseError::NoNodes);
    let again = "0-16383 ".repeat(5);
    let line = format!("{ID_A} 10.0.0.1:1@2 master - 0 0 1 connected {again}\n");
    assert_eq!(nodes(&line), ParseError::TooManySlots);
    assert_eq!(nodes("one two three"), invalid("line"));
    assert_eq!(
        nodes(&format!("{ID_A} 10.0.0.1 master - 0 0 1 connected")),
        invalid("address")
    );
    assert_eq!(
        nodes(&format!("{ID_A} h:6379 master - 0 0 -1 connected")),
        invalid("config epoch")
    );
    assert_eq!(
        nodes(&format!("{ID_A} h:6379 master - 0 0 1 connected 0-16384")),
        invalid("slot")
    );
    assert_eq!(
        nodes(&format!("{ID_A} h:6379 master - 0 0 1 connected 9-5")),
        invalid("slot")
    );
    assert_eq!(
        nodes(&format!(
            "{} h:6379 master - 0 0 1 connected",
            "x".repeat(65)
        )),
        invalid("node id")
    );
    assert_eq!(parse(b":1\r\n", shards, &map), Err(invalid("text")));
    assert_eq!(
        parse(b"$5\r\nab", shards, &map),
        Err(ParseError::NotResp("CLUSTER NODES"))
    );

    let deep = "*1\r\n".repeat(100_000).into_bytes();
    for slots in [
        &b"*1\r\n:1\r\n"[..],
        b"*1\r\n*1\r\n+x\r\n",
        b"+x\r\n",
        b"*2000000000\r\n",
        &deep,
    ] {
        for answer in [SlotsAnswer::Shards(slots), SlotsAnswer::Slots(slots)] {
            assert!(parse(&fine, answer, &map).is_err(), "{answer:?}");
        }
    }
    let odd = one_shard(&[("id", number(1))]);
    assert_eq!(
        parse(&fine, SlotsAnswer::Shards(&odd), &map),
        Err(ParseError::Invalid("CLUSTER SHARDS", "node id"))
    );
}

proptest! {
    /// A captured answer with bytes changed, cut off or doubled: a view or an error, never a panic.
    #[test]
    fn damaged_answers_never_panic(
        server in 0..2usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        part in 0..4usize,
    ) {
        let raw = MIGRATING[server].raw().remove(0);
        let mut parts = [raw.info.to_vec(), raw.nodes.to_vec(), raw.shards.to_vec(), raw.slots.to_vec()];
        let damaged = &mut parts[part];
        for (at, byte) in changes {
            let len = damaged.len();
            damaged[at.index(len)] = byte;
        }
        if cut.index(4) == 0 {
            let len = damaged.len();
            damaged.truncate(cut.index(len));
        }
        for slots in [SlotsAnswer::Shards(&parts[2]), SlotsAnswer::Slots(&parts[3])] {
            let answers = Answers { info: &parts[0], nodes: &parts[1], slots };
            let _ = parse_view(&asked(), &answers, &AddressMap::default());
        }
    }
}
