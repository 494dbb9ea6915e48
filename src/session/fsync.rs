//! WAITAOF: until the writes of this client are on the disks of every primary that it has written to, and of so many
//! of their replicas.
//!
//! Servers tell how far the disks are only to a connection that asks, about its own last write; on a shared lane that
//! is anybody's. So a connection is taken to each primary, and a write that changes nothing is done there, behind the
//! client's own: it restores no function at all. From then on WAITAOF on that connection, in a transaction, where it
//! does not block, says how far the disks are.

use super::blocking::TOO_MANY;
use super::dispatch::{Batch, Taken};
use super::replies::About;
use super::seat::{Among, Place};
use super::waiting::{ASK_EVERY, End, FIRST_LOOK, LOOK_EVERY, Patience};
use super::written::Target;
use super::{Session, SessionContext, State};
use crate::io::Purse;
use crate::modes::WaitAof;
use crate::observe::ErrorSource;
use crate::resp::{self, Proto, Request, encode};
use crate::upstream::{Lease, Lost, NoLease, classify};
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// FUNCTION RESTORE of a dump without functions: replicated, and written to the file, like any write.
const WRITE_NOTHING: &[u8] = b"*4\r\n$8\r\nFUNCTION\r\n$7\r\nRESTORE\r\n\
      $10\r\n\x0a\x00\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda\r\n$6\r\nAPPEND\r\n";

/// Connections are opened for the first count: it may take this long though the client's time is up before.
const FIRST_COUNT: Duration = Duration::from_millis(100);

/// What a node says that is no primary any more.
const IS_REPLICA: &[u8] = b"-ERR WAITAOF cannot be used with replica instances";

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// One primary that is waited for.
struct Disk {
    target: Target,
    lease: Lease,
}

/// Why there is nothing to wait for.
enum Failed {
    /// What the client is told, and by whom.
    Told(ErrorSource, Bytes),
    /// The node is gone, and with it what was known of the writes.
    Gone,
    /// It is no primary any more: the same.
    Replica,
}

/// How many disks: 1 for the primary's own, and how many replicas'.
type Counts = [i64; 2];

impl Session {
    /// `WAITAOF local replicas timeout`
    pub(super) fn wait_for_disks(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let wait = match WaitAof::parse(
            request.arg(1),
            request.arg(2),
            request.arg(3),
            self.wait_timeout_max(),
        ) {
            Ok(wait) => wait,
            Err(text) => return self.refuse(state, about, text),
        };
        let Some(targets) = self.written_to(state, batch) else {
            self.reply_in_turn(state, about, &reply([0, 0]));
            return Taken::Yes;
        };
        let Some(place) = Place::take(&self.context, Among::Blocked) else {
            return self.refuse(state, about, TOO_MANY);
        };
        let patience = Patience::new(wait.timeout_ms);
        let unblock = patience.unblock.clone();
        let look = [MULTI, request.bytes(), EXEC].concat();
        let context = self.context.clone();
        self.drive_blocking(state, about, unblock, async move {
            let _place = place;
            match run(&context, wait, &patience, targets.clone(), &look).await {
                Ok(reply) => reply,
                Err(Failed::Told(source, reply)) => {
                    context.metrics.error(source, &reply);
                    reply
                }
                Err(Failed::Gone | Failed::Replica) => {
                    // All of them: each tells it once.
                    targets.iter().for_each(|target| _ = target.tells_doubt());
                    reply([0, 0])
                }
            }
        })
    }
}

async fn run(
    context: &Rc<SessionContext>,
    wait: WaitAof,
    patience: &Patience,
    targets: Vec<Target>,
    look: &[u8],
) -> Result<Bytes, Failed> {
    let first = Instant::now() + FIRST_COUNT;
    let mut counts = [0, 0];
    let beginning = begin(context, targets, look);
    let mut disks = match patience.before_its_end_or(first, beginning).await {
        Ok(disks) => disks?,
        Err(end) => return Ok(ended(patience, &end, counts)),
    };
    let mut pause = FIRST_LOOK;
    let mut asked: Option<Instant> = None;
    loop {
        match patience
            .before_its_end_or(first, count(&mut disks, look))
            .await
        {
            Ok(now) => counts = now?,
            Err(end) => return Ok(ended(patience, &end, counts)),
        }
        if counts[0] >= wait.local && counts[1] >= wait.replicas {
            return Ok(reply(counts));
        }
        patience.unblock.waits();
        if asked.is_none_or(|at| at.elapsed() >= ASK_EVERY) {
            asked = Some(Instant::now());
            for disk in &disks {
                context.ask_replicas(disk.lease.node());
            }
        }
        if let Err(end) = patience.before_its_end(sleep(pause)).await {
            return Ok(ended(patience, &end, counts));
        }
        pause = (pause * 2).min(LOOK_EVERY);
    }
}

async fn begin(
    context: &Rc<SessionContext>,
    targets: Vec<Target>,
    look: &[u8],
) -> Result<Vec<Disk>, Failed> {
    let mut disks = Vec::new();
    for target in targets {
        disks.push(Disk::begin(context, target, look).await?);
    }
    Ok(disks)
}

/// At the primaries where they are the fewest.
async fn count(disks: &mut [Disk], look: &[u8]) -> Result<Counts, Failed> {
    let mut counts = [i64::MAX; 2];
    for disk in disks {
        let [local, replicas] = disk.look(look).await?;
        counts = [counts[0].min(local), counts[1].min(replicas)];
    }
    Ok(counts)
}

/// The reply with what is known when the client waits no longer.
fn ended(patience: &Patience, end: &End, counts: Counts) -> Bytes {
    let error = match end {
        End::Unblocked(how) => patience.unblocked(*how),
        End::Counted | End::TimeIsUp => None,
    };
    error.unwrap_or_else(|| reply(counts))
}

impl Disk {
    /// Opens the connection. What the server refuses is found before anything is written.
    async fn begin(
        context: &Rc<SessionContext>,
        target: Target,
        look: &[u8],
    ) -> Result<Self, Failed> {
        if target.tells_doubt() {
            // Its address may be another's by now.
            return Err(Failed::Gone);
        }
        let purse = Purse::new(context.memory.clone());
        let lease = match context
            .leases
            .take(target.lane.node(), Proto::Resp2, &purse)
            .await
        {
            Ok(lease) => lease,
            Err(NoLease::Limit) => {
                return Err(Failed::Told(ErrorSource::Proxy, context.no_lease()));
            }
            Err(NoLease::Down(_)) => return Err(Failed::Gone),
        };
        // The connection is not kept: the user may have got the permission the next time.
        if let Some(refusal) = lease.no_transactions() {
            return Err(refusal.clone().into());
        }
        let mut disk = Self { target, lease };
        disk.look(look).await?;
        if disk.target.losses.is_some() {
            let written = async {
                let reply = disk.lease.exchange(WRITE_NOTHING).await?;
                told(reply)
            };
            unless_in_doubt(&disk.target, written).await?;
            // The lane that the client's writes went over is still there: both lead to one and the same process.
            let answer = context.replication(&disk.target.lane);
            unless_in_doubt(&disk.target, async {
                answer.await.map_err(|_| Failed::Gone)
            })
            .await?;
        }
        Ok(disk)
    }

    async fn look(&mut self, look: &[u8]) -> Result<Counts, Failed> {
        let counts = unless_in_doubt(&self.target, ask_disk(&mut self.lease, look)).await;
        if matches!(counts, Err(Failed::Replica)) {
            self.target.tell();
        }
        counts
    }
}

/// What a node says. One that is stopped never says it, and what comes with the doubt is worth nothing, an error either.
async fn unless_in_doubt<T>(
    target: &Target,
    said: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    let doubt = async {
        while !target.tells_doubt() {
            sleep(LOOK_EVERY).await;
        }
    };
    let said = tokio::select! {
        biased;
        said = said => said,
        () = doubt => return Err(Failed::Gone),
    };
    match target.tells_doubt() {
        true => Err(Failed::Gone),
        false => said,
    }
}

async fn ask_disk(lease: &mut Lease, look: &[u8]) -> Result<Counts, Failed> {
    const REPLIES: usize = 3;
    lease.send(look, REPLIES).await?;
    let mut last = Bytes::new();
    let mut first_error = None;
    for _ in 0..REPLIES {
        last = lease.reply().await?;
        if last.first() == Some(&b'-') {
            first_error.get_or_insert(last.clone());
        }
    }
    if let Some(error) = first_error {
        return Err(error.into());
    }
    let inner = resp::elements(&last).and_then(|all| all.into_iter().next());
    let inner = told(inner.map_or(Bytes::new(), |range| last.slice(range)))?;
    let numbers = resp::elements(&inner).unwrap_or_default();
    let numbers: Vec<i64> = (numbers.into_iter())
        .filter_map(|range| resp::integer(&inner[range]))
        .collect();
    match numbers[..] {
        [local, replicas] => Ok([local, replicas]),
        _ => Err(Failed::Gone),
    }
}

/// A reply that is no error.
fn told(reply: Bytes) -> Result<Bytes, Failed> {
    match reply.first() {
        Some(b'-') => Err(reply.into()),
        _ => Ok(reply),
    }
}

/// From an error of a node's.
impl From<Bytes> for Failed {
    fn from(error: Bytes) -> Self {
        if error.starts_with(IS_REPLICA) {
            return Self::Replica;
        }
        match classify(&error) {
            Some(_) => Self::Gone,
            None => Self::Told(ErrorSource::Upstream, error),
        }
    }
}

impl From<Lost> for Failed {
    fn from(_: Lost) -> Self {
        Self::Gone
    }
}

fn reply(counts: Counts) -> Bytes {
    let mut out = Vec::new();
    encode::array(&mut out, counts.len());
    for count in counts {
        encode::integer(&mut out, count);
    }
    out.into()
}
