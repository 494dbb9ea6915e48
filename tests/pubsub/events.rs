//! Events that each primary makes of its own keys come once each, from all of them; ordinary messages come once.

use crate::handover::ARGS;
use crate::support::{Proxy, RawClient, SHOWN_WITHIN, cluster_options, encode, on_each, show};
use crate::wait_subscribers;
use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions};

fn boot(kind: &crate::support::ServerKind) -> Cluster {
    let mut options: ClusterOptions = cluster_options(kind);
    let events = ("notify-keyspace-events".to_owned(), "KEA".to_owned());
    options.settings.push(events);
    Cluster::boot(&options).unwrap_or_else(|error| panic!("{}: {error}", kind.name))
}

/// A key for each booted primary.
fn keys(cluster: &Cluster) -> Vec<String> {
    (0..cluster.primaries())
        .map(|primary| {
            let (first, last) = cluster.booted_slots(primary);
            (0..)
                .map(|n| format!("key{n}"))
                .find(|key| (first..=last).contains(&Slot::of(key.as_bytes()).number()))
                .expect("endless")
        })
        .collect()
}

#[test]
fn events_come_once_from_every_primary_and_messages_once() {
    on_each(|kind| {
        let cluster = boot(kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut by_pattern = proxy.client();
        let mut by_channel = proxy.client();
        let mut writer = proxy.client();
        by_pattern.expect(
            "PSUBSCRIBE *",
            b"*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n",
        );
        by_channel.line("SUBSCRIBE __keyevent@0__:set");
        wait_subscribers(&proxy, &cluster, 6);
        for key in keys(&cluster) {
            writer.expect(&format!("SET {key} 1"), b"+OK\r\n");
            let event = format!("__keyspace@0__:{key}");
            let expected = encode(&["pmessage", "*", &event, "set"]);
            let got = by_pattern.reply();
            assert!(got == expected, "{}: {}", kind.name, show(&got));
            let expected = encode(&["pmessage", "*", "__keyevent@0__:set", &key]);
            let got = by_pattern.reply();
            assert!(got == expected, "{}: {}", kind.name, show(&got));
            let got = by_channel.reply();
            assert_eq!(got, crate::message("__keyevent@0__:set", &key));
            // Had anything come twice, it would be here instead.
            writer.expect("PUBLISH news one", b":1\r\n");
            let got = by_pattern.reply();
            let expected = encode(&["pmessage", "*", "news", "one"]);
            assert!(got == expected, "{}: {}", kind.name, show(&got));
        }
        writer.expect("PUBSUB NUMPAT", b":1\r\n");
        writer.expect(
            "PUBSUB NUMSUB __keyevent@0__:set",
            b"*2\r\n$18\r\n__keyevent@0__:set\r\n:1\r\n",
        );
        // Replicas had their time to send events of their own: the last message is the last.
        for _ in 0..50 {
            writer.line("PUBLISH news two");
            let got = by_pattern.reply();
            assert!(got.ends_with(b"news\r\n$3\r\ntwo\r\n"), "{}", show(&got));
        }
    });
}

#[test]
fn events_follow_a_primary_that_fails() {
    on_each(|kind| {
        let mut cluster = boot(kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut subscriber = proxy.client();
        subscriber.line("PSUBSCRIBE __keyevent@0__:set");
        let keys = keys(&cluster);
        wait_at(&proxy, &cluster, [0, 1, 2]);
        let replica = cluster.replica_of(0).unwrap();
        cluster.kill(0);
        cluster.wait_promoted(replica, SHOWN_WITHIN).unwrap();
        wait_at(&proxy, &cluster, [1, 2, replica]);
        each_event_once(&proxy, &mut subscriber, &keys);
        // The old primary comes back as a replica: its events are those of the new one.
        cluster.restart(0).unwrap();
        cluster.wait_healthy(SHOWN_WITHIN).unwrap();
        wait_at(&proxy, &cluster, [1, 2, replica]);
        each_event_once(&proxy, &mut subscriber, &keys);
        let again = proxy
            .metrics()
            .sum("slotway_retries_total", &[("reason", "resubscribed")]);
        assert!(again >= 1.0, "not counted");
    });
}

/// The old primary lives on, and makes events of what it replicates.
#[test]
fn events_follow_a_primary_that_hands_over() {
    on_each(|kind| {
        let cluster = boot(kind);
        let proxy = Proxy::start(&cluster, &ARGS);
        let mut subscriber = proxy.client();
        subscriber.line("PSUBSCRIBE __keyevent@0__:set");
        let keys = keys(&cluster);
        wait_at(&proxy, &cluster, [0, 1, 2]);
        let replica = cluster.replica_of(0).unwrap();
        cluster.failover(replica).unwrap();
        wait_at(&proxy, &cluster, [1, 2, replica]);
        each_event_once(&proxy, &mut subscriber, &keys);
    });
}

/// Waits until the nodes that live have one pattern each if they are among these, and else none.
#[track_caller]
fn wait_at(proxy: &Proxy, cluster: &Cluster, at: [usize; 3]) {
    proxy.wait_for("the pattern is at every primary", SHOWN_WITHIN, || {
        let running = (0..cluster.len()).filter(|&node| cluster.node(node).is_running());
        let patterns = |node: usize| {
            let reply = cluster.command(node, &["PUBSUB", "NUMPAT"]);
            reply.expect("the node runs").integer() == Some(1)
        };
        let there: Vec<usize> = running.filter(|&node| patterns(node)).collect();
        match there == at {
            true => Ok(()),
            false => Err(format!("{there:?}, not {at:?}")),
        }
    });
}

/// Writes in turn to all primaries; had any event come twice or not at all, the next one would not be in its place.
#[track_caller]
fn each_event_once(proxy: &Proxy, subscriber: &mut RawClient, keys: &[String]) {
    let mut writer = proxy.client();
    for n in 0..30 {
        for key in keys {
            let key = format!("{{{key}}}:{n}");
            writer.expect(&format!("SET {key} 1"), b"+OK\r\n");
            let pattern = "__keyevent@0__:set";
            let expected = encode(&["pmessage", pattern, pattern, &key]);
            assert_eq!(show(&subscriber.reply()), show(&expected));
        }
    }
    subscriber.expect("PING end", &encode(&["pong", "end"]));
}
