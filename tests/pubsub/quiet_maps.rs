//! A map in which nothing moved that a client listens to costs it nothing: only what listens to a slot that moved is
//! looked at. Counted in what slotway logs.

use crate::support::{Proxy, SHOWN_WITHIN, boot_cluster, encode, one_or_all, show, valkey};
use crate::{HOME_SLOT, publish_until_heard};
use slotway::cluster::Slot;

/// Ordinary channels of the client, and sharded ones.
const CHANNELS: usize = 1000;
const SHARDS: usize = 100;

/// Slots that move one by one.
const MOVES: usize = 10;

/// What each look logs, and the number in it.
const LOOKED: &str = "a new map concerns subscriptions";

/// How many subscriptions each new map had looked at.
fn looks(proxy: &Proxy) -> Vec<usize> {
    let lines = proxy.log();
    let lines = lines.iter().filter(|line| line.contains(LOOKED));
    let counts = lines.map(|line| {
        let (_, rest) = line.split_once("looked_at=").expect("a count");
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|d| d.parse().ok()).expect("a number")
    });
    counts.collect()
}

#[test]
fn a_map_costs_what_listens_to_its_moved_slots() {
    for kind in one_or_all(valkey()) {
        let cluster = boot_cluster(&kind);
        let args = ["--workers", "1", "--set", "log.level=debug"];
        let proxy = Proxy::start(&cluster, &args);
        let mut subscriber = proxy.client();
        let name = |n: usize| format!("channel:{n}");
        for (word, count) in [("SUBSCRIBE", CHANNELS), ("SSUBSCRIBE", SHARDS)] {
            let names: Vec<String> = (0..count).map(name).collect();
            let words = std::iter::once(word).chain(names.iter().map(String::as_str));
            subscriber.send(&encode(&words.collect::<Vec<_>>()));
            subscriber.replies(count);
        }
        let before = looks(&proxy).len();
        let is_listened_to =
            |slot: u16| (0..SHARDS).any(|n| Slot::of(name(n).as_bytes()).number() == slot);
        let keys = (0..).map(|n| format!("key:{n}"));
        let quiet = keys.filter(|key| {
            let slot = Slot::of(key.as_bytes()).number();
            slot != HOME_SLOT && !is_listened_to(slot)
        });
        let mut client = proxy.client();
        let mut move_slot = |key: &str| {
            let slot = Slot::of(key.as_bytes()).number();
            let from = cluster.owner_of(slot).unwrap();
            cluster.migrate_slot(slot, from, (from + 1) % 3).unwrap();
            // Its MOVED makes a map, if none of a refresh came before.
            client.expect(&format!("GET {key}"), b"$-1\r\n");
        };
        quiet.take(MOVES).for_each(|key| move_slot(&key));
        // Every map before this one is taken over when it is.
        move_slot(&name(0));
        publish_until_heard(&proxy, "SPUBLISH channel:0 x", &mut subscriber, "smessage");
        proxy.wait_for("the look is logged", SHOWN_WITHIN, || {
            match looks(&proxy).len() {
                n if n > before => Ok(()),
                n => Err(format!("{n} looks")),
            }
        });
        let looks = looks(&proxy).split_off(before);
        assert!(looks.iter().all(|&n| n == 1), "{}: {looks:?}", kind.name);
        subscriber.send(&encode(&["PING", "end"]));
        let end = subscriber.reply();
        assert_eq!(show(&end), show(&encode(&["pong", "end"])));
    }
}
