//! Counts what replies tell about the keys that were looked up, by command and group of keys.

use super::key_groups::KeyGroup;
use super::worker::WorkerMetrics;
use crate::command::CommandId;

impl WorkerMetrics {
    /// What a reply told about the keys that were looked up.
    #[inline]
    pub fn lookup(&self, id: CommandId, group: KeyGroup, hits: u64, misses: u64) {
        if let Some(of) = self.of(id).lookups.get(group.index()) {
            of.hits.add(hits);
            of.misses.add(misses);
        }
    }

    /// A reply told that the key was there.
    #[inline]
    pub fn hit(&self, id: CommandId, group: KeyGroup) {
        if let Some(of) = self.of(id).lookups.get(group.index()) {
            of.hits.add(1);
        }
    }

    /// Whether lookups are counted by group of keys.
    #[inline]
    pub fn has_key_groups(&self) -> bool {
        !self.key_groups.is_empty()
    }

    /// The group of a key.
    #[inline]
    pub fn key_group(&self, key: &[u8]) -> KeyGroup {
        self.key_groups.of_one(key)
    }

    /// The group of the keys of one command.
    pub fn group_of_keys<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> KeyGroup {
        self.key_groups.of(keys)
    }
}
