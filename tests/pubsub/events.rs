//! Events that each primary makes of its own keys come once each, from all of them; ordinary messages come once.

use crate::support::{Proxy, cluster_options, servers, show};
use crate::{NOTICED_WITHIN, publish_until_heard, wait_subscribers};
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
    for kind in servers() {
        let cluster = boot(&kind);
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
            let expected = crate::support::encode(&["pmessage", "*", &event, "set"]);
            let got = by_pattern.reply();
            assert!(got == expected, "{}: {}", kind.name, show(&got));
            let expected = crate::support::encode(&["pmessage", "*", "__keyevent@0__:set", &key]);
            let got = by_pattern.reply();
            assert!(got == expected, "{}: {}", kind.name, show(&got));
            let got = by_channel.reply();
            assert_eq!(got, crate::message("__keyevent@0__:set", &key));
            // Had anything come twice, it would be here instead.
            writer.expect("PUBLISH news one", b":1\r\n");
            let got = by_pattern.reply();
            let expected = crate::support::encode(&["pmessage", "*", "news", "one"]);
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
    }
}

#[test]
fn events_follow_a_primary_that_fails() {
    for kind in servers() {
        let mut cluster = boot(&kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut subscriber = proxy.client();
        subscriber.line("PSUBSCRIBE __keyevent@0__:set");
        let keys = keys(&cluster);
        let replica = cluster.replica_of(0).unwrap();
        cluster.kill(0);
        cluster.wait_promoted(replica, NOTICED_WITHIN).unwrap();
        for key in &keys {
            publish_until_heard(&proxy, &format!("SET {key} v{key}"), &mut subscriber, key);
        }
        // The old primary comes back as a replica: its events are those of the new one.
        cluster.restart(0).unwrap();
        cluster.wait_healthy(NOTICED_WITHIN).unwrap();
        let mut writer = proxy.client();
        // One by one: events of two nodes come over two connections, in either order. Names that were not used yet:
        // events of before may still be on their way.
        for key in &keys[..2] {
            let new = format!("{{{key}}}:again");
            writer.expect(&format!("SET {new} 2"), b"+OK\r\n");
            let of = |got: &[u8], name: &str| got.ends_with(format!("{name}\r\n").as_bytes());
            loop {
                let got = subscriber.reply();
                if of(&got, &new) {
                    break;
                }
                assert!(keys.iter().any(|key| of(&got, key)), "{}", show(&got));
            }
        }
        let again = proxy
            .metrics()
            .sum("slotway_retries_total", &[("reason", "resubscribed")]);
        assert!(again >= 1.0, "not counted");
    }
}
