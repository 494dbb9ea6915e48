//! WAIT: until so many replicas of every primary that the client has written to have its writes.
//!
//! A WAIT on a shared lane would hold up everybody on it, and one on another connection would know of no write. So
//! this asks in plain words: how far is the primary (on the lane, behind the client's writes, which are answered), and
//! how far have its replicas acknowledged. A WAIT on a connection of its own makes them acknowledge at once.

use super::blocking::TOO_MANY;
use super::dispatch::{Batch, Taken};
use super::replies::About;
use super::seat::{Among, Place};
use super::unblock::{Signal, Unblock};
use super::written::Target;
use super::{Session, SessionContext, State};
use crate::modes::{Replication, Wait, wait_timeout_max};
use crate::resp::{self, Request, encode};
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Pauses between two looks: the first, and up to what they double.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(1);
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Replicas are made to acknowledge this often.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(500);

/// Timeouts above it are no timeouts, in milliseconds.
const TIMEOUT_MAX: u64 = 1000 * 365 * 24 * 3600 * 1000;

impl Session {
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
            self.reply_in_turn(state, about, b":0\r\n");
            return Taken::Yes;
        };
        let Some(place) = Place::take(&self.context, Among::Blocked) else {
            return self.refuse(state, about, TOO_MANY);
        };
        let context = self.context.clone();
        let patience = Patience::new(wait.timeout_ms);
        let unblock = patience.unblock.clone();
        self.drive_blocking(state, about, unblock, async move {
            let _place = place;
            run(context, wait, patience, targets).await
        })
    }

    pub(super) fn wait_timeout_max(&self) -> i64 {
        let server = self.context.shared.server.load();
        wait_timeout_max(&server.name, self.context.env(&server).now)
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
        let look = match patience.before_its_end(look(&context, &targets)).await {
            Ok(look) => look,
            Err(end) => break end,
        };
        counted = look.unwrap_or(0);
        if counted as i64 >= wait.replicas || look.is_none() {
            break End::Counted;
        }
        patience.unblock.waits();
        if asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            asked = Some(Instant::now());
            for target in &targets {
                context.ask_replicas(target.lane.node());
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
            unblock: Signal::new(),
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

/// How many replicas have acknowledged, at the primary where the fewest have. `None`: something that was written is in
/// doubt.
async fn look(context: &Rc<SessionContext>, targets: &[Target]) -> Option<usize> {
    // All of them: each tells it once.
    if targets.iter().filter(|target| target.tells_doubt()).count() > 0 {
        return None;
    }
    let ask = |target: &Target| context.replication(&target.lane);
    let questions: Vec<_> = targets.iter().map(ask).collect();
    let (mut least, mut in_doubt) = (None, false);
    for (target, mut question) in targets.iter().zip(questions) {
        let reply = match in_doubt {
            // Nothing is counted any more, but what is known to be in doubt is told with it.
            true => question.try_recv().ok(),
            false => question.await.ok(),
        };
        let said = reply
            .as_deref()
            .and_then(resp::bulk)
            .and_then(Replication::parse);
        if said == Some(Replication::Replica) {
            target.tell();
        }
        if target.tells_doubt() {
            in_doubt = true;
            continue;
        }
        let count = match said {
            Some(Replication::Primary(said)) => said.at(target.reached(said.offset)),
            Some(Replication::Replica) | None => 0,
        };
        least = Some(least.map_or(count, |least: usize| least.min(count)));
    }
    (!in_doubt).then_some(least.unwrap_or(0))
}
