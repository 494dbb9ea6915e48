//! Which group of keys a lookup is counted for (`observe.groups`). A key belongs to the first group whose pattern it fits.

use super::glob::{Beginning, Head, Pattern};

/// A number for each group: those of the configuration behind [`OTHER`](Self::OTHER) and [`SEVERAL`](Self::SEVERAL).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyGroup(u8);

impl KeyGroup {
    /// Keys that fit no pattern; all keys, where there are no groups.
    pub const OTHER: Self = Self(0);

    /// The keys of one command that are of different groups: its reply does not always say whose a hit is.
    pub const SEVERAL: Self = Self(1);

    #[inline]
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Where the candidates for the empty key are.
const NO_BYTE: usize = 256;

/// The groups of the configuration. Immutable.
#[derive(Debug)]
pub(super) struct KeyGroups {
    /// By number.
    names: Vec<Box<str>>,
    /// In the order of the configuration.
    patterns: Vec<(Beginning, Pattern, KeyGroup)>,
    /// For every first byte of a key the patterns that it may fit, one bit for each, and for a key without one.
    candidates: [u64; NO_BYTE + 1],
}

impl Default for KeyGroups {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            patterns: Vec::new(),
            candidates: [0; NO_BYTE + 1],
        }
    }
}

impl KeyGroups {
    /// From pairs of a name and a pattern; a name may come several times. There are no more of them than bits in a `u64`
    /// (`config` bounds them: what is beyond would never fit).
    pub(super) fn new(pairs: &[(String, String)]) -> Self {
        let mut groups = Self::default();
        if pairs.is_empty() {
            return groups;
        }
        groups.names = vec!["other".into(), "several".into()];
        for (name, pattern) in pairs.iter().take(u64::BITS as usize) {
            let known = groups.names.iter().position(|known| **known == **name);
            let number = known.unwrap_or_else(|| {
                groups.names.push(name.as_str().into());
                groups.names.len() - 1
            });
            let group = KeyGroup(u8::try_from(number).unwrap_or(0));
            let pattern = Pattern::new(pattern.as_bytes());
            let bit = 1 << groups.patterns.len();
            for (first, candidates) in groups.candidates.iter_mut().enumerate() {
                if pattern.may_begin_with(u8::try_from(first).ok()) {
                    *candidates |= bit;
                }
            }
            let beginning = pattern.beginning();
            groups.patterns.push((beginning, pattern, group));
        }
        groups
    }

    /// Names by [`KeyGroup::index`]; none: there are no groups.
    pub(super) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// How many counters a command needs.
    pub(super) fn len(&self) -> usize {
        self.names.len().max(1)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The group of these keys.
    pub(super) fn of<'a>(&self, mut keys: impl Iterator<Item = &'a [u8]>) -> KeyGroup {
        let Some(first) = keys.next().map(|key| self.of_one(key)) else {
            return KeyGroup::OTHER;
        };
        match keys.all(|key| self.of_one(key) == first) {
            true => first,
            false => KeyGroup::SEVERAL,
        }
    }

    /// The group of one key.
    #[inline]
    pub(super) fn of_one(&self, key: &[u8]) -> KeyGroup {
        let head = Head::of(key);
        let first = key.first().map_or(NO_BYTE, |&first| usize::from(first));
        let mut candidates = self.candidates[first];
        while candidates != 0 {
            let at = candidates.trailing_zeros() as usize;
            let (beginning, pattern, group) = &self.patterns[at];
            if beginning.is(head) && pattern.fits(key) {
                return *group;
            }
            candidates &= candidates - 1;
        }
        KeyGroup::OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_that_fits_wins_and_mixed_keys_are_of_several() {
        let pairs = [("a", "x:*"), ("b", "x:y:*"), ("a", "z"), ("c", "*:end")];
        let groups = KeyGroups::new(&pairs.map(|(n, p)| (n.to_owned(), p.to_owned())));
        let of = |keys: &[&str]| {
            let group = groups.of(keys.iter().map(|key| key.as_bytes()));
            groups.names()[group.index()].to_string()
        };
        assert_eq!(of(&["x:y:end"]), "a");
        assert_eq!(of(&["z"]), "a");
        assert_eq!(of(&["y:end"]), "c");
        assert_eq!(of(&["zz"]), "other");
        assert_eq!(of(&[]), "other");
        assert_eq!(of(&["x:1", "z", "x:2"]), "a");
        assert_eq!(of(&["x:1", "zz"]), "several");
        let any = KeyGroups::new(&[("any".to_owned(), "*".to_owned())]);
        assert_eq!(
            any.of([&b""[..]].into_iter()),
            any.of([&b"x"[..]].into_iter())
        );
        assert_ne!(any.of([&b""[..]].into_iter()), KeyGroup::OTHER);
        assert_eq!(groups.len(), 5);
        let none = KeyGroups::new(&[]);
        assert_eq!((none.len(), none.is_empty()), (1, true));
        assert_eq!(none.of([&b"x"[..]].into_iter()), KeyGroup::OTHER);
    }
}
