//! MONITOR: what all workers take from their clients, shown to those who watch. Every worker offers its lines to each
//! of them through a bounded buffer; what does not fit is dropped and counted, so that nobody who watches holds up
//! anybody who works. While nobody does, it costs one look at a flag for each batch of bytes.

use super::dispatch::Taken;
use super::replies::About;
use super::{Session, State};
use crate::command::{Command, Flags};
use crate::modes::monitor;
use crate::observe::Limit;
use crate::resp::Request;
use crate::route::Plan;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// With so many bytes not yet written, one who watches is given no more lines.
const OUTPUT_MAX: usize = 64 * 1024;

/// Lines on their way to one who watches, besides the bound of their bytes (`limits.monitor_buffer`).
const LINES_MAX: usize = 64 * 1024;

/// After so many writes in a row, one who watches lets others run.
const ROUNDS_PER_TURN: usize = 8;

/// Everybody who watches; one for the process.
#[derive(Default)]
pub struct Monitors {
    /// Whether there is anybody.
    watched: AtomicBool,
    all: ArcSwap<Vec<Arc<Watcher>>>,
    /// Held while somebody comes or goes.
    change: Mutex<()>,
}

/// One who watches, as the workers see it.
struct Watcher {
    lines: mpsc::Sender<Bytes>,
    /// Bytes of the lines on their way to it, at most `max`.
    waiting: AtomicUsize,
    max: usize,
    /// Commands that were not shown since it was last told.
    dropped: AtomicU64,
}

impl Watcher {
    fn has_room(&self, bytes: usize) -> bool {
        self.waiting.load(Ordering::Relaxed) + bytes <= self.max
    }

    /// `false`: it was dropped.
    fn offer(&self, line: &Bytes) -> bool {
        let before = self.waiting.fetch_add(line.len(), Ordering::Relaxed);
        let fits = before + line.len() <= self.max;
        let taken = fits && self.lines.try_send(line.clone()).is_ok();
        if !taken {
            self.waiting.fetch_sub(line.len(), Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

impl Monitors {
    /// Whether anybody watches.
    #[inline]
    pub(super) fn watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// One more who watches, unless there are `limit` already. At most `max` bytes wait for it.
    fn join(self: &Arc<Self>, limit: usize, max: usize) -> Option<Monitor> {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let watcher = Arc::new(Watcher {
            lines: sender,
            waiting: AtomicUsize::new(0),
            max,
            dropped: AtomicU64::new(0),
        });
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = (**self.all.load()).clone();
        if all.len() >= limit {
            return None;
        }
        all.push(watcher.clone());
        self.all.store(Arc::new(all));
        self.watched.store(true, Ordering::Relaxed);
        Some(Monitor {
            monitors: self.clone(),
            watcher,
            lines,
        })
    }

    fn leave(&self, watcher: &Arc<Watcher>) {
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = (**self.all.load()).clone();
        all.retain(|other| !Arc::ptr_eq(other, watcher));
        self.watched.store(!all.is_empty(), Ordering::Relaxed);
        self.all.store(Arc::new(all));
    }

    /// `false`: somebody was not shown it.
    fn show(&self, client: &crate::local::Address, request: &Request<'_>) -> bool {
        let all = self.all.load();
        let bytes = request.bytes().len();
        if !all.iter().any(|watcher| watcher.has_room(bytes)) {
            // Not worth being written out.
            for watcher in all.iter() {
                watcher.dropped.fetch_add(1, Ordering::Relaxed);
            }
            return all.is_empty();
        }
        let line = Bytes::from(monitor::line(now(), client, request));
        let missed = all.iter().filter(|watcher| !watcher.offer(&line)).count();
        missed == 0
    }
}

/// A session that watches; kept in its state.
pub(super) struct Monitor {
    monitors: Arc<Monitors>,
    watcher: Arc<Watcher>,
    lines: mpsc::Receiver<Bytes>,
}

impl Monitor {
    /// Bytes that wait for it.
    pub(super) fn waiting(&self) -> usize {
        self.watcher.waiting.load(Ordering::Relaxed)
    }

    /// The next line; what was dropped is said first.
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let dropped = self.watcher.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            return Poll::Ready(Some(monitor::dropped(now(), dropped).into()));
        }
        let line = self.lines.poll_recv(cx);
        if let Poll::Ready(Some(line)) = &line {
            self.watcher
                .waiting
                .fetch_sub(line.len(), Ordering::Relaxed);
        }
        line
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.monitors.leave(&self.watcher);
    }
}

impl Session {
    /// MONITOR. All before it has been answered (`must_wait`), so that its OK comes before the first line.
    pub(super) fn begin_monitor(&self, state: &mut State, about: About) -> Taken {
        if state.monitor.is_some() {
            // The servers say nothing to a second one.
            let about = About {
                silent: true,
                ..about
            };
            self.reply_in_turn(state, about, b"");
            return Taken::Yes;
        }
        let limits = &self.context.config.limits;
        let monitors = &self.context.shared.monitors;
        let Some(monitor) = monitors.join(limits.monitors, limits.monitor_buffer) else {
            self.context.metrics.limit_hit(Limit::Monitors);
            return self.refuse(state, about, TOO_MANY);
        };
        state.monitor = Some(Box::new(monitor));
        self.reply_in_turn(state, about, b"+OK\r\n");
        // Its task must ask for the first line.
        self.wake();
        Taken::Yes
    }

    /// Somebody watches: shows this command. `Some`: it is refused, because this client itself watches.
    #[cold]
    pub(super) fn monitored(
        &self,
        state: &State,
        command: &Command,
        plan: &Plan,
        request: &Request<'_>,
    ) -> Option<&'static str> {
        if state.monitor.is_some() && (command.is_readonly() || command.is_write()) {
            return Some(NO_KEYSPACE);
        }
        let hidden = command.flags.contains(Flags::ADMIN) || matches!(plan, Plan::Refuse(..));
        if !hidden {
            self.show(state, request);
        }
        None
    }

    fn show(&self, state: &State, request: &Request<'_>) {
        let monitors = &self.context.shared.monitors;
        if !monitors.show(state.client.address(), request) {
            self.context.metrics.limit_hit(Limit::MonitorBuffer);
        }
    }

    /// Somebody watches: shows a command behind MULTI, when it is queued.
    #[cold]
    pub(super) fn show_queued(&self, state: &State, command: &Command, request: &Request<'_>) {
        let hidden = command.flags.contains(Flags::ADMIN) || !command.arity_ok(request.len());
        if !hidden {
            self.show(state, request);
        }
    }

    /// Hands lines to a client that watches, as long as it takes them. To be called behind `poll_blocked`.
    pub(super) fn poll_monitor(&self, cx: &mut Context<'_>) -> std::io::Result<()> {
        for _ in 0..ROUNDS_PER_TURN {
            let state = &mut *self.state.borrow_mut();
            let Some(monitor) = &mut state.monitor else {
                return Ok(());
            };
            if state.blocked {
                return Ok(());
            }
            while state.output.len() < OUTPUT_MAX
                && let Poll::Ready(Some(line)) = monitor.poll_line(cx)
            {
                state.output.push(line);
            }
            if state.output.is_empty() {
                return Ok(());
            }
            self.write_out(state)?;
            self.poll_socket(state, cx)?;
        }
        cx.waker().wake_by_ref();
        Ok(())
    }
}

fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

const TOO_MANY: &str =
    "ERR slotway: limits.monitors is reached; end another MONITOR, or raise the limit";
const NO_KEYSPACE: &str = "ERR Replica can't interact with the keyspace";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{encode, parse_request};

    fn shown(monitors: &Monitors, words: &[&str]) {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        monitors.show(&crate::local::Address::Unix("/s".into()), &request);
    }

    fn lines(monitor: &mut Monitor) -> Vec<String> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut lines = Vec::new();
        while let Poll::Ready(Some(line)) = monitor.poll_line(&mut cx) {
            let line = String::from_utf8(line.to_vec()).unwrap();
            lines.push(line.split_once("] ").unwrap().1.trim_end().to_owned());
        }
        lines
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_for_each_by_itself() {
        let monitors = Arc::new(Monitors::default());
        assert!(!monitors.watched());
        let mut slow = monitors.join(2, 100).unwrap();
        let mut fast = monitors.join(2, 1000).unwrap();
        assert!(monitors.watched() && monitors.join(2, 1000).is_none());
        for key in ["a", "b", "c", "d"] {
            shown(&monitors, &["GET", key]);
        }
        assert_eq!(lines(&mut fast).len(), 4);
        let seen = lines(&mut slow);
        assert_eq!(seen[0], "\"SLOTWAY\" \"DROPPED\" \"2\"");
        assert_eq!(seen[1..], ["\"GET\" \"a\"", "\"GET\" \"b\""]);
        assert_eq!((slow.waiting(), fast.waiting()), (0, 0));
        // Room again.
        shown(&monitors, &["GET", "e"]);
        assert_eq!(lines(&mut slow), ["\"GET\" \"e\""]);
        // One too large for anybody costs nothing but the count.
        drop(fast);
        shown(&monitors, &["SET", "f", &"x".repeat(200)]);
        assert_eq!(lines(&mut slow), ["\"SLOTWAY\" \"DROPPED\" \"1\""]);
        drop(slow);
        assert!(!monitors.watched());
    }
}
