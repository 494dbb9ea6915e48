//! Waiting for a condition of a local server: polled, with a deadline, and with the last reason in the error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Error;

/// Between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(15);

/// A request to stop waiting, shared with whoever may make it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks to stop: whoever waits gets [`Error::Interrupted`].
    pub fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Polls `check` until it is fine. Its error says what is still missing, and is shown when the time is up.
pub fn wait_until(
    what: &str,
    at_most: Duration,
    stop: &Stop,
    mut check: impl FnMut() -> Result<(), String>,
) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        let Err(missing) = check() else {
            return Ok(());
        };
        if stop.is_requested() {
            return Err(Error::Interrupted);
        }
        if began.elapsed() >= at_most {
            return Err(Error::NotInTime {
                what: what.to_owned(),
                waited: at_most,
                last: missing,
            });
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
