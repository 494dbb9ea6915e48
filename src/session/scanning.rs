//! SCAN: one step after the other, on the shard that the client's cursor says (`route::scan`). A shard that ends with
//! fewer keys than were asked for is followed by the next one in the same call.

use super::dispatch::{Batch, Taken};
use super::replies::{About, Rest};
use super::{Session, State};
use crate::observe::ErrorSource;
use crate::resp::{Request, Span, encode, parse_request};
use crate::route::{INVALID_CURSOR, ScanStep, Scanned, scan_count, scan_cursor, scan_reply};
use crate::topology::{Report, Trigger};
use crate::upstream::{Class, Ticket};
use std::rc::Rc;

/// The most shards that one call asks: the time it takes is the sum of theirs.
const SHARDS_PER_CALL: usize = 16;

/// A SCAN that is being carried out.
pub(super) struct Scan {
    /// Of the shard that is asked now.
    pub(super) step: ScanStep,
    /// As it came.
    request: Box<[u8]>,
    class: Class,
    /// Keys it asks for, about.
    wanted: usize,
    /// Keys found on the shards before.
    found: usize,
    keys: Vec<u8>,
    shards: usize,
}

impl Session {
    /// SCAN
    pub(super) fn scan(
        self: &Rc<Self>,
        state: &mut State,
        batch: &Batch<'_>,
        class: Class,
        about: About,
        request: &Request<'_>,
    ) -> Taken {
        let Some(cursor) = scan_cursor(request.arg(1)) else {
            return self.refuse(state, about, INVALID_CURSOR);
        };
        let order = self.context.scan_order();
        let Some(step) = order.resume(&batch.map, cursor) else {
            return self.refuse(state, about, &self.no_node());
        };
        let mut rewritten = Vec::new();
        step.request(request, &mut rewritten);
        let seq = state.replies.next_seq();
        let taken = self.send_to_node(state, &batch.map, step.node, class, about, &rewritten);
        if let Some(pending) = state.replies.get_mut(seq) {
            pending.rest = Some(Box::new(Rest::Scan(Scan {
                step,
                request: request.bytes().into(),
                class,
                wanted: scan_count(request),
                found: 0,
                keys: Vec::new(),
                shards: 1,
            })));
        }
        taken
    }

    /// A shard has answered.
    pub(super) fn complete_scan(&self, state: &mut State, seq: u64, scan: Scan, reply: &[u8]) {
        if matches!(reply.first(), Some(b'-' | b'!')) {
            return self.complete(state, seq, reply);
        }
        let version = self.context.map().version();
        let page = match scan.step.page(reply, version) {
            Ok(page) => page,
            Err(text) => {
                let mut error = Vec::new();
                encode::error(&mut error, text);
                self.context.metrics.error(ErrorSource::Proxy, &error);
                return self.complete(state, seq, &error);
            }
        };
        if page.scanned == Scanned::Shard {
            // No node says MOVED to a SCAN: a slot that came to this shard meanwhile is noticed by asking.
            self.context.report(Report::Refresh(Trigger::Scanned));
        }
        let found = scan.found + page.count;
        let goes_on = page.scanned == Scanned::Shard
            && page.cursor != 0
            && found < scan.wanted
            && scan.shards < SHARDS_PER_CALL;
        let mut keys = scan.keys;
        if goes_on {
            keys.extend_from_slice(page.keys);
            let scan = Scan {
                found,
                keys,
                shards: scan.shards + 1,
                ..scan
            };
            return self.scan_next(state, seq, scan, page.cursor);
        }
        let mut shown = Vec::with_capacity(keys.len() + reply.len() + 32);
        let keys = match keys.is_empty() {
            true => page.keys,
            false => {
                keys.extend_from_slice(page.keys);
                &keys
            }
        };
        scan_reply(page.cursor, found, keys, &mut shown);
        self.complete(state, seq, &shown);
    }

    /// Asks the next shard. What becomes of it if that cannot be asked is what becomes of any SCAN: the client is told
    /// so, and its own cursor is still good.
    fn scan_next(&self, state: &mut State, seq: u64, mut scan: Scan, cursor: u64) {
        let map = self.context.map().clone();
        let order = self.context.scan_order();
        let mut spans: Vec<Span> = Vec::new();
        let next = parse_request(&scan.request, &mut spans)
            .zip(order.resume(&map, cursor))
            .map(|(request, step)| {
                let mut rewritten = Vec::new();
                step.request(&request, &mut rewritten);
                (step, rewritten)
            });
        let (Some((step, request)), Some(me)) = (next, self.myself.upgrade()) else {
            let mut shown = Vec::new();
            scan_reply(cursor, scan.found, &scan.keys, &mut shown);
            return self.complete(state, seq, &shown);
        };
        scan.step = step;
        let class = scan.class;
        if let Some(pending) = state.replies.get_mut(seq) {
            pending.rest = Some(Box::new(Rest::Scan(scan)));
        }
        let ticket = Ticket::new(seq, 0, None);
        let lane = self.lane_to(state, &map, step.node);
        match lane.send(&request, false, ticket, me, class) {
            Ok(()) => self.mark(state, ticket, Some(lane.id())),
            Err(not_taken) => {
                self.mark(state, ticket, None);
                self.not_taken_adrift(state, ticket, &request, class, &not_taken);
            }
        }
    }
}
