//! The task of a lane, from dialling to the loss of the connection, and the probe of a silent node.
//!
//! Spawned by the lane when a request needs it; ends when the connection is lost or the lane is closed.

use super::collecting::Collecting;
use super::prove::Transactions;
use super::question::PING;
use super::{FaultKind, Lane, connect};
use crate::io::{Input, ReadHalf, SCRATCH_BYTES, split_node, until};
use crate::resp::Skipped;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// After this many reads in a row a busy lane lets others run.
const READS_PER_TURN: usize = 16;

/// The life of one connection.
pub(super) async fn run(lane: Rc<Lane>) {
    let mut life = Life { lane, why: None };
    life.why = Some(live(&life.lane).await);
}

/// A lane whose task runs. The connection is lost when it is dropped, even if a fault of slotway's own (a panic) ended the
/// task: nobody waits for its replies for ever.
struct Life {
    lane: Rc<Lane>,
    why: Option<FaultKind>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.lane.input_held.set(0);
        if let Some(why) = self.why.take() {
            self.lane.lost(why);
        } else if std::thread::panicking() {
            let why = FaultKind::Protocol("a reply that slotway failed at");
            self.lane.lost(why);
        } else {
            // Its runtime has ended.
            self.lane.end();
        }
    }
}

/// From dialling to the loss.
async fn live(lane: &Rc<Lane>) -> FaultKind {
    let settings = &lane.context.settings;
    let dialled = connect::dial_proved(
        connect::CLIENT_NAME,
        lane.node(),
        lane.proto,
        &lane.context.credentials,
        settings.connect,
        settings.unacked,
    )
    .await;
    lane.context.clock.tick();
    match dialled {
        Ok((stream, transactions)) => {
            if let Transactions::Refused(refusal) = transactions {
                lane.refuses_transactions(refusal);
            }
            let (read, write) = split_node(stream);
            lane.connected(write);
            serve(lane, read).await
        }
        Err(why) => why,
    }
}

async fn serve(lane: &Rc<Lane>, read: ReadHalf) -> FaultKind {
    let mut reader = Reader {
        read,
        input: Input::default(),
        collecting: Collecting::new(lane.proto, lane.context.settings.reply_depth),
    };
    poll_fn(|cx| {
        lane.set_waker(cx.waker());
        lane.tell_withheld();
        if let Some(why) = lane.take_ending() {
            return Poll::Ready(why);
        }
        lane.poll_unblock(cx);
        for _ in 0..READS_PER_TURN {
            if reader.collecting.is_for_nobody()
                && let Err(why) = reader.weigh(lane)
            {
                return Poll::Ready(why);
            }
            if reader.is_halted(lane) {
                // Not for long: clients are being closed for `limits.memory`, and then it is woken.
                lane.unread.set(true);
                return Poll::Pending;
            }
            if lane.unread.replace(false) {
                // Its silence was none of the node's.
                lane.heard();
                lane.begun_anew();
            }
            match reader.poll(cx, lane) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(why)) => return Poll::Ready(why),
                Poll::Ready(Ok(())) => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

struct Reader {
    read: ReadHalf,
    input: Input,
    collecting: Collecting,
}

impl Reader {
    /// Whether nothing is read for now. What is skipped costs nothing.
    #[inline]
    fn is_halted(&self, lane: &Lane) -> bool {
        let memory = &lane.context.memory;
        memory.is_tight()
            && !self.collecting.skips()
            && (memory.is_halted() || lane.state.borrow().room.is_bulk())
    }

    /// Reads once and delivers every whole reply.
    fn poll(&mut self, cx: &mut Context<'_>, lane: &Rc<Lane>) -> Poll<Result<(), FaultKind>> {
        let mut broken = None;
        let wanted = self.collecting.wanted();
        let collecting = &mut self.collecting;
        let scratch = &lane.context.scratch;
        let read = self.input.poll_read(
            cx,
            &mut self.read,
            scratch,
            wanted,
            SCRATCH_BYTES,
            |bytes| {
                lane.heard();
                match deliver(lane, collecting, bytes) {
                    Ok(used) => used,
                    Err(why) => {
                        broken = Some(why);
                        0
                    }
                }
            },
        );
        let weighed = self.weigh(lane);
        lane.charge(&lane.state.borrow());
        lane.offer_room();
        match (read, broken.or(weighed.err())) {
            (Poll::Pending, None) => Poll::Pending,
            (_, Some(why)) => Poll::Ready(Err(why)),
            (Poll::Ready(Ok(0)), _) => Poll::Ready(Err(FaultKind::Closed)),
            (Poll::Ready(Ok(_)), _) => Poll::Ready(Ok(())),
            (Poll::Ready(Err(e)), _) => Poll::Ready(Err(FaultKind::Io(e.to_string()))),
        }
    }

    /// Enters what is kept of the reply that is being read: for whoever asked for it, or for the lane.
    #[inline]
    fn weigh(&mut self, lane: &Lane) -> Result<(), FaultKind> {
        let oldest = || lane.state.borrow().queue.front()?.requester.clone();
        let weighed =
            (self.collecting).weigh(&mut self.input, &lane.context.memory, || oldest()?.purse());
        weighed.map(|held| lane.input_held.set(held))
    }
}

/// Returns how many bytes were whole replies.
fn deliver(lane: &Lane, collecting: &mut Collecting, bytes: &[u8]) -> Result<usize, FaultKind> {
    let (mut used, mut replies) = (0, 0);
    if bytes.is_empty() {
        // A part of a large one was kept: it goes on.
        return Ok(0);
    }
    if collecting.skips() {
        match collecting.skip(bytes)? {
            Skipped::Part(part) => return Ok(part),
            Skipped::All(all) => used = all,
        }
        lane.too_large()?;
        replies += 1;
    }
    let scanner = &mut collecting.scanner;
    let (mut broken, mut is_cut) = (Ok(()), false);
    while used < bytes.len() {
        match scanner.scan(&bytes[used..]) {
            Ok(Some(len)) => match lane.reply(&bytes[used..], len) {
                Ok(len) => used += len,
                Err(why) => {
                    broken = Err(why);
                    break;
                }
            },
            Ok(None) => {
                broken = check_due(lane);
                is_cut = true;
                break;
            }
            Err(error) => {
                broken = Err(error.into());
                break;
            }
        }
        replies += 1;
    }
    let mut state = lane.state.borrow_mut();
    state.room.answered(replies);
    if replies > 0 {
        state.delivered = state.heard;
    }
    state.begun = match is_cut {
        true => Some(state.begun.filter(|_| replies == 0).unwrap_or(state.heard)),
        false => None,
    };
    broken.map(|()| used)
}

/// The beginning of a reply belongs to a request that was handed over. Where none was, it would be taken for the
/// beginning of the next one's (invariant 1).
fn check_due(lane: &Lane) -> Result<(), FaultKind> {
    let state = lane.state.borrow();
    let Some(oldest) = state.queue.front() else {
        return Err(FaultKind::Protocol("a reply that nobody asked for"));
    };
    let due_after = match oldest.ticket.inner() {
        0 => oldest.len as usize,
        _ => 1,
    };
    if state.outbox.handed_over() < due_after {
        return Err(FaultKind::Protocol("a reply before its request"));
    }
    Ok(())
}

/// Asks a silent node over a second connection whether it is alive: a long script or KEYS is not a dead node
/// (an error such as BUSY is a sign of life too).
pub(super) async fn probe(lane: Rc<Lane>, connection: u32) {
    let settings = &lane.context.settings;
    let latest = Instant::now() + settings.probe;
    let asking = async {
        let mut stream = connect::dial(
            lane.node(),
            lane.proto,
            &lane.context.credentials,
            settings.connect.min(settings.probe),
            settings.unacked,
        )
        .await?;
        let io = |e: std::io::Error| FaultKind::Io(e.to_string());
        let answer = async {
            stream.write_all(PING).await.map_err(io)?;
            stream.read_u8().await.map_err(io)
        };
        match until(latest, answer).await {
            Some(Ok(b'+' | b'-')) => Ok(()),
            Some(Ok(_)) => Err(FaultKind::Protocol("an odd reply to PING")),
            Some(Err(why)) => Err(why),
            None => Err(FaultKind::Silent),
        }
    };
    let outcome = asking.await;
    lane.probed(connection, outcome);
}
