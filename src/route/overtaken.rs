//! What has executed after a request that was refused (invariant 3), by its keys: whether resending would reverse two
//! requests is told by a look at the keys of the refused one, however much has executed meanwhile.
//!
//! Pure; what a request touches is for its caller to say.

use std::collections::HashMap;

/// What a request touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Footprint {
    /// Keys, all in the same way; a key may be there more than once.
    Keys(Vec<Vec<u8>>, Access),
    /// That cannot be told: it may be anything.
    Unknown,
}

/// What it does to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It leaves them as they are.
    Reads,
    /// It may change them.
    Writes,
}

/// See the module. One per fence.
#[derive(Debug, Default)]
pub(super) struct Overtaking {
    /// The last one of all; its sequence number, as everywhere here.
    last: Option<u64>,
    /// The last one that may have touched anything.
    unknown: Option<u64>,
    /// Clients choose the keys, so the hashes are keyed.
    keys: HashMap<Vec<u8>, Last>,
}

/// The last ones that touched a key.
#[derive(Debug, Default)]
struct Last {
    touched: Option<u64>,
    wrote: Option<u64>,
}

impl Overtaking {
    /// A request has executed, or may have.
    pub(super) fn executed(&mut self, seq: u64, footprint: Footprint) {
        let seq = Some(seq);
        self.last = self.last.max(seq);
        let Footprint::Keys(keys, access) = footprint else {
            self.unknown = self.unknown.max(seq);
            return;
        };
        for key in keys {
            let last = self.keys.entry(key).or_default();
            last.touched = last.touched.max(seq);
            if access == Access::Writes {
                last.wrote = last.wrote.max(seq);
            }
        }
    }

    /// Whether one later than that has executed that shares a key with it, and either of them writes.
    pub(super) fn reverses(&self, seq: u64, footprint: impl FnOnce() -> Footprint) -> bool {
        let is_later = |last: Option<u64>| last > Some(seq);
        if !is_later(self.last) {
            return false;
        }
        if is_later(self.unknown) {
            return true;
        }
        let Footprint::Keys(keys, access) = footprint() else {
            return true;
        };
        let touched = keys.iter().filter_map(|key| self.keys.get(key));
        let mut last = touched.map(|last| match access {
            Access::Reads => last.wrote,
            Access::Writes => last.touched,
        });
        last.any(is_later)
    }

    /// Nothing of it matters any longer.
    pub(super) fn clear(&mut self) {
        if self.last.is_some() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &str, access: Access) -> Footprint {
        let keys = keys.split(' ').map(|key| key.as_bytes().to_vec());
        Footprint::Keys(keys.collect(), access)
    }

    #[test]
    fn requests_are_reversed_that_share_a_key_and_one_of_them_writes() {
        let (reads, writes) = (Access::Reads, Access::Writes);
        let mut overtaking = Overtaking::default();
        overtaking.executed(5, keys("a b", reads));
        overtaking.executed(7, keys("b c", writes));
        overtaking.executed(6, keys("c", reads));
        let reverses = |seq, footprint: &Footprint| overtaking.reverses(seq, || footprint.clone());
        for (first, access, before) in [
            ("a", reads, 0),
            ("a", writes, 5),
            ("b", reads, 7),
            ("c", writes, 7),
            ("d", writes, 0),
            ("d a", writes, 5),
        ] {
            let footprint = keys(first, access);
            for seq in 0..9 {
                let what = format!("{first} {access:?}, number {seq}");
                assert_eq!(reverses(seq, &footprint), seq < before, "{what}");
            }
        }
        for seq in 0..9 {
            assert_eq!(reverses(seq, &Footprint::Unknown), seq < 7);
        }
        overtaking.executed(8, Footprint::Unknown);
        assert!(overtaking.reverses(7, || keys("d", reads)));
        assert!(!overtaking.reverses(8, || Footprint::Unknown));
        overtaking.clear();
        assert!(!overtaking.reverses(0, || Footprint::Unknown));
    }
}
