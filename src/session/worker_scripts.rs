//! What one worker knows of scripts: which bodies it has put into the process's store, and which it has given to
//! which connection. Answers two questions fast: is there anything to do for this EVAL, for this EVALSHA? Sends
//! nothing: that is `healing`'s.

use super::scripts::{Origin, Scripts, Sha};
use crate::observe::WorkerMetrics;
use crate::upstream::{Answer, Lane, LaneId, Requester, Ticket};
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use std::cell::{Cell, RefCell};
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Lanes that are remembered; more are only there when the topology has changed very often.
const LANES_MAX: usize = 1024;

/// See the module.
pub(super) struct WorkerScripts {
    store: Arc<Scripts>,
    metrics: Arc<WorkerMetrics>,
    seen: RefCell<Seen>,
    given: RefCell<Given>,
    moment: Cell<Moment>,
}

/// Bodies that are in the store, as far as nothing was dropped there since.
#[derive(Default)]
struct Seen {
    drops: u64,
    hashes: FxHashSet<u64>,
}

/// Scripts that were given to nodes, as far as nobody has flushed them since.
#[derive(Default)]
struct Given {
    flushes: u64,
    lanes: FxHashMap<LaneId, OnConnection>,
}

#[derive(Default)]
struct OnConnection {
    connection: u32,
    scripts: FxHashMap<Sha, Loaded>,
    /// When the node last said that it does not have a script.
    absent_at: FxHashMap<Sha, Moment>,
}

/// Orders the replies that a worker gets.
pub(super) type Moment = u64;

/// What is known of a script on a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Loaded {
    /// The node has said that it does not have it.
    Absent,
    /// SCRIPT LOAD is on its way: what follows on the lane comes after it.
    Sent(Before),
    /// The node has confirmed SCRIPT LOAD.
    There,
}

/// What was known before SCRIPT LOAD was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Before {
    Absent,
    Unknown,
}

impl WorkerScripts {
    pub(super) fn new(store: Arc<Scripts>, metrics: Arc<WorkerMetrics>) -> Rc<Self> {
        Rc::new(Self {
            store,
            metrics,
            seen: RefCell::default(),
            given: RefCell::default(),
            moment: Cell::new(0),
        })
    }

    /// Keeps a script that a client has sent. SHA-1 is computed once per body, not once per EVAL.
    pub(super) fn keep(&self, body: &[u8], origin: Origin, now: Instant) {
        let mut hasher = FxHasher::default();
        hasher.write(body);
        hasher.write_u8(u8::from(origin == Origin::Load));
        let hash = hasher.finish();
        let mut seen = self.seen.borrow_mut();
        let drops = self.store.drops();
        if seen.drops != drops {
            seen.hashes.clear();
            seen.drops = drops;
        }
        if seen.hashes.contains(&hash) {
            return;
        }
        if seen.hashes.len() >= 2 * self.store.scripts_max() {
            seen.hashes.clear();
        }
        seen.hashes.insert(hash);
        if let Some(limit) = self.store.keep(body, origin, now) {
            self.metrics.limit_hit(limit);
        }
    }

    /// A client's SCRIPT FLUSH.
    pub(super) fn flush(&self) {
        self.store.flush();
    }

    pub(super) fn body(&self, sha: &Sha) -> Option<Bytes> {
        self.store.body(sha)
    }

    /// The same, if it was known before that moment.
    pub(super) fn body_before(&self, sha: &Sha, moment: Instant) -> Option<Bytes> {
        self.store.body_before(sha, moment)
    }

    /// The script that has to go ahead of an EVALSHA on that lane: it is known, and was not given to this
    /// connection yet.
    pub(super) fn missing(&self, lane: &Lane, sha: &Sha) -> Option<Bytes> {
        let given = &mut *self.given.borrow_mut();
        let flushes = self.store.flushes();
        if given.flushes != flushes || given.lanes.len() > LANES_MAX {
            given.lanes.clear();
            given.flushes = flushes;
        }
        let on = given.lanes.entry(lane.id()).or_default();
        if on.connection != lane.connection() || on.scripts.len() > self.store.scripts_max() {
            on.scripts.clear();
            on.absent_at.clear();
            on.connection = lane.connection();
        }
        match on.scripts.get(sha) {
            None | Some(Loaded::Absent) => self.store.body(sha),
            Some(Loaded::Sent(_) | Loaded::There) => None,
        }
    }

    /// The script goes out on that lane now.
    pub(super) fn given(self: &Rc<Self>, lane: &Lane, sha: Sha) -> Rc<dyn Requester> {
        let mut given = self.given.borrow_mut();
        let on = given.lanes.entry(lane.id()).or_default();
        let before = match on.scripts.get(&sha) {
            Some(Loaded::Absent) => Before::Absent,
            _ => Before::Unknown,
        };
        on.scripts.insert(sha, Loaded::Sent(before));
        Rc::new(Loading {
            scripts: self.clone(),
            lane: lane.id(),
            connection: on.connection,
            sha,
        })
    }

    /// Now, later than everything that came before.
    pub(super) fn moment(&self) -> Moment {
        self.moment.set(self.moment.get() + 1);
        self.moment.get()
    }

    /// Whether a NOSCRIPT that comes from that lane now must be the node's own: the node has said that it does not
    /// have the script, and has not confirmed a SCRIPT LOAD since.
    pub(super) fn is_absent(&self, lane: LaneId, sha: &Sha) -> bool {
        let given = self.given.borrow();
        let loaded = given.lanes.get(&lane).and_then(|on| on.scripts.get(sha));
        matches!(loaded, Some(Loaded::Absent | Loaded::Sent(Before::Absent)))
    }

    /// Whether that node has said since `moment` that it did not have the script: replies of a lane come in the
    /// order in which it executes, so what was answered before ran without the script.
    pub(super) fn was_absent(&self, lane: LaneId, sha: &Sha, moment: Moment) -> bool {
        let given = self.given.borrow();
        let absent = given.lanes.get(&lane).and_then(|on| on.absent_at.get(sha));
        absent.is_some_and(|&at| at > moment)
    }

    /// The node has said that it does not have the script.
    pub(super) fn absent(&self, lane: LaneId, sha: Sha) {
        let moment = self.moment();
        if let Some(on) = self.given.borrow_mut().lanes.get_mut(&lane) {
            on.scripts.insert(sha, Loaded::Absent);
            on.absent_at.insert(sha, moment);
        }
    }

    /// The node at the end of that lane may have lost the script: it is given again.
    pub(super) fn doubt(&self, lane: LaneId, sha: &Sha) {
        if let Some(on) = self.given.borrow_mut().lanes.get_mut(&lane)
            && on.scripts.get(sha) == Some(&Loaded::There)
        {
            on.scripts.remove(sha);
        }
    }

    /// SCRIPT LOAD did not go out after all.
    pub(super) fn not_given(&self, lane: LaneId, sha: &Sha) {
        if let Some(on) = self.given.borrow_mut().lanes.get_mut(&lane) {
            on.scripts.remove(sha);
        }
    }
}

/// Waits for the answer to a SCRIPT LOAD of ours; the lane owns it until then.
struct Loading {
    scripts: Rc<WorkerScripts>,
    lane: LaneId,
    connection: u32,
    sha: Sha,
}

impl Requester for Loading {
    fn wants_requests(&self) -> bool {
        false
    }

    fn answered(&self, _: Ticket, answer: Answer<'_>) {
        let mut given = self.scripts.given.borrow_mut();
        let on = given.lanes.get_mut(&self.lane);
        let Some(on) = on.filter(|on| on.connection == self.connection) else {
            return;
        };
        match answer {
            Answer::Reply { reply, .. } if reply[0] == b'$' => {
                on.scripts.insert(self.sha, Loaded::There);
            }
            _ => {
                on.scripts.remove(&self.sha);
            }
        }
    }

    fn expired(&self, _: Ticket) {}
}
