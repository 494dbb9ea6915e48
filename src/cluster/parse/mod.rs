//! Reads what nodes answer to `CLUSTER INFO`, `CLUSTER SHARDS` or `CLUSTER SLOTS`, and `CLUSTER NODES`, and joins
//! the three into one [`View`]. Pure; called by `topology`. Whatever a node sends, the result is a view or an
//! error with a name.
//!
//! `CLUSTER NODES` carries who owns what under which config epoch and who is failed, all in one consistent
//! answer; `CLUSTER SHARDS` and `CLUSTER SLOTS` carry the address that clients are meant to use. Where a
//! node may not be asked for one of them, the other is enough to run on.

mod nodes;
mod shards;
mod standalone;

pub use standalone::parse_server;

use super::view::{ClusterState, Health, Role, View, ViewNode};
use super::{NodeAddr, SLOTS, SlotRange};
use crate::resp::ReplyScanner;
use redis_protocol::resp2::{decode, types::OwnedFrame};
use std::collections::HashMap;
use std::sync::Arc;

/// A node id is 40 characters; anything longer than this is not one.
const NODE_ID_LEN_MAX: usize = 64;

/// Longest name that DNS allows.
const HOST_LEN_MAX: usize = 255;

/// Most nodes one answer may name.
const NODES_MAX: usize = 16_384;

/// Most slots that one answer may give to nodes, counted as often as it does: each has one owner, and a node that
/// gives some of them to two may be confused, but one that repeats itself would keep us busy.
const CLAIMS_MAX: usize = 4 * SLOTS;

/// The raw RESP2 replies of one node, each a complete reply.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    /// To `CLUSTER INFO`.
    pub info: &'a [u8],
    /// To `CLUSTER NODES`.
    pub nodes: &'a [u8],
    /// To `CLUSTER SHARDS`, or what was asked in its place.
    pub slots: SlotsAnswer<'a>,
}

/// The answer that says which address clients should use.
#[derive(Clone, Copy, Debug)]
pub enum SlotsAnswer<'a> {
    /// To `CLUSTER SHARDS` (7.0 and later).
    Shards(&'a [u8]),
    /// To `CLUSTER SLOTS`.
    Slots(&'a [u8]),
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The node answered with an error.
    #[error("the node refused: {0}")]
    Refused(String),
    /// The bytes are not one whole reply.
    #[error("the answer to {0} is not a valid reply")]
    NotResp(&'static str),
    /// A part of the answer is not what it must be.
    #[error("the answer to {0} has no valid {1}")]
    Invalid(&'static str, &'static str),
    /// More nodes than a cluster can have.
    #[error("the answer names more than {NODES_MAX} nodes")]
    TooManyNodes,
    /// The same slots over and over.
    #[error("the answer gives nodes more than {CLAIMS_MAX} slots")]
    TooManySlots,
    /// Nothing in the answer can be dialled.
    #[error(
        "the answer names no node that can be reached: announce an IP or a hostname on the nodes"
    )]
    NoNodes,
}

/// Where nodes are really reached (`cluster.address_map`): what a node announces → what is dialled.
#[derive(Clone, Debug, Default)]
pub struct AddressMap(HashMap<NodeAddr, NodeAddr>);

impl AddressMap {
    /// From pairs of announced and reachable address.
    pub fn new(pairs: impl IntoIterator<Item = (NodeAddr, NodeAddr)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// The address to dial for `announced`.
    pub fn apply(&self, announced: NodeAddr) -> NodeAddr {
        self.0.get(&announced).cloned().unwrap_or(announced)
    }
}

/// What `CLUSTER SHARDS` or `CLUSTER SLOTS` says about one node.
struct Entry {
    id: Arc<str>,
    endpoint: Endpoint,
    role: Role,
    health: Health,
    slots: Vec<SlotRange>,
}

/// The address an answer gives for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Endpoint {
    /// This one.
    At(NodeAddr),
    /// `?`, or no port that can be dialled: not to be used.
    Skip,
}

impl Endpoint {
    /// `host` as answers give it: missing or empty means the host that was asked, `?` means "not known".
    fn new(host: Option<&str>, port: i64, asked: &NodeAddr) -> Self {
        let Some(port) = u16::try_from(port).ok().filter(|&p| p != 0) else {
            return Self::Skip;
        };
        match host {
            Some(host) if host == "?" || !valid_host(host) => Self::Skip,
            None | Some("") => Self::At(NodeAddr::new(asked.host(), port)),
            Some(host) => Self::At(NodeAddr::new(host, port)),
        }
    }
}

/// Whether `host` could be a name or an address at all; nothing else gets into logs or to the resolver.
fn valid_host(host: &str) -> bool {
    host.len() <= HOST_LEN_MAX && host.bytes().all(|b| b.is_ascii_graphic())
}

/// Joins the answers of the node asked at `source` into what it believes.
pub fn parse_view(
    source: &NodeAddr,
    answers: &Answers<'_>,
    map: &AddressMap,
) -> Result<View, ParseError> {
    let (state, current_epoch) = info(answers.info);
    let entries = match answers.slots {
        SlotsAnswer::Shards(reply) => shards::shards(reply, source),
        SlotsAnswer::Slots(reply) => shards::slots(reply, source),
    };
    let lines = nodes::nodes(answers.nodes, source);
    let mut view = View {
        source: source.clone(),
        state,
        current_epoch,
        myself: None,
        nodes: Vec::new(),
        unaddressed: Vec::new(),
        migrating: Vec::new(),
    };
    match (lines, entries) {
        (Ok(lines), entries) => join(
            &mut view,
            lines,
            permitted(entries)?.unwrap_or_default(),
            map,
        )?,
        (Err(ParseError::Refused(_)), Ok(entries)) => alone(&mut view, entries, map),
        (Err(error), _) => return Err(error),
    }
    if view.nodes.is_empty() {
        return Err(ParseError::NoNodes);
    }
    let ranges = view.nodes.iter().flat_map(|node| &node.slots);
    if ranges.map(|range| range.indexes().count()).sum::<usize>() > CLAIMS_MAX {
        return Err(ParseError::TooManySlots);
    }
    Ok(view)
}

/// An answer that the node may have refused: `None` then.
fn permitted<T>(answer: Result<T, ParseError>) -> Result<Option<T>, ParseError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ParseError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fills `view` from `CLUSTER NODES`, with the addresses of `entries` where they have one.
fn join(
    view: &mut View,
    lines: Vec<nodes::Line>,
    entries: Vec<Entry>,
    map: &AddressMap,
) -> Result<(), ParseError> {
    let mut by_id: HashMap<Arc<str>, Entry> = entries
        .into_iter()
        .map(|e| (Arc::clone(&e.id), e))
        .collect();
    for line in lines {
        let entry = by_id.remove(&line.id);
        // Valkey's replicas list what their primary hands over, too.
        if line.myself && line.role == Role::Primary {
            view.migrating = line.migrating;
        }
        let mut health = line.health;
        let endpoint = match entry {
            Some(entry) => {
                health = health.max(entry.health);
                entry.endpoint
            }
            None => line.endpoint,
        };
        let Endpoint::At(addr) = endpoint else {
            view.unaddressed.push(line.id);
            continue;
        };
        if line.myself {
            view.myself = Some(view.nodes.len());
        }
        view.nodes.push(ViewNode {
            id: line.id,
            addr: map.apply(addr),
            role: line.role,
            epoch: line.epoch,
            health,
            slots: line.slots,
        });
    }
    if view.nodes.len() > NODES_MAX {
        return Err(ParseError::TooManyNodes);
    }
    Ok(())
}

/// Fills `view` from the entries alone: the node may not be asked for `CLUSTER NODES`, so there are no epochs.
fn alone(view: &mut View, entries: Vec<Entry>, map: &AddressMap) {
    for entry in entries {
        match entry.endpoint {
            Endpoint::At(addr) => view.nodes.push(ViewNode {
                id: entry.id,
                addr: map.apply(addr),
                role: entry.role,
                epoch: 0,
                health: entry.health,
                slots: entry.slots,
            }),
            Endpoint::Skip => view.unaddressed.push(entry.id),
        }
    }
}

/// State and current epoch from `CLUSTER INFO`; a node that does not say is not an error.
fn info(reply: &[u8]) -> (ClusterState, u64) {
    let Ok(text) = text("CLUSTER INFO", reply) else {
        return (ClusterState::Unknown, 0);
    };
    let field = |name: &str| {
        text.lines().find_map(|l| {
            l.trim_end()
                .strip_prefix(name)?
                .strip_prefix(':')
                .map(str::to_owned)
        })
    };
    let state = match field("cluster_state").as_deref() {
        Some("ok") => ClusterState::Ok,
        Some("fail") => ClusterState::Fail,
        _ => ClusterState::Unknown,
    };
    let epoch = field("cluster_current_epoch")
        .and_then(|e| e.parse().ok())
        .unwrap_or(0);
    (state, epoch)
}

/// The value of a whole reply. The scanner goes first: the decoder has no depth limit.
fn frame(what: &'static str, reply: &[u8]) -> Result<OwnedFrame, ParseError> {
    match ReplyScanner::new().scan(reply) {
        Ok(Some(len)) if len == reply.len() => {}
        _ => return Err(ParseError::NotResp(what)),
    }
    match decode::decode(reply) {
        Ok(Some((OwnedFrame::Error(error), _))) => Err(ParseError::Refused(error)),
        Ok(Some((frame, len))) if len == reply.len() => Ok(frame),
        _ => Err(ParseError::NotResp(what)),
    }
}

/// The text of a bulk string reply.
fn text(what: &'static str, reply: &[u8]) -> Result<String, ParseError> {
    let bytes = match frame(what, reply)? {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => bytes,
        _ => return Err(ParseError::Invalid(what, "text")),
    };
    String::from_utf8(bytes).map_err(|_| ParseError::Invalid(what, "text"))
}

/// A node id, if `text` can be one.
fn node_id(text: &str) -> Option<Arc<str>> {
    let valid = !text.is_empty()
        && text.len() <= NODE_ID_LEN_MAX
        && text.bytes().all(|b| b.is_ascii_graphic());
    valid.then(|| text.into())
}

#[cfg(test)]
mod tests;
