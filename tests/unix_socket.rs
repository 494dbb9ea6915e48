//! Clients on a Unix socket: the same service as over TCP, for those who may open the file, which goes when the
//! proxy does.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use support::node::{FakeCluster, Step};
use support::{Proxy, encode, show};

const TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn a_unix_socket_serves_and_is_removed() {
    let cluster = FakeCluster::start(1);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("slotway.sock");
    // What a proxy that was killed has left behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let listen = format!("unix:{}", path.display());
    let mut proxy = Proxy::start_with(&cluster.addrs(), &["--listen", &listen]);
    let mode = std::fs::metadata(&path)
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700, "only its owner may connect");
    cluster.script(
        0,
        [
            Step::expect("SET a 1").send(b"+OK\r\n"),
            Step::expect("GET a").send(b"$1\r\n1\r\n"),
        ],
    );
    let mut client = UnixStream::connect(&path).expect("it listens");
    client.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let lines = [
        &["PING"][..],
        &["SET", "a", "1"],
        &["GET", "a"],
        &["CLIENT", "INFO"],
    ];
    let pipeline: Vec<u8> = lines.iter().flat_map(|line| encode(line)).collect();
    client.write_all(&pipeline).expect("sending");
    client.shutdown(Shutdown::Write).expect("half-closing");
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("replies, then the end");
    let text = String::from_utf8_lossy(&got).into_owned();
    assert!(
        text.starts_with("+PONG\r\n+OK\r\n$1\r\n1\r\n$"),
        "{}",
        show(&got)
    );
    assert!(
        text.contains(&format!("addr={}:0", path.display())),
        "{text}"
    );
    let connections = proxy.metrics();
    assert_eq!(
        connections.sum("slotway_client_connections_total", &[("listener", &listen)]),
        1.0
    );
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_exit().success());
    assert!(!path.exists(), "the socket is left behind");
    cluster.finish();
}
