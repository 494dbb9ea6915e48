//! Invariant 3 where no refusal tells of it: the map moves a slot to another node while a session's command for it
//! is still in flight at the old one. Against scripted nodes, so that the old node's answer can be held back.

mod support;

use slotway::cluster::Slot;
use support::node::{Action, Call, FakeCluster, Gate, Step};
use support::{Proxy, SHOWN_WITHIN, encode, show};

/// A command of one client is in flight at the old owner of its slot, and the proxy knows the new one.
struct Moved {
    cluster: FakeCluster,
    proxy: Proxy,
    /// Lets the old owner answer.
    gate: Gate,
    new: usize,
    /// A key of a slot that the new owner had all the time.
    elsewhere: String,
}

impl Moved {
    /// `answer` is what the old owner says to `SET a 1` once the gate is open.
    fn with_answer(answer: impl Fn(&FakeCluster, u16) -> String) -> (Self, support::RawClient) {
        let cluster = FakeCluster::start(2);
        let slot = Slot::of(b"a").number();
        let old = cluster.owner(slot);
        let new = 1 - old;
        let elsewhere = (0..)
            .map(|n| format!("other{n}"))
            .find(|key| cluster.owner(Slot::of(key.as_bytes()).number()) == new)
            .expect("endless");
        cluster.on(new, |call| {
            (call.name() == "GET").then(|| vec![Action::Send(b"$-1\r\n".to_vec())])
        });
        let gate = Gate::default();
        let answer = answer(&cluster, slot);
        let held_back = Step::expect("SET a 1").then(Action::Wait(gate.clone()));
        cluster.script(old, [held_back.send(answer.as_bytes())]);
        let set = |value| Step::expect(&format!("SET a {value}")).send(b"+OK\r\n");
        let refused = answer.starts_with('-');
        cluster.script(
            new,
            if refused {
                vec![set(1), set(2)]
            } else {
                vec![set(2)]
            },
        );
        let proxy = Proxy::start_with(
            &cluster.addrs(),
            &[
                "--workers",
                "1",
                "--set",
                "timeouts.command=60s",
                "--set",
                "cluster.refresh_interval=100ms",
            ],
        );
        let mut client = proxy.client();
        client.send(&encode(&["SET", "a", "1"]));
        proxy.wait_for("SET a 1 is in flight", SHOWN_WITHIN, || {
            match cluster.count(old, "SET") {
                1 => Ok(()),
                n => Err(format!("{n} SET")),
            }
        });
        cluster.give_slot(slot, new);
        proxy.wait_for("the slot's move is known", SHOWN_WITHIN, || {
            let known = proxy
                .log()
                .iter()
                .any(|line| line.contains("slots changed hands"));
            if known { Ok(()) } else { Err("not yet".into()) }
        });
        let moved = Self {
            cluster,
            proxy,
            gate,
            new,
            elsewhere,
        };
        (moved, client)
    }

    /// What the new owner has been asked about keys, in order.
    fn asked(&self) -> Vec<String> {
        let words = |call: &Call| -> Vec<String> {
            let args = call
                .args
                .iter()
                .map(|arg| String::from_utf8_lossy(arg).into_owned());
            args.collect()
        };
        let calls = self.cluster.calls(self.new);
        let data = calls
            .iter()
            .filter(|call| ["SET", "GET"].contains(&call.name().as_str()));
        data.map(|call| words(call).join(" ")).collect()
    }

    /// The client sends another command for the slot, and one for a slot that did not move: when that has arrived,
    /// the first one would have too, had it been sent.
    fn send_another(&self, client: &mut support::RawClient) {
        let elsewhere = encode(&["GET", &self.elsewhere]);
        client.send(&[encode(&["SET", "a", "2"]), elsewhere].concat());
        self.proxy
            .wait_for("the other slot's GET", SHOWN_WITHIN, || {
                match self.cluster.count(self.new, "GET") {
                    1 => Ok(()),
                    n => Err(format!("{n} GET")),
                }
            });
        assert_eq!(
            self.asked(),
            [format!("GET {}", self.elsewhere)],
            "one slot, two connections"
        );
    }

    fn end(self, mut client: support::RawClient, asked: &[&str]) {
        self.gate.open();
        let replies = client.replies(3).concat();
        assert!(replies == b"+OK\r\n+OK\r\n$-1\r\n", "{}", show(&replies));
        assert_eq!(self.asked()[1..], *asked);
        self.cluster.finish();
    }
}

#[test]
fn a_slot_is_never_in_flight_on_two_connections() {
    let (moved, mut client) = Moved::with_answer(|_, _| "+OK\r\n".into());
    moved.send_another(&mut client);
    moved.end(client, &["SET a 2"]);
}

#[test]
fn what_the_old_owner_refuses_after_all_goes_first() {
    let (moved, mut client) = Moved::with_answer(|cluster, slot| {
        format!(
            "-MOVED {slot} {}\r\n",
            cluster.addr(1 - cluster.owner(slot))
        )
    });
    moved.send_another(&mut client);
    moved.end(client, &["SET a 1", "SET a 2"]);
}
