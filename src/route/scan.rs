//! SCAN over all shards with one cursor and no memory: what a cursor means, which node is asked next, and
//! what the client's next cursor is. Pure; the session sends the requests. Any worker, and any proxy in
//! front of the same cluster, can continue a scan.
//!
//! # The cursor
//! The shards are scanned one after the other, in the order of their first slots. A cursor is
//!
//! ```text
//! 63 | 62 …………………………… 24 | 23 ………… 0 |
//!  0 | the node's own cursor |    tag    |
//! ```
//!
//! Servers count buckets: a node with 500 million keys, or with 200,000 in one slot where each slot has
//! its own table and the slot is the low 14 bits (Valkey 8, Redis 7.4 and later), stays below 2^29, and
//! so the whole below 2^53, which is as far as JavaScript and PHP count exactly. It never reaches 2^63.
//!
//! The tag is a hash of all that must still be true when the scan continues: *which node* is being scanned,
//! *which slots* it owns, and *which slots* the shards before it own. It says the position as well: each
//! shard of a map has a tag of its own, so the decoder looks up which shard has this one. That puts all 24
//! bits into telling changes: one that goes unnoticed is a matter of 1 in 16 million per shard and change.
//!
//! # Small shards
//! A shard that ends with fewer keys than COUNT is followed by the next one in the same call (`session::scanning`), so
//! that a small database needs one call, as with a single server.
//!
//! # What happens between two calls
//! - Nothing that matters, or slots moving among shards still to come: the tag is found, the scan goes on.
//! - The shard's primary was replaced: the tag is that of a node which is now a replica of the shard (or a
//!   primary without slots). The shard is scanned again, since other nodes hash with other seeds.
//! - The map changed while a node was being asked: that step is repeated.
//! - Anything else (a slot came to or left the shards done or the one at hand, the node is gone, a cursor
//!   that no one gave out): the scan starts again from the first shard.
//!
//! So keys may come twice, and none that was there all the time is missed; but for what the map cannot
//! tell: a node that restarts under its own id during a scan, as with a single server, and keys of a slot
//! that is only half moved.

use crate::cluster::{NodeIndex, Shard, Slot, SlotMap};
use crate::resp::{Request, elements, encode, strict_integer};
use rustc_hash::FxHashSet;

/// The order in which the shards of one map are scanned, and their tags. Cheap to use, some 30 µs to make:
/// keep it as long as the map's version stays.
#[derive(Clone, Debug)]
pub struct ScanOrder {
    version: u64,
    shards: Vec<ShardTag>,
}

/// One step of a scan: what to ask whom, and what it takes to understand the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanStep {
    /// The primary to ask, in the map the order was made of.
    pub node: NodeIndex,
    /// Its own cursor.
    pub node_cursor: u64,
    /// Of the map the step was planned with.
    version: u64,
    tag: Tag,
    /// The next shard's tag; `None` when this is the last one.
    next: Option<Tag>,
}

impl ScanOrder {
    /// The order for this map.
    pub fn of(map: &SlotMap) -> Self {
        let mut taken = FxHashSet::default();
        let shards = fingerprints(map)
            .into_iter()
            .map(|(node, slots)| {
                let mut tag = slots.tag(map, node);
                while !taken.insert(tag) {
                    tag = tag.following();
                }
                ShardTag { node, slots, tag }
            })
            .collect();
        Self {
            version: map.version(),
            shards,
        }
    }

    /// The version of the map it was made of.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Where the scan with this cursor goes on. `map` is the one the order was made of. `None` if no shard
    /// is known.
    ///
    /// When the node cannot be asked after all, call this again, with the client's cursor and the map of then.
    pub fn resume(&self, map: &SlotMap, cursor: u64) -> Option<ScanStep> {
        debug_assert_eq!(map.version(), self.version);
        if cursor == 0 {
            return self.step(0, 0);
        }
        let tag = Tag((cursor & TAG_MASK) as u32);
        if let Some(shard) = self.shards.iter().position(|shard| shard.tag == tag) {
            // A cursor that no one gave out may have the highest bit, which ours never have.
            return self.step(shard, (cursor >> TAG_BITS) & (NODE_CURSORS - 1));
        }
        let idle = idle_primaries(map);
        let replaced = |shard: &ShardTag| {
            let mut formers = map.replicas(shard.node).chain(idle.iter().copied());
            formers.any(|node| shard.slots.tag(map, node) == tag)
        };
        self.step(self.shards.iter().position(replaced).unwrap_or(0), 0)
    }

    fn step(&self, shard: usize, node_cursor: u64) -> Option<ScanStep> {
        let at = self.shards.get(shard)?;
        Some(ScanStep {
            node: at.node,
            node_cursor,
            version: self.version,
            tag: at.tag,
            next: self.shards.get(shard + 1).map(|next| next.tag),
        })
    }
}

impl ScanStep {
    /// Whether its node is a node of `map`; of another map it may be anyone.
    pub fn is_of(&self, map: &SlotMap) -> bool {
        self.version == map.version()
    }

    /// The client's next cursor, after the node has answered with `node_cursor`. If `version`, that of the map
    /// of now, is another than when the step began, the step is repeated: a slot may have been away while the
    /// node was asked, even if it is back. `None` if the node's cursor is too large to be passed on.
    pub fn next(&self, node_cursor: u64, version: u64) -> Option<u64> {
        if node_cursor >= NODE_CURSORS {
            return None;
        }
        Some(if version != self.version {
            compose(self.node_cursor, self.tag)
        } else if node_cursor != 0 {
            compose(node_cursor, self.tag)
        } else {
            self.next.map_or(0, |next| compose(0, next))
        })
    }

    /// Appends the client's SCAN with the node's cursor in place of the client's.
    pub fn request(&self, request: &Request<'_>, out: &mut Vec<u8>) {
        encode::array(out, request.len());
        out.extend_from_slice(request.raw(0));
        encode::bulk(out, itoa::Buffer::new().format(self.node_cursor).as_bytes());
        for argument in 2..request.len() {
            out.extend_from_slice(request.raw(argument));
        }
    }

    /// Reads a node's reply that is no error; `version` is that of the map of now. `Err` is what the client gets.
    pub fn page<'a>(&self, reply: &'a [u8], version: u64) -> Result<Page<'a>, &'static str> {
        let Some((node_cursor, keys)) = split_reply(reply) else {
            return Err("ERR slotway: a node's reply to SCAN has an unexpected form");
        };
        let Some(cursor) = self.next(node_cursor, version) else {
            return Err(
                "ERR slotway: a node's cursor is too large to be passed on; scan the nodes one by one",
            );
        };
        let elements = elements(keys).unwrap_or_default();
        Ok(Page {
            cursor,
            count: elements.len(),
            keys: elements.first().map_or(&[], |first| &keys[first.start..]),
            scanned: match node_cursor {
                0 => Scanned::Shard,
                _ => Scanned::Part,
            },
        })
    }
}

/// What a node has said to one step.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The client's next cursor.
    pub cursor: u64,
    /// How many keys it has.
    pub count: usize,
    /// They, as they came, one behind the other.
    pub keys: &'a [u8],
    /// How far the step has come.
    pub scanned: Scanned,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    /// There is more on this shard, or the step has failed.
    Part,
    /// The whole shard, to its end.
    Shard,
}

/// Appends the reply to a SCAN: the client's next cursor, and so many keys.
pub fn scan_reply(cursor: u64, count: usize, keys: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(REPLY_HEADER);
    encode::bulk(out, itoa::Buffer::new().format(cursor).as_bytes());
    encode::array(out, count);
    out.extend_from_slice(keys);
}

/// How many keys a SCAN asks for, about. What is no number is for the server to refuse.
pub fn scan_count(request: &Request<'_>) -> usize {
    let option = (2..request.len()).step_by(2);
    let asked = option
        .filter(|&at| request.arg(at).eq_ignore_ascii_case(b"COUNT"))
        .filter_map(|at| strict_integer(request.get(at + 1)?))
        .next_back();
    asked.map_or(COUNT, |asked| usize::try_from(asked).unwrap_or_default())
}

/// Reads the cursor argument of SCAN: an unsigned number, with a `+` if they like. `None` is the server's
/// [`INVALID_CURSOR`].
pub fn scan_cursor(argument: &[u8]) -> Option<u64> {
    let digits = argument.strip_prefix(b"+").unwrap_or(argument);
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| all_digits)?
        .parse()
        .ok()
}

/// What a server says to a cursor that is not a number.
pub const INVALID_CURSOR: &str = "ERR invalid cursor";

fn compose(node_cursor: u64, tag: Tag) -> u64 {
    node_cursor << TAG_BITS | u64::from(tag.0)
}

/// What servers take for COUNT if nothing is said.
const COUNT: usize = 10;
/// How many of the cursor's bits are the tag.
const TAG_BITS: u32 = 24;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
/// What a node's cursor must stay below, so that ours stays below 2^63.
const NODE_CURSORS: u64 = 1 << (63 - TAG_BITS);
/// The smallest tag: a cursor of ours is never 0 unless the scan is over.
const TAG_MIN: u32 = 1;
/// What every reply to SCAN begins with.
const REPLY_HEADER: &[u8] = b"*2\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tag(u32);

impl Tag {
    fn following(self) -> Self {
        let next = self.0 + 1;
        Self(if u64::from(next) > TAG_MASK {
            TAG_MIN
        } else {
            next
        })
    }
}

#[derive(Clone, Debug)]
struct ShardTag {
    node: NodeIndex,
    slots: Fingerprint,
    tag: Tag,
}

/// Stands for two sets of slots: those of a shard, and those of the shards before it. Sums, so that the
/// order in which slots are met does not matter.
#[derive(Clone, Copy, Debug, Default)]
struct Fingerprint {
    done: u64,
    at_hand: u64,
}

impl Fingerprint {
    /// The tag while `node` is the one that answers for the slots at hand.
    fn tag(&self, map: &SlotMap, node: NodeIndex) -> Tag {
        let node = map.node(node);
        let identity = if node.id.is_empty() {
            hash_text(&node.addr.to_string())
        } else {
            hash_text(&node.id)
        };
        let all = mix(mix(mix(self.done) ^ self.at_hand) ^ identity);
        let tags = TAG_MASK as u32 + 1 - TAG_MIN;
        Tag(TAG_MIN + (all % u64::from(tags)) as u32)
    }
}

/// The primaries with slots in the order of their first slot, each with what its tag is made of.
fn fingerprints(map: &SlotMap) -> Vec<(NodeIndex, Fingerprint)> {
    let mut slots = vec![0u64; map.nodes().len()];
    for slot in Slot::all() {
        if let Some(owner) = map.owner(slot) {
            let sum = &mut slots[owner.get()];
            *sum = sum.wrapping_add(mix(u64::from(slot.number()) + 1));
        }
    }
    let mut done = 0u64;
    map.primaries()
        .into_iter()
        .map(|node| {
            let at_hand = slots[node.get()];
            let fingerprint = Fingerprint { done, at_hand };
            done = done.wrapping_add(at_hand);
            (node, fingerprint)
        })
        .collect()
}

/// Nodes that count as primaries but own nothing: one that was replaced is for a moment.
fn idle_primaries(map: &SlotMap) -> Vec<NodeIndex> {
    let owners = map.primaries();
    let primaries = map
        .nodes()
        .iter()
        .filter(|node| node.shard == Shard::Primary);
    primaries
        .filter_map(|node| map.find(&node.addr))
        .filter(|node| !owners.contains(node))
        .collect()
}

/// `*2 $n cursor …`: the node's cursor, and what follows it.
fn split_reply(reply: &[u8]) -> Option<(u64, &[u8])> {
    let rest = reply.strip_prefix(REPLY_HEADER)?.strip_prefix(b"$")?;
    let digits = memchr::memchr(b'\n', rest)? + 1;
    let rest = &rest[digits..];
    let end = memchr::memchr(b'\r', rest)?;
    let node_cursor = scan_cursor(&rest[..end])?;
    Some((node_cursor, rest[end..].strip_prefix(b"\r\n")?))
}

/// FNV-1a, 64 bits: the same in every proxy, whatever it is built with.
fn hash_text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finalizer of SplitMix64: every bit of the input changes half of the output's.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
