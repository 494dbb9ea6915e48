//! What a seed stands for: the cluster, the network, what clients send, and what goes wrong when. Nothing here depends on
//! what happens in the run, so a fault can be left out to see whether it mattered.

use crate::rng::Rng;
use crate::wire::Proto;
use slotway::cluster::Slot;

pub struct Plan {
    pub seed: u64,
    pub shards: usize,
    pub replicas: usize,
    pub workers: usize,
    pub connections: usize,
    pub values: Values,
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

pub struct ClientPlan {
    pub batches: Vec<(u64, Vec<Op>)>,
    pub end: End,
}

/// What a client is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientKind {
    Commands,
    /// It subscribes, and hears what others publish.
    Listens,
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

const REACHES: [Reach; 2] = [Reach::Everywhere, Reach::Shard];

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
}

const KINDS: [Kind; 12] = [
    Kind::MoveSlot,
    Kind::Failover,
    Kind::Kill,
    Kind::Stop,
    Kind::CutConnection,
    Kind::CutNode,
    Kind::HalfOpen,
    Kind::Unreachable,
    Kind::Refuse,
    Kind::StaleView,
    Kind::StaleViews,
    Kind::SlowNode,
];

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
        Self {
            seed,
            shards: rng.within(2, 4) as usize,
            replicas: usize::from(rng.percent(80)),
            workers: *rng.pick(&[1, 1, 2]),
            connections: *rng.pick(&[1, 1, 1, 2]),
            values: *Rng::new(seed, 2).pick(&[Values::Small, Values::Large]),
            latency: *rng.pick(&[0, 1, 3, 10]),
            pieces: *rng.pick(&[0, 20, 60]),
            narrow: *rng.pick(&[0, 0, 30]),
            drain_at: (gentle && rng.percent(DRAINS)).then(|| rng.within(0, FAULTS_WITHIN)),
            tags,
            clients,
            faults,
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

fn fault(rng: &mut Rng, gentle: bool) -> Fault {
    let kind = match gentle {
        true => *rng.pick(&GENTLE),
        false => *rng.pick(&KINDS),
    };
    let lasts = match rng.below(3) {
        0 => rng.within(1, 50),
        1 => rng.within(50, 500),
        _ => rng.within(500, 3_000),
    };
    Fault {
        at: rng.within(0, FAULTS_WITHIN),
        kind,
        which: rng.next() as usize >> 1,
        lasts,
    }
}

fn client(seed: u64, number: u64, tags: usize) -> ClientPlan {
    let rng = &mut Rng::new(seed, 100 + number);
    let longest = *rng.pick(&[0, 10, 100, 400]);
    let deepest = *rng.pick(&[1, 4, 16]);
    // Commands that wait, watch and publish: many of them, or none.
    let special = *rng.pick(&[0, 0, 30]);
    let kind = match rng.percent(20) {
        true => ClientKind::Listens,
        false => ClientKind::Commands,
    };
    let batches = (0..rng.within(3, 12)).map(|at| {
        let ops = (0..rng.within(1, deepest)).map(|op_at| match kind {
            ClientKind::Listens => listening(rng, tags, at + op_at),
            ClientKind::Commands if rng.percent(special) => special_op(rng, tags),
            ClientKind::Commands => op(rng, tags),
        });
        let ops = ops.collect();
        (rng.within(0, longest), ops)
    });
    ClientPlan {
        batches: batches.collect(),
        end: *rng.pick(&[End::Patient, End::Patient, End::HalfCloses, End::HangsUp]),
    }
}

/// Some of the watches end without EXEC.
fn unwatch(rng: &mut Rng, ops: &mut [Op]) {
    for op in ops {
        if let Op::Watched(tag) = *op
            && rng.percent(UNWATCHES.1)
        {
            *op = Op::Unwatched(tag, *rng.pick(&[Unwatch::AtOnce, Unwatch::Discards]));
        }
    }
}

fn channel(rng: &mut Rng, tags: usize) -> Channel {
    Channel {
        reach: *rng.pick(&REACHES),
        tag: rng.below(tags),
    }
}

/// What a listener sends; it says which version it speaks before anything else.
fn listening(rng: &mut Rng, tags: usize, sent: u64) -> Op {
    match rng.below(10) {
        0..5 if sent == 0 => Op::Hello(Proto::Three),
        0..7 => Op::Subscribe(channel(rng, tags)),
        7 => Op::Unsubscribe(channel(rng, tags)),
        _ => Op::Ping,
    }
}

fn special_op(rng: &mut Rng, tags: usize) -> Op {
    let tag = rng.below(tags);
    match rng.below(100) {
        0..20 => Op::Feed(tag),
        20..40 => Op::Pop(tag, rng.within(1, 400)),
        40..65 => Op::Watched(tag),
        65..90 => Op::Publish(channel(rng, tags)),
        _ => Op::Hello(*rng.pick(&[Proto::Two, Proto::Three])),
    }
}

fn op(rng: &mut Rng, tags: usize) -> Op {
    let tag = rng.below(tags);
    let several = |rng: &mut Rng| (0..rng.within(1, 4)).map(|_| rng.below(tags)).collect();
    match rng.below(100) {
        0..25 => Op::Set(tag),
        25..45 => Op::Read(tag),
        45..53 => Op::Get(tag),
        53..68 => Op::Incr(tag),
        68..78 => Op::Push(tag),
        78..84 => Op::Mset(several(rng)),
        84..91 => Op::Mget(several(rng)),
        91..98 => Op::Multi(tag),
        _ => Op::Ping,
    }
}
