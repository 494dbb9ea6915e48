//! `CLUSTER NODES`: one line per node, blank separated: id, address, flags, primary, two clocks, config epoch, link
//! state, then slots. Source of the format: the documentation of the command.

use super::super::view::{Direction, Health, Role};
use super::super::{Migration, NodeAddr, Slot, SlotRange};
use super::{Endpoint, NODES_MAX, ParseError, node_id, text};
use std::sync::Arc;

const WHAT: &str = "CLUSTER NODES";

/// Fields before the slots.
const FIELDS: usize = 8;

/// One line.
pub(super) struct Line {
    pub(super) id: Arc<str>,
    pub(super) endpoint: Endpoint,
    pub(super) myself: bool,
    pub(super) role: Role,
    pub(super) epoch: u64,
    pub(super) health: Health,
    pub(super) slots: Vec<SlotRange>,
    pub(super) migrating: Vec<Migration>,
}

/// Every node of the answer except those it has no contact with yet (`handshake`) or no address of (`noaddr`).
pub(super) fn nodes(reply: &[u8], asked: &NodeAddr) -> Result<Vec<Line>, ParseError> {
    let text = text(WHAT, reply)?;
    let mut lines = Vec::new();
    for text in text.lines().filter(|l| !l.trim().is_empty()) {
        if let Some(line) = line(text, asked)? {
            lines.push(line);
        }
        if lines.len() > NODES_MAX {
            return Err(ParseError::TooManyNodes);
        }
    }
    Ok(lines)
}

fn line(text: &str, asked: &NodeAddr) -> Result<Option<Line>, ParseError> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    if fields.len() < FIELDS {
        return Err(ParseError::Invalid(WHAT, "line"));
    }
    let flags = Flags::of(fields[2]);
    if flags.unknown {
        return Ok(None);
    }
    let role = match (flags.primary, fields[3]) {
        (true, _) => Role::Primary,
        (false, "-") => Role::ReplicaOf(None),
        (false, id) => Role::ReplicaOf(Some(
            node_id(id).ok_or(ParseError::Invalid(WHAT, "primary id"))?,
        )),
    };
    let mut line = Line {
        id: node_id(fields[0]).ok_or(ParseError::Invalid(WHAT, "node id"))?,
        endpoint: endpoint(fields[1], asked)?,
        myself: flags.myself,
        role,
        epoch: fields[6]
            .parse()
            .map_err(|_| ParseError::Invalid(WHAT, "config epoch"))?,
        health: flags.health,
        slots: Vec::new(),
        migrating: Vec::new(),
    };
    for field in &fields[FIELDS..] {
        match field.strip_prefix('[') {
            Some(open) => line.migrating.extend(migration(open)),
            None => line
                .slots
                .push(range(field).ok_or(ParseError::Invalid(WHAT, "slot"))?),
        }
    }
    Ok(Some(line))
}

struct Flags {
    myself: bool,
    primary: bool,
    unknown: bool,
    health: Health,
}

impl Flags {
    fn of(text: &str) -> Self {
        let mut flags = Self {
            myself: false,
            primary: false,
            unknown: false,
            health: Health::Online,
        };
        for flag in text.split(',') {
            match flag {
                "myself" => flags.myself = true,
                "master" => flags.primary = true,
                "fail" => flags.health = Health::Failed,
                "fail?" => flags.health = flags.health.max(Health::Suspected),
                "handshake" | "noaddr" => flags.unknown = true,
                _ => {}
            }
        }
        flags
    }
}

/// `ip:port@busport,hostname,key=value…`; releases before 4.0 give `ip:port` alone.
fn endpoint(field: &str, asked: &NodeAddr) -> Result<Endpoint, ParseError> {
    let invalid = ParseError::Invalid(WHAT, "address");
    let addr = field.split(',').next().unwrap_or_default();
    let addr = addr.split('@').next().unwrap_or_default();
    let (host, port) = addr.rsplit_once(':').ok_or(invalid.clone())?;
    let port: u16 = port.parse().map_err(|_| invalid)?;
    Ok(Endpoint::new(Some(host), i64::from(port), asked))
}

/// `93` or `0-5460`.
fn range(field: &str) -> Option<SlotRange> {
    let (first, last) = field.split_once('-').unwrap_or((field, field));
    SlotRange::new(first.parse().ok()?, last.parse().ok()?)
}

/// `93->-id]` or `93-<-id]`, without the bracket it starts with. Something else in brackets is of a later release.
fn migration(open: &str) -> Option<Migration> {
    let inner = open.strip_suffix(']')?;
    let (direction, (slot, peer)) = match inner.split_once("->-") {
        Some(parts) => (Direction::Leaving, parts),
        None => (Direction::Arriving, inner.split_once("-<-")?),
    };
    Some(Migration {
        slot: Slot::new(slot.parse().ok()?)?,
        direction,
        peer: node_id(peer)?,
    })
}
