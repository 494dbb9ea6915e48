//! Merges aggregates: elements of several replies in one, moved as the bytes they are. Called by `merge`.

use super::{Parts, Unexpected};
use crate::resp;
use crate::route::split::SplitPlan;

/// The elements of all parts, each at the place its key had.
pub(super) fn splice(
    plan: &SplitPlan,
    parts: &Parts<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Unexpected> {
    let mut placed: Vec<&[u8]> = vec![&[]; plan.elements()];
    for (part, reply) in parts.iter().enumerate() {
        let mut positions = plan.positions(part);
        if positions.len() == 1
            && let Some(one) = resp::only_element(reply)
        {
            positions
                .by_ref()
                .for_each(|position| placed[position] = one);
            continue;
        }
        let found = resp::elements(reply).ok_or(Unexpected(part))?;
        if found.len() != positions.len() {
            return Err(Unexpected(part));
        }
        for (range, position) in found.into_iter().zip(positions) {
            placed[position] = &reply[range];
        }
    }
    out.reserve(parts.bytes.len());
    aggregate(b"*", placed.into_iter(), out);
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Duplicates {
    /// Nodes have different ones anyway: keys.
    Kept,
    /// Nodes may have the same: channels.
    Dropped,
}

/// The elements of all parts, in an aggregate of the first part's type.
pub(super) fn concat(
    parts: &Parts<'_>,
    out: &mut Vec<u8>,
    duplicates: Duplicates,
) -> Result<(), Unexpected> {
    let mut all = parts.elements()?.concat();
    if duplicates == Duplicates::Dropped {
        // Clients choose these names: a hash that they cannot foresee.
        let mut seen = std::collections::HashSet::new();
        all.retain(|element| seen.insert(*element));
    }
    out.reserve(parts.bytes.len());
    aggregate(parts.get(0), all.into_iter(), out);
    Ok(())
}

/// Log entries `[id, unix time, …]` of all nodes, the newest first, at most `limit`. Nodes number their
/// entries each for itself, so an id may come twice.
pub(super) fn newest(parts: &Parts<'_>, limit: usize, out: &mut Vec<u8>) -> Result<(), Unexpected> {
    let mut entries = Vec::new();
    for (part, elements) in parts.elements()?.into_iter().enumerate() {
        for entry in elements {
            let time = resp::elements(entry)
                .and_then(|fields| resp::integer(&entry[fields.get(1)?.clone()]))
                .ok_or(Unexpected(part))?;
            entries.push((time, entry));
        }
    }
    // Stable: entries of one node and second keep the node's order.
    entries.sort_by_key(|&(time, _)| std::cmp::Reverse(time));
    entries.truncate(limit);
    aggregate(
        parts.get(0),
        entries.into_iter().map(|(_, entry)| entry),
        out,
    );
    Ok(())
}

/// Appends an aggregate of these elements, of the same type as `like`.
pub(super) fn aggregate<'a>(
    like: &[u8],
    elements: impl ExactSizeIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) {
    let kind = resp::kind(like).unwrap_or(b'*');
    let per_count = if kind == b'%' { 2 } else { 1 };
    out.push(kind);
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(elements.len() / per_count).as_bytes());
    out.extend_from_slice(b"\r\n");
    elements.for_each(|element| out.extend_from_slice(element));
}
