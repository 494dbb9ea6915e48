//! Stand-in for `command::CommandId` until the command table has landed.

/// How many commands get counters of their own.
pub const COMMANDS_MAX: usize = 1024;

/// A command, as a dense index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandId(pub u16);

impl CommandId {
    /// Every command without an id of its own.
    pub const OTHER: Self = Self(0);

    /// As an index below [`COMMANDS_MAX`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
