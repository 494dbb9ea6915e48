//! The commands that took long, and where their time went. Each worker keeps the last [`SLOW_MAX`]; what is shown of an
//! argument is the caller's business (`session::noted`).
//!
//! One command that keeps a node busy makes all that wait behind it slow. They would push it out of the log, so that of those
//! that were answered in the same moment by the same node only a few are listed (`slotway_slow_commands_total` has them all).

use crate::cluster::NodeAddr;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many entries are kept for each worker.
pub const SLOW_MAX: usize = 128;

/// Of the commands that a node may have been busy with and has answered in one moment, so many are listed if they are of
/// those that can take long.
const LISTED_MAX: u32 = 8;

/// Of those that only waited, one is listed in this time for each node.
const WAITING_EVERY: Duration = Duration::from_millis(100);

/// A moment is looked for among so many.
const MOMENTS_MAX: usize = 8;

/// A command that took long.
#[derive(Clone, Debug)]
pub struct SlowCommand {
    /// Its number, in the order in which they were listed in this process.
    pub id: u64,
    /// When its reply was there, since 1970.
    pub at: Duration,
    /// As it is shown: its name, keys, and what else there is by length.
    pub args: Vec<Box<[u8]>>,
    /// Whose command it was.
    pub client: Box<str>,
    /// What that client calls itself.
    pub name: Option<Box<str>>,
    /// The node that answered.
    pub node: NodeAddr,
    /// Where its time went.
    pub spent: Spent,
}

/// Where the time of one command went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// From its last byte on, until the node had nothing else to do for this connection: waiting for a connection, for room, for
    /// redirections, for what was asked before it.
    pub queued: u32,
    /// From then until its reply was there.
    pub upstream: u32,
    /// Until it was its turn among the client's replies.
    pub order: u32,
    /// Until the client's socket had taken it.
    pub writing: u32,
}

impl Spent {
    /// All of it.
    pub fn total(&self) -> u64 {
        [self.queued, self.upstream, self.order, self.writing]
            .into_iter()
            .map(u64::from)
            .sum()
    }
}

/// What a node may have done for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This command, which is of those that can take long: a script, a walk over many keys.
    Suspect,
    /// This command, or another of the same moment.
    Busy,
    /// Others: it waited for its turn.
    Waited,
}

/// The logs of all workers; any worker can read them.
#[derive(Clone, Debug, Default)]
pub(super) struct SlowLogs(Arc<All>);

#[derive(Debug, Default)]
struct All {
    ids: AtomicU64,
    /// One for each worker.
    logs: Mutex<Vec<Arc<Mutex<Kept>>>>,
}

/// Written by its worker; the lock is taken for slow commands, and by whoever asks.
#[derive(Debug, Default)]
pub(super) struct SlowLog {
    all: SlowLogs,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<SlowCommand>,
    moments: VecDeque<Moment>,
}

#[derive(Debug)]
struct Moment {
    node: NodeAddr,
    at: Instant,
    waited: bool,
    listed: u32,
}

impl SlowLog {
    /// Those of all workers.
    pub(super) fn all(&self) -> &SlowLogs {
        &self.all
    }

    /// Whether a slow command that a node answered at that moment is to be listed.
    pub(super) fn admit(&self, node: &NodeAddr, at: Instant, cause: Cause) -> bool {
        let kept = &mut *self.kept();
        let waited = cause == Cause::Waited;
        let within = match waited {
            true => WAITING_EVERY,
            false => Duration::ZERO,
        };
        let same = |m: &&mut Moment| {
            m.node == *node && m.waited == waited && at.saturating_duration_since(m.at) <= within
        };
        if let Some(moment) = kept.moments.iter_mut().rev().find(same) {
            let listed = cause == Cause::Suspect && moment.listed < LISTED_MAX;
            moment.listed += u32::from(listed);
            return listed;
        }
        if kept.moments.len() == MOMENTS_MAX {
            kept.moments.pop_front();
        }
        kept.moments.push_back(Moment {
            node: node.clone(),
            at,
            waited,
            listed: 1,
        });
        true
    }

    /// Lists one that was admitted; its `id` is set here.
    pub(super) fn put(&self, mut entry: SlowCommand) {
        entry.id = self.all.0.ids.fetch_add(1, Relaxed);
        let kept = &mut *self.kept();
        if kept.entries.len() == SLOW_MAX {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }
}

impl SlowLogs {
    /// One more, for one more worker.
    pub(super) fn log(&self) -> SlowLog {
        let kept = Arc::<Mutex<Kept>>::default();
        lock(&self.0.logs).push(kept.clone());
        SlowLog {
            all: self.clone(),
            kept,
        }
    }

    /// What is listed, the last one first.
    pub(super) fn slow(&self) -> Vec<SlowCommand> {
        let mut all = Vec::new();
        for log in lock(&self.0.logs).iter() {
            all.extend(lock(log).entries.iter().cloned());
        }
        all.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        all
    }

    /// Forgets what is listed.
    pub(super) fn forget(&self) {
        for log in lock(&self.0.logs).iter() {
            lock(log).entries.clear();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> NodeAddr {
        NodeAddr::new("10.0.0.1", port)
    }

    fn entry(name: &str) -> SlowCommand {
        SlowCommand {
            id: 0,
            at: Duration::ZERO,
            args: vec![name.as_bytes().into()],
            client: "client".into(),
            name: None,
            node: node(1),
            spent: Spent::default(),
        }
    }

    fn names(logs: &SlowLogs) -> Vec<String> {
        let all = logs.slow();
        let names = all
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.args[0]).into_owned());
        names.collect()
    }

    #[test]
    fn who_waits_behind_the_culprit_does_not_push_it_out() {
        let logs = SlowLogs::default();
        let log = logs.log();
        let start = Instant::now();
        let say = |name: &str, at: Instant, cause: Cause| {
            if log.admit(&node(1), at, cause) {
                log.put(entry(name));
            }
        };
        say("GET", start, Cause::Busy);
        say("EVAL", start, Cause::Suspect);
        (0..10_000).for_each(|_| say("victim", start, Cause::Busy));
        for late in 0..10_000 {
            say("waiter", start + Duration::from_micros(late), Cause::Waited);
        }
        assert_eq!(names(&logs), ["waiter", "EVAL", "GET"]);
        // Another node, and later: another moment.
        assert!(log.admit(&node(2), start, Cause::Busy));
        let later = start + Duration::from_micros(1);
        assert!(log.admit(&node(1), later, Cause::Busy));
        let much_later = start + WAITING_EVERY + Duration::from_micros(1);
        assert!(log.admit(&node(1), much_later, Cause::Waited));
    }

    #[test]
    fn the_last_of_all_workers_are_kept_and_can_be_forgotten() {
        let all_logs = SlowLogs::default();
        let logs = [all_logs.log(), all_logs.log()];
        for n in 0..3 * SLOW_MAX {
            let log = &logs[n % 2];
            let at = Instant::now() + Duration::from_millis(n as u64);
            assert!(log.admit(&node(1), at, Cause::Busy));
            log.put(entry(&n.to_string()));
        }
        let all = names(&all_logs);
        assert_eq!(all.len(), 2 * SLOW_MAX);
        assert_eq!(all[0], (3 * SLOW_MAX - 1).to_string());
        assert_eq!(all[2 * SLOW_MAX - 1], SLOW_MAX.to_string());
        logs[1].all().forget();
        assert!(names(&all_logs).is_empty());
    }

    #[test]
    fn suspects_of_one_moment_are_listed_up_to_a_bound() {
        let log = SlowLog::default();
        let now = Instant::now();
        let admitted = (0..100).filter(|_| log.admit(&node(1), now, Cause::Suspect));
        assert_eq!(admitted.count(), LISTED_MAX as usize);
    }
}
