//! How long to leave a node alone after it could not be reached. Sans-IO: time is passed in.

use std::time::{Duration, Instant};

/// After the first failure.
const FIRST: Duration = Duration::from_millis(200);

/// Never longer than this: a cluster that is back must be found again soon.
const LONGEST: Duration = Duration::from_secs(1);

/// Doubles from [`FIRST`] to [`LONGEST`], each time shortened by a random share of up to a half.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Whether it may be tried at `now`.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// It worked.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It did not; `random` in 0..1.
    pub(super) fn failed(&mut self, now: Instant, random: f64) {
        let doubled = FIRST * 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.until = Some(now + doubled.min(LONGEST).mul_f64(1.0 - random / 2.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(backoff.is_over(now));
        for wait_ms in [200, 400, 800, 1000, 1000] {
            backoff.failed(now, 0.0);
            let wait = Duration::from_millis(wait_ms);
            assert!(!backoff.is_over(now + wait - Duration::from_millis(1)));
            assert!(backoff.is_over(now + wait));
        }
        backoff.succeeded();
        backoff.failed(now, 1.0);
        assert!(backoff.is_over(now + FIRST / 2));
    }
}
