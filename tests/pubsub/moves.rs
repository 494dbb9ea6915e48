//! Subscriptions follow: the home node fails, a slot moves, a primary hands over. The client notices nothing but what
//! was published meanwhile.

use crate::handover::ARGS;
use crate::support::{
    Proxy, RawClient, SHOWN_WITHIN, boot_cluster, cluster_options, encode, on_each, show,
};
use crate::{
    HOME_SLOT, home_and_replica, listener, message, publish_until_heard, wait_subscribers,
};
use slotway::cluster::Slot;
use slotway::demo::{Cluster, ClusterOptions};

#[test]
fn a_subscription_survives_its_home_node() {
    on_each(|kind| {
        let mut cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &[]);
        let mut subscriber = proxy.client();
        subscriber.expect(
            "SUBSCRIBE news",
            b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n",
        );
        let [home, replica] = home_and_replica(&cluster);
        wait_listeners(&proxy, &cluster, &[home]);
        cluster.kill(home);
        cluster.wait_promoted(replica, SHOWN_WITHIN).unwrap();
        // Back where everybody publishes, and only there.
        wait_listeners(&proxy, &cluster, &[replica]);
        hears_all(&proxy, &mut subscriber);
        let again = proxy
            .metrics()
            .sum("slotway_retries_total", &[("reason", "resubscribed")]);
        assert!(again >= 1.0, "{}: not counted", kind.name);
    });
}

/// Nobody is promoted, and still the subscription is soon at a node that lives: others publish there.
#[test]
fn a_home_that_is_down_is_replaced() {
    on_each(|kind| {
        let options = ClusterOptions {
            replicas: 0,
            ..cluster_options(kind)
        };
        let mut cluster = Cluster::boot(&options).unwrap();
        let proxy = Proxy::start(&cluster, &[]);
        let mut subscriber = listener(&proxy);
        let home = cluster.owner_of(HOME_SLOT).unwrap();
        cluster.kill(home);
        wait_subscribers(&proxy, &cluster, 1);
        let other = (0..3).find(|&node| node != home && listeners(&cluster, node) == 1);
        let other = other.expect("a node that lives");
        let published = cluster.command(other, &["PUBLISH", "news", "one"]);
        assert_eq!(published.unwrap().integer(), Some(1), "{}", kind.name);
        assert_eq!(subscriber.reply(), message("news", "one"));
        // When it is back, it is the home again.
        cluster.restart(home).unwrap();
        wait_listeners(&proxy, &cluster, &[home]);
        hears_all(&proxy, &mut subscriber);
    });
}

/// How many listen to the channel of these tests at a node.
pub(crate) fn listeners(cluster: &Cluster, node: usize) -> i64 {
    let reply = cluster.command(node, &["PUBSUB", "NUMSUB", "news"]);
    let count = reply
        .ok()
        .and_then(|reply| reply.elements().get(1)?.integer());
    count.expect("a count")
}

/// Waits until these nodes have one listener each, and the others that live have none.
#[track_caller]
pub(crate) fn wait_listeners(proxy: &Proxy, cluster: &Cluster, at: &[usize]) {
    proxy.wait_for("the subscription is where it belongs", SHOWN_WITHIN, || {
        let running = (0..cluster.len()).filter(|&node| cluster.node(node).is_running());
        let there: Vec<usize> = running.filter(|&n| listeners(cluster, n) == 1).collect();
        match there == at {
            true => Ok(()),
            false => Err(format!("{there:?}, not {at:?}")),
        }
    });
}

/// Each message from now on once, in order, and each counted once.
#[track_caller]
pub(crate) fn hears_all(proxy: &Proxy, subscriber: &mut RawClient) {
    let mut publisher = proxy.client();
    for n in 0..50 {
        publisher.expect(&format!("PUBLISH news {n}"), b":1\r\n");
        let got = subscriber.reply();
        assert_eq!(show(&got), show(&message("news", &n.to_string())));
    }
    subscriber.expect("PING end", &encode(&["pong", "end"]));
}

#[test]
fn sharded_channels_follow_their_slot() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
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
        assert_eq!(got, encode(&["smessage", "news", "one"]));
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
            let expected = encode(&["smessage", "news", "two"]);
            assert!(got == expected, "{}", show(&got));
        }
        cluster.finish_migration(slot, to, from).unwrap();
        publish_until_heard(&proxy, "SPUBLISH news back", &mut subscriber, "back");
        subscriber.expect(
            "SUNSUBSCRIBE news",
            b"*3\r\n$12\r\nsunsubscribe\r\n$4\r\nnews\r\n:0\r\n",
        );
        subscriber.expect("GET x", b"$-1\r\n");
    });
}

/// The home hands over to its replica and lives on: nobody loses a message that is published afterwards.
#[test]
fn a_hand_over_moves_the_subscription_to_the_new_primary() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &ARGS);
        let mut subscriber = listener(&proxy);
        let [_, replica] = home_and_replica(&cluster);
        cluster.failover(replica).unwrap();
        wait_listeners(&proxy, &cluster, &[replica]);
        hears_all(&proxy, &mut subscriber);
    });
}

/// A replica takes SPUBLISH, and is no primary for that: what is asked there next is not told that it has moved.
#[test]
fn a_replica_that_publishes_is_not_taken_for_promoted() {
    on_each(|kind| {
        let mut cluster = boot_cluster(kind);
        let args = ["--workers", "1", "--set", "timeouts.unavailable=1s"];
        let proxy = Proxy::start(&cluster, &args);
        let slot = Slot::of(b"news").number();
        let owner = cluster.owner_of(slot).unwrap();
        let replica = cluster.replica_of(owner).unwrap();
        let never = ["CONFIG", "SET", "cluster-replica-no-failover", "yes"];
        assert_eq!(cluster.ask(replica, &never).unwrap().text(), "OK");
        let mut client = proxy.client();
        client.expect("SET news 1", b"+OK\r\n");
        cluster.kill(owner);
        client.expect("SPUBLISH news one", b":0\r\n");
        for line in ["EVAL return(1) 1 news", "SET news 2"] {
            let reply = client.line(line);
            assert!(
                reply.starts_with(b"-CLUSTERDOWN slotway: "),
                "{}: {line}: {}",
                kind.name,
                show(&reply)
            );
        }
    });
}
