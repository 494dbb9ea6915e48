//! slotway itself is stopped for longer than a command may take (a signal, a machine that sleeps): what lies in its sockets
//! when it goes on has come in time.

mod support;

use rustix::process::Signal;
use std::time::Duration;
use support::node::{Call, FakeCluster};
use support::{Proxy, SHOWN_WITHIN, encode, show};

/// `timeouts.command`: enough to stop slotway before it is up.
const COMMAND: Duration = Duration::from_secs(5);

/// What is sent, which of it the node is silent at, and what it says in the end.
const ASKED: [(&[&str], &str, &[u8]); 3] = [
    (&["GET", "k"], "GET", b"$1\r\nx\r\n"),
    (
        &["BLPOP", "q", "0.01"],
        "BLPOP",
        b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n",
    ),
    (&["WATCH", "k"], "WATCH", b"+OK\r\n"),
];

fn is_asked(call: &Call) -> bool {
    ASKED.iter().any(|(_, name, _)| call.name() == *name)
}

#[test]
fn what_came_while_slotway_was_stopped_came_in_time() {
    let cluster = FakeCluster::start(1);
    cluster.on(0, |call| is_asked(call).then(Vec::new));
    let command = format!("timeouts.command={}ms", COMMAND.as_millis());
    let args = ["--workers", "1", "--set", &command];
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut clients = ASKED.map(|(words, ..)| {
        let mut client = proxy.client();
        client.send(&encode(words));
        client
    });
    proxy.wait_for("the node has all", SHOWN_WITHIN, || {
        match cluster
            .calls(0)
            .iter()
            .filter(|call| is_asked(call))
            .count()
        {
            3 => Ok(()),
            others => Err(format!("{others}")),
        }
    });
    proxy.stop();
    for call in cluster.calls(0).iter().filter(|call| is_asked(call)) {
        let says = ASKED.iter().find(|(_, name, _)| call.name() == *name);
        cluster.inject(call.connection, says.expect("one of them").2);
    }
    // From here on, everything that was asked before is late.
    std::thread::sleep(COMMAND + COMMAND / 2);
    proxy.signal(Signal::CONT);
    let got = clients.each_mut().map(|client| show(&client.reply()));
    assert_eq!(got, ASKED.map(|(.., says)| show(says)));
    cluster.finish();
}
