//! Chooses one node's reply as the command's. Called by `merge`.

use super::{Parts, Unexpected, is_error};
use crate::resp;

/// `DBSIZE` and `RANDOMKEY` of each shard: one of the keys, each shard as likely as it is large. A shard
/// without a key to offer (emptied in between) is left out; nil only if no shard has one.
pub(super) fn random_key(
    parts: &Parts<'_>,
    random: u64,
    out: &mut Vec<u8>,
) -> Result<(), Unexpected> {
    let mut offers: Vec<(u64, &[u8])> = Vec::new();
    for shard in 0..parts.len() / 2 {
        let size = resp::integer(parts.get(2 * shard)).ok_or(Unexpected(2 * shard))?;
        let key = parts.get(2 * shard + 1);
        if resp::is_null(key) {
            continue;
        }
        resp::bulk(key).ok_or(Unexpected(2 * shard + 1))?;
        // A key appeared after the size was read: the shard counts as one key.
        offers.push((size.max(1).unsigned_abs(), key));
    }
    // A node may claim any size.
    let sizes = offers.iter().map(|(size, _)| *size);
    let total = sizes.fold(0, u64::saturating_add);
    let mut pick = random.checked_rem(total).unwrap_or(0);
    for (size, key) in offers {
        if pick < size {
            out.extend_from_slice(key);
            return Ok(());
        }
        pick -= size;
    }
    out.extend_from_slice(parts.get(1));
    Ok(())
}

/// The first success; if there is none, the error that says most: where SCRIPT KILL and FUNCTION KILL
/// find nothing to kill on the other nodes, the one that has a script and will not kill it, or else one that is
/// busy with something else or could not be asked.
pub(super) fn first_success(parts: &Parts<'_>, out: &mut Vec<u8>) -> Result<(), Unexpected> {
    let success = parts.iter().find(|reply| !is_error(reply));
    let reply = match success {
        Some(reply) => reply,
        None => parts.iter().min_by_key(rank).unwrap_or(parts.get(0)),
    };
    out.extend_from_slice(reply);
    Ok(())
}

/// How much an error says; the least number says most.
fn rank(reply: &&[u8]) -> u8 {
    match reply {
        reply if reply.starts_with(b"-UNKILLABLE") => 0,
        reply if reply.starts_with(b"-NOTBUSY") => 2,
        _ => 1,
    }
}
