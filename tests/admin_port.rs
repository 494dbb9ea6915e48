//! Connections to the admin port that do not come to the point: probes and scrapes are answered all the same, and at
//! once. The port has places for so many connections; those that have not asked yet make room, the oldest first.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use slotway::admin::CONNECTIONS_MAX;
use support::Proxy;
use support::node::FakeCluster;

/// Connections that say too little.
const HELD: usize = 200;
const REQUEST: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";

#[test]
fn half_requests_hold_up_no_probe() {
    probed_while_held(REQUEST.len() - 2);
}

#[test]
fn silent_connections_hold_up_no_probe() {
    probed_while_held(0);
}

/// All have sent so many bytes of a request, and no more. The probes' answers come while the youngest are there still,
/// as many as fit beside one probe: no time was up. They are answered, too, when they have sent the rest.
#[track_caller]
fn probed_while_held(sent: usize) {
    let cluster = FakeCluster::start(1);
    let proxy = Proxy::start_with(&cluster.addrs(), &["--workers", "1"]);
    let (begun, rest) = REQUEST.split_at(sent);
    let mut held: Vec<TcpStream> = (0..HELD)
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.admin_addr()).expect("it listens");
            stream.write_all(begun.as_bytes()).expect("it reads");
            stream
        })
        .collect();
    for probe in ["/livez", "/readyz"] {
        let status = proxy.get(probe).map(|(status, _)| status);
        assert_eq!(status, Some(200), "{probe}");
    }
    let young = held.split_off(HELD - (CONNECTIONS_MAX - 1));
    for mut stream in held {
        match stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("not closed: {other:?}"),
        }
    }
    for mut stream in young {
        stream.write_all(rest.as_bytes()).expect("it is open");
        // It is closed after its answer, whatever it wants.
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is answered");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
    cluster.finish();
}
