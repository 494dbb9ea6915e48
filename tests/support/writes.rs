//! What a client has written to primaries of a cluster, and how the connections to those are lost.

use super::{Proxy, SHOWN_WITHIN, show};
use slotway::cluster::Slot;
use slotway::demo::Cluster;

/// Some key of a primary, by the primary's number.
pub fn key_of(cluster: &Cluster, primary: usize) -> String {
    let (first, last) = cluster.booted_slots(primary);
    let mine = |key: &String| (first..=last).contains(&Slot::of(key.as_bytes()).number());
    let key = (0..).map(|i| format!("key{i}")).find(mine);
    key.expect("there is one")
}

/// Has primaries close their connections to the proxy, which learns of all of them at once, and waits until they are
/// reached again.
pub fn lose_connections(cluster: &Cluster, proxy: &Proxy, primaries: &[usize]) {
    proxy.signal(rustix::process::Signal::STOP);
    for &primary in primaries {
        // The proxy's connections are the only ones of this kind.
        let killed = cluster.ask(primary, &["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(killed.is_ok(), "{killed:?}");
    }
    proxy.signal(rustix::process::Signal::CONT);
    for &primary in primaries {
        let get = format!("GET {}", key_of(cluster, primary));
        proxy.wait_for("the node is reached again", SHOWN_WITHIN, || {
            match &proxy.client().line(&get)[..] {
                reply if reply.starts_with(b"$") => Ok(()),
                other => Err(show(other)),
            }
        });
    }
}

/// Whoever waits for what was written over a connection that is lost is told that nobody knows, and of the next write as
/// ever: each with a line and its reply.
pub fn a_lost_connection_proves_nothing(
    cluster: &Cluster,
    proxy: &Proxy,
    [unknown, known]: [(&str, &[u8]); 2],
) {
    let key = key_of(cluster, 0);
    let mut client = proxy.client();
    client.expect(&format!("SET {key} 1"), b"+OK\r\n");
    lose_connections(cluster, proxy, &[0]);
    client.expect(unknown.0, unknown.1);
    client.expect(&format!("SET {key} 2"), b"+OK\r\n");
    client.expect(known.0, known.1);
}
