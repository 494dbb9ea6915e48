//! A life: a client arrives, does a few things of any kind, gets itself into some state, and leaves in some way.

use super::visitor::{Town, Visitor};
use super::{blocking, plain, pubsub, transactions};
use crate::support::encode_line;
use rand::Rng;
use rand::seq::IndexedRandom;
use std::sync::Arc;

/// What clients do, each kind as often as it is named.
const ACTS: &[fn(&mut Visitor)] = &[
    plain::pipeline,
    plain::several,
    plain::script,
    plain::scan,
    plain::versions,
    transactions::block,
    transactions::refused,
    transactions::watch,
    blocking::own_queue,
    blocking::own_stream,
    blocking::in_vain,
    blocking::common_queue,
    blocking::common_queue,
    pubsub::listen,
    pubsub::listen,
    pubsub::chatter,
];

/// Most acts of one life.
const ACTS_MAX: usize = 3;

/// One life in so many has acts: lives that end at once are many, so that what each leaves behind adds up.
const BRIEF: u32 = 3;

/// In the middle of what a client leaves.
#[derive(Clone, Copy)]
enum Scene {
    Idle,
    /// Half a command has been sent.
    MidCommand,
    /// Replies are on their way that nobody will read.
    Unread,
    /// Watching a key.
    Watching,
    /// Between MULTI and EXEC.
    Multi,
    /// EXEC is on its way.
    Exec,
    /// In a blocking command on one node.
    Parked,
    /// In one over several slots.
    Sweeping,
    /// In one on queues that others push to.
    Queueing,
    /// Waiting for an entry of a stream.
    Stream,
    /// Waiting for more replicas than there are.
    Wait,
    Monitor,
    /// Subscribed in all ways.
    Subscribed,
    /// The node has not confirmed yet.
    Subscribing,
}

const SCENES: &[Scene] = &[
    Scene::Idle,
    Scene::MidCommand,
    Scene::Unread,
    Scene::Watching,
    Scene::Multi,
    Scene::Exec,
    Scene::Parked,
    Scene::Sweeping,
    Scene::Queueing,
    Scene::Stream,
    Scene::Wait,
    Scene::Monitor,
    Scene::Subscribed,
    Scene::Subscribing,
];

/// How a client leaves.
#[derive(Clone, Copy)]
enum Way {
    Close,
    /// With a reset.
    Reset,
    /// It sends no more, and reads to the end.
    HalfClose,
    /// By another one's CLIENT KILL.
    Killed,
}

const WAYS: &[Way] = &[Way::Close, Way::Reset, Way::HalfClose, Way::Killed];

/// All of it.
pub fn live(town: &Arc<Town>, life: u64) {
    let mut visitor = Visitor::arrive(town, life);
    let acts = match visitor.rng.random_ratio(1, BRIEF) {
        true => visitor.rng.random_range(1..=ACTS_MAX),
        false => 0,
    };
    for _ in 0..acts {
        let act = ACTS.choose(&mut visitor.rng).unwrap();
        act(&mut visitor);
    }
    let scene = *SCENES.choose(&mut visitor.rng).unwrap();
    let way = *WAYS.choose(&mut visitor.rng).unwrap();
    // Asked before it is too late for questions.
    let id = match way {
        Way::Killed => Some(visitor.client.line("CLIENT ID")),
        Way::Close | Way::Reset | Way::HalfClose => None,
    };
    play(&mut visitor, scene);
    match way {
        Way::Close => {}
        Way::Reset => visitor.client.reset(),
        Way::HalfClose => {
            visitor.client.half_close();
            visitor.client.rest();
        }
        Way::Killed => {
            let id = String::from_utf8(id.unwrap()).unwrap();
            let kill = format!("CLIENT KILL ID {}", id[1..].trim_end());
            visitor.helper().expect(&kill, b":1\r\n");
            visitor.client.rest();
        }
    }
}

fn play(visitor: &mut Visitor, scene: Scene) {
    let key = visitor.key();
    match scene {
        Scene::Idle => {}
        Scene::MidCommand => {
            let bytes = encode_line(&format!("SET {key} {}", "v".repeat(2000)));
            let cut = visitor.rng.random_range(1..bytes.len());
            visitor.client.send(&bytes[..cut]);
        }
        Scene::Unread => {
            let some: Vec<u8> = (0..50)
                .flat_map(|n| encode_line(&format!("SET {key}:{n} {}", "v".repeat(500))))
                .chain((0..50).flat_map(|n| encode_line(&format!("GET {key}:{n}"))))
                .collect();
            visitor.client.send(&some);
        }
        Scene::Watching => watch(visitor, &key),
        Scene::Multi | Scene::Exec => {
            if visitor.rng.random() {
                watch(visitor, &key);
            }
            visitor.expect("MULTI", b"+OK\r\n");
            visitor.expect(&format!("SET {key} {}", "v".repeat(500)), b"+QUEUED\r\n");
            if matches!(scene, Scene::Exec) {
                visitor.send("EXEC");
            }
        }
        Scene::Parked => visitor.send(&format!("BLPOP {{{key}}}a {{{key}}}b 0")),
        Scene::Sweeping => visitor.send(&format!("BRPOP {key}a {key}b {key}c 0")),
        Scene::Stream => visitor.send(&format!("XREAD BLOCK 0 STREAMS {key} $")),
        Scene::Wait => {
            visitor.expect(&format!("SET {key} 1"), b"+OK\r\n");
            visitor.send("WAIT 9 0");
        }
        Scene::Monitor => visitor.send("MONITOR"),
        Scene::Queueing => {
            let town = visitor.town.clone();
            let deserted = town.queues.0.iter().filter(|family| family.deserted);
            let deserted: Vec<_> = deserted.collect();
            let family = deserted.choose(&mut visitor.rng).unwrap();
            family.leaves();
            visitor.send(&format!("BLPOP {} 0", family.names.join(" ")));
        }
        Scene::Subscribed => pubsub::subscribe_all(visitor),
        Scene::Subscribing => {
            let lines = [
                format!("SUBSCRIBE {key} {}", pubsub::COMMON),
                format!("PSUBSCRIBE {key}*"),
                format!("SSUBSCRIBE {key}"),
            ];
            let all: Vec<u8> = lines.iter().flat_map(|line| encode_line(line)).collect();
            visitor.client.send(&all);
        }
    }
}

/// The key is there until the FLUSHALL after the round, which every connection shows that still watches it.
fn watch(visitor: &mut Visitor, key: &str) {
    visitor.expect(&format!("SET {key} watched"), b"+OK\r\n");
    visitor.expect(&format!("WATCH {key}"), b"+OK\r\n");
}
