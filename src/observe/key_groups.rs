//! Which group of keys a lookup is counted for (`observe.groups`). A key belongs to the first group whose pattern it fits.

use super::glob;

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

/// The groups of the configuration. Immutable.
#[derive(Debug, Default)]
pub(super) struct KeyGroups {
    /// By number.
    names: Vec<Box<str>>,
    /// In the order of the configuration.
    patterns: Vec<(Box<[u8]>, KeyGroup)>,
}

impl KeyGroups {
    /// From pairs of a name and a pattern; a name may come several times. There are no more of them than fit a `u8`
    /// (`config` bounds them).
    pub(super) fn new(pairs: &[(String, String)]) -> Self {
        let mut groups = Self::default();
        if pairs.is_empty() {
            return groups;
        }
        groups.names = vec!["other".into(), "several".into()];
        for (name, pattern) in pairs {
            let known = groups.names.iter().position(|known| **known == **name);
            let number = known.unwrap_or_else(|| {
                groups.names.push(name.as_str().into());
                groups.names.len() - 1
            });
            let group = KeyGroup(u8::try_from(number).unwrap_or(0));
            groups.patterns.push((pattern.as_bytes().into(), group));
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

    fn of_one(&self, key: &[u8]) -> KeyGroup {
        let of = self
            .patterns
            .iter()
            .find(|(pattern, _)| glob::fits(pattern, key));
        of.map_or(KeyGroup::OTHER, |(_, group)| *group)
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
        assert_eq!(groups.len(), 5);
        let none = KeyGroups::new(&[]);
        assert_eq!((none.len(), none.is_empty()), (1, true));
        assert_eq!(none.of([&b"x"[..]].into_iter()), KeyGroup::OTHER);
    }
}
