//! `timeouts.idle` counts from the last bytes that came from a client or went to it, as on a server, and whose bytes lie
//! in the socket is not closed.

mod support;

use rustix::process::Signal;
use std::time::Duration;
use support::node::FakeCluster;
use support::{Proxy, RawClient, SHOWN_WITHIN, encode, show};

const IDLE: Duration = Duration::from_secs(3);

/// Some of slotway's upkeep, which closes the idle, and little of `IDLE`.
const SOME_UPKEEP: Duration = Duration::from_millis(300);

const CLIENTS: usize = 10;

fn start(cluster: &FakeCluster) -> Proxy {
    let idle = format!("timeouts.idle={}s", IDLE.as_secs());
    Proxy::start_with(&cluster.addrs(), &["--workers", "1", "--set", &idle])
}

fn clients(proxy: &Proxy) -> Vec<RawClient> {
    let clients = (0..CLIENTS).map(|_| {
        let mut client = proxy.client();
        client.expect("PING", b"+PONG\r\n");
        client
    });
    clients.collect()
}

/// All of them send a command and are answered.
#[track_caller]
fn are_served(clients: &mut [RawClient]) {
    clients.iter_mut().for_each(|c| c.send(b"PING\r\n"));
    are_told(clients, b"+PONG\r\n");
}

#[track_caller]
fn are_told(clients: &mut [RawClient], reply: &[u8]) {
    let got = clients.iter_mut().map(|client| client.try_replies(1));
    let wrong = got.filter(|got| got != &[reply]).count();
    assert_eq!(wrong, 0, "of {CLIENTS} were not told {}", show(reply));
}

/// Clients wait in BLPOP for longer than the time. From their replies on they have all of it.
#[test]
fn the_time_counts_from_the_last_reply() {
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| (call.name() == "BLPOP").then(Vec::new));
    let proxy = start(&cluster);
    let mut waiting = clients(&proxy);
    for client in &mut waiting {
        client.send(&encode(&["BLPOP", "q", "0"]));
    }
    let blocked = || cluster.calls(0).into_iter().filter(|c| c.name() == "BLPOP");
    proxy.wait_for("all wait", SHOWN_WITHIN, || match blocked().count() {
        CLIENTS => Ok(()),
        n => Err(format!("{n}")),
    });
    let mut first = proxy.client();
    std::thread::sleep(SOME_UPKEEP);
    let mut second = proxy.client();
    first.expect_close();
    for call in blocked() {
        cluster.inject(call.connection, b"*-1\r\n");
    }
    are_told(&mut waiting, b"*-1\r\n");
    // Once more everybody was looked at.
    second.expect_close();
    are_served(&mut waiting);
    cluster.finish();
}

/// slotway is stopped twice within moments, so that upkeep comes late twice in a row.
#[test]
fn whose_bytes_came_in_time_is_not_idle() {
    let cluster = FakeCluster::start(1);
    let proxy = start(&cluster);
    let mut clients = clients(&proxy);
    proxy.stop();
    let mut other = proxy.client();
    other.send(b"PING\r\n");
    std::thread::sleep(2 * SOME_UPKEEP);
    proxy.signal(Signal::CONT);
    other.replies(1);
    proxy.stop();
    clients.iter_mut().for_each(|c| c.send(b"PING\r\n"));
    std::thread::sleep(IDLE);
    proxy.signal(Signal::CONT);
    are_told(&mut clients, b"+PONG\r\n");
    cluster.finish();
}
