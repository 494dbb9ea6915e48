//! What the clients of a cast have to say, as figures of the table, and what may not be in it.

use super::cast::Report;
use crate::rig::findings::Wrong;
use crate::rig::stage::{Stage, ms};
use crate::support::Scenario;

/// All that must not be.
const WRONG: [Wrong; 4] = [Wrong::Crossed, Wrong::Twice, Wrong::Stale, Wrong::Leaked];

impl Report {
    /// How often each kind got what it wanted, its longest wait, its errors.
    pub fn note(&self, stage: &Stage, row: &mut Scenario) {
        for (kind, acts) in &self.acts {
            stage.say(&format!(
                "{kind}: {} done, longest wait {}, {} × nil, errors: {}",
                acts.done,
                ms(acts.longest),
                acts.nils,
                acts.told.errors_by_kind()
            ));
            row.figure(kind, acts.done);
            row.figure(&format!("longest wait for {kind}"), ms(acts.longest));
        }
        let nils: u64 = self.acts.values().map(|acts| acts.nils).sum();
        row.figure("EXEC nil", nils);
        row.figure("outcome unknown", self.unknown());
        row.figure("other errors", self.errors() - self.unknown());
        let lost = self.may_lose.count(Wrong::Stale);
        row.figure("signs of writes that the cluster lost", lost);
    }

    /// Nothing crossed, nothing twice, nothing lost but what the cluster loses.
    #[track_caller]
    pub fn assert_true(&self) {
        self.kept.assert_none(&WRONG);
        self.may_lose
            .assert_none(&[Wrong::Crossed, Wrong::Twice, Wrong::Leaked]);
    }

    /// Errors that clients were told of.
    pub fn errors(&self) -> u64 {
        use crate::rig::findings::Keys;
        let told = self.acts.values();
        told.map(|acts| acts.told.errors(&[Keys::One])).sum()
    }

    /// Those of them that say that nobody knows.
    pub fn unknown(&self) -> u64 {
        self.acts.values().map(|acts| acts.told.unknown).sum()
    }

    /// Errors by kind of client.
    pub fn told(&self) -> String {
        let told = self
            .acts
            .iter()
            .filter(|(_, acts)| acts.told.errors_by_kind() != "none");
        let told = told.map(|(kind, acts)| format!("{kind}: {}", acts.told.errors_by_kind()));
        told.collect::<Vec<_>>().join("; ")
    }
}
