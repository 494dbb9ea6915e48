//! One client: bytes → commands → plans → ordered replies → bytes. With `route` and `local` the only place where
//! clients and nodes meet.
//!
//! A session is driven from two sides: its task reads the client and dispatches commands; lanes deliver answers
//! to it (`Requester`). Both run on the worker's thread, one at a time.

mod admission;
mod adrift;
mod answer;
mod auditing;
mod backpressure;
mod blocking;
mod bulk;
mod confirm;
mod context;
mod crowded;
mod denials;
mod dispatch;
mod driven;
mod errand;
mod errors;
mod executing;
mod fan_out;
mod following;
mod fsync;
mod handover;
mod healing;
mod home;
mod inquiries;
mod inspect;
mod mailbox;
mod memory;
mod modal;
mod monitor;
mod noted;
mod on_lease;
mod others;
mod own_log;
mod parking;
mod past_scripts;
mod pursuit;
mod reading;
mod recent;
mod redirecting;
mod refusal;
mod replies;
mod retry;
mod scanning;
mod scripts;
mod seat;
mod strays;
mod subscribed;
mod subscribing;
mod subscriptions;
mod transacting;
mod troubles;
mod unblock;
mod unblocking;
mod verdict;
mod waiting;
mod watching;
mod worker_scripts;
mod written;

pub use context::{SessionContext, Shared};
pub use mailbox::{Errand, Errands, Mailbox, Unanswered};
pub use monitor::Monitors;
pub use reading::serve;
pub use scripts::Scripts;

use crate::command::CommandId;
use crate::io::{Flush, Output, Purse, WriteHalf};
use crate::local::Client;
use crate::observe::{Limit, Rejected};
use crate::route::Fences;
use replies::Replies;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::task::Waker;

/// With so many bytes to write, a client is written at once, whatever else is on its way to it.
const GATHER_MAX: usize = 16 * 1024;

/// State of one client. Owned by its task; lanes hold it while requests of it are in flight.
pub struct Session {
    context: Rc<SessionContext>,
    myself: Weak<Session>,
    write: WriteHalf,
    state: RefCell<State>,
    /// Whether it is on the flusher's list.
    listed: Cell<bool>,
    /// Whether `state.fences` is there; read by lanes for every reply.
    redirecting: Cell<bool>,
    /// How large the next reply is taken to be; read by bulk lanes.
    expects: Cell<crate::upstream::Size>,
    /// When `retry` is due.
    retry_due: Cell<Option<std::time::Instant>>,
    /// When bytes last came from the client or went to it.
    last_active: Cell<std::time::Instant>,
    /// Bytes that came from the client, and that were written to it.
    traffic: Cell<(u64, u64)>,
    /// Memory of what was read and is no whole command yet, in bytes.
    input_held: Cell<usize>,
    /// What is entered for it in the worker's ledger, in bytes.
    charged: Cell<usize>,
    /// What others keep for it, which is entered there as well.
    purse: Rc<Purse>,
    /// Of its task.
    waker: RefCell<Option<Waker>>,
}

struct State {
    life: Life,
    client: Client,
    replies: Replies,
    output: Output,
    /// The socket was full at the last write; the task waits for it.
    blocked: bool,
    /// Version of the map the requests in flight were routed by.
    map_version: u64,
    /// Which lanes they are on.
    way: bulk::Way,
    fences: Option<Box<Fences>>,
    /// Slots whose next request waits for room in a full lane.
    crowds: Vec<crowded::Crowd>,
    /// Refused commands that belong to no slot.
    adrift: Vec<adrift::Adrift>,
    /// What has become of those, and of others that are in flight again or answered.
    drifts: adrift::Drifts,
    /// EVALSHAs that were sent again with their script, which happens once.
    healed: Vec<crate::upstream::Ticket>,
    /// Where its writes went, for WAIT.
    written: Option<Box<written::Written>>,
    /// The lane of the last write, and how much all lanes had lost by then.
    wrote_last: (crate::upstream::LaneId, u32),
    /// The command that a task carries out.
    driven: Option<Box<driven::Driven>>,
    /// It has said MONITOR.
    monitor: Option<Box<monitor::Monitor>>,
    /// Slow commands whose replies are not written yet.
    noted: Vec<noted::Noted>,
    /// For CLIENT LIST.
    last_command: CommandId,
    /// What is queued between MULTI and EXEC.
    transaction: Option<Box<crate::modes::Queue>>,
    /// What is audited of it depends on this (`policy.audit`).
    judge: Option<Box<crate::audit::Judge>>,
    /// From WATCH to EXEC and its like.
    watch: Option<Box<watching::Watch>>,
    /// From its first to its last subscription.
    subscriptions: Option<Box<subscriptions::Subscriptions>>,
    /// No further command is read before all in flight are answered (HELLO changes the lanes).
    barrier: bool,
    /// Until when a command that no slot decides waits for the first map.
    no_map_until: Option<std::time::Instant>,
    /// The task waits until less is in flight.
    paused: bool,
    /// Since when, or up to when it has been counted, a limit keeps the client from being read.
    bound_since: Option<crate::io::Micros>,
    /// Since when more than the soft limit waits to be written.
    soft_since: Option<std::time::Instant>,
    /// With so many bytes of replies kept, they are looked at: entered in the ledger, compared with the limits.
    mark: usize,
    /// For how many commands in flight the ledger knows the memory.
    queue_seen: usize,
}

/// How far a session is from its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// Reads commands.
    Open,
    /// Reads no more; ends when every reply has been written.
    Finishing,
    /// Ends now.
    Dead,
}

impl Session {
    fn new(context: Rc<SessionContext>, write: WriteHalf, client: Client) -> Rc<Self> {
        let map_version = context.map().version();
        let way = bulk::Way::new(context.lanes.stripe(client.id()));
        let now = context.clock.now();
        let purse = Purse::new(context.memory.clone());
        Rc::new_cyclic(|myself| Self {
            context,
            myself: myself.clone(),
            write,
            state: RefCell::new(State {
                life: Life::Open,
                client,
                replies: Replies::default(),
                output: Output::default(),
                blocked: false,
                map_version,
                way,
                fences: None,
                crowds: Vec::new(),
                adrift: Vec::new(),
                drifts: Default::default(),
                healed: Vec::new(),
                written: None,
                wrote_last: (crate::upstream::LaneId::NONE, 0),
                driven: None,
                monitor: None,
                noted: Vec::new(),
                last_command: CommandId::OTHER,
                transaction: None,
                judge: None,
                watch: None,
                subscriptions: None,
                barrier: false,
                no_map_until: None,
                paused: false,
                bound_since: None,
                soft_since: None,
                mark: memory::MARK_BYTES,
                queue_seen: 0,
            }),
            listed: Cell::new(false),
            redirecting: Cell::new(false),
            expects: Cell::new(crate::upstream::Size::Small),
            retry_due: Cell::new(None),
            last_active: Cell::new(now),
            traffic: Cell::default(),
            input_held: Cell::new(0),
            charged: Cell::new(0),
            purse,
            waker: RefCell::new(None),
        })
    }

    /// Has what is in the output written at the end of the tick.
    #[inline]
    fn list(&self) {
        if !self.listed.replace(true)
            && let Some(me) = self.myself.upgrade()
        {
            self.context.flusher.client(me);
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Reads no more commands; ends once every reply has been written.
    pub fn finish(&self) {
        let mut state = self.state.borrow_mut();
        if state.life == Life::Open {
            state.life = Life::Finishing;
            self.wake();
        }
    }

    /// Ends at once.
    pub fn kill(&self) {
        self.die(&mut self.state.borrow_mut());
    }

    fn die(&self, state: &mut State) {
        state.life = Life::Dead;
        self.purse.close();
        self.wake();
    }

    /// What the worker does for each session about ten times a second: enforces the time limits, gives memory back.
    pub fn upkeep(&self, idle: Option<std::time::Duration>) {
        let state = &mut *self.state.borrow_mut();
        self.count_bound(state);
        let quiet = state.replies.is_empty() && state.output.is_empty();
        if quiet {
            state.output.release();
            if state.way.is_unsettled() {
                self.settle(state);
            }
            if idle.is_some_and(|idle| self.is_idle(state, idle)) {
                tracing::debug!(
                    client = state.client.id(),
                    "closing an idle client (timeouts.idle)"
                );
                self.context.metrics.limit_hit(Limit::IdleTimeout);
                self.die(state);
            }
        } else {
            self.check_output(state);
            self.check_driven(state);
        }
    }

    /// Whether a client that waits for nothing has been silent for longer than that. Whose bytes lie in the socket is
    /// not: slotway itself may have been stopped, or too busy to read them.
    fn is_idle(&self, state: &State, idle: std::time::Duration) -> bool {
        let now = self.context.clock.now();
        let listens = state.monitor.is_some() || state.subscriptions.is_some();
        now.duration_since(self.last_active.get()) > idle
            && !listens
            && !self.waits_for_map(state)
            && self.write.is_quiet()
    }

    /// The client's number, as CLIENT ID says it.
    pub fn id(&self) -> u64 {
        self.state.borrow().client.id()
    }

    fn write_out(&self, state: &mut State) -> io::Result<()> {
        let written = state.output.write_to(&self.write)?;
        if !state.noted.is_empty() {
            self.noted_written(state);
        }
        if written > 0 {
            self.last_active.set(self.context.clock.now());
        }
        self.context.metrics.sent(written);
        let (received, sent) = self.traffic.get();
        self.traffic.set((received, sent + written as u64));
        state.blocked = !state.output.is_empty();
        Ok(())
    }

    /// Enforces `limits.client_output_hard`, and `_soft` for `_soft_time`, on replies that wait: those that are not
    /// written, apart from the largest (one reply may be of any size), and those that came before their turn.
    ///
    /// A client is only judged by what its socket does not take: nodes can deliver more than a limit within one
    /// tick, before anything of it was offered.
    fn check_output(&self, state: &mut State) {
        let limits = &self.context.config.limits;
        let waits = |state: &State| state.output.waiting() + state.replies.kept();
        if waits(state) > limits.client_output_soft && !state.blocked {
            match self.write_out(state) {
                Err(_) => return self.die(state),
                // The task waits for the socket.
                Ok(()) if state.blocked => self.wake(),
                Ok(()) => {}
            }
        }
        let waiting = waits(state);
        if waiting <= limits.client_output_soft {
            state.soft_since = None;
            return;
        }
        let now = self.context.clock.now();
        let metrics = &self.context.metrics;
        let since = *state.soft_since.get_or_insert_with(|| {
            metrics.limit_hit(Limit::ClientOutputSoft);
            now
        });
        let over = if waiting > limits.client_output_hard {
            Some(Limit::ClientOutputHard)
        } else if now.duration_since(since) > limits.client_output_soft_time {
            Some(Limit::ClientOutputSoftTime)
        } else {
            None
        };
        if let Some(limit) = over {
            tracing::info!(
                client = state.client.id(),
                waiting,
                limit = limit.label(),
                "closing a client that does not read its replies"
            );
            metrics.client_rejected(Rejected::Output);
            metrics.limit_hit(limit);
            self.die(state);
        }
    }
}

impl Flush for Session {
    /// Its pipeline is not answered to the end, and what is there is still little.
    fn expects_more(&self) -> bool {
        let state = self.state.borrow();
        !state.replies.is_empty() && state.output.len() < GATHER_MAX
    }

    fn flush(&self) {
        self.listed.set(false);
        let mut state = self.state.borrow_mut();
        if state.life == Life::Dead {
            return;
        }
        if state.blocked {
            self.charge(&mut state);
            if !state.noted.is_empty() {
                self.noted_in_order(&mut state);
            }
            return;
        }
        match self.write_out(&mut state) {
            Err(_) => self.die(&mut state),
            Ok(()) if state.blocked || state.paused || state.life == Life::Finishing => self.wake(),
            Ok(()) => {}
        }
        self.charge_written(&mut state);
    }
}
