//! What a server says about one command: name, arity, flags, key specifications. The common form of the snapshot
//! and of live `COMMAND` replies; the table is built from it.

use super::key_spec::KeySpec;

/// One command or subcommand as servers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// Lowercase; subcommands as `config|set`.
    pub(super) name: String,
    /// Exact number of arguments, or the least one as a negative number; the name counts.
    pub(super) arity: i32,
    pub(super) flags: Flags,
    pub(super) specs: Vec<KeySpec>,
}

impl Facts {
    /// The container's name of a subcommand.
    pub(super) fn container(&self) -> Option<&str> {
        self.name.split_once('|').map(|(container, _)| container)
    }

    /// Whether requests name keys, as far as the server says.
    pub(super) fn has_keys(&self) -> bool {
        !self.specs.is_empty() || self.flags.contains(Flags::MOVABLE_KEYS)
    }
}

/// The flags of a command that slotway uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Reads only.
    pub const READONLY: Self = Self(1);
    /// May change keys.
    pub const WRITE: Self = Self(1 << 1);
    /// May block its connection.
    pub const BLOCKING: Self = Self(1 << 2);
    /// For administrators.
    pub const ADMIN: Self = Self(1 << 3);
    /// Publish and subscribe.
    pub const PUBSUB: Self = Self(1 << 4);
    /// Not allowed in scripts: changes connections or servers.
    pub const NOSCRIPT: Self = Self(1 << 5);
    /// Allowed before authentication.
    pub const NO_AUTH: Self = Self(1 << 6);
    /// Not allowed inside MULTI.
    pub const NO_MULTI: Self = Self(1 << 7);
    /// Keys whose places only the server's code knows.
    pub const MOVABLE_KEYS: Self = Self(1 << 8);

    /// Flags and their names in `COMMAND`.
    const NAMES: [(&'static str, Self); 9] = [
        ("readonly", Self::READONLY),
        ("write", Self::WRITE),
        ("blocking", Self::BLOCKING),
        ("admin", Self::ADMIN),
        ("pubsub", Self::PUBSUB),
        ("noscript", Self::NOSCRIPT),
        ("no_auth", Self::NO_AUTH),
        ("no_multi", Self::NO_MULTI),
        ("movablekeys", Self::MOVABLE_KEYS),
    ];

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds the flag with this name; names that slotway does not use are ignored.
    pub(super) fn insert_name(&mut self, name: &str) {
        if let Some((_, flag)) = Self::NAMES.iter().find(|(known, _)| *known == name) {
            self.0 |= flag.0;
        }
    }

    /// The names of the flags that are set, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(_, flag)| self.contains(*flag))
            .map(|(name, _)| name)
    }
}
