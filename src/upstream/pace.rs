//! How fast a node answers, measured while it does: how many of its requests may be in flight, and how long the turns are
//! of those who wait for room.

use super::lanes::LaneSettings;
use crate::io::Micros;

/// So many requests are taken however slow the node seems, in requests: a node is not thought slow for long, and a few
/// slow commands are no sign of overload.
const IN_FLIGHT_MIN: usize = 64;

/// The fastest of so many measurements counts: one in which a script held up the others says little.
const SAMPLES: usize = 5;

/// Turns are so long that those of all who wait take no longer than that together, in microseconds: replies that come one
/// by one to many clients cost a write each.
const ROUND_MICROS: u64 = 5_000;

/// The longest turn, in requests.
const TURN_MAX: usize = 32;

/// How many requests a node answers in the time that is worth waiting for a place in its lane.
pub(super) struct Pace {
    /// So many may be in flight.
    pub(super) limit: usize,
    /// As the operator has it: at most so many.
    pub(super) max: usize,
    /// In microseconds.
    worth_waiting: u64,
    /// Requests, since the last measurement.
    pub(super) answered: usize,
    /// Answered in the time of a round of turns, at the last measurement.
    per_round: usize,
    /// In flight at the last measurement.
    in_flight: usize,
    measured: Micros,
    /// What it would have answered in `worth_waiting`; the newest replaces the oldest.
    samples: [usize; SAMPLES],
    next: usize,
}

impl Pace {
    pub(super) fn new(settings: &LaneSettings, now: Micros) -> Self {
        // Together with the wait in front of the lane it is less than a command may take.
        let worth_waiting = settings.queue.min(settings.command / 2);
        Self {
            limit: settings.in_flight_max,
            max: settings.in_flight_max,
            worth_waiting: worth_waiting.as_micros() as u64,
            answered: 0,
            per_round: 0,
            in_flight: 0,
            measured: now,
            samples: [usize::MAX; SAMPLES],
            next: 0,
        }
    }

    /// How many requests each of so many who wait may have let in, one after the other.
    pub(super) fn turn(&self, waiting: usize) -> usize {
        (self.per_round / waiting.max(1)).clamp(1, TURN_MAX)
    }

    /// A node that answered all that it had in the meantime is no bottleneck. One that answered nothing is no slow one:
    /// it is stopped, or runs a long script, and there are other times for that.
    pub(super) fn measure(&mut self, in_flight: usize, now: Micros) {
        let elapsed = u64::from(now.since(self.measured)).max(1);
        let answered = std::mem::take(&mut self.answered);
        self.per_round = (answered as u64 * ROUND_MICROS / elapsed) as usize;
        if answered > 0 {
            let kept_up = answered > self.in_flight;
            let paced = (answered as u64).saturating_mul(self.worth_waiting) / elapsed;
            self.samples[self.next] = if kept_up { usize::MAX } else { paced as usize };
            self.next = (self.next + 1) % SAMPLES;
            let best = self.samples.iter().copied().max().unwrap_or(self.max);
            // An operator's smaller limit stands.
            self.limit = best.max(IN_FLIGHT_MIN).min(self.max);
        }
        self.in_flight = in_flight;
        self.measured = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK_MICROS: u32 = 100_000;

    fn pace(max: usize) -> Pace {
        Pace {
            limit: max,
            max,
            worth_waiting: 1_000_000,
            answered: 0,
            per_round: 0,
            in_flight: 0,
            measured: Micros::default(),
            samples: [usize::MAX; SAMPLES],
            next: 0,
        }
    }

    /// So many intervals, each with so many answers, at the end of which so many are in flight.
    fn pass(pace: &mut Pace, intervals: u32, answered: usize, in_flight: usize) {
        for _ in 0..intervals {
            pace.answered = answered;
            let now = pace.measured.plus(CHECK_MICROS);
            pace.measure(in_flight, now);
        }
    }

    #[test]
    fn a_busy_node_gets_what_it_answers_in_the_time_that_is_worth_waiting() {
        let mut pace = pace(100_000);
        pass(&mut pace, 1, 500, 20_000);
        assert_eq!(pace.limit, 100_000, "it had nothing to do before");
        pass(&mut pace, SAMPLES as u32, 500, 20_000);
        assert_eq!(pace.limit, 5_000);
        pass(&mut pace, 1, 100, 20_000);
        assert_eq!(pace.limit, 5_000, "the fastest counts");
        pass(&mut pace, SAMPLES as u32, 100, 20_000);
        assert_eq!(pace.limit, 1_000);
    }

    #[test]
    fn a_node_that_keeps_up_or_stands_still_is_not_slow() {
        let mut pace = pace(100_000);
        pass(&mut pace, 20, 500, 400);
        assert_eq!(pace.limit, 100_000, "it answers more than was there");
        pass(&mut pace, 20, 0, 50_000);
        assert_eq!(pace.limit, 100_000, "it stands still");
    }

    #[test]
    fn the_limit_keeps_within_its_bounds() {
        let mut pace = pace(1_000);
        pass(&mut pace, 10, 5_000, 20_000);
        assert_eq!(pace.limit, 1_000);
        pass(&mut pace, 10, 1, 20_000);
        assert_eq!(pace.limit, IN_FLIGHT_MIN);
    }

    #[test]
    fn turns_are_longer_where_a_node_is_fast_and_few_wait() {
        let mut pace = pace(100_000);
        assert_eq!(pace.turn(1), 1, "nothing is known yet");
        pass(&mut pace, 1, 8_000, 0);
        let per_round = 8_000 * ROUND_MICROS as usize / CHECK_MICROS as usize;
        assert_eq!(pace.turn(0), TURN_MAX);
        assert_eq!(pace.turn(1), TURN_MAX);
        assert_eq!(pace.turn(per_round / 10), 10);
        assert_eq!(pace.turn(per_round), 1);
        assert_eq!(pace.turn(10 * per_round), 1, "each has its turn");
        pass(&mut pace, 1, 20, 0);
        assert_eq!(pace.turn(2), 1, "a slow node's turns are short");
    }
}
