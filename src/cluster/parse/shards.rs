//! `CLUSTER SHARDS` and `CLUSTER SLOTS`: nested arrays that carry the address clients are meant to use. Source of
//! the formats: the documentation of the commands.

use super::super::view::{Health, Role};
use super::super::{NodeAddr, SlotRange};
use super::{Endpoint, Entry, NODES_MAX, ParseError, frame, node_id};
use redis_protocol::resp2::types::OwnedFrame;
use std::collections::HashMap;
use std::sync::Arc;

const SHARDS: &str = "CLUSTER SHARDS";
const SLOTS: &str = "CLUSTER SLOTS";

/// The nodes of a `CLUSTER SHARDS` reply.
pub(super) fn shards(reply: &[u8], asked: &NodeAddr) -> Result<Vec<Entry>, ParseError> {
    let mut entries = Vec::new();
    for shard in array(SHARDS, "array of shards", frame(SHARDS, reply)?)? {
        let mut ranges = Vec::new();
        let mut nodes = Vec::new();
        for (key, value) in pairs(SHARDS, "shard", shard)? {
            match key.as_str() {
                "slots" => ranges = slot_pairs(value)?,
                "nodes" => {
                    for node in array(SHARDS, "array of nodes", value)? {
                        nodes.push(shard_node(node, asked)?);
                    }
                }
                _ => {} // the shard's id, and what later releases add
            }
        }
        own(&mut nodes, ranges);
        entries.append(&mut nodes);
        if entries.len() > NODES_MAX {
            return Err(ParseError::TooManyNodes);
        }
    }
    Ok(entries)
}

/// Gives a shard's slots to its primary. 9.1 lists two of them while one is failed: the healthier one owns. Its
/// replicas get to know it.
fn own(nodes: &mut [Entry], ranges: Vec<SlotRange>) {
    let owner = nodes
        .iter_mut()
        .filter(|n| n.role == Role::Primary)
        .min_by_key(|n| n.health);
    let Some(owner) = owner else {
        return;
    };
    owner.slots = ranges;
    let id = Arc::clone(&owner.id);
    for node in nodes.iter_mut().filter(|n| n.role == Role::ReplicaOf(None)) {
        node.role = Role::ReplicaOf(Some(Arc::clone(&id)));
    }
}

fn shard_node(node: OwnedFrame, asked: &NodeAddr) -> Result<Entry, ParseError> {
    let (mut id, mut endpoint, mut ip, mut port) = (None, None, None, 0);
    let mut role = Role::ReplicaOf(None);
    let mut health = Health::Online;
    for (key, value) in pairs(SHARDS, "node", node)? {
        match key.as_str() {
            "id" => id = node_id(&string(SHARDS, "node id", value)?.unwrap_or_default()),
            // A NULL endpoint is an answer too: the host that was asked.
            "endpoint" => endpoint = Some(string(SHARDS, "endpoint", value)?),
            "ip" => ip = string(SHARDS, "ip", value)?,
            "port" => port = integer(SHARDS, "port", value)?,
            "role" if string(SHARDS, "role", value.clone())?.as_deref() == Some("master") => {
                role = Role::Primary
            }
            "health" => {
                health = match string(SHARDS, "health", value)?.as_deref() {
                    Some("fail" | "failed") => Health::Failed,
                    Some("loading") => Health::Loading,
                    _ => Health::Online,
                }
            }
            _ => {}
        }
    }
    let host = endpoint.unwrap_or(ip);
    Ok(Entry {
        id: id.ok_or(ParseError::Invalid(SHARDS, "node id"))?,
        endpoint: Endpoint::new(host.as_deref(), port, asked),
        role,
        health,
        slots: Vec::new(),
    })
}

/// `[first, last, first, last, …]`
fn slot_pairs(value: OwnedFrame) -> Result<Vec<SlotRange>, ParseError> {
    let invalid = ParseError::Invalid(SHARDS, "slots");
    let numbers: Vec<i64> = array(SHARDS, "slots", value)?
        .into_iter()
        .map(|n| integer(SHARDS, "slots", n))
        .collect::<Result<_, _>>()?;
    if !numbers.len().is_multiple_of(2) {
        return Err(invalid);
    }
    numbers
        .chunks_exact(2)
        .map(|pair| SlotRange::new(pair[0], pair[1]).ok_or(invalid.clone()))
        .collect()
}

/// The nodes of a `CLUSTER SLOTS` reply: `[first, last, primary, replica…]`, a node being `[host, port, id, metadata]`.
pub(super) fn slots(reply: &[u8], asked: &NodeAddr) -> Result<Vec<Entry>, ParseError> {
    let mut at: HashMap<Arc<str>, usize> = HashMap::new();
    let mut entries: Vec<Entry> = Vec::new();
    for range in array(SLOTS, "array of slots", frame(SLOTS, reply)?)? {
        let mut parts = array(SLOTS, "range", range)?.into_iter();
        let mut bound = || integer(SLOTS, "range", parts.next().unwrap_or(OwnedFrame::Null));
        let slots =
            SlotRange::new(bound()?, bound()?).ok_or(ParseError::Invalid(SLOTS, "range"))?;
        let mut primary: Option<Arc<str>> = None;
        for node in parts {
            let entry = slots_node(node, asked, primary.as_ref())?;
            let index = *at.entry(Arc::clone(&entry.id)).or_insert_with(|| {
                entries.push(entry);
                entries.len() - 1
            });
            if primary.is_none() {
                primary = Some(Arc::clone(&entries[index].id));
                entries[index].slots.push(slots);
            }
            if entries.len() > NODES_MAX {
                return Err(ParseError::TooManyNodes);
            }
        }
    }
    Ok(entries)
}

fn slots_node(
    node: OwnedFrame,
    asked: &NodeAddr,
    primary: Option<&Arc<str>>,
) -> Result<Entry, ParseError> {
    let mut parts = array(SLOTS, "node", node)?.into_iter();
    let mut next = || parts.next().unwrap_or(OwnedFrame::Null);
    let host = string(SLOTS, "host", next())?;
    let endpoint = Endpoint::new(host.as_deref(), integer(SLOTS, "port", next())?, asked);
    // Releases before 4.0 give no id: the address has to do.
    let id = match (string(SLOTS, "node id", next())?, &endpoint) {
        (Some(id), _) => node_id(&id),
        (None, Endpoint::At(addr)) => node_id(&addr.to_string()),
        (None, Endpoint::Skip) => None,
    };
    Ok(Entry {
        id: id.ok_or(ParseError::Invalid(SLOTS, "node id"))?,
        endpoint,
        role: primary.map_or(Role::Primary, |id| Role::ReplicaOf(Some(Arc::clone(id)))),
        health: Health::Online,
        slots: Vec::new(),
    })
}

fn array(
    what: &'static str,
    part: &'static str,
    frame: OwnedFrame,
) -> Result<Vec<OwnedFrame>, ParseError> {
    match frame {
        OwnedFrame::Array(items) => Ok(items),
        _ => Err(ParseError::Invalid(what, part)),
    }
}

/// A map as RESP2 has it: `[key, value, key, value, …]`.
fn pairs(
    what: &'static str,
    part: &'static str,
    frame: OwnedFrame,
) -> Result<Vec<(String, OwnedFrame)>, ParseError> {
    let items = array(what, part, frame)?;
    if !items.len().is_multiple_of(2) {
        return Err(ParseError::Invalid(what, part));
    }
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        let key = string(what, part, key)?.ok_or(ParseError::Invalid(what, part))?;
        pairs.push((key, value));
    }
    Ok(pairs)
}

fn string(
    what: &'static str,
    part: &'static str,
    frame: OwnedFrame,
) -> Result<Option<String>, ParseError> {
    match frame {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => {
            match String::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(ParseError::Invalid(what, part)),
            }
        }
        OwnedFrame::Null => Ok(None),
        _ => Err(ParseError::Invalid(what, part)),
    }
}

fn integer(what: &'static str, part: &'static str, frame: OwnedFrame) -> Result<i64, ParseError> {
    match frame {
        OwnedFrame::Integer(n) => Ok(n),
        _ => Err(ParseError::Invalid(what, part)),
    }
}
