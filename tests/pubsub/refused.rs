//! The next home refuses some of a client's channels: the handover ends all the same, what it accepts is heard there,
//! and what it refuses as soon as it may be.

use crate::moves::{hears_all, wait_listeners};
use crate::support::{Proxy, boot_cluster, encode, on_each, show};
use crate::{home_and_replica, listener, message, publish_until_heard};

/// Nobody asks for a key whose slot has moved, from which slotway would learn of it.
const ARGS: [&str; 4] = ["--workers", "1", "--set", "cluster.refresh_interval=200ms"];

#[test]
fn a_home_that_refuses_a_channel_is_moved_to_all_the_same() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &ARGS);
        let mut subscriber = proxy.client();
        // Slotway asks the next home for all of them in one command, which is refused as a whole.
        subscriber.send(&encode(&["SUBSCRIBE", "news", "secret", "other"]));
        subscriber.replies(3);
        subscriber.line("PSUBSCRIBE open*");
        let [_, replica] = home_and_replica(&cluster);
        let allow = |channels: &[&str]| {
            let words = [&["ACL", "SETUSER", "default", "resetchannels"], channels].concat();
            cluster.ask(replica, &words).unwrap();
        };
        allow(&["&news", "&other", "&open*"]);
        cluster.failover(replica).unwrap();
        wait_listeners(&proxy, &cluster, &[replica]);
        hears_all(&proxy, &mut subscriber);
        let mut publisher = proxy.client();
        publisher.expect("PUBLISH open1 x", b":1\r\n");
        let expected = encode(&["pmessage", "open*", "open1", "x"]);
        assert_eq!(show(&subscriber.reply()), show(&expected), "{}", kind.name);
        publisher.expect("PUBLISH other x", b":1\r\n");
        assert_eq!(subscriber.reply(), message("other", "x"));
        let said = proxy.log().join("\n");
        assert!(said.contains("does not take up a subscription"), "{said}");
        allow(&["&*"]);
        publish_until_heard(&proxy, "PUBLISH secret told", &mut subscriber, "told");
        hears_all(&proxy, &mut subscriber);
    });
}

/// None of it is heard until it is allowed, as on one server, and the old home is left.
#[test]
fn a_home_that_refuses_everything_is_moved_to_as_well() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &ARGS);
        let mut subscriber = listener(&proxy);
        let [_, replica] = home_and_replica(&cluster);
        let forbid = ["ACL", "SETUSER", "default", "resetchannels"];
        cluster.ask(replica, &forbid).unwrap();
        cluster.failover(replica).unwrap();
        wait_listeners(&proxy, &cluster, &[]);
        let allow = ["ACL", "SETUSER", "default", "allchannels"];
        cluster.ask(replica, &allow).unwrap();
        wait_listeners(&proxy, &cluster, &[replica]);
        hears_all(&proxy, &mut subscriber);
    });
}
