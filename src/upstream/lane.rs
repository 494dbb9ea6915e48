//! One pipelined connection to one node, shared by all sessions of a worker.
//!
//! Invariant 1 is kept here: a request keeps its place in the queue until its reply has been read, whatever
//! became of the client, and whatever does not fit (a surplus reply, a push, bytes that are not RESP) ends the
//! connection. So does invariant 5: `Outbox` knows which bytes were handed to the kernel.

use super::block::Progress;
use super::gate::Gate;
use super::in_flight::{ASKING, InFlight, Late, Own};
use super::lanes::UpstreamContext;
use super::memory::{NotKept, not_kept};
use super::outbox::Outbox;
use super::prove::Withheld;
use super::question::Question;
use super::room::Room;
use super::upkeep::{Probe, Standing};
use super::window::{Load, Size};
use super::{Answer, Class, Fault, FaultKind, NotTaken, Requester, Ticket};
use crate::cluster::NodeAddr;
use crate::io::{Micros, WriteHalf};
use crate::observe::NodeMetrics;
use crate::resp::Proto;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// Tells lanes of a worker apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct LaneId(pub(super) u32);

impl LaneId {
    /// No lane at all.
    pub const NONE: Self = Self(u32::MAX);

    /// No lane of a worker's: a connection of one client's own.
    pub const LEASE: Self = Self(u32::MAX - 1);

    /// One more, for tests of what only compares them.
    #[cfg(test)]
    pub const OTHER: Self = Self(0);
}

/// See the module. Owned by [`super::Lanes`]; its task (`serve`) runs while it is connecting or connected.
pub struct Lane {
    id: LaneId,
    node: NodeAddr,
    pub(super) proto: Proto,
    pub(super) context: Rc<UpstreamContext>,
    pub(super) metrics: Arc<NodeMetrics>,
    pub(super) gate: Rc<Gate>,
    pub(super) state: RefCell<State>,
    /// Whether it is on the flusher's list.
    pub(super) listed: Cell<bool>,
    /// Memory of what was read and is no whole reply yet, in bytes.
    pub(super) input_held: Cell<usize>,
    /// What the worker's ledger knows of, in bytes.
    pub(super) charged: Cell<usize>,
    /// It is not read for now, for lack of memory.
    pub(super) unread: Cell<bool>,
    /// Of its task.
    waker: RefCell<Option<Waker>>,
    /// Why its task is to end the connection.
    pub(super) ending: RefCell<Option<FaultKind>>,
}

pub(super) struct State {
    pub(super) link: Link,
    pub(super) queue: VecDeque<InFlight>,
    /// When its connection was last left for a new one.
    pub(super) renewed: Option<Instant>,
    pub(super) outbox: Outbox,
    pub(super) room: Room,
    /// Of the block at the front of the queue, if it is one.
    pub(super) progress: Progress,
    /// Blocks of this connection, if the node refuses transactions.
    pub(super) withheld: Option<Box<Withheld>>,
    /// Connections in a row that brought no reply.
    pub(super) failures: u32,
    /// When the last bytes came, or the connection was made.
    pub(super) heard: Micros,
    /// When bytes last came with the end of a reply.
    pub(super) delivered: Micros,
    late: Late,
    /// When the first bytes of a reply came that is not all there.
    pub(super) begun: Option<Micros>,
    /// When the last request was taken.
    pub(super) used: Micros,
    pub(super) probing: Option<Probe>,
    /// When the last probe was answered.
    pub(super) probed: Micros,
    pub(super) question: Question,
    /// When bytes of the oldest request were last handed to the kernel, after others of it.
    pub(super) handed: Micros,
    pub(super) standing: Standing,
    /// How many connections it has had.
    pub(super) connections: u32,
    /// See [`Lane::losses`].
    pub(super) losses: u32,
}

pub(super) enum Link {
    /// Nothing was asked of it yet, or it was retired.
    Idle,
    /// Requests are queued until it is there.
    Connecting,
    Up(WriteHalf),
    /// The socket takes no more for now; the task waits for it.
    Blocked(WriteHalf),
    /// Refuses requests until that moment, then the next one opens it again.
    Down(Fault, Instant),
}

impl Lane {
    pub(super) fn new(
        id: LaneId,
        node: NodeAddr,
        proto: Proto,
        load: Load,
        context: Rc<UpstreamContext>,
    ) -> Rc<Self> {
        let metrics = context.metrics.node(&node);
        let now = context.clock.micros();
        let room = Room::new(&context.settings, load, now);
        let gate = context.gates.of(&node);
        Rc::new(Self {
            id,
            node,
            proto,
            context,
            metrics,
            gate,
            state: RefCell::new(State {
                link: Link::Idle,
                queue: VecDeque::new(),
                renewed: None,
                outbox: Outbox::default(),
                room,
                progress: Progress::default(),
                withheld: None,
                failures: 0,
                heard: now,
                delivered: now,
                late: Late::NONE,
                begun: None,
                used: now,
                probing: None,
                probed: now,
                question: Question::none(now),
                handed: now,
                standing: Standing::Kept,
                connections: 0,
                losses: 0,
            }),
            listed: Cell::new(false),
            unread: Cell::new(false),
            input_held: Cell::new(0),
            charged: Cell::new(0),
            waker: RefCell::new(None),
            ending: RefCell::new(None),
        })
    }

    /// Its identity.
    #[inline]
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// Which of its connections, in a row, the next request goes over.
    pub fn connection(&self) -> u32 {
        let state = self.state.borrow();
        match state.link {
            Link::Up(_) | Link::Blocked(_) => state.connections,
            Link::Idle | Link::Connecting | Link::Down(..) => state.connections.wrapping_add(1),
        }
    }

    /// How often it has lost its connection, idle ones that were retired not counted, or its node the place among the
    /// primaries: as long as that stays the same, what was answered came from one primary that never went away.
    pub fn losses(&self) -> u32 {
        self.state.borrow().losses
    }

    /// The node it leads to.
    pub fn node(&self) -> &NodeAddr {
        &self.node
    }

    /// Requests without a reply yet.
    pub fn in_flight(&self) -> usize {
        self.state.borrow().queue.len()
    }

    /// Queues one request, or one block (`Ticket::of_block`), whole or not at all; with `asking`, ASKING goes right in
    /// front of it (invariant 4). It is written at the end of the tick. Never calls the requester.
    #[inline]
    pub fn send(
        self: &Rc<Self>,
        request: &[u8],
        asking: bool,
        ticket: Ticket,
        requester: Rc<dyn Requester>,
        class: Class,
    ) -> Result<(), NotTaken> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let bytes_max = self.context.settings.in_flight_bytes_max;
        let mut size = Size::Small;
        if state.queue.len() >= state.room.admits || state.outbox.retained() >= bytes_max {
            match state.lets_in(&*requester, ticket, bytes_max) {
                Some(expected) => size = expected,
                None => return Err(self.not_taken(state, &*requester, ticket)),
            }
        }
        match &state.link {
            Link::Up(_) => self.list(),
            Link::Connecting | Link::Blocked(_) => {}
            Link::Down(fault, until) if self.context.clock.now() < *until => {
                state.room.given_back(size);
                return Err(NotTaken::Down(fault.clone()));
            }
            Link::Idle | Link::Down(..) => {
                if let Err(fault) = self.open(&mut state.link) {
                    state.room.given_back(size);
                    return Err(NotTaken::Down(fault));
                }
            }
        }
        if ticket.inner() > 0
            && let Some(withheld) = &mut state.withheld
        {
            withheld.withhold(requester, ticket, Bytes::copy_from_slice(request));
            state.room.given_back(size);
            self.wake();
            return Ok(());
        }
        let at = self.context.clock.micros();
        if asking {
            state
                .queue
                .push_back(InFlight::own(ASKING, Own::Asking, at));
            state.outbox.append(ASKING);
        }
        state.queue.push_back(InFlight {
            requester: Some(requester),
            ticket,
            len: request.len() as u32,
            at,
            class,
            own: Own::No,
            told: false,
            size,
        });
        state.outbox.append(request);
        self.metrics.sent(1);
        state.used = at;
        Ok(())
    }

    /// Has its task end the connection. Requests in flight get their outcome from there.
    pub fn close(&self, why: FaultKind) {
        let mut state = self.state.borrow_mut();
        match state.link {
            Link::Idle | Link::Down(..) => state.link = Link::Idle,
            Link::Connecting | Link::Up(_) | Link::Blocked(_) => {
                self.ending.borrow_mut().get_or_insert(why);
                self.wake();
            }
        }
    }

    #[inline]
    pub(super) fn list(self: &Rc<Self>) {
        if !self.listed.replace(true) {
            self.context.flusher.node(self.clone());
        }
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// What the lane's task does.
impl Lane {
    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut mine = self.waker.borrow_mut();
        if !mine.as_ref().is_some_and(|w| w.will_wake(waker)) {
            *mine = Some(waker.clone());
        }
    }

    /// Why the task is to end the connection now. A retirement that was meant for an idle lane is forgotten if
    /// requests have come meanwhile.
    pub(super) fn take_ending(&self) -> Option<FaultKind> {
        let ending = self.ending.borrow_mut().take()?;
        let busy = !self.state.borrow().queue.is_empty();
        (ending != FaultKind::Retired || !busy).then_some(ending)
    }

    /// The connection is there: what was queued meanwhile goes out at the end of this tick.
    pub(super) fn connected(self: &Rc<Self>, write: WriteHalf) {
        let mut state = self.state.borrow_mut();
        state.link = Link::Up(write);
        state.connections = state.connections.wrapping_add(1);
        state.heard = self.context.clock.micros();
        state.delivered = state.heard;
        self.metrics.connected();
        self.gate.open();
        self.list();
    }

    pub(super) fn heard(&self) {
        self.context.clock.tick();
        let mut state = self.state.borrow_mut();
        state.late = Late::NONE;
        state.heard = self.context.clock.micros();
    }

    /// One whole reply has been read, the first `len` of these bytes: it belongs to the oldest request in flight. Says
    /// how many bytes were used: more than `len` if what follows it was taken as well.
    #[inline(always)]
    pub(super) fn reply(&self, bytes: &[u8], len: usize) -> Result<usize, FaultKind> {
        let reply = &bytes[..len];
        if reply[0] == b'>' {
            return Err(FaultKind::Protocol("a push that nobody asked for"));
        }
        let now = self.context.clock.micros();
        let (entry, request, cause, took) = {
            let mut state = self.state.borrow_mut();
            let state = &mut *state;
            let Some(entry) = state.queue.pop_front() else {
                return Err(FaultKind::Protocol("a reply that nobody asked for"));
            };
            let inner = entry.ticket.inner();
            if inner > state.progress.seen() {
                state.queue.push_front(entry);
                state.progress.take(reply, state.outbox.handed_over())?;
                return Ok(len + state.progress.take_queued(&bytes[len..], inner));
            }
            if state.outbox.handed_over() < entry.len as usize {
                state.queue.push_front(entry);
                return Err(FaultKind::Protocol("a reply before its request"));
            }
            if entry.own != Own::Ping && state.question.is_answered_by(reply) {
                state.queue.push_front(entry);
                return Err(FaultKind::OF_ANOTHER);
            }
            state.failures = 0;
            if entry.size == Size::Large {
                match not_kept(reply, &entry) {
                    None => state.room.landed(len),
                    Some(NotKept::Unread) => state.room.given_back(entry.size),
                    Some(NotKept::TooLarge) => state.room.landed(self.context.memory.reply_max()),
                }
            }
            let cause = match inner {
                0 => None,
                _ => state.progress.finish(reply),
            };
            let took = now.since(entry.at);
            let noted = &self.context.settings.noted;
            let keep = matches!(reply[0], b'-' | b'!')
                || len >= noted.bytes
                || (took >= noted.micros && state.late.takes(entry.class))
                || entry.requester.as_ref().is_some_and(|r| r.wants_requests());
            let request = (keep && entry.own == Own::No)
                .then(|| entry.returned(&state.outbox, state.delivered, now));
            state.outbox.release(entry.len as usize);
            (entry, request, cause, took)
        };
        let Some(requester) = entry.requester else {
            let taken = match entry.own {
                Own::Ping => self.state.borrow_mut().question.take(reply),
                Own::Asking | Own::No => entry.own.check(reply),
            };
            return taken.map(|()| len);
        };
        self.metrics.answered(took);
        requester.answered(
            entry.ticket,
            Answer::Reply {
                reply: cause.as_deref().unwrap_or(reply),
                request,
                from: &self.node,
            },
        );
        Ok(len)
    }
}
