//! The same bytes to a plain server and through slotway to a cluster: the same answers and messages.

use crate::support::{Proxy, RawClient, boot_cluster, on_each, show};
use slotway::demo::Server;
use std::net::SocketAddr;

/// Who says something: two subscribers, RESP2 and RESP3, and one that only publishes.
#[derive(Clone, Copy)]
enum Who {
    Two,
    Three,
    Publisher,
}
use Who::{Publisher, Three, Two};

/// What is said, and how many replies and messages each of the three gets then.
const SCRIPT: &[(Who, &str, [usize; 3])] = &[
    (Two, "UNSUBSCRIBE", [1, 0, 0]),
    (Two, "PUNSUBSCRIBE a b", [2, 0, 0]),
    (Two, "SUNSUBSCRIBE", [1, 0, 0]),
    (Two, "SUBSCRIBE a b a", [3, 0, 0]),
    (Two, "PSUBSCRIBE x* ?y", [2, 0, 0]),
    (Two, "SSUBSCRIBE s t u v", [4, 0, 0]),
    (Two, "GET a", [1, 0, 0]),
    (Two, "GET", [1, 0, 0]),
    (Two, "FOO 1", [1, 0, 0]),
    (Two, "CONFIG GET a", [1, 0, 0]),
    (Two, "MULTI", [1, 0, 0]),
    (Two, "MGET a b", [1, 0, 0]),
    (Two, "HELLO 3", [1, 0, 0]),
    (Two, "CLIENT ID", [1, 0, 0]),
    (Two, "PUBLISH a b", [1, 0, 0]),
    (Two, "PING", [1, 0, 0]),
    (Two, "PING m", [1, 0, 0]),
    (Two, "PING a b", [1, 0, 0]),
    (Two, "RESET x", [1, 0, 0]),
    (Two, "SUBSCRIBE", [1, 0, 0]),
    (Two, "UNSUBSCRIBE zz", [1, 0, 0]),
    (Publisher, "PUBLISH a hi", [1, 0, 1]),
    (Publisher, "SPUBLISH s hi", [1, 0, 1]),
    (Publisher, "SPUBLISH v hi", [1, 0, 1]),
    (Publisher, "SPUBLISH a hi", [0, 0, 1]),
    (Publisher, "PUBLISH xy hi", [2, 0, 1]),
    (Publisher, "PUBLISH s hi", [0, 0, 1]),
    (Three, "HELLO 3", [0, 0, 0]),
    (Three, "UNSUBSCRIBE", [0, 1, 0]),
    (Three, "SUNSUBSCRIBE q", [0, 1, 0]),
    (Three, "SUBSCRIBE a c", [0, 2, 0]),
    (Three, "PING", [0, 1, 0]),
    (Three, "PING m", [0, 1, 0]),
    (Three, "SET k 1", [0, 1, 0]),
    (Three, "MGET k l m", [0, 1, 0]),
    (Three, "PSUBSCRIBE a* *", [0, 2, 0]),
    (Three, "SSUBSCRIBE s", [0, 1, 0]),
    (Publisher, "PUBLISH a hi", [1, 3, 1]),
    (Publisher, "PUBLISH other hi", [0, 1, 1]),
    (Publisher, "SPUBLISH s hi", [1, 1, 1]),
    (Publisher, "PUBSUB NUMSUB a b c d", [0, 0, 1]),
    (Publisher, "PUBSUB NUMPAT", [0, 0, 1]),
    (Publisher, "PUBSUB SHARDNUMSUB s t q", [0, 0, 1]),
    (Publisher, "PUBSUB CHANNELS c*", [0, 0, 1]),
    (Publisher, "PUBSUB SHARDCHANNELS v*", [0, 0, 1]),
    (Three, "PUBLISH c own", [0, 3, 0]),
    (Three, "HELLO 2", [0, 0, 0]),
    (Three, "GET a", [0, 1, 0]),
    (Publisher, "PUBLISH a hi", [1, 3, 1]),
    (Three, "UNSUBSCRIBE a", [0, 1, 0]),
    (Three, "UNSUBSCRIBE", [0, 1, 0]),
    (Three, "RESET", [0, 1, 0]),
    (Three, "GET k", [0, 1, 0]),
    (Three, "UNSUBSCRIBE", [0, 1, 0]),
    (Two, "UNSUBSCRIBE b", [1, 0, 0]),
    (Two, "UNSUBSCRIBE", [1, 0, 0]),
    (Two, "PUNSUBSCRIBE x*", [1, 0, 0]),
    (Two, "PUNSUBSCRIBE ?y no", [2, 0, 0]),
    (Two, "GET k", [1, 0, 0]),
    (Two, "UNSUBSCRIBE", [1, 0, 0]),
    (Two, "SUNSUBSCRIBE s t u v", [4, 0, 0]),
    (Two, "GET k", [1, 0, 0]),
    (Publisher, "PUBLISH a hi", [0, 0, 1]),
    (Publisher, "PUBSUB CHANNELS", [0, 0, 1]),
    (Publisher, "PUBSUB SHARDCHANNELS", [0, 0, 1]),
    // Confirmations and messages come although replies are off.
    (Two, "CLIENT REPLY OFF", [0, 0, 0]),
    (Two, "SUBSCRIBE a", [1, 0, 0]),
    (Publisher, "PUBLISH a hi", [1, 0, 1]),
    (Two, "UNSUBSCRIBE a", [1, 0, 0]),
    (Two, "CLIENT REPLY ON", [1, 0, 0]),
    (Two, "CLIENT REPLY SKIP", [0, 0, 0]),
    (Two, "SUBSCRIBE a", [1, 0, 0]),
    (Two, "PING", [1, 0, 0]),
    (Two, "QUIT", [1, 0, 0]),
];

fn transcript(addr: SocketAddr) -> Vec<String> {
    let mut clients = [(); 3].map(|()| RawClient::connect(addr));
    let mut lines = Vec::new();
    for (who, line, replies) in SCRIPT {
        let speaker = &mut clients[*who as usize];
        if line.starts_with("HELLO") && replies.iter().all(|n| *n == 0) {
            // It names the server and the connection.
            speaker.line(line);
            continue;
        }
        speaker.send_lines(&[line]);
        for (client, n) in clients.iter_mut().zip(replies) {
            // Without an order, and one after the other from several patterns.
            let mut got = client.replies(*n);
            got.sort();
            lines.push(format!("{line}: {}", show(&got.concat())));
        }
    }
    clients[0].expect_close();
    lines
}

#[test]
fn a_subscriber_cannot_tell_a_cluster_from_one_server() {
    on_each(|kind| {
        let plain = Server::boot(&kind.path, &[]).unwrap();
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &[]);
        let (expected, got) = (transcript(plain.addr()), transcript(proxy.addr()));
        for (expected, got) in expected.iter().zip(&got) {
            assert_eq!(expected, got, "{}", kind.name);
        }
        crate::wait_subscribers(&proxy, &cluster, 0);
    });
}

/// In one pipeline: what is in front is answered first, what is behind knows the effect.
#[test]
fn subscribing_in_a_pipeline_keeps_its_place() {
    let lines = [
        "SET p 1",
        "GET p",
        "SUBSCRIBE a b",
        "GET p",
        "PING",
        "PSUBSCRIBE c*",
        "UNSUBSCRIBE a b",
        "PUNSUBSCRIBE",
        "GET p",
        "SSUBSCRIBE x y",
        "SUNSUBSCRIBE x y",
        "DEL p",
    ];
    on_each(|kind| {
        let plain = Server::boot(&kind.path, &[]).unwrap();
        let cluster = boot_cluster(kind);
        let proxy = Proxy::start(&cluster, &[]);
        for hello in ["HELLO 2", "HELLO 3"] {
            let run = |addr| {
                let mut client = RawClient::connect(addr);
                client.line(hello);
                client.send_lines(&lines);
                let got = client.replies(16).concat();
                show(&got)
            };
            assert_eq!(run(plain.addr()), run(proxy.addr()), "{}", kind.name);
        }
    });
}
