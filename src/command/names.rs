//! Finds a command by its name in any case, without allocating: the first thing that happens to every request.

use rustc_hash::FxHashMap;

/// Names up to this many bytes are compared as one integer; that is all but a handful.
const SHORT_MAX: usize = 16;

/// Longer names than this are not looked up at all: no server has such a command.
const NAME_MAX: usize = 64;

/// A map from lowercase names to places in the table.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Key: the name's bytes padded with zeros. Its length is kept because a name may not end in zeros.
    short: FxHashMap<u128, (u8, u32)>,
    long: FxHashMap<Box<[u8]>, u32>,
}

impl Names {
    /// Adds a name, which must be lowercase.
    pub(super) fn insert(&mut self, name: &[u8], index: u32) {
        if name.len() <= SHORT_MAX {
            let mut word = [0; SHORT_MAX];
            word[..name.len()].copy_from_slice(name);
            self.short
                .insert(u128::from_le_bytes(word), (name.len() as u8, index));
        } else {
            self.long.insert(name.into(), index);
        }
    }

    /// The place of `name`, in any case.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        if name.len() > SHORT_MAX {
            return self.find_long(name);
        }
        let mut word = [0; SHORT_MAX];
        word[..name.len()].copy_from_slice(name);
        word.make_ascii_lowercase();
        let (len, index) = *self.short.get(&u128::from_le_bytes(word))?;
        (usize::from(len) == name.len()).then_some(index)
    }

    #[cold]
    fn find_long(&self, name: &[u8]) -> Option<u32> {
        let mut buffer = [0; NAME_MAX];
        let lower = buffer.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.long.get(&*lower).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_in_any_case_and_only_whole_ones() {
        let mut names = Names::default();
        for (i, name) in ["get", "georadiusbymember", "sixteen-letters-"]
            .iter()
            .enumerate()
        {
            names.insert(name.as_bytes(), i as u32);
        }
        assert_eq!(names.find(b"GeT"), Some(0));
        assert_eq!(names.find(b"GEORADIUSBYMEMBER"), Some(1));
        assert_eq!(names.find(b"SIXTEEN-letters-"), Some(2));
        for unknown in [
            &b"get\0"[..],
            b"ge",
            b"gets",
            b"",
            b"georadiusbymembe",
            &[b'a'; 65],
        ] {
            assert_eq!(names.find(unknown), None);
        }
    }
}
