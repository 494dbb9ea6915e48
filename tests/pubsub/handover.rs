//! Ordinary channels change their home while messages keep coming: each is heard once, the old home is left soon, and if
//! it is cut off meanwhile nothing is missed but what is published in a moment.

use crate::forgotten::forget;
use crate::moves::{hears_all, listeners, wait_listeners};
use crate::support::{
    Proxy, RawClient, SHOWN_WITHIN, ServerKind, boot_cluster, cluster_options, encode, on_each,
    one_or_all, redis, show, valkey,
};
use crate::{HOME_SLOT, home_and_replica, listener, message};
use slotway::demo::{Cluster, ClusterOptions};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// For so long after a handover has begun nobody knows whether what only the new home says was told before.
const LAG: Duration = Duration::from_secs(1);

/// Nobody asks for a key whose slot has moved, from which slotway would learn of it.
pub(crate) const ARGS: [&str; 4] = ["--workers", "1", "--set", "cluster.refresh_interval=200ms"];

/// A look for messages takes so long.
const LOOK: Duration = Duration::from_millis(10);

/// What one publishes until it is told to stop. Returns how much it was.
fn publish(addr: SocketAddr, name: &str, stop: &AtomicBool) -> usize {
    let mut client = RawClient::connect(addr);
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let reply = client.line(&format!("PUBLISH news {name}:{n}"));
        assert!(reply.starts_with(b":"), "{name}: {}", show(&reply));
        n += 1;
        // Far more often than nodes pass messages on.
        std::thread::sleep(Duration::from_millis(2));
    }
    n
}

/// Counts what it hears, up to the last message of each node.
fn hear(mut subscriber: RawClient, nodes: usize) -> HashMap<Vec<u8>, usize> {
    let mut heard = HashMap::new();
    let lasts: Vec<_> = (0..nodes).map(last).map(|l| message("news", &l)).collect();
    while !lasts.iter().all(|last| heard.contains_key(last)) {
        *heard.entry(subscriber.reply()).or_default() += 1;
    }
    heard
}

fn last(node: usize) -> String {
    format!("last of {node}")
}

/// The home hands over to its replica, while messages are published through slotway and at every primary.
#[test]
fn a_hand_over_among_messages_loses_and_doubles_none() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &ARGS);
        let subscriber = listener(&proxy);
        let [home, replica] = home_and_replica(&cluster);
        let addrs: Vec<SocketAddr> = [home, replica, (home + 1) % 3]
            .map(|node| cluster.addr(node))
            .into_iter()
            .chain([proxy.addr()])
            .collect();
        let stop = AtomicBool::new(false);
        let (published, heard) = std::thread::scope(|scope| {
            let ear = scope.spawn(|| hear(subscriber, cluster.len()));
            let stop = &stop;
            let publishers: Vec<_> = addrs
                .iter()
                .enumerate()
                .map(|(i, addr)| scope.spawn(move || publish(*addr, &i.to_string(), stop)))
                .collect();
            cluster.failover(replica).unwrap();
            wait_listeners(&proxy, &cluster, &[replica]);
            stop.store(true, Ordering::Relaxed);
            let published: Vec<usize> = publishers.into_iter().map(|p| p.join().unwrap()).collect();
            for node in 0..cluster.len() {
                let words = ["PUBLISH", "news", &last(node)];
                cluster.command(node, &words).unwrap();
            }
            (published, ear.join().unwrap())
        });
        let twice = heard.iter().filter(|(_, count)| **count > 1);
        let twice: Vec<String> = twice.map(|(text, _)| show(text)).collect();
        assert!(twice.is_empty(), "{}: twice: {twice:?}", kind.name);
        let total: usize = published.iter().sum();
        let missed: Vec<String> = (0..published.len())
            .flat_map(|i| (0..published[i]).map(move |n| format!("{i}:{n}")))
            .filter(|text| !heard.contains_key(&message("news", text)))
            .collect();
        assert!(missed.is_empty(), "{}: {total}: {missed:?}", kind.name);
    });
}

/// How the old home is cut off.
#[derive(Clone, Copy, Debug)]
enum CutOff {
    Killed,
    Stopped,
    /// It serves, and the others do not know it any more: they pass nothing on to it.
    Forgotten,
}

/// The old home gives its slot away, lives, and is cut off before it is left: nobody hears it any more.
#[test]
fn a_home_that_is_cut_off_in_a_hand_over_is_not_waited_for() {
    std::thread::scope(|scope| {
        for (how, kind) in [
            (CutOff::Killed, redis()),
            (CutOff::Stopped, valkey()),
            (CutOff::Forgotten, redis()),
        ] {
            scope.spawn(move || {
                one_or_all(kind).iter().for_each(|kind| cut_off(kind, how));
            });
        }
    });
}

fn cut_off(kind: &ServerKind, how: CutOff) {
    let options = ClusterOptions {
        replicas: 0,
        ..cluster_options(kind)
    };
    let mut cluster = Cluster::boot(&options).unwrap();
    let proxy = Proxy::start(&cluster, &ARGS);
    let mut subscriber = listener(&proxy);
    let home = cluster.owner_of(HOME_SLOT).unwrap();
    let next = (home + 1) % 3;
    cluster.migrate_slot(HOME_SLOT, home, next).unwrap();
    wait_listener(&proxy, &cluster, next);
    match how {
        CutOff::Killed => cluster.kill(home),
        CutOff::Stopped => cluster.pause(home).unwrap(),
        CutOff::Forgotten => forget(&cluster, home),
    }
    misses_only_a_moment(&cluster, next, &mut subscriber);
}

/// Waits until a subscription is at that node, among others or not.
#[track_caller]
pub(crate) fn wait_listener(proxy: &Proxy, cluster: &Cluster, node: usize) {
    proxy.wait_for("it is subscribed to", SHOWN_WITHIN, || {
        match listeners(cluster, node) {
            1 => Ok(()),
            n => Err(format!("{n} listeners")),
        }
    });
}

/// The old home has just been cut off: of what is published at the next one nothing is missed but at first, and from then
/// on each message comes once, in order.
#[track_caller]
pub(crate) fn misses_only_a_moment(cluster: &Cluster, next: usize, subscriber: &mut RawClient) {
    let mut publisher = RawClient::connect(cluster.addr(next));
    let begun = Instant::now();
    let (mut published, mut heard) = (Vec::new(), Vec::new());
    subscriber.wait_at_most(LOOK);
    while heard.len() < 20 && begun.elapsed() < SHOWN_WITHIN {
        let text = published.len().to_string();
        published.push((begun.elapsed(), message("news", &text)));
        publisher.line(&format!("PUBLISH news {text}"));
        heard.extend(subscriber.try_replies(1));
    }
    let missed = published.iter().take_while(|p| heard.first() != Some(&p.1));
    let missed = missed.count();
    let certain = missed.checked_sub(1).is_none_or(|i| published[i].0 < LAG);
    assert!(certain, "missed {missed}");
    let all = published[missed..].iter().map(|(_, text)| text);
    let in_order = all.zip(&heard).all(|(published, heard)| published == heard);
    assert!(in_order, "{heard:?}");
}

/// So many that looking at each for the confirmation of each would take minutes.
const CHANNELS: usize = 30_000;

#[test]
fn a_hand_over_of_many_channels_is_soon_over() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &ARGS);
        let mut subscriber = listener(&proxy);
        let names: Vec<String> = (0..CHANNELS).map(|n| format!("channel:{n}")).collect();
        for some in names.chunks(1000) {
            let words = std::iter::once("SUBSCRIBE").chain(some.iter().map(String::as_str));
            subscriber.send(&encode(&words.collect::<Vec<_>>()));
            subscriber.replies(some.len());
        }
        let [_, replica] = home_and_replica(&cluster);
        cluster.failover(replica).unwrap();
        wait_listeners(&proxy, &cluster, &[replica]);
        hears_all(&proxy, &mut subscriber);
    });
}
