//! The hash slot of a key: CRC16/XMODEM of the key, or of its hash tag, modulo 16,384.
//!
//! Source of the rule: the Redis Cluster specification, "Key distribution model" and "Hash tags".

use std::fmt;

/// How many hash slots a cluster has.
pub const SLOTS: usize = 16_384;

/// A hash slot, `0..16384`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot that owns `key`.
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        let crc = crc16::State::<crc16::XMODEM>::calculate(hash_tag(key));
        Self(crc % SLOTS as u16)
    }

    /// The slot with this number, or `None` from 16,384 on.
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        if (number as usize) < SLOTS {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number, `0..16384`.
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its number as an index into a table of [`SLOTS`] entries.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every slot, in order.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..SLOTS as u16).map(Self)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of `key` that is hashed: what is between the first `{` and the first `}` after it, if that is
/// not empty, else the whole key.
#[inline]
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    match memchr::memchr(b'}', &key[open + 1..]) {
        None | Some(0) => key,
        Some(len) => &key[open + 1..open + 1 + len],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // "123456789" → 0x31C3 is the check value in the specification's appendix A.
        assert_eq!(Slot::of(b"123456789").number(), 0x31C3);
        assert_eq!(Slot::of(b"foo").number(), 12_182);
        assert_eq!(Slot::of(b"").number(), 0);
    }

    #[test]
    fn only_the_first_non_empty_tag_counts() {
        assert_eq!(Slot::of(b"{user1000}.following"), Slot::of(b"user1000"));
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(hash_tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(hash_tag(b"}{a"), b"}{a");
    }
}
