//! EXEC: what was queued goes out as one block on the lane of its slot, between the session's other requests, so that no
//! connection is needed for it. Fences hold and resend a block like any other request of its slot; an EXEC that was
//! refused has executed nothing. After WATCH it goes over the client's own connection instead (`on_lease`).

use super::dispatch::{Batch, SCARCE, Taken};
use super::errors::{LATE, OUTCOME_UNKNOWN};
use super::fan_out::{ToSend, closed_slots};
use super::on_lease::OnLease;
use super::replies::{About, Rest, Stage};
use super::{Session, State};
use crate::command::Local;
use crate::local;
use crate::modes::{Assembly, Block, Queue, inside};
use crate::observe::{CrossSlot, Exec};
use crate::resp::{self, Proto, Span, encode, parse_request};
use crate::route::Gathering;
use crate::upstream::{Class, REPLY_TOO_LARGE, Ticket};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

const ABORTED_BECAUSE: &str = "EXECABORT Transaction discarded because of: ";

impl Session {
    /// EXEC
    pub(super) fn exec(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        about: About,
    ) -> Taken {
        let Some(queue) = state.transaction.take() else {
            return Taken::Yes;
        };
        if queue.is_aborted() {
            self.unwatch(state);
            return self.refuse_exec(state, about, inside::ABORTED);
        }
        // It is copied on its way.
        if self.context.is_too_large_now(queue.held()) {
            self.unwatch(state);
            return self.refuse_exec(state, about, &format!("{ABORTED_BECAUSE}{SCARCE}"));
        }
        let class = match queue.is_slow() {
            true => Class::Slow,
            false => Class::Normal,
        };
        let loads = match queue.is_slow() {
            true => self.loads(&queue),
            false => Vec::new(),
        };
        if state.watch.is_some() {
            return self.exec_watched(state, class, about, *queue, &loads);
        }
        self.look_at_request(state, queue.bytes());
        let (blocks, assembly) = queue.exec(&loads, |command, request, out| {
            self.answer_queued(state, command, request, out);
        });
        match &blocks[..] {
            [] => {
                let reply = assembly.finish(&[]);
                self.context.metrics.transaction(outcome(&reply));
                self.reply_in_turn(state, about, &reply);
                Taken::Yes
            }
            [block] => self.send_block(state, batch, class, about, block, assembly),
            blocks => self.send_blocks(state, batch, class, about, blocks, assembly),
        }
    }

    /// EXEC of a client that watches: the block goes where the keys are watched, even if it is empty. Nothing in it takes
    /// effect if they have changed, so slotway's own commands wait for the node's word.
    fn exec_watched(
        self: &Rc<Self>,
        state: &mut State,
        class: Class,
        about: About,
        queue: Queue,
        loads: &[Vec<u8>],
    ) -> Taken {
        let ended = self.end_watch(state, &queue);
        let mut own = Vec::new();
        let (blocks, mut assembly) = queue.exec(loads, |command, request, _| {
            own.push((command, request.to_vec()));
        });
        let block = blocks.into_iter().next().unwrap_or_else(Block::empty);
        let proto = state.client.proto();
        let about = About {
            bytes: block.bytes.len() as u32,
            ..about
        };
        let Some((slot, held)) = ended else {
            self.context.metrics.watch_lost();
            self.context.metrics.transaction(Exec::Nil);
            self.reply_in_turn(state, about, &nil(proto));
            return Taken::Yes;
        };
        let errand = OnLease::exec_of(self, slot, self.within(class));
        let me = self.clone();
        let words = |overdue: Bytes| aborted(&overdue).into_owned().into();
        let seq = state.replies.next_seq();
        let taken = self.drive_in_turn(state, about, slot, words, async move {
            let Some(reply) = errand.exec(held, &block).await else {
                me.context.metrics.watch_lost();
                return nil(proto);
            };
            if resp::elements(&reply).is_some() {
                let state = &mut *me.state.borrow_mut();
                assembly.fill(own.iter().map(|(command, request)| {
                    let mut out = Vec::new();
                    me.answer_queued(state, *command, request, &mut out);
                    out
                }));
            }
            let told = aborted(&reply);
            Bytes::copy_from_slice(&assembly.finish(&[&told]))
        });
        if let Some(pending) = state.replies.get_mut(seq) {
            pending.rest = Some(Box::new(Rest::ExecWatched));
        }
        taken
    }

    /// EXEC that is answered with an error of ours, and has executed nothing.
    #[cold]
    pub(super) fn refuse_exec(&self, state: &mut State, about: About, text: &str) -> Taken {
        self.context.metrics.transaction(Exec::Aborted);
        self.refuse(state, about, text)
    }

    /// SCRIPT LOAD for every script that is called by its SHA and known: NOSCRIPT would come after other effects.
    #[cold]
    fn loads(&self, queue: &Queue) -> Vec<Vec<u8>> {
        let mut loads = BTreeMap::new();
        for command in queue.commands() {
            let mut spans: Vec<Span> = Vec::new();
            let Some(request) = parse_request(command, &mut spans) else {
                continue;
            };
            let is_call = [&b"EVALSHA"[..], b"EVALSHA_RO"]
                .iter()
                .any(|name| request.arg(0).eq_ignore_ascii_case(name));
            if is_call && let Some(body) = request.get(1).and_then(|s| self.context.script_body(s))
            {
                let mut load = Vec::with_capacity(body.len() + 64);
                encode::command(&mut load, &[&b"SCRIPT"[..], b"LOAD", &body]);
                loads.insert(body, load);
            }
        }
        loads.into_values().collect()
    }

    /// The answer to a command of slotway's own, now that EXEC has come.
    fn answer_queued(&self, state: &mut State, command: Local, request: &[u8], out: &mut Vec<u8>) {
        let mut spans: Vec<Span> = Vec::new();
        let Some(request) = parse_request(request, &mut spans) else {
            return;
        };
        let server = self.context.shared.server.load();
        let env = self.context.env(&server);
        // What changes how replies are delivered was not queued.
        let _ = local::answer(command, &request, &mut state.client, &env, out);
    }

    fn send_block(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        class: Class,
        about: About,
        block: &Block,
        assembly: Assembly,
    ) -> Taken {
        let about = About {
            writes: true,
            bytes: block.bytes.len() as u32,
            ..about
        };
        let seq = state.replies.next_seq();
        let ticket = Ticket::new(seq, 0, block.slot).of_block(block.inner);
        let map = &batch.map;
        match block.slot {
            Some(slot) => {
                let stage = match self.send(state, map, class, ticket, slot, &block.bytes) {
                    Some(lane) => Stage::Sent(Some(slot), lane),
                    None => Stage::Held,
                };
                state.replies.push(about, stage);
                self.finish_with(state, seq, assembly);
                self.advance_if_closed(state, slot);
            }
            None => {
                let Some(node) = self.home(state, map) else {
                    let why = self.no_node();
                    let text = format!("{ABORTED_BECAUSE}{why}");
                    return self.refuse_exec(state, about, &text);
                };
                let lane = self.lane_to(state, map, node);
                match lane.send(&block.bytes, false, ticket, self.clone(), class) {
                    Ok(()) => {
                        state.replies.push(about, Stage::Sent(None, lane.id()));
                        self.finish_with(state, seq, assembly);
                    }
                    Err(not_taken) => {
                        state.replies.push(about, Stage::Held);
                        self.finish_with(state, seq, assembly);
                        self.not_taken_adrift(state, ticket, &block.bytes, class, &not_taken);
                    }
                }
            }
        }
        self.note_write(state);
        Taken::Yes
    }

    /// `policy.cross_slot_transactions = "split"`: one transaction for each slot, all at once.
    fn send_blocks(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        class: Class,
        about: About,
        blocks: &[Block],
        assembly: Assembly,
    ) -> Taken {
        self.context
            .metrics
            .cross_slot(about.command, CrossSlot::Split);
        let about = About {
            writes: true,
            bytes: blocks.iter().map(|b| b.bytes.len() as u32).sum(),
            ..about
        };
        let seq = state.replies.next_seq();
        let to_send: Vec<ToSend<'_>> = blocks
            .iter()
            .filter_map(|block| {
                Some(ToSend {
                    slot: block.slot?,
                    request: &block.bytes,
                    inner: block.inner,
                    keys: 0,
                })
            })
            .collect();
        let parts = self.send_parts(state, batch, class, to_send.into_iter());
        let closed = closed_slots(state, &parts);
        let gathering = Gathering::of_parts(parts.len());
        self.push_fanout(state, about, gathering, parts, None);
        self.finish_with(state, seq, assembly);
        for slot in closed {
            self.advance_if_closed(state, slot);
        }
        Taken::Yes
    }

    fn finish_with(&self, state: &mut State, seq: u64, assembly: Assembly) {
        if let Some(pending) = state.replies.get_mut(seq) {
            pending.rest = Some(Box::new(Rest::Exec(assembly)));
        }
    }

    /// The final replies of all blocks of an EXEC are there.
    pub(super) fn complete_exec(
        &self,
        state: &mut State,
        seq: u64,
        assembly: &Assembly,
        replies: &[&[u8]],
    ) {
        let told: Vec<Cow<'_, [u8]>> = replies.iter().map(|reply| aborted(reply)).collect();
        let told: Vec<&[u8]> = told.iter().map(|reply| &**reply).collect();
        self.tell_exec(state, seq, &assembly.finish(&told));
    }

    /// EXEC's reply is final. There is none where its client is gone.
    pub(super) fn tell_exec(&self, state: &mut State, seq: u64, reply: &[u8]) {
        if !reply.is_empty() {
            self.context.metrics.transaction(outcome(reply));
        }
        self.complete(state, seq, reply);
    }
}

/// What EXEC's reply says of the transaction. One that is too large to be kept is that of commands which were executed.
fn outcome(reply: &[u8]) -> Exec {
    match reply {
        _ if resp::is_null(reply) => Exec::Nil,
        [b'*', ..] | REPLY_TOO_LARGE => Exec::Executed,
        _ if reply.starts_with(b"-EXECABORT ") => Exec::Aborted,
        _ => Exec::Unknown,
    }
}

/// Nothing was executed: what is watched may have changed.
fn nil(proto: Proto) -> Bytes {
    let mut reply = Vec::new();
    encode::null_array(&mut reply, proto);
    reply.into()
}

/// The reply to EXEC as the client gets it: an error that says that nothing was executed begins with EXECABORT, as
/// clients expect of a transaction.
fn aborted(reply: &[u8]) -> Cow<'_, [u8]> {
    let unknown = |text: &[u8]| {
        [OUTCOME_UNKNOWN, LATE]
            .iter()
            .any(|start| text.starts_with(start.as_bytes()))
    };
    if reply == REPLY_TOO_LARGE {
        return Cow::Borrowed(reply);
    }
    match reply.strip_prefix(b"-") {
        Some(text) if !text.starts_with(b"EXECABORT ") && !unknown(text) => {
            Cow::Owned([b"-", ABORTED_BECAUSE.as_bytes(), text].concat())
        }
        _ => Cow::Borrowed(reply),
    }
}

/// What made a server discard a transaction: the error that it wrapped up in EXECABORT.
pub(super) fn cause(reply: &[u8]) -> Cow<'_, [u8]> {
    let text = reply.strip_prefix(b"-");
    match text.and_then(|text| text.strip_prefix(ABORTED_BECAUSE.as_bytes())) {
        Some(text) => Cow::Owned([b"-", text].concat()),
        None => Cow::Borrowed(reply),
    }
}
