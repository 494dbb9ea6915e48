//! The retry contract (invariant 5: nothing executes twice): what is known of a request that has no final reply
//! ([`Fate`]), and what executing it once more would do, decide whether it is sent again. What is lost or refused on a lane
//! (plain commands, blocks, parts of split commands), on a lease (WATCH, blocking commands) or on behalf of a task goes
//! through [`resend`]. A script's refusal counts once it is proved: MOVED by a refresh, ASK by what the node says to a
//! plain command, NOSCRIPT by what it says of the script (`session::refusal`, `confirm`, `healing`).
//!
//! | what is known | a read | a write | a script |
//! | --- | --- | --- | --- |
//! | never sent | again | again | again |
//! | refused | again | again | again, once it is proved that the node said so and not the script |
//! | maybe executed | once | never | never |
//! | still on its way | never | never | never |
//!
//! "Never" is an error of its own (`-ERR slotway: outcome unknown, …`, `-ERR slotway: no reply in time …; outcome
//! unknown, …`), counted in `slotway_unknown_outcomes_total`. How long "again" goes on is a matter of patience, not of
//! this contract; whether a later command stands in the way, one of order (`fences`).

use crate::upstream::Fate;

/// What executing a request does, and what its error replies are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that anybody sees, or nothing that outlives the connection (WATCH).
    Read,
    /// It changes something, or may; also a whole block, whose error replies are the server's own.
    Write,
    /// A script or a function: it may word any error itself after it has written. One that may not write is no
    /// exception: it may still publish.
    Script,
}

/// Whether a request was lost and repeated before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Losses {
    /// It was not.
    #[default]
    None,
    /// It was repeated because it only reads.
    One,
}

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// As often as patience allows.
    Again,
    /// This once.
    Once,
    /// As soon as it is proved that the refusal is the node's.
    IfProved,
    /// Its client is told that the outcome is unknown.
    Never,
}

/// The contract.
pub const fn resend(fate: Fate, effect: Effect, losses: Losses) -> Resend {
    match (fate, effect, losses) {
        (Fate::NeverSent, Effect::Read | Effect::Write | Effect::Script, _) => Resend::Again,
        (Fate::Refused, Effect::Read | Effect::Write, _) => Resend::Again,
        (Fate::Refused, Effect::Script, _) => Resend::IfProved,
        (Fate::MaybeExecuted, Effect::Read, Losses::None) => Resend::Once,
        (Fate::MaybeExecuted, Effect::Read, Losses::One) => Resend::Never,
        (Fate::MaybeExecuted, Effect::Write | Effect::Script, _) => Resend::Never,
        (Fate::OnItsWay, Effect::Read | Effect::Write | Effect::Script, _) => Resend::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{FaultKind, HandedOver};

    const EFFECTS: [Effect; 3] = [Effect::Read, Effect::Write, Effect::Script];

    /// Every way in which a connection ends.
    fn faults() -> [FaultKind; 12] {
        let all = [
            FaultKind::Connect("refused".into()),
            FaultKind::Handshake("WRONGPASS".into()),
            FaultKind::ConnectLate(std::time::Duration::ZERO),
            FaultKind::HandshakeLate,
            FaultKind::TooDeep,
            FaultKind::Closed,
            FaultKind::Io("reset".into()),
            FaultKind::Protocol("a push"),
            FaultKind::Silent,
            FaultKind::Stuck,
            FaultKind::Endless,
            FaultKind::Retired,
        ];
        // One more is one more here.
        for fault in &all {
            match fault {
                FaultKind::Connect(_)
                | FaultKind::Handshake(_)
                | FaultKind::ConnectLate(_)
                | FaultKind::HandshakeLate
                | FaultKind::TooDeep
                | FaultKind::Closed
                | FaultKind::Io(_)
                | FaultKind::Protocol(_)
                | FaultKind::Silent
                | FaultKind::Stuck
                | FaultKind::Endless
                | FaultKind::Retired => {}
            }
        }
        all
    }

    #[test]
    fn whatever_ended_the_connection_only_the_bytes_and_the_effect_decide() {
        use Resend::{Again, Never, Once};
        let table = [
            // Handed over, lost before, and what becomes of a read, a write, a script.
            (HandedOver::NotAll, Losses::None, [Again, Again, Again]),
            (HandedOver::NotAll, Losses::One, [Again, Again, Again]),
            (HandedOver::All, Losses::None, [Once, Never, Never]),
            (HandedOver::All, Losses::One, [Never, Never, Never]),
        ];
        for fault in faults() {
            for (handed_over, losses, expected) in table {
                let fate = Fate::of(&fault, handed_over);
                let got = EFFECTS.map(|effect| resend(fate, effect, losses));
                assert_eq!(got, expected, "{fault:?}, {handed_over:?}, {losses:?}");
            }
        }
    }

    #[test]
    fn a_refusal_is_no_execution_unless_a_script_worded_it_and_lateness_is_never_one() {
        use Resend::{Again, IfProved, Never};
        for losses in [Losses::None, Losses::One] {
            let refused = EFFECTS.map(|effect| resend(Fate::Refused, effect, losses));
            assert_eq!(refused, [Again, Again, IfProved]);
            let late = EFFECTS.map(|effect| resend(Fate::OnItsWay, effect, losses));
            assert_eq!(late, [Never; 3]);
        }
    }
}
