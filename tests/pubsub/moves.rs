//! Subscriptions follow: the home node fails, a slot moves, a primary hands over. The client notices nothing but what
//! was published meanwhile.

use crate::support::{Proxy, boot_cluster, servers, show};
use crate::{NOTICED_WITHIN, message, publish_until_heard, wait_subscribers};
use slotway::cluster::Slot;

#[test]
fn a_subscription_survives_its_home_node() {
    for kind in servers() {
        let mut cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut subscriber = proxy.client();
        subscriber.expect(
            "SUBSCRIBE news",
            b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
        );
        let home = (0..3)
            .find(|&node| {
                let list = cluster.command(node, &["CLIENT", "LIST", "TYPE", "PUBSUB"]);
                !list.unwrap().text().is_empty()
            })
            .expect("it is at a primary");
        let replica = cluster.replica_of(home).unwrap();
        cluster.kill(home);
        // Not shown to the client: the next it gets is a message.
        publish_until_heard(&proxy, "PUBLISH news again", &mut subscriber, "again");
        cluster.wait_promoted(replica, NOTICED_WITHIN).unwrap();
        publish_until_heard(&proxy, "PUBLISH news after", &mut subscriber, "after");
        // Back where everybody publishes, and only there.
        let mut publisher = proxy.client();
        proxy.wait_for("a true count", NOTICED_WITHIN, || {
            match publisher.line("PUBLISH news count") {
                count if count == b":1\r\n" => Ok(()),
                count => Err(show(&count)),
            }
        });
        wait_subscribers(&proxy, &cluster, 1);
        let again = proxy
            .metrics()
            .sum("slotway_retries_total", &[("reason", "resubscribed")]);
        assert!(again >= 1.0, "{}: not counted", kind.name);
    }
}

#[test]
fn sharded_channels_follow_their_slot() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &[]);
        let slot = Slot::of(b"news").number();
        let from = cluster.owner_of(slot).unwrap();
        let to = (from + 1) % 3;
        let mut subscriber = proxy.client();
        subscriber.expect(
            "SSUBSCRIBE news",
            b"*3\r\n$10\r\nssubscribe\r\n$4\r\nnews\r\n:1\r\n",
        );
        let mut publisher = proxy.client();
        publisher.expect("SPUBLISH news one", b":1\r\n");
        let got = subscriber.reply();
        assert_eq!(got, crate::support::encode(&["smessage", "news", "one"]));
        cluster.migrate_slot(slot, from, to).unwrap();
        publish_until_heard(&proxy, "SPUBLISH news moved", &mut subscriber, "moved");
        // While the slot is on its way back, and by a client that comes after.
        let mut late = proxy.client();
        late.expect(
            "SSUBSCRIBE news other",
            b"*3\r\n$10\r\nssubscribe\r\n$4\r\nnews\r\n:1\r\n",
        );
        late.reply();
        cluster.begin_migration(slot, to, from).unwrap();
        publisher.expect("SPUBLISH news two", b":2\r\n");
        for client in [&mut subscriber, &mut late] {
            let got = client.reply();
            let expected = crate::support::encode(&["smessage", "news", "two"]);
            assert!(got == expected, "{}", show(&got));
        }
        cluster.finish_migration(slot, to, from).unwrap();
        publish_until_heard(&proxy, "SPUBLISH news back", &mut subscriber, "back");
        subscriber.expect(
            "SUNSUBSCRIBE news",
            b"*3\r\n$12\r\nsunsubscribe\r\n$4\r\nnews\r\n:0\r\n",
        );
        subscriber.expect("GET x", b"$-1\r\n");
    }
}

/// The home hands over to its replica and lives on: nobody loses a message that is published afterwards.
#[test]
fn a_hand_over_moves_the_subscription_to_the_new_primary() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut subscriber = proxy.client();
        subscriber.line("SUBSCRIBE news");
        let home = cluster.owner_of(8191).unwrap();
        let replica = cluster.replica_of(home).unwrap();
        cluster.failover(replica).unwrap();
        let mut publisher = proxy.client();
        proxy.wait_for("the subscription has moved", NOTICED_WITHIN, || {
            let there = cluster.command(replica, &["PUBSUB", "NUMSUB", "news"]);
            let left = cluster.command(home, &["PUBSUB", "NUMSUB", "news"]);
            let count = |reply: &slotway::demo::Reply| reply.elements()[1].integer();
            match (count(&there.unwrap()), count(&left.unwrap())) {
                (Some(1), Some(0)) => Ok(()),
                counts => Err(format!("{counts:?}")),
            }
        });
        publisher.expect("PUBLISH news one", b":1\r\n");
        assert_eq!(subscriber.reply(), message("news", "one"));
    }
}
