//! What a seed stands for: the cluster, the network, what clients send, and what goes wrong when. Nothing here depends on
//! what happens in the run, so a fault can be left out to see whether it mattered.

mod draw;

use crate::rng::Rng;
use crate::wire::Proto;
use draw::{chained, client, fault, late, slow, sweep, unwatch};
use slotway::cluster::Slot;

pub struct Plan {
    pub seed: u64,
    pub shards: usize,
    pub replicas: usize,
    pub workers: usize,
    pub connections: usize,
    pub values: Values,
    pub room: Room,
    /// `limits.redirections`
    pub hops: usize,
    /// Most packets take up to so long, in milliseconds.
    pub latency: u64,
    /// Percentage of writes that arrive in pieces.
    pub pieces: u64,
    /// Percentage of connections to nodes that take few bytes at a time.
    pub narrow: u64,
    pub tags: Vec<String>,
    pub clients: Vec<ClientPlan>,
    pub faults: Vec<Fault>,
    /// When the proxy is told to end (SIGTERM).
    pub drain_at: Option<u64>,
}

/// Which values the proxy takes for large.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Values {
    Small,
    /// Most that are read: their clients change lanes.
    Large,
}

/// What there is little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    Ample,
    /// `upstream.bulk_bytes`: clients with large values wait for each other.
    Window,
    /// `limits.memory`: the largest clients are closed.
    Memory,
}

pub struct ClientPlan {
    pub batches: Vec<(u64, Vec<Op>)>,
    pub end: End,
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Waits for all replies.
    Patient,
    /// Sends no more, and wants all replies and then the end.
    HalfCloses,
    /// Is gone in the middle of things.
    HangsUp,
}

/// A command; keys are named by tag.
#[derive(Clone, Debug)]
pub enum Op {
    Set(usize),
    /// A GET with a number in it, by which its execution is known.
    Read(usize),
    Get(usize),
    Incr(usize),
    Push(usize),
    Mset(Vec<usize>),
    Mget(Vec<usize>),
    Multi(usize),
    /// RPUSH to what `Pop` takes from.
    Feed(usize),
    /// BLPOP, waiting so many milliseconds.
    Pop(usize, u64),
    /// BLPOP from two slots, which slotway goes through with LPOP.
    Sweep([usize; 2], u64),
    /// WATCH, MULTI, SET, EXEC, on a key that others change in the same way.
    Watched(usize),
    /// WATCH of the same key, and no EXEC.
    Unwatched(usize, Unwatch),
    Hello(Proto),
    Publish(Channel),
    Subscribe(Channel),
    Unsubscribe(Channel),
    Ping,
}

/// How a watch ends that no EXEC follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwatch {
    /// UNWATCH
    AtOnce,
    /// MULTI, SET, DISCARD
    Discards,
}

/// A channel; its name is its tag's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel {
    pub reach: Reach,
    pub tag: usize,
}

/// Which commands a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// PUBLISH
    Everywhere,
    /// SPUBLISH
    Shard,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub at: u64,
    pub kind: Kind,
    /// Which node, slot or connection: taken modulo how many there are.
    pub which: usize,
    /// How long, in milliseconds.
    pub lasts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    MoveSlot,
    Failover,
    Kill,
    Stop,
    CutConnection,
    CutNode,
    HalfOpen,
    Unreachable,
    Refuse,
    StaleView,
    /// No node learns anything but what it takes part in.
    StaleViews,
    SlowNode,
    /// What is on its way over connections that a node has takes long, and those to come are as always: for longer than a
    /// command may take, perhaps.
    Late,
}

/// Faults under which no client may see an error.
pub const GENTLE: [Kind; 4] = [
    Kind::MoveSlot,
    Kind::StaleView,
    Kind::StaleViews,
    Kind::SlowNode,
];

/// Faults that lose no connection, of the proxy to a node or of nodes to each other.
const HARMLESS: [Kind; 5] = [
    Kind::MoveSlot,
    Kind::Failover,
    Kind::StaleView,
    Kind::StaleViews,
    Kind::SlowNode,
];

/// The purpose for which chance decides what clients do that they did not at first, so that the seeds kept from then are
/// what they were: in this stream it leaves them alone.
const LATER: u64 = 33;

/// Percentage of plans in which watches end without EXEC, and of the watches in them.
const UNWATCHES: (u64, u64) = (50, 40);

/// The same for what came after that.
const LATEST: u64 = 475;

/// Percentage of plans in which there is something of that.
const LATEST_PERCENT: u64 = 60;

/// The same for what came after that: the percentage of plans in which a slot is passed on, and of those in which few
/// redirections are followed.
const CHAIN: u64 = 951;
const CHAINS: u64 = 20;
const FEW_HOPS: u64 = 20;

/// `limits.redirections`, as it is and where they are few.
pub const HOPS_USUAL: usize = 5;
pub const HOPS_FEW: usize = 1;

/// Percentage of plans with such faults only in which the proxy is told to end.
const DRAINS: u64 = 30;

/// Faults begin within so many milliseconds.
const FAULTS_WITHIN: u64 = 2_500;

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1);
        let tags: Vec<String> = (0..rng.within(2, 6)).map(|t| format!("{{t{t}}}")).collect();
        let gentle = rng.percent(25);
        let count = rng.within(1, 6);
        let faults = (0..count).map(|_| fault(&mut rng, gentle)).collect();
        let mut clients: Vec<ClientPlan> = (0..rng.within(1, 5))
            .map(|c| client(seed, c, tags.len()))
            .collect();
        let mut later = Rng::new(seed, LATER);
        if later.percent(UNWATCHES.0) {
            let ops = clients.iter_mut().flat_map(|c| &mut c.batches);
            ops.for_each(|(_, ops)| unwatch(&mut later, ops));
        }
        let mut plan = Self {
            seed,
            shards: rng.within(2, 4) as usize,
            replicas: usize::from(rng.percent(80)),
            workers: *rng.pick(&[1, 1, 2]),
            connections: *rng.pick(&[1, 1, 1, 2]),
            values: *Rng::new(seed, 2).pick(&[Values::Small, Values::Large]),
            room: Room::Ample,
            hops: HOPS_USUAL,
            latency: *rng.pick(&[0, 1, 3, 10]),
            pieces: *rng.pick(&[0, 20, 60]),
            narrow: *rng.pick(&[0, 0, 30]),
            drain_at: (gentle && rng.percent(DRAINS)).then(|| rng.within(0, FAULTS_WITHIN)),
            tags,
            clients,
            faults,
        };
        plan.add_latest();
        plan.add_chain();
        plan
    }

    /// A slot that is passed on from node to node, by some that are slow to say so; and few redirections to follow it.
    fn add_chain(&mut self) {
        let mut rng = Rng::new(self.seed, CHAIN);
        if rng.percent(FEW_HOPS) {
            self.hops = HOPS_FEW;
        }
        if !rng.percent(CHAINS) {
            return;
        }
        let slot = rng.below(self.tags.len());
        let mut at = rng.within(0, 300);
        for _ in 0..rng.within(3, 7) {
            let fault = chained(&mut rng, at, slot, self.tags.len());
            at = fault.at + fault.lasts + rng.within(0, 250);
            self.faults.push(fault);
        }
        if self.room != Room::Window {
            let slow = (0..rng.below(3)).map(|_| slow(&mut rng));
            self.faults.extend(slow);
        }
    }

    fn add_latest(&mut self) {
        let mut rng = Rng::new(self.seed, LATEST);
        if !rng.percent(LATEST_PERCENT) {
            return;
        }
        self.room = *rng.pick(&[Room::Ample, Room::Window, Room::Memory]);
        match self.room {
            // Whoever waits for too long then has been forgotten: the nodes are near.
            Room::Window if !self.is_slow() => {
                self.values = Values::Large;
                self.latency = self.latency.min(1);
            }
            Room::Window => self.room = Room::Ample,
            Room::Memory | Room::Ample => {}
        }
        let tags = self.tags.len();
        let ops = self.clients.iter_mut().flat_map(|c| &mut c.batches);
        ops.for_each(|(_, ops)| sweep(&mut rng, tags, ops));
        if !self.is_gentle() {
            let late = (0..rng.below(3)).map(|_| late(&mut rng));
            self.faults.extend(late);
        }
    }

    pub fn hot(&self) -> Vec<u16> {
        let slot = |tag: &String| Slot::of(tag.as_bytes()).number();
        self.tags.iter().map(slot).collect()
    }

    /// Whether only happens what clients must not notice.
    pub fn is_gentle(&self) -> bool {
        self.faults.iter().all(|f| GENTLE.contains(&f.kind))
    }

    /// Whether no connection is lost, so that nobody hears anything twice.
    pub fn is_harmless(&self) -> bool {
        self.faults.iter().all(|f| HARMLESS.contains(&f.kind))
    }

    /// Whether any node becomes slow.
    pub fn is_slow(&self) -> bool {
        self.faults.iter().any(|f| f.kind == Kind::SlowNode)
    }

    /// When the last fault is over.
    pub fn calm_at(&self) -> u64 {
        let ends = self.faults.iter().map(|f| f.at + f.lasts);
        ends.max().unwrap_or(0)
    }
}
