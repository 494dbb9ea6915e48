//! How settled the cluster looks after a round of questions, which decides when the next one is.

use super::Task;
use crate::cluster::{Round, SLOTS};
use crate::topology::Mood;

impl Task {
    /// After this round.
    pub(super) fn mood(&self, round: &Round) -> Mood {
        // Of servers without cluster support one speaks for all.
        let alone =
            !self.standalone.is_found() && round.trusted < 2 && self.belief.nodes().len() > 1;
        let open =
            round.differing + round.unheard + self.suspects.len() + self.belief.unconfirmed() > 0;
        if round.covered < SLOTS {
            Mood::Down
        } else if round.failing || round.owner_down {
            Mood::Failover
        } else if open || alone || !self.belief.former().is_empty() {
            Mood::Open
        } else {
            Mood::Settled
        }
    }
}
