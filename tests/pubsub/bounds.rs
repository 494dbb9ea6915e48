//! Bounds, and clients that go: nothing is left on the nodes, and nobody else notices.

use crate::support::{Proxy, boot_cluster, redis, servers, show};
use crate::{NOTICED_WITHIN, message, wait_subscribers};

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    for kind in servers() {
        let cluster = boot_cluster(&kind);
        let proxy = Proxy::start(&cluster, &["--workers", "1"]);
        let mut witness = proxy.client();
        witness.line("SUBSCRIBE news");
        let mut asker = proxy.client();
        let count = |asker: &mut crate::support::RawClient, n: usize| {
            let expected = format!("*2\r\n$4\r\nnews\r\n:{n}\r\n");
            proxy.wait_for("the count", NOTICED_WITHIN, || {
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
    }
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
