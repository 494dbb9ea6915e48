//! The task of one client: reads, decodes, dispatches; waits for a full socket; notices the end.

use super::dispatch::Taken;
use super::{Life, Session, SessionContext, State};
use crate::io::{Input, ReadHalf, SCRATCH_BYTES, WriteHalf};
use crate::local::{Access, Client};
use crate::observe::Limit;
use crate::resp::{Decoded, ProtocolError, RequestDecoder, RequestLimits};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// After this many reads in a row a busy client lets others run.
const READS_PER_TURN: usize = 8;

/// How long a client that is being closed may take to see it.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Serves one client until it or we are done with it. Owned by the worker's task tracker.
pub async fn serve(context: Rc<SessionContext>, read: ReadHalf, write: WriteHalf, client: Client) {
    let session = Session::new(context, write, client);
    let _served = Served::new(&session);
    let mut reader = Reader {
        read,
        input: Input::default(),
        decoder: RequestDecoder::new(),
        end: End::NotSeen,
    };
    poll_fn(|cx| session.poll(cx, &mut reader)).await;
    if session.life() == Life::Finishing && reader.end == End::NotSeen {
        // Nothing of it will be looked at.
        reader.input = Input::default();
        session.charge_read(0);
        session.linger(&mut reader.read).await;
    }
}

/// A session whose task runs; buried when it is dropped, even if a fault of slotway's own (a panic) ended the task: that
/// costs this client its connection, and nobody else anything.
struct Served(Rc<Session>, u64);

impl Served {
    fn new(session: &Rc<Session>) -> Self {
        let id = session.id();
        session.context.register(id, session);
        Self(session.clone(), id)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.context.unregister(self.1);
        self.0.bury();
    }
}

/// The reading side; owned by the task.
pub(super) struct Reader {
    pub(super) read: ReadHalf,
    pub(super) input: Input,
    decoder: RequestDecoder,
    end: End,
}

/// Whether the client is known to send no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotSeen,
    Seen,
}

impl Session {
    fn poll(self: &Rc<Self>, cx: &mut Context<'_>, reader: &mut Reader) -> Poll<()> {
        self.set_waker(cx);
        if self.poll_blocked(cx).is_err() || self.poll_monitor(cx).is_err() {
            return Poll::Ready(());
        }
        for _ in 0..READS_PER_TURN {
            match self.life() {
                Life::Dead => return Poll::Ready(()),
                Life::Finishing => return self.poll_finished(),
                Life::Open => {}
            }
            if self.is_full() {
                return self.poll_driven(cx, reader);
            }
            if !reader.input.as_slice().is_empty() {
                // Left over from when the session was full.
                let decoder = &mut reader.decoder;
                reader.input.again(|bytes| self.decode(bytes, decoder));
                if self.is_full() || self.life() != Life::Open {
                    continue;
                }
            }
            if self.is_halted() {
                // The worker wakes it.
                return Poll::Pending;
            }
            match self.poll_read(cx, reader) {
                Poll::Ready(Ok(0)) => {
                    reader.end = End::Seen;
                    self.finish_reading();
                }
                Poll::Ready(Ok(n)) => self.count_received(n),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    #[inline]
    fn count_received(&self, bytes: usize) {
        self.context.metrics.received(bytes);
        let (received, sent) = self.traffic.get();
        self.traffic.set((received + bytes as u64, sent));
    }

    fn poll_read(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        reader: &mut Reader,
    ) -> Poll<std::io::Result<usize>> {
        let decoder = &mut reader.decoder;
        let wanted = decoder.wanted();
        if wanted > 0 {
            let bytes = wanted + reader.input.unconsumed();
            self.sends(&mut self.state.borrow_mut(), bytes);
        }
        let (scratch, most) = (&self.context.scratch, self.context.memory.read_max());
        let read = reader
            .input
            .poll_read(cx, &mut reader.read, scratch, wanted, most, |bytes| {
                self.context.clock.tick();
                self.last_active.set(self.context.clock.now());
                self.decode(bytes, decoder)
            });
        self.charge_read(reader.input.held() + reader.decoder.heap_bytes());
        read
    }

    /// Decodes and dispatches what is whole; returns how many bytes it is done with.
    fn decode(self: &Rc<Self>, bytes: &[u8], decoder: &mut RequestDecoder) -> usize {
        let batch = self.begin_batch(bytes.len());
        let mut used = 0;
        while used < bytes.len() && !self.is_full() && self.life() == Life::Open {
            match decoder.decode(&bytes[used..], &self.limits()) {
                Ok(Decoded::Incomplete) => break,
                Ok(Decoded::Nothing { consumed }) => used += consumed,
                Ok(Decoded::Request { consumed }) => {
                    let request = decoder.request(&bytes[used..]);
                    if self.dispatch(&batch, request) == Taken::NotYet {
                        break;
                    }
                    if let Some(audit) = &self.context.shared.audit {
                        self.audit(audit, &batch, &decoder.request(&bytes[used..]));
                    }
                    used += consumed;
                }
                Err(e) => {
                    self.protocol_error(&e);
                    return bytes.len();
                }
            }
        }
        decoder.shrink();
        let state = &mut *self.state.borrow_mut();
        self.charge_taken(state);
        if state.transaction.is_some() {
            self.tell_queued(state);
        }
        used
    }

    fn limits(&self) -> RequestLimits {
        if self.state.borrow().client.access() == Access::Granted {
            self.context.request_limits
        } else {
            self.context.preauth_limits
        }
    }

    /// Says what is wrong, then closes; nothing of the broken request goes upstream.
    fn protocol_error(&self, error: &ProtocolError) {
        if error.is_cross_protocol() {
            tracing::warn!(
                client = self.id(),
                "closing a client that speaks HTTP: possible cross-protocol attack"
            );
            return self.kill();
        }
        tracing::debug!(client = self.id(), %error, "protocol error");
        if let Some(limit) = limit_of(error) {
            self.context.metrics.limit_hit(limit);
        }
        let mut reply = Vec::new();
        error.reply(&mut reply);
        self.reply_now(&reply);
        self.finish();
    }

    /// The client will send no more; what it has asked for is still answered.
    fn finish_reading(&self) {
        self.finish();
    }

    /// Every reply is written, and no more is read as a command. A close now, with unread bytes of the client in the socket,
    /// would be a reset, which takes replies with it that are still on their way: so the client is told that this is the
    /// end, and what it sends until it has seen that is thrown away.
    async fn linger(&self, read: &mut ReadHalf) {
        self.write.shut_down();
        let within = LINGER_MAX.min(self.context.config.timeouts.drain / 2);
        let mut thrown_away = Input::default();
        let scratch = &self.context.scratch;
        let until_end = async {
            let all = |bytes: &[u8]| bytes.len();
            let most = SCRATCH_BYTES;
            while let Ok(1..) =
                poll_fn(|cx| thrown_away.poll_read(cx, read, scratch, 0, most, all)).await
            {
            }
        };
        // A client that does not stop is not waited for.
        let _ = timeout(within, until_end).await;
    }

    fn poll_finished(&self) -> Poll<()> {
        self.check_hang_up();
        let state = self.state.borrow();
        if state.replies.is_empty() && state.output.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether no further command is taken for now.
    fn is_full(&self) -> bool {
        let state = &mut *self.state.borrow_mut();
        if state.barrier && state.replies.is_empty() {
            state.barrier = false;
        }
        let was_paused = state.paused;
        state.paused = self.would_pause(state);
        if was_paused || state.paused {
            self.note_bound(state);
        }
        state.paused
    }

    /// Too much in flight or unwritten, or a barrier with commands in front of it.
    pub(super) fn would_pause(&self, state: &State) -> bool {
        (state.barrier && !state.replies.is_empty())
            || self.is_at_bound(state)
            || self.waits_for_map(state)
    }

    /// Whether a command at the front waits for the first map. `retry` ends that.
    pub(super) fn waits_for_map(&self, state: &State) -> bool {
        let now = self.context.clock.now();
        state.no_map_until.is_some_and(|until| now < until) && self.context.map().nodes().is_empty()
    }

    pub(super) fn life(&self) -> Life {
        self.state.borrow().life
    }

    fn set_waker(&self, cx: &Context<'_>) {
        let mut mine = self.waker.borrow_mut();
        if !mine.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *mine = Some(cx.waker().clone());
        }
    }

    fn poll_blocked(&self, cx: &mut Context<'_>) -> std::io::Result<()> {
        self.poll_socket(&mut self.state.borrow_mut(), cx)
    }

    /// Writes on when the socket takes more.
    pub(super) fn poll_socket(
        &self,
        state: &mut State,
        cx: &mut Context<'_>,
    ) -> std::io::Result<()> {
        while state.blocked {
            match self.write.poll_writable(cx) {
                Poll::Pending => break,
                Poll::Ready(ready) => {
                    ready?;
                    self.context.clock.tick();
                    self.write_out(state)?;
                }
            }
        }
        Ok(())
    }

    /// After the task: lanes may still hold the session for requests in flight; their answers are dropped. The client
    /// does not wait for them.
    fn bury(&self) {
        self.write.shut_down();
        let mut state = self.state.borrow_mut();
        self.count_bound(&mut state);
        state.life = Life::Dead;
        self.purse.close();
        self.list_noted(&mut state, true);
        state.replies.clear();
        state.driven = None;
        state.fences = None;
        state.crowds = Vec::new();
        self.leave_bulk(&mut state);
        state.adrift = Vec::new();
        state.monitor = None;
        state.drifts = Default::default();
        state.transaction = None;
        // Its connection is closed, and the watch ends with that.
        state.watch = None;
        state.subscriptions = None;
        state.output = Default::default();
        self.discharge();
        self.redirecting.set(false);
        self.waker.borrow_mut().take();
    }
}

/// The bound that a protocol error comes from.
fn limit_of(error: &ProtocolError) -> Option<Limit> {
    Some(match error {
        ProtocolError::TooManyArguments => Limit::Arguments,
        ProtocolError::ArgumentTooBig => Limit::Argument,
        ProtocolError::UnauthenticatedMultibulkLength => Limit::PreauthArguments,
        ProtocolError::UnauthenticatedBulkLength => Limit::PreauthArgument,
        ProtocolError::RequestTooBig => Limit::Request,
        ProtocolError::InlineTooBig => Limit::Inline,
        _ => return None,
    })
}
