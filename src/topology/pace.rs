//! When the next refresh may start, and when it must. Sans-IO: time is passed in.
//!
//! A token bucket keeps the average at [`REFRESHES_PER_SECOND`] whatever is reported, a minimum gap keeps refreshes
//! apart, and while something is open the next one is due without anybody asking.

use super::Trigger;
use std::time::{Duration, Instant};

/// Refreshes per second that reports can cause, on average.
const REFRESHES_PER_SECOND: f64 = 2.0;

/// Refreshes that may follow each other faster than that, after a quiet time.
const BURST: f64 = 6.0;

/// Least time between two starts.
const GAP: Duration = Duration::from_millis(100);

/// From start to start while a failover is under way: paid from the burst, so it lasts for three seconds.
const FAILOVER_INTERVAL: Duration = Duration::from_millis(250);

/// From start to start while something else is open.
const OPEN_INTERVAL: Duration = Duration::from_millis(500);

/// Least time between a start and one that only a SCAN asks for: it leaves most of the rate to trouble.
const SCANNED_INTERVAL: Duration = Duration::from_secs(1);

/// Something that stays open for so long, without slots being uncovered, will not settle by asking often.
const PATIENCE: Duration = Duration::from_secs(60);

/// From start to start after that.
const PATIENT_INTERVAL: Duration = Duration::from_secs(2);

/// Share of the periodic interval by which it varies, so that many proxies do not ask at once.
const JITTER: f64 = 0.2;

/// How settled the cluster looks after a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// All slots covered, answers agree, no suspect.
    Settled,
    /// Answers differ, a node is suspect, or a patch is unconfirmed.
    Open,
    /// Slots are uncovered, or nobody answered.
    Down,
    /// The owner of a slot is failed or suspected: a new owner can appear at any moment.
    Failover,
}

/// The schedule of refreshes.
pub(super) struct Pace {
    interval: Duration,
    tokens: f64,
    filled_at: Instant,
    started_at: Option<Instant>,
    wanted: Option<Trigger>,
    mood: Mood,
    mood_since: Instant,
    jitter: f64,
}

impl Pace {
    /// A schedule on which the first refresh is due at once.
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            tokens: BURST,
            filled_at: now,
            started_at: None,
            wanted: Some(Trigger::Start),
            mood: Mood::Down,
            mood_since: now,
            jitter: 0.0,
        }
    }

    /// Asks for a refresh as soon as the rate allows. The first reason is the one that counts.
    pub(super) fn want(&mut self, trigger: Trigger, now: Instant) {
        let since = self.started_at.map(|at| now.saturating_duration_since(at));
        if trigger == Trigger::Scanned && since.is_none_or(|since| since < SCANNED_INTERVAL) {
            return;
        }
        self.wanted.get_or_insert(trigger);
    }

    /// How things are after a refresh.
    pub(super) fn settle(&mut self, mood: Mood, now: Instant) {
        if self.mood != mood {
            self.mood = mood;
            self.mood_since = now;
        }
    }

    /// When the next refresh is to start.
    pub(super) fn due(&self) -> Instant {
        let Some(started) = self.started_at else {
            return self.filled_at;
        };
        let wait = match self.wanted {
            Some(_) => GAP,
            None => self.unasked(started).max(GAP),
        };
        let missing = (1.0 - self.tokens).max(0.0);
        let refilled = self.filled_at + Duration::from_secs_f64(missing / REFRESHES_PER_SECOND);
        (started + wait).max(refilled)
    }

    /// A refresh starts now: why. `random` in 0..1 varies the time until the next periodic one.
    pub(super) fn start(&mut self, now: Instant, random: f64) -> Trigger {
        let since = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + since * REFRESHES_PER_SECOND).min(BURST) - 1.0;
        self.filled_at = now;
        self.started_at = Some(now);
        self.jitter = (random * 2.0 - 1.0) * JITTER;
        let unasked = match self.mood {
            Mood::Settled => Trigger::Periodic,
            _ => Trigger::Unconfirmed,
        };
        self.wanted.take().unwrap_or(unasked)
    }

    /// Time from start to start when nobody asks.
    fn unasked(&self, started: Instant) -> Duration {
        let impatient = started.saturating_duration_since(self.mood_since) < PATIENCE;
        let interval = match self.mood {
            Mood::Settled => return self.interval.mul_f64(1.0 + self.jitter),
            Mood::Failover if impatient => FAILOVER_INTERVAL,
            Mood::Failover | Mood::Down => OPEN_INTERVAL,
            Mood::Open if impatient => OPEN_INTERVAL,
            Mood::Open => PATIENT_INTERVAL,
        };
        interval.min(self.interval.mul_f64(1.0 + self.jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    /// Runs the schedule for `span`, with `each` called after every start, and returns the starts.
    fn run(
        pace: &mut Pace,
        begin: Instant,
        span: Duration,
        mut each: impl FnMut(&mut Pace, Instant),
    ) -> Vec<Instant> {
        let mut starts = Vec::new();
        let mut now = begin;
        while now < begin + span {
            now = now.max(pace.due());
            pace.start(now, 0.5);
            starts.push(now);
            each(pace, now);
        }
        starts
    }

    #[test]
    fn ten_thousand_reports_make_two_refreshes_a_second() {
        let begin = Instant::now();
        let mut pace = Pace::new(INTERVAL, begin);
        let span = Duration::from_secs(30);
        let starts = run(&mut pace, begin, span, |pace, now| {
            pace.settle(Mood::Settled, now);
            (0..10_000).for_each(|_| pace.want(Trigger::Moved, now));
        });
        assert!(
            starts.len() as f64 <= span.as_secs_f64() * REFRESHES_PER_SECOND + BURST + 1.0,
            "{}",
            starts.len()
        );
        assert!(starts.windows(2).all(|w| w[1] - w[0] >= GAP));
    }

    #[test]
    fn a_settled_cluster_is_asked_once_per_interval() {
        let begin = Instant::now();
        let mut pace = Pace::new(INTERVAL, begin);
        let starts = run(&mut pace, begin, INTERVAL * 5, |pace, now| {
            pace.settle(Mood::Settled, now)
        });
        assert!(starts[1..].windows(2).all(|w| w[1] - w[0] == INTERVAL));
        assert_eq!(pace.start(pace.due(), 1.0), Trigger::Periodic);
        assert_eq!(pace.due() - pace.started_at.unwrap(), INTERVAL.mul_f64(1.2));
    }

    #[test]
    fn a_failover_is_followed_closely_and_within_the_rate() {
        let begin = Instant::now();
        let mut pace = Pace::new(INTERVAL, begin);
        let starts = run(&mut pace, begin, Duration::from_secs(10), |pace, now| {
            pace.settle(Mood::Failover, now)
        });
        assert_eq!(starts[1] - starts[0], FAILOVER_INTERVAL);
        assert!(
            starts.len() as f64 <= 10.0 * REFRESHES_PER_SECOND + BURST + 1.0,
            "{}",
            starts.len()
        );
    }

    #[test]
    fn what_stays_open_is_asked_less_often_but_uncovered_slots_are_not() {
        let begin = Instant::now();
        for (mood, last) in [(Mood::Open, PATIENT_INTERVAL), (Mood::Down, OPEN_INTERVAL)] {
            let mut pace = Pace::new(INTERVAL, begin);
            let starts = run(&mut pace, begin, PATIENCE * 2, |pace, now| {
                pace.settle(mood, now)
            });
            assert_eq!(starts[2] - starts[1], OPEN_INTERVAL);
            assert_eq!(starts[starts.len() - 1] - starts[starts.len() - 2], last);
        }
    }

    #[test]
    fn the_first_reason_counts() {
        let now = Instant::now();
        let mut pace = Pace::new(INTERVAL, now);
        pace.want(Trigger::Moved, now);
        assert_eq!(pace.start(pace.due(), 0.5), Trigger::Start);
        pace.want(Trigger::Moved, now);
        pace.want(Trigger::Ask, now);
        assert_eq!(pace.start(pace.due(), 0.5), Trigger::Moved);
        assert_eq!(pace.start(pace.due(), 0.5), Trigger::Unconfirmed);
    }

    #[test]
    fn scans_are_a_reason_once_a_second() {
        let begin = Instant::now();
        let mut pace = Pace::new(INTERVAL, begin);
        pace.start(begin, 0.5);
        pace.settle(Mood::Settled, begin);
        let soon = begin + SCANNED_INTERVAL / 2;
        pace.want(Trigger::Scanned, soon);
        assert_eq!(pace.due(), begin + INTERVAL);
        pace.want(Trigger::Scanned, begin + SCANNED_INTERVAL);
        assert!(pace.due() < begin + SCANNED_INTERVAL);
        assert_eq!(pace.start(begin + SCANNED_INTERVAL, 0.5), Trigger::Scanned);
    }
}
