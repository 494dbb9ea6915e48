//! Subscriptions: what a subscriber is told, byte for byte as by one plain server; keyspace events of all primaries;
//! sharded channels; what happens when nodes fail, slots move, clients hang up, do not read, or want too much.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "pubsub/bounds.rs"]
mod bounds;
#[path = "pubsub/bus.rs"]
mod bus;
#[path = "pubsub/events.rs"]
mod events;
#[path = "pubsub/forgotten.rs"]
mod forgotten;
#[path = "pubsub/handover.rs"]
mod handover;
#[path = "pubsub/illusion.rs"]
mod illusion;
#[path = "pubsub/moves.rs"]
mod moves;
#[path = "pubsub/quiet_maps.rs"]
mod quiet_maps;
#[path = "pubsub/refused.rs"]
mod refused;
mod support;
#[path = "pubsub/told_no.rs"]
mod told_no;

use slotway::demo::Cluster;
use std::time::Duration;
use support::{Proxy, RawClient, SHOWN_WITHIN, show};

/// Whoever owns this slot is the home of ordinary channels.
const HOME_SLOT: u16 = 8191;

/// A message as a RESP2 client gets it.
fn message(channel: &str, text: &str) -> Vec<u8> {
    support::encode(&["message", channel, text])
}

/// Of ordinary channels: their home, and its replica.
fn home_and_replica(cluster: &Cluster) -> [usize; 2] {
    let home = cluster.owner_of(HOME_SLOT).unwrap();
    [home, cluster.replica_of(home).unwrap()]
}

/// A client that is subscribed to the channel `news`.
fn listener(proxy: &Proxy) -> RawClient {
    let mut subscriber = proxy.client();
    subscriber.line("SUBSCRIBE news");
    subscriber
}

/// The connections of subscribers that the nodes see.
fn subscribers(cluster: &Cluster) -> usize {
    let nodes = (0..cluster.len()).filter(|&node| cluster.node(node).is_running());
    nodes
        .map(|node| {
            let list = cluster.command(node, &["CLIENT", "LIST", "TYPE", "PUBSUB"]);
            list.expect("a node answers").text().lines().count()
        })
        .sum()
}

/// Waits until the nodes see so many connections of subscribers.
#[track_caller]
fn wait_subscribers(proxy: &Proxy, cluster: &Cluster, expected: usize) {
    proxy.wait_for(
        "connections of subscribers",
        SHOWN_WITHIN,
        || match subscribers(cluster) {
            n if n == expected => Ok(()),
            n => Err(format!("{n}, not {expected}")),
        },
    );
}

/// Publishes until a subscriber gets it: the subscription is there again.
#[track_caller]
fn publish_until_heard(proxy: &Proxy, line: &str, subscriber: &mut RawClient, word: &str) {
    let mut publisher = proxy.client();
    subscriber.wait_at_most(Duration::from_millis(200));
    proxy.wait_for("a message arrives", SHOWN_WITHIN, || {
        publisher.line(line);
        let got = subscriber.try_replies(1);
        let got = got.first().ok_or("none")?;
        let there = got.windows(word.len()).any(|w| w == word.as_bytes());
        if there { Ok(()) } else { Err(show(got)) }
    });
    // What was published more than once may still be on its way.
    while !subscriber.try_replies(1).is_empty() {}
    subscriber.wait_at_most(Duration::from_secs(30));
}
