//! Bounds, and clients that go: nothing is left on the nodes, and nobody else notices.

use crate::support::{
    Proxy, RawClient, SHOWN_WITHIN, boot_cluster, cluster_options, encode, on_each, redis, show,
};
use crate::{HOME_SLOT, listener, message, wait_subscribers};
use slotway::demo::{Cluster, ClusterOptions};

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut witness = proxy.client();
        witness.line("SUBSCRIBE news");
        let mut asker = proxy.client();
        let count = |asker: &mut RawClient, n: usize| {
            let expected = format!("*2\r\n$4\r\nnews\r\n:{n}\r\n");
            proxy.wait_for("the count", SHOWN_WITHIN, || {
                let got = asker.line("PUBSUB NUMSUB news");
                (got == expected.as_bytes())
                    .then_some(())
                    .ok_or_else(|| show(&got))
            });
        };
        for way in ["RESET", "QUIT", "hang up", "reset"] {
            let mut client = proxy.client();
            client.line("SUBSCRIBE news");
            client.line("PSUBSCRIBE *");
            client.line("SSUBSCRIBE news");
            count(&mut asker, 2);
            // Its other subscriptions may share connections with these.
            match way {
                "hang up" => drop(client),
                "reset" => client.reset(),
                command => {
                    client.line(command);
                }
            }
            count(&mut asker, 1);
            wait_subscribers(&proxy, &cluster, 1);
            asker.expect("PUBLISH news still", b":1\r\n");
            assert_eq!(witness.reply(), message("news", "still"), "{way}");
        }
        let clients = proxy.metrics().sum("slotway_pubsub_clients", &[]);
        assert_eq!(clients, 1.0);
    });
}

#[test]
fn too_much_is_refused_by_name() {
    let cluster = boot_cluster(&redis());
    let limits = [
        "--set",
        "limits.subscribers=2",
        "--set",
        "limits.subscriptions=3",
    ];
    let proxy = Proxy::start(&cluster, &limits);
    let mut first = proxy.client();
    let mut second = proxy.client();
    let mut third = proxy.client();
    first.line("SUBSCRIBE a");
    second.line("SSUBSCRIBE b");
    let refused = third.line("PSUBSCRIBE c");
    assert!(
        refused.starts_with(b"-ERR slotway: too many subscribed clients (limits.subscribers = 2)"),
        "{}",
        show(&refused)
    );
    third.expect("GET c", b"$-1\r\n");
    let refused = first.line("SUBSCRIBE b c d");
    assert!(
        refused.starts_with(b"-ERR slotway: too many subscriptions of one client"),
        "{}",
        show(&refused)
    );
    first.expect("SUBSCRIBE b", b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n");
    second.line("SUNSUBSCRIBE");
    third.expect(
        "PSUBSCRIBE c",
        b"*3\r\n$10\r\npsubscribe\r\n$1\r\nc\r\n:1\r\n",
    );
}

#[test]
fn a_subscriber_that_does_not_read_is_closed() {
    const MESSAGE_BYTES: usize = 256 * 1024;
    const MESSAGES: usize = 200;
    let cluster = boot_cluster(&redis());
    let limits = [
        "--workers",
        "1",
        "--set",
        "limits.client_output_hard=8MB",
        "--set",
        "limits.client_output_soft=4MB",
    ];
    let proxy = Proxy::start(&cluster, &limits);
    let mut slow = proxy.client();
    let mut reader = proxy.client();
    for client in [&mut slow, &mut reader] {
        client.line("SUBSCRIBE news");
    }
    let text = "m".repeat(MESSAGE_BYTES);
    let mut publisher = proxy.client();
    for _ in 0..MESSAGES {
        publisher.command(&["PUBLISH", "news", &text]);
        let got = reader.reply();
        assert!(got == message("news", &text), "{}", show(&got));
    }
    let closed = proxy.metrics().sum(
        "slotway_client_connections_rejected_total",
        &[("reason", "output")],
    );
    assert_eq!(closed, 1.0);
    let got = slow.rest();
    assert!(got.len() < MESSAGES * MESSAGE_BYTES, "it got everything");
    wait_subscribers(&proxy, &cluster, 1);
}

/// The home does not answer, and nobody takes its place: the client waits for its confirmation, and goes.
#[test]
fn a_client_that_is_reset_while_it_subscribes_is_noticed() {
    on_each(|kind| {
        let options = ClusterOptions {
            replicas: 0,
            ..cluster_options(kind)
        };
        let cluster = Cluster::boot(&options).unwrap();
        // Far longer than the test waits for anything.
        let patience = ["timeouts.unavailable=300s", "timeouts.connect=300s"];
        let patience = patience.map(|option| ["--set", option]).concat();
        let proxy = Proxy::start(&cluster, &patience);
        let count = |clients: f64| {
            proxy.wait_for("subscribed clients", SHOWN_WITHIN, || {
                match proxy.metrics().sum("slotway_pubsub_clients", &[]) {
                    n if n == clients => Ok(()),
                    n => Err(format!("{n}, not {clients}")),
                }
            });
        };
        let home = cluster.owner_of(HOME_SLOT).unwrap();
        cluster.pause(home).unwrap();
        let mut client = proxy.client();
        client.send(&encode(&["SUBSCRIBE", "news"]));
        count(1.0);
        client.reset();
        count(0.0);
        // One that only sends no more still gets its confirmation.
        let mut half = proxy.client();
        half.send(&encode(&["SUBSCRIBE", "news"]));
        count(1.0);
        half.half_close();
        cluster.resume(home).unwrap();
        let confirmed = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
        assert_eq!(show(&half.rest()), show(confirmed), "{}", kind.name);
        count(0.0);
    });
}

/// The account that slotway has at the nodes may not listen to everything.
#[test]
fn what_the_nodes_forbid_is_said_in_their_words() {
    on_each(|kind| {
        let cluster = boot_cluster(kind);
        for node in 0..cluster.len() {
            let open = ["ACL", "SETUSER", "default", "resetchannels", "&open*"];
            cluster.ask(node, &open).unwrap();
        }
        let proxy = Proxy::start(&cluster, &[]);
        for hello in ["HELLO 2", "HELLO 3"] {
            let mut plain = RawClient::connect(cluster.addr(0));
            let mut client = proxy.client();
            plain.line(hello);
            client.line(hello);
            for line in [
                "SUBSCRIBE secret",
                "SUBSCRIBE open1 secret",
                "PSUBSCRIBE secret*",
                "PUBLISH secret 1",
            ] {
                let expected = plain.line(line);
                assert!(expected.starts_with(b"-NOPERM"), "{}", show(&expected));
                let got = client.line(line);
                assert_eq!(show(&got), show(&expected), "{}: {line}", kind.name);
            }
            let refused = client.line("SSUBSCRIBE secret");
            assert!(refused.starts_with(b"-NOPERM"), "{}", show(&refused));
            // As if nothing had been asked for.
            let nil: &[u8] = if hello == "HELLO 3" {
                b"_\r\n"
            } else {
                b"$-1\r\n"
            };
            client.expect("GET nothing", nil);
            wait_subscribers(&proxy, &cluster, 0);
            for line in ["SUBSCRIBE open1", "PSUBSCRIBE open*", "UNSUBSCRIBE open1"] {
                let expected = plain.line(line);
                assert_eq!(show(&client.line(line)), show(&expected), "{line}");
            }
            drop(plain);
            drop(client);
            wait_subscribers(&proxy, &cluster, 0);
        }
    });
}

/// What is kept of messages counts as long as it is: a subscriber that waits costs no more than its name and its channels,
/// before a large message and after it. (The room for the next read is there for every connection, as its socket is.)
#[test]
fn a_subscriber_that_waits_is_none_of_the_memory() {
    const SUBSCRIBERS: usize = 40;
    /// Less than what a read takes.
    const SHARE_BYTES: f64 = 3000.0;
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| listener(&proxy)).collect();
    let idle = || {
        proxy.wait_for("little is kept", SHOWN_WITHIN, || {
            let held = proxy.metrics().sum("slotway_memory_bytes", &[]);
            match held / SUBSCRIBERS as f64 {
                share if share < SHARE_BYTES => Ok(()),
                share => Err(format!("{share} bytes each")),
            }
        });
    };
    idle();
    let text = "x".repeat(1 << 20);
    proxy.client().command(&["PUBLISH", "news", &text]);
    for subscriber in &mut subscribers {
        assert!(subscriber.reply() == message("news", &text));
    }
    idle();
}
