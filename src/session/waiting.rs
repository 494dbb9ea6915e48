//! WAIT: until so many replicas of every primary that the client has written to have its writes.
//!
//! A WAIT on a shared lane would hold up everybody on it, and one on another connection would know of no write. So
//! this asks in plain words: how far is the primary (on the lane, behind the client's writes, which are answered), and
//! how far have its replicas acknowledged. A WAIT on a connection of its own makes them acknowledge at once.

use super::dispatch::{Batch, Taken};
use super::replies::{About, Stage};
use super::unblock::{Signal, Unblock};
use super::{Session, SessionContext, State};
use crate::cluster::NodeAddr;
use crate::modes::{Replication, Wait, wait_timeout_max};
use crate::resp::{self, Request, encode};
use crate::upstream::{Answer, Class, Lane, LaneId, Requester, Ticket};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

const INFO: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// More replicas than there are, so that the primary asks them to acknowledge; for a millisecond.
const ASK_REPLICAS: &[u8] = b"*3\r\n$4\r\nWAIT\r\n$10\r\n1000000000\r\n$1\r\n1\r\n";

/// Pauses between two looks: the first, and up to what they double.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(1);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Replicas are made to acknowledge this often.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(500);

/// Timeouts above it are no timeouts, in milliseconds.
const TIMEOUT_MAX: u64 = 1000 * 365 * 24 * 3600 * 1000;

/// Where a session has written to.
#[derive(Default)]
pub(super) struct Written {
    lanes: Vec<WrittenLane>,
}

struct WrittenLane {
    lane: Rc<Lane>,
    /// How many connections the lane had lost at the first write.
    losses: u32,
    offset: Rc<Offset>,
}

/// How far the primary was behind the last write; not known before the first look after it.
type Offset = Cell<Option<u64>>;

/// One primary that is waited for.
pub(super) struct Target {
    pub(super) lane: Rc<Lane>,
    /// How many connections the lane had lost at the writes, if there were any.
    pub(super) losses: Option<u32>,
    offset: Rc<Offset>,
}

impl Session {
    /// A command that writes was taken: notes where it went, for WAIT.
    #[inline]
    pub(super) fn note_write(&self, state: &mut State) {
        match state.replies.newest() {
            Some(Stage::Sent(_, lane)) if *lane == state.wrote_last => {}
            _ => self.note_written(state),
        }
    }

    #[cold]
    fn note_written(&self, state: &mut State) {
        let lanes: Vec<LaneId> = match state.replies.newest() {
            Some(Stage::Sent(_, lane)) => vec![*lane],
            Some(Stage::Fanout(fanout)) => fanout.parts.iter().filter_map(|p| p.lane).collect(),
            _ => return,
        };
        for id in lanes {
            if let Some(lane) = self.context.lanes.by_id(id) {
                self.note_write_on(state, &lane);
            }
        }
    }

    /// A command was sent, later than it came or once more.
    pub(super) fn note_resent(&self, state: &mut State, ticket: Ticket, lane: &Rc<Lane>) {
        let pending = state.replies.get_mut(ticket.seq);
        if pending.is_some_and(|pending| pending.about.writes) {
            self.note_write_on(state, lane);
        }
    }

    /// What a task sent to that node has written.
    pub(super) fn note_write_at(&self, node: &NodeAddr) {
        let map = self.context.map().clone();
        if let Some(node) = map.find(node) {
            let state = &mut *self.state.borrow_mut();
            let lane = self.lane_to(state, &map, node);
            self.note_write_on(state, &lane);
        }
    }

    /// A command that writes is sent on that lane.
    pub(super) fn note_write_on(&self, state: &mut State, lane: &Rc<Lane>) {
        state.wrote_last = lane.id();
        let written = state.written.get_or_insert_default();
        let known = written.lanes.iter().find(|w| w.lane.id() == lane.id());
        match known {
            Some(known) => known.offset.set(None),
            None => written.lanes.push(WrittenLane {
                lane: lane.clone(),
                losses: lane.losses(),
                offset: Rc::default(),
            }),
        }
    }

    /// `WAIT replicas timeout`
    pub(super) fn wait_for_replicas(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let wait = match Wait::parse(request.arg(1), request.arg(2), self.wait_timeout_max()) {
            Ok(wait) => wait,
            Err(text) => return self.refuse(state, about, text),
        };
        let Some(targets) = self.written_to(state, batch) else {
            // Nobody knows whether what was written over a lost connection is still there: no replica has it for sure.
            self.reply_in_turn(state, about, b":0\r\n");
            return Taken::Yes;
        };
        let context = self.context.clone();
        let patience = Patience::new(wait.timeout_ms);
        let unblock = patience.unblock.clone();
        let counting = run(context, wait, patience, targets);
        self.drive_blocking(state, about, unblock, counting)
    }

    pub(super) fn wait_timeout_max(&self) -> i64 {
        let server = self.context.shared.server.load();
        wait_timeout_max(&server.name, self.context.env(&server).now)
    }

    /// The primaries that it has written to, or all of them if it has written nothing. `None`: a connection that it
    /// has written over is lost.
    pub(super) fn written_to(&self, state: &mut State, batch: &Batch<'_>) -> Option<Vec<Target>> {
        // The next write is noted, whichever lane it takes.
        state.wrote_last = LaneId::NONE;
        let mut lost = false;
        let mut targets = Vec::new();
        if let Some(written) = &mut state.written {
            written.lanes.retain(|w| {
                let same = w.lane.losses() == w.losses;
                lost |= !same;
                same
            });
            targets.extend(written.lanes.iter().map(|w| Target {
                lane: w.lane.clone(),
                losses: Some(w.losses),
                offset: w.offset.clone(),
            }));
        }
        if lost {
            return None;
        }
        if targets.is_empty() {
            let primaries = batch.map.primaries();
            targets.extend(primaries.into_iter().map(|node| Target {
                lane: self.lane_to(state, &batch.map, node),
                losses: None,
                offset: Rc::new(Cell::new(Some(0))),
            }));
        }
        Some(targets)
    }
}

/// What ends a WAIT, besides the replicas.
pub(super) struct Patience {
    deadline: Option<Instant>,
    pub(super) unblock: Rc<Signal>,
}

pub(super) enum End {
    Counted,
    TimeIsUp,
    Unblocked(Unblock),
}

async fn run(
    context: Rc<SessionContext>,
    wait: Wait,
    patience: Patience,
    targets: Vec<Target>,
) -> Bytes {
    let mut counted = 0;
    let mut pause = FIRST_LOOK;
    let mut asked: Option<Instant> = None;
    let end = loop {
        let look = match patience.before_its_end(look(&targets)).await {
            Ok(look) => look,
            Err(end) => break end,
        };
        counted = look.unwrap_or(0);
        if counted as i64 >= wait.replicas || look.is_none() {
            break End::Counted;
        }
        if asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            asked = Some(Instant::now());
            for target in &targets {
                tokio::task::spawn_local(ask_replicas(context.clone(), target.lane.node().clone()));
            }
        }
        if let Err(end) = patience.before_its_end(sleep(pause)).await {
            break end;
        }
        pause = (pause * 2).min(LOOK_EVERY);
    };
    if let End::Unblocked(how) = end
        && let Some(error) = patience.unblocked(how)
    {
        return error;
    }
    let mut reply = Vec::new();
    encode::integer(&mut reply, counted as i64);
    reply.into()
}

impl Patience {
    pub(super) fn new(timeout_ms: Option<u64>) -> Self {
        let timeout = timeout_ms.map(|ms| Duration::from_millis(ms.min(TIMEOUT_MAX)));
        Self {
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            unblock: Rc::default(),
        }
    }

    /// CLIENT UNBLOCK has ended it: the reply, unless it is what has been counted.
    pub(super) fn unblocked(&self, how: Unblock) -> Option<Bytes> {
        self.unblock.release_with_answer();
        (how == Unblock::Error).then(|| Bytes::from_static(Unblock::ERROR))
    }

    /// What a future comes to, unless the end comes before.
    pub(super) async fn before_its_end<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, End> {
        self.before(self.deadline, future).await
    }

    /// The same; time is not up before `least`.
    pub(super) async fn before_its_end_or<T>(
        &self,
        least: Instant,
        future: impl Future<Output = T>,
    ) -> Result<T, End> {
        let deadline = self.deadline.map(|deadline| deadline.max(least));
        self.before(deadline, future).await
    }

    async fn before<T>(
        &self,
        deadline: Option<Instant>,
        future: impl Future<Output = T>,
    ) -> Result<T, End> {
        let time_is_up = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = future => Ok(done),
            () = time_is_up => Err(End::TimeIsUp),
            how = self.unblock.raised() => Err(End::Unblocked(how)),
        }
    }
}

impl Target {
    /// Whether nobody knows any more what became of the writes.
    pub(super) fn is_lost(&self) -> bool {
        self.losses
            .is_some_and(|losses| losses != self.lane.losses())
    }
}

/// How many replicas have acknowledged, at the primary where the fewest have. `None`: a connection is lost, and with
/// it whatever was known of the writes.
async fn look(targets: &[Target]) -> Option<usize> {
    let questions: Vec<_> = targets.iter().map(|target| ask(&target.lane)).collect();
    let mut least = None;
    for (target, question) in targets.iter().zip(questions) {
        let reply = match question {
            Some(answer) => answer.await.ok(),
            None => None,
        };
        if target.is_lost() {
            return None;
        }
        let said = reply
            .as_deref()
            .and_then(resp::bulk)
            .and_then(Replication::parse);
        let count = said.map_or(0, |said| {
            let offset = target.offset.get().unwrap_or(said.offset);
            target.offset.set(Some(offset));
            said.at(offset)
        });
        least = Some(least.map_or(count, |least: usize| least.min(count)));
    }
    Some(least.unwrap_or(0))
}

/// INFO on a lane, behind everything that the session has sent on it.
pub(super) fn ask(lane: &Rc<Lane>) -> Option<oneshot::Receiver<Bytes>> {
    let (answer, receiver) = oneshot::channel();
    let asker = Rc::new(Asker {
        answer: RefCell::new(Some(answer)),
    });
    let ticket = Ticket::new(0, 0, None);
    lane.send(INFO, false, ticket, asker, Class::Normal).ok()?;
    Some(receiver)
}

/// Who waits for the answer; the lane owns it until then.
struct Asker {
    answer: RefCell<Option<oneshot::Sender<Bytes>>>,
}

impl Requester for Asker {
    fn wants_requests(&self) -> bool {
        false
    }

    fn answered(&self, _: Ticket, answer: Answer<'_>) {
        if let (Some(waiting), Answer::Reply { reply, .. }) = (self.answer.take(), answer) {
            // Nobody waits any more where the client has gone.
            let _ = waiting.send(Bytes::copy_from_slice(reply));
        }
    }

    fn expired(&self, _: Ticket) {
        self.answer.take();
    }
}

/// Makes a primary's replicas acknowledge what they have. Ends with the node's reply, or with the connection. Without
/// a connection nothing is lost but time: replicas acknowledge once a second by themselves.
pub(super) async fn ask_replicas(context: Rc<SessionContext>, node: NodeAddr) {
    if let Ok(mut lease) = context.leases.take(&node, resp::Proto::Resp2).await
        && lease.exchange(ASK_REPLICAS).await.is_ok()
    {
        lease.give_back();
    }
}
