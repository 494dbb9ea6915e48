//! Finds the policy of a command: its row in the policy table, or else what its flags say.

use super::facts::{Facts, Flags};
use super::policy::{Mode, Policy};
use super::policy_rows::{BLOCKING, FAMILIES, ON_REQUEST, ROWS};
use Policy::{AnyNode, Home, Refused, Route};

/// What is done with a command, and what `policy.allow` makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) policy: Policy,
    /// `None`: `policy.allow` cannot change it.
    pub(super) allowed: Option<Policy>,
}

/// The policy of the command with these facts: its row, or else what its flags say.
pub(super) fn classify(facts: &Facts) -> Row {
    let name = &*facts.name;
    if let Some((_, policy)) = ROWS.iter().find(|(known, _)| *known == name) {
        return Row {
            policy: *policy,
            allowed: None,
        };
    }
    if let Some((_, why, allowed)) = ON_REQUEST.iter().find(|(known, ..)| *known == name) {
        return Row {
            policy: Refused(why),
            allowed: Some(*allowed),
        };
    }
    if let Some(family) = FAMILIES.iter().find(|family| family.has(facts)) {
        return Row {
            policy: family.policy,
            allowed: None,
        };
    }
    by_flags(facts)
}

/// A command that has no row. Everything that may change a connection carries one of the flags asked for here.
fn by_flags(facts: &Facts) -> Row {
    let is = |flag| facts.flags.contains(flag);
    let keys = facts.has_keys();
    let (policy, allowed) = if is(Flags::BLOCKING) && keys {
        (Policy::Mode(Mode::Blocking), None)
    } else if is(Flags::BLOCKING) {
        (Refused(BLOCKING), None)
    } else if is(Flags::ADMIN) || is(Flags::PUBSUB) {
        (
            Refused(
                "is an administrative or publish/subscribe command that slotway does not know; connect to the nodes",
            ),
            None,
        )
    } else if is(Flags::NOSCRIPT) {
        let allowed = if keys { Route } else { Home };
        (
            Refused(
                "may change its connection, and slotway does not know it; if it does not, add it to policy.allow",
            ),
            Some(allowed),
        )
    } else if keys {
        (Route, None)
    } else if is(Flags::READONLY) {
        (AnyNode, None)
    } else {
        (
            Refused(
                "names no key and may change data, so its node cannot be told; policy.allow sends it to one node",
            ),
            Some(Home),
        )
    };
    Row { policy, allowed }
}

/// How many rows apply to a command.
#[cfg(test)]
pub(super) fn rows_of(facts: &Facts) -> usize {
    let rows = ROWS.iter().filter(|(name, _)| *name == facts.name).count();
    let requests = ON_REQUEST
        .iter()
        .filter(|(name, ..)| *name == facts.name)
        .count();
    rows + requests
        + FAMILIES
            .iter()
            .filter(|family| family.has(facts))
            .count()
            .min(1)
}
