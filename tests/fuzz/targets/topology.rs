//! What nodes say about the cluster: parsing takes any bytes and makes a view in which everything is within its
//! bounds; and however such views come in, the map names only nodes that were named, its owners claimed their slots,
//! and nobody is heard who must not be.
//!
//! An input is text: sections, four for each answer, with a line `=` between them. The first says who answered (a
//! port) and what happens before (`slots`: the fourth is to CLUSTER SLOTS; `round`: what came so far was one round;
//! `later`: half a minute passes; `moved:SLOT:PORT:PORT`). Then the answers to CLUSTER INFO, CLUSTER NODES, and CLUSTER
//! SHARDS, each a raw reply, or text that becomes one, or with `[ word :1 ~ ]` an array of words, integers and nulls.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use slotway::cluster::{
    AddressMap, Answers, Belief, ClusterState, FORGET_AFTER, NodeAddr, Patched, SLOTS, Said, Slot,
    SlotMap, SlotsAnswer, View, parse_view,
};
use slotway::resp::encode;

pub const WORDS: &[&str] = &[
    "\n=\n",
    "slots",
    "round",
    "later",
    "moved:1:7000:7001",
    "7000",
    "7001",
    "7002",
    "cluster_state:ok\n",
    "cluster_state:fail\n",
    "cluster_current_epoch:9\n",
    "myself,",
    "master",
    "slave",
    "fail",
    "fail?",
    "handshake",
    "noaddr",
    " - 0 0 1 connected",
    "0-16383",
    "0-5460",
    "16383",
    "16384",
    " -1",
    "[1->-a]",
    "[1-<-b]",
    "[ ",
    " ] ",
    ":0 ",
    ":16383 ",
    "~ ",
    "nodes",
    "id ",
    "port :7001 ",
    "ip 127.0.0.1 ",
    "endpoint ",
    "role master ",
    "health ",
    "? ",
    "127.0.0.1:7001@17001",
    "::1:7002",
    "host.name,",
    "-ERR no\r\n",
    "$-1\r\n",
    "*0\r\n",
    "\r\n",
    "18446744073709551615",
    "a ",
    "b ",
    "c ",
];

/// Answers of one input that are looked at.
const ANSWERS_MAX: usize = 12;
/// Heap memory that parsing may take: for each byte that has come, and besides.
const HEAP_PER_BYTE: u64 = 300;
const HEAP_BESIDES: u64 = 16 << 10;

/// How often one answer may give slots away.
const CLAIMS_MAX: usize = 4 * SLOTS;

pub fn run(input: &[u8]) {
    let sections: Vec<&[u8]> = sections(input);
    let mut case = Case::new();
    for answer in sections.chunks(4).take(ANSWERS_MAX) {
        let part = |i: usize| answer.get(i).copied().unwrap_or_default();
        case.answer(part(0), &reply(part(1)), &reply(part(2)), &reply(part(3)));
    }
    case.round();
}

/// Cut at lines that are `=`.
fn sections(input: &[u8]) -> Vec<&[u8]> {
    let mut sections = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(3).position(|w| w == b"\n=\n") {
        sections.push(&rest[..at]);
        rest = &rest[at + 3..];
    }
    sections.push(rest);
    sections
}

/// A reply out of a section.
fn reply(section: &[u8]) -> Vec<u8> {
    match section.first() {
        Some(b'[') => {
            let text = String::from_utf8_lossy(section);
            let mut words = text.split_ascii_whitespace().skip(1);
            let mut out = Vec::new();
            array(&mut words, &mut out);
            out
        }
        Some(b'$' | b'*' | b'-' | b'+' | b':') => section.to_vec(),
        _ => {
            let mut out = Vec::new();
            encode::bulk(&mut out, section);
            out
        }
    }
}

/// Up to the `]` that belongs to it, or the end.
fn array<'a>(words: &mut impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let (mut elements, mut count) = (Vec::new(), 0);
    while let Some(word) = words.next() {
        match word {
            "]" => break,
            // Boxed: an iterator that takes itself by reference at each level would be a type without an end.
            "[" => array(
                &mut (words as &mut dyn Iterator<Item = &'a str>),
                &mut elements,
            ),
            "~" => elements.extend_from_slice(b"$-1\r\n"),
            number if number.starts_with(':') => elements.extend(format!("{number}\r\n").bytes()),
            word => encode::bulk(&mut elements, word.as_bytes()),
        }
        count += 1;
    }
    encode::array(out, count);
    out.extend(elements);
}

/// A belief under test.
struct Case {
    belief: Belief,
    now: Instant,
    /// The answers of the round that is going on.
    views: Vec<View>,
    /// Every address that an answer has named so far.
    named: HashSet<NodeAddr>,
    /// Whether nodes may have been forgotten since the last round.
    later: bool,
}

impl Case {
    fn new() -> Self {
        Self {
            belief: Belief::new(),
            now: Instant::now(),
            views: Vec::new(),
            named: HashSet::new(),
            later: false,
        }
    }

    fn answer(&mut self, head: &[u8], info: &[u8], nodes: &[u8], slots: &[u8]) {
        let head = String::from_utf8_lossy(head).into_owned();
        let mut source = NodeAddr::new("127.0.0.1", 7000);
        let mut using = SlotsAnswer::Shards(slots);
        for word in head.split_ascii_whitespace() {
            match word.split(':').collect::<Vec<_>>()[..] {
                ["slots"] => using = SlotsAnswer::Slots(slots),
                ["round"] => self.round(),
                ["later"] => {
                    self.now += FORGET_AFTER;
                    self.later = true;
                }
                ["moved", slot, from, to] => self.moved(slot, from, to),
                [port] => source = local(port).unwrap_or(source),
                _ => {}
            }
        }
        let answers = Answers {
            info,
            nodes,
            slots: using,
        };
        if let Some(view) = parsed(&source, &answers) {
            let addresses = view.nodes.iter().map(|node| node.addr.clone());
            self.named.extend(addresses);
            self.views.push(view);
        }
    }

    /// Ends the round.
    fn round(&mut self) {
        if self.views.is_empty() {
            return;
        }
        self.now += Duration::from_millis(500);
        let views = std::mem::take(&mut self.views);
        let before = self.belief.map(1);
        let nodes = self.belief.nodes();
        let is_ours = |view: &&View| nodes.iter().any(|node| view.names(&node.id));
        let ours = views.iter().filter(is_ours).count();
        let round = self.belief.believe(&views, views.len(), self.now, self.now);
        let after = self.belief.map(2);
        assert_eq!(
            (round.trusted + round.unheard, round.covered),
            (views.len(), after.covered())
        );
        assert!(
            round.trusted > 0 || ours == 0,
            "somebody is heard, unless they are all strangers"
        );
        self.only_what_was_named(&after);
        let serving = views.iter().any(|view| view.state == ClusterState::Ok);
        // Where there are strangers, who serve, ours are heard alone for a while.
        let mixed = ours < views.len();
        let heard = |view: &&View| mixed || !(serving && view.state == ClusterState::Fail);
        let heard: Vec<&View> = views.iter().filter(heard).collect();
        self.owners_claimed(&heard, &before, &after);
        self.later = false;
    }

    /// A redirection: taken only to a node that was named, and only from the slot's owner.
    fn moved(&mut self, slot: &str, from: &str, to: &str) {
        let slot = slot.parse().ok().and_then(Slot::new);
        let (Some(slot), Some(from), Some(to)) = (slot, local(from), local(to)) else {
            return;
        };
        self.now += Duration::from_millis(1);
        let owner = |map: &SlotMap| map.owner(slot).map(|owner| map.node(owner).addr.clone());
        let before = self.belief.map(1);
        let said = Said {
            after: self.now,
            before: self.now,
        };
        let patched = self.belief.patch(slot, &from, &to, said, self.now);
        let after = self.belief.map(2);
        match patched {
            Patched::Applied => {
                assert_eq!(owner(&after), Some(to.clone()));
                assert!(
                    owner(&before).is_none_or(|owner| owner == from),
                    "not the owner's to give"
                );
            }
            _ => assert!(before.same_content(&after), "{patched:?} changes nothing"),
        }
        assert!(
            patched == Patched::UnknownNode || self.named.contains(&to),
            "{patched:?}"
        );
        self.only_what_was_named(&after);
    }

    fn only_what_was_named(&self, map: &SlotMap) {
        for node in map.nodes() {
            assert!(
                self.named.contains(&node.addr),
                "{} was never named",
                node.addr
            );
        }
    }

    /// Slots change hands to those who claim them in an answer that is heard, and are given up for a reason.
    fn owners_claimed(&self, heard: &[&View], before: &SlotMap, after: &SlotMap) {
        let mut claims: Vec<HashSet<&str>> = vec![HashSet::new(); SLOTS];
        for node in heard.iter().flat_map(|view| &view.nodes) {
            for slot in node.slots.iter().flat_map(|range| range.indexes()) {
                claims[slot].insert(&node.id);
            }
        }
        for slot in Slot::all() {
            let id = |map: &SlotMap| map.owner(slot).map(|owner| map.node(owner).id.clone());
            match (id(before), id(after)) {
                (was, Some(is)) => assert!(
                    was.as_ref() == Some(&is) || claims[slot.index()].contains(&*is),
                    "slot {slot} goes to {is}, who does not claim it"
                ),
                (Some(was), None) => assert!(
                    heard.len() > 1 || self.later || !claims[slot.index()].is_empty(),
                    "{was} loses slot {slot} because of one answer"
                ),
                (None, None) => {}
            }
        }
    }
}

/// A node of this machine.
fn local(port: &str) -> Option<NodeAddr> {
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some(NodeAddr::new("127.0.0.1", port))
}

/// The view of an answer, if it is one, with everything in its bounds.
fn parsed(source: &NodeAddr, answers: &Answers<'_>) -> Option<View> {
    let (SlotsAnswer::Shards(slots) | SlotsAnswer::Slots(slots)) = answers.slots;
    let mut view = None;
    let heap = allocation_counter::measure(|| {
        view = parse_view(source, answers, &AddressMap::default()).ok();
    });
    let bytes = (answers.info.len() + answers.nodes.len() + slots.len()) as u64;
    let allowed = HEAP_PER_BYTE * bytes + HEAP_BESIDES;
    assert!(
        heap.bytes_max <= allowed,
        "{} bytes of heap for {bytes} bytes",
        heap.bytes_max
    );
    let view = view?;
    assert_eq!(view.source, *source);
    assert!(!view.nodes.is_empty() && view.nodes.len() <= SLOTS);
    assert!(view.myself.is_none_or(|myself| myself < view.nodes.len()));
    for node in &view.nodes {
        let host = node.addr.host();
        assert!(
            !host.is_empty() && host != "?" && host.len() <= 255,
            "{host:?}"
        );
        assert!(host.bytes().all(|byte| byte.is_ascii_graphic()), "{host:?}");
        assert_ne!(node.addr.port(), 0);
        assert!(
            (1..=64).contains(&node.id.len())
                && node.id.bytes().all(|byte| byte.is_ascii_graphic())
        );
    }
    let ranges = view.nodes.iter().flat_map(|node| &node.slots);
    let claims: usize = ranges.map(|range| range.indexes().count()).sum();
    assert!(claims <= CLAIMS_MAX, "{claims} slots are given away");
    Some(view)
}
