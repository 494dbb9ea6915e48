//! A client with many requests that wait for room, some of which are given up at any moment: they are looked at now and
//! then, not each time that one has waited for long enough.

use super::NO_ROOM;
use super::refusals::in_flight;
use crate::support::node::{Action, FakeCluster, Gate};
use crate::support::{Proxy, SHOWN_WITHIN, encode};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// `timeouts.queue` here, and for so long requests come.
const QUEUE: Duration = Duration::from_secs(1);

/// All of them are looked at so often in that time.
const LOOKS: u32 = 20;

/// Requests that wait, each for a slot of its own.
const REQUESTS: u32 = 250;

#[test]
fn what_is_given_up_soon_after_each_other_is_given_up_together() {
    let gate = Gate::default();
    let cluster = FakeCluster::start(1);
    let held = gate.clone();
    cluster.on(0, move |call| {
        let reply = Action::Send(b"$-1\r\n".to_vec());
        (call.name() == "GET").then(|| vec![Action::Wait(held.clone()), reply])
    });
    let queue = format!("timeouts.queue={}ms", QUEUE.as_millis());
    let set = [
        "limits.lane_in_flight=1",
        queue.as_str(),
        "timeouts.command=60s",
    ];
    let mut args = vec!["--workers", "1"];
    set.iter().for_each(|one| args.extend(["--set", one]));
    let proxy = Proxy::start_with(&cluster.addrs(), &args);
    let mut filler = proxy.client();
    filler.send(&encode(&["GET", "filler"]));
    proxy.wait_for("the lane is full", SHOWN_WITHIN, || in_flight(&proxy, 1.0));

    let mut client = TcpStream::connect(proxy.addr()).expect("connecting");
    client.set_nodelay(true).expect("an option");
    let mut out = client.try_clone().expect("a second handle");
    // An open loop: they come one after the other, whatever becomes of them.
    let sender = std::thread::spawn(move || {
        for n in 0..REQUESTS {
            std::thread::sleep(QUEUE / REQUESTS);
            out.write_all(&encode(&["GET", &format!("k{n}")]))
                .expect("sending");
        }
    });
    let mut wanted = NO_ROOM.len() * REQUESTS as usize;
    let mut chunk = vec![0; wanted];
    let (mut pieces, mut first) = (0, None);
    while wanted > 0 {
        let read = client.read(&mut chunk[..wanted]).expect("reading");
        assert!(read > 0, "closed");
        wanted -= read;
        pieces += 1;
        first.get_or_insert_with(Instant::now);
    }
    sender.join().expect("the sender");
    // Each look is one write. However slow the machine is, the looks are that far from each other.
    let time = first.expect("they are refused").elapsed();
    let looks = time.as_micros() / (QUEUE / LOOKS).as_micros();
    assert!(pieces <= looks + 3, "{pieces} pieces in {time:?}");
    gate.open();
    assert_eq!(filler.reply(), b"$-1\r\n");
    cluster.finish();
}
