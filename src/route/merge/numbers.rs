//! Merges integers, alone, in arrays, or next to names. Called by `merge`.

use super::elements::aggregate;
use super::{Parts, Unexpected};
use crate::resp::{self, encode};
use crate::route::events;

/// One integer out of one per part.
pub(super) fn fold(
    parts: &Parts<'_>,
    out: &mut Vec<u8>,
    combine: impl Fn(i64, i64) -> Option<i64>,
) -> Result<(), Unexpected> {
    let mut total: Option<i64> = None;
    for (part, reply) in parts.iter().enumerate() {
        let value = resp::integer(reply).ok_or(Unexpected(part))?;
        total = Some(match total {
            None => value,
            Some(total) => combine(total, value).ok_or(Unexpected(part))?,
        });
    }
    encode::integer(out, total.ok_or(Unexpected(0))?);
    Ok(())
}

/// Integers, or arrays of as many integers, combined place by place.
pub(super) fn each(
    parts: &Parts<'_>,
    out: &mut Vec<u8>,
    combine: impl Fn(i64, i64) -> i64,
) -> Result<(), Unexpected> {
    if resp::integer(parts.get(0)).is_some() {
        return fold(parts, out, |a, b| Some(combine(a, b)));
    }
    let totals = place_by_place(parts, combine)?;
    encode::array(out, totals.len());
    totals
        .into_iter()
        .for_each(|value| encode::integer(out, value));
    Ok(())
}

/// SCRIPT EXISTS: a script exists if it does on all nodes, or is known here.
pub(super) fn existing(
    parts: &Parts<'_>,
    known: &[bool],
    out: &mut Vec<u8>,
) -> Result<(), Unexpected> {
    let everywhere = place_by_place(parts, |a, b| i64::from(a != 0 && b != 0))?;
    encode::array(out, everywhere.len());
    for (at, everywhere) in everywhere.into_iter().enumerate() {
        let known = known.get(at).copied().unwrap_or(false);
        encode::integer(out, everywhere.max(i64::from(known)));
    }
    Ok(())
}

fn place_by_place(
    parts: &Parts<'_>,
    combine: impl Fn(i64, i64) -> i64,
) -> Result<Vec<i64>, Unexpected> {
    let mut totals: Option<Vec<i64>> = None;
    for (part, elements) in parts.elements()?.into_iter().enumerate() {
        let values: Option<Vec<i64>> = elements.into_iter().map(resp::integer).collect();
        let values = values.ok_or(Unexpected(part))?;
        totals = Some(match totals {
            None => values,
            Some(totals) if totals.len() != values.len() => return Err(Unexpected(part)),
            Some(totals) => totals
                .iter()
                .zip(&values)
                .map(|(&a, &b)| combine(a, b))
                .collect(),
        });
    }
    Ok(totals.unwrap_or_default())
}

/// `+OK` if every part said so.
pub(super) fn ok(parts: &Parts<'_>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
    match parts.iter().position(|reply| reply != b"+OK\r\n") {
        Some(part) => Err(Unexpected(part)),
        None => {
            out.extend_from_slice(b"+OK\r\n");
            Ok(())
        }
    }
}

/// `name count name count …`: the counts of each place added. Every part has the names that were asked for. Whoever
/// wants events is subscribed at every primary, and is one subscriber.
pub(super) fn sum_per_name(parts: &Parts<'_>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
    let all = parts.elements()?;
    let names = all.first().ok_or(Unexpected(0))?;
    let mut counts = vec![0i64; names.len() / 2];
    for (part, elements) in all.iter().enumerate() {
        if elements.len() != names.len() || elements.len() % 2 != 0 {
            return Err(Unexpected(part));
        }
        for (at, pair) in elements.chunks_exact(2).enumerate() {
            let count = resp::integer(pair[1]).filter(|_| pair[0] == names[at * 2]);
            let everywhere = resp::bulk(pair[0]).is_some_and(events::is_event);
            counts[at] = count
                .and_then(|count| match everywhere {
                    true => Some(counts[at].max(count)),
                    false => counts[at].checked_add(count),
                })
                .ok_or(Unexpected(part))?;
        }
    }
    aggregate(parts.get(0), names.iter().map(|_| &b""[..]), out);
    for (name, count) in names.chunks_exact(2).zip(counts) {
        out.extend_from_slice(name[0]);
        encode::integer(out, count);
    }
    Ok(())
}
