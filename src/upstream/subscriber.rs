//! A connection to one node that belongs to one subscribed client: what it is told goes out at once, and whatever the
//! node sends is handed on as it comes, for as long as the connection lasts. It always speaks RESP3, in which messages
//! cannot be taken for replies.
//!
//! Its task is spawned by [`Subscriber::open`] and ends when the connection is lost or the [`Subscriber`] is dropped.
//! It keeps no queue: its listener takes every message at once, and is the one that bounds what waits.

use super::connect::{SUBSCRIBER_NAME, dial_as};
use super::question::PING;
use super::{Fault, FaultKind, UpstreamContext};
use crate::cluster::NodeAddr;
use crate::io::{Bill, Input, NodeStream, Purse, ReadHalf, SCRATCH_BYTES, now, split_node};
use crate::observe::NodeMetrics;
use crate::resp::{Proto, ReplyScanner};
use bytes::{Buf, BytesMut};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// So many bytes are handed on before the others have their turn, and the client is offered what it is to get.
const TURN_BYTES: usize = SCRATCH_BYTES;

/// Who hears what a node says. `link` is the number the listener gave the connection.
pub trait Listener {
    /// One whole push or error.
    fn heard(&self, link: u32, reply: &[u8]);

    /// The connection is lost, or could not be made; nothing more will come.
    fn lost(&self, link: u32, fault: &Fault);
}

/// See the module. Dropping it closes the connection.
pub struct Subscriber {
    out: Rc<Out>,
    task: AbortHandle,
}

/// What is to be sent, shared with the task.
#[derive(Default)]
struct Out {
    bytes: RefCell<Vec<u8>>,
    probe: Cell<bool>,
    notify: Notify,
}

impl Subscriber {
    /// Dials; what is sent meanwhile waits for the connection.
    pub fn open(
        context: Rc<UpstreamContext>,
        node: NodeAddr,
        link: u32,
        listener: Weak<dyn Listener>,
        purse: Rc<Purse>,
    ) -> Self {
        let out = Rc::<Out>::default();
        let talk = Talk {
            metrics: context.metrics.node(&node),
            context,
            out: out.clone(),
            link,
            listener,
            purse,
        };
        let task = tokio::task::spawn_local(talk.run(node)).abort_handle();
        Self { out, task }
    }

    /// Sends whole commands.
    pub fn send(&self, commands: &[u8]) {
        self.out.bytes.borrow_mut().extend_from_slice(commands);
        self.out.notify.notify_one();
    }

    /// Finds out whether the node is alive: if it does not answer soon, the connection is lost.
    pub fn probe(&self) {
        self.out.probe.set(true);
        self.out.notify.notify_one();
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What its task works with.
struct Talk {
    context: Rc<UpstreamContext>,
    metrics: Arc<NodeMetrics>,
    out: Rc<Out>,
    link: u32,
    listener: Weak<dyn Listener>,
    purse: Rc<Purse>,
}

/// What has come of what the node says.
struct Reader {
    read: ReadHalf,
    input: Input,
    scanner: ReplyScanner,
    /// Bytes that were handed on in this turn.
    turn: usize,
}

/// Counts a connection as long as it is there, whoever ends it.
struct Counted(Arc<NodeMetrics>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.disconnected();
    }
}

impl Talk {
    async fn run(self, node: NodeAddr) {
        let settings = &self.context.settings;
        let credentials = &self.context.credentials;
        let (within, unacked) = (settings.connect, settings.unacked);
        let gate = self.context.gates.of(&node);
        if let Err(fault) = gate.turn(&self.context.clock, &settings.backoff).await {
            return self.tell_lost(&fault);
        }
        let dialled = dial_as(
            SUBSCRIBER_NAME,
            &node,
            Proto::Resp3,
            credentials,
            within,
            unacked,
        )
        .await;
        let fault = match dialled {
            Ok(stream) => {
                gate.open();
                self.metrics.connected();
                let _counted = Counted(self.metrics.clone());
                let kind = self.talk(stream).await;
                let fault = Fault { node, kind };
                gate.doubt(&fault, now());
                fault
            }
            Err(kind) => {
                let fault = Fault { node, kind };
                gate.failed(&fault, now(), &settings.backoff);
                fault
            }
        };
        self.context.clock.tick();
        self.context.lost(&fault);
        self.tell_lost(&fault);
    }

    fn tell_lost(&self, fault: &Fault) {
        if let Some(listener) = self.listener.upgrade() {
            listener.lost(self.link, fault);
        }
    }

    async fn talk(&self, stream: NodeStream) -> FaultKind {
        let settings = &self.context.settings;
        let (read, write) = split_node(stream);
        let mut reader = Reader {
            read,
            input: Input::default(),
            scanner: ReplyScanner::with_depth(settings.reply_depth),
            turn: 0,
        };
        let mut unsent = BytesMut::new();
        let mut heard = now();
        let mut probed: Option<Instant> = None;
        // After a time that is up, too: slotway itself may have been stopped.
        let mut looked = false;
        let mut bill = Bill::new(self.purse.clone());
        loop {
            if unsent.is_empty() {
                unsent.extend_from_slice(&std::mem::take(&mut *self.out.bytes.borrow_mut()));
            }
            if self.out.probe.take() && probed.is_none() {
                unsent.extend_from_slice(PING);
                probed = Some(now());
            }
            let due = probed.map_or(heard + settings.heartbeat, |at| at + settings.probe);
            bill.set(reader.input.held() + unsent.capacity());
            let is_halted = bill.is_halted();
            // Writing ends when there is nothing to write, so it may go first.
            tokio::select! {
                biased;
                ready = poll_fn(|cx| write.poll_writable(cx)), if !unsent.is_empty() => {
                    let written = ready.and_then(|()| write.try_write(&unsent));
                    match written {
                        Ok(n) => unsent.advance(n),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                        Err(e) => return FaultKind::Io(e.to_string()),
                    }
                }
                read = poll_fn(|cx| self.poll_hear(cx, &mut reader, &bill)), if !is_halted => match read {
                    Err(kind) => return kind,
                    Ok(_) => (heard, probed, looked) = (now(), None, false),
                },
                () = self.out.notify.notified() => {}
                // What the node has said meanwhile is not read yet.
                () = bill.resumed(), if is_halted => (heard, probed, looked) = (now(), None, false),
                () = tokio::time::sleep_until(due.into()), if !is_halted => match probed {
                    Some(_) if looked => return FaultKind::Silent,
                    Some(_) => {
                        tokio::task::yield_now().await;
                        looked = true;
                    }
                    None => self.out.probe.set(true),
                },
            }
        }
    }

    /// Reads once and hands on every whole reply. `false`: nothing is to be read now, since others have taken the memory
    /// while it waited.
    fn poll_hear(
        &self,
        cx: &mut Context<'_>,
        reader: &mut Reader,
        bill: &Bill,
    ) -> Poll<Result<bool, FaultKind>> {
        if bill.is_halted() {
            return Poll::Ready(Ok(false));
        }
        if reader.turn >= TURN_BYTES {
            reader.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (wanted, most) = (reader.scanner.wanted(), self.context.memory.read_max());
        let (scanner, scratch) = (&mut reader.scanner, &self.context.scratch);
        let mut broken = None;
        let read = (reader.input).poll_read(cx, &mut reader.read, scratch, wanted, most, |bytes| {
            let delivered = self.deliver(scanner, bytes);
            delivered.unwrap_or_else(|kind| {
                broken = Some(kind);
                0
            })
        });
        Poll::Ready(match (read, broken) {
            (Poll::Pending, _) => return Poll::Pending,
            (_, Some(kind)) => Err(kind),
            (Poll::Ready(Ok(0)), _) => Err(FaultKind::Closed),
            (Poll::Ready(Err(e)), _) => Err(FaultKind::Io(e.to_string())),
            (Poll::Ready(Ok(n)), _) => {
                reader.turn += n;
                Ok(true)
            }
        })
    }

    /// Hands on every whole reply; says how many bytes these are.
    fn deliver(&self, scanner: &mut ReplyScanner, bytes: &[u8]) -> Result<usize, FaultKind> {
        self.context.clock.tick();
        let Some(listener) = self.listener.upgrade() else {
            return Err(FaultKind::Retired);
        };
        let mut rest = bytes;
        while !rest.is_empty()
            && let Some(len) = scanner.scan(rest)?
        {
            let (reply, behind) = rest.split_at(len);
            match reply[0] {
                b'>' | b'-' | b'!' => listener.heard(self.link, reply),
                // The answer to a PING.
                b'+' => {}
                _ => return Err(FaultKind::Protocol("a reply that nobody asked for")),
            }
            rest = behind;
        }
        Ok(bytes.len() - rest.len())
    }
}
