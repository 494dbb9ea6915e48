//! What chance makes of the parts of a plan: what goes wrong, and what clients send.

use super::{
    Channel, ClientPlan, End, FAULTS_WITHIN, Fault, GENTLE, Kind, Op, Reach, UNWATCHES, Unwatch,
};
use crate::rng::Rng;
use crate::wire::Proto;

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

const REACHES: [Reach; 2] = [Reach::Everywhere, Reach::Shard];

/// Percentage of what waits in them that does so in two slots.
const SWEEPS: u64 = 40;

/// What a client is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientKind {
    Commands,
    /// It subscribes, and hears what others publish.
    Listens,
}

pub(super) fn fault(rng: &mut Rng, gentle: bool) -> Fault {
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

/// Some of what waits does so in two slots.
pub(super) fn sweep(rng: &mut Rng, tags: usize, ops: &mut [Op]) {
    for op in ops {
        if let Op::Pop(tag, wait) = *op
            && rng.percent(SWEEPS)
        {
            *op = Op::Sweep([tag, (tag + 1) % tags], wait);
        }
    }
}

/// A slot moves quickly.
pub(super) fn chained(rng: &mut Rng, at: u64, tag: usize, tags: usize) -> Fault {
    let which = rng.next() as usize >> 1;
    Fault {
        at,
        kind: Kind::MoveSlot,
        which: which / tags * tags + tag,
        lasts: rng.within(0, 60),
    }
}

pub(super) fn slow(rng: &mut Rng) -> Fault {
    Fault {
        at: rng.within(0, 500),
        kind: Kind::SlowNode,
        which: rng.next() as usize >> 1,
        lasts: rng.within(500, 3_000),
    }
}

pub(super) fn late(rng: &mut Rng) -> Fault {
    let lasts = match rng.below(3) {
        0 => rng.within(100, 2_000),
        1 => rng.within(2_000, 5_000),
        _ => rng.within(5_000, 9_000),
    };
    Fault {
        at: rng.within(0, FAULTS_WITHIN),
        kind: Kind::Late,
        which: rng.next() as usize >> 1,
        lasts,
    }
}

pub(super) fn client(seed: u64, number: u64, tags: usize) -> ClientPlan {
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
pub(super) fn unwatch(rng: &mut Rng, ops: &mut [Op]) {
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
