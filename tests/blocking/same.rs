//! The same lines to a plain server and through slotway: the same replies, with an element there, with one that comes
//! later, and when the time is over; keys in one slot and in several; RESP2 and RESP3.

use super::stage::{Stage, send};
use crate::support::{RawClient, SHOWN_WITHIN, ServerKind, on_each, redis, show, valkey};
use slotway::demo::{Server, Stop, wait_until};

/// `command` with `T` for the time it waits; what makes it find something; how its state is compared afterwards.
struct Case {
    command: &'static str,
    push: &'static str,
    look: &'static str,
    /// Whether the time is in milliseconds.
    milliseconds: bool,
    /// Whether it works over several slots.
    anywhere: bool,
}

const fn case(command: &'static str, push: &'static str, look: &'static str) -> Case {
    Case {
        command,
        push,
        look,
        milliseconds: false,
        anywhere: true,
    }
}

const fn stream(command: &'static str, push: &'static str, look: &'static str) -> Case {
    Case {
        milliseconds: true,
        ..case(command, push, look)
    }
}

const fn within(command: &'static str, push: &'static str, look: &'static str) -> Case {
    Case {
        anywhere: false,
        ..case(command, push, look)
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    case("BLPOP k1 k2 k3 T",                "RPUSH k2 x y z",     "LRANGE k2 0 -1"),
    case("BRPOP k1 k2 k3 T",                "RPUSH k3 x y z",     "LRANGE k3 0 -1"),
    case("blpop k1 T",                      "RPUSH k1 x",         "EXISTS k1"),
    case("BLMPOP T 3 k1 k2 k3 LEFT",        "RPUSH k2 x y z",     "LRANGE k2 0 -1"),
    case("BLMPOP T 3 k1 k2 k3 RIGHT COUNT 2", "RPUSH k1 x y z",   "LRANGE k1 0 -1"),
    case("BZPOPMIN k1 k2 T",                "ZADD k2 1.5 a 2 b",  "ZRANGE k2 0 -1 WITHSCORES"),
    case("BZPOPMAX k1 k2 T",                "ZADD k1 1 a inf b",  "ZRANGE k1 0 -1 WITHSCORES"),
    case("BZMPOP T 2 k1 k2 MAX COUNT 2",    "ZADD k2 1 a 2 b 3 c", "ZRANGE k2 0 -1 WITHSCORES"),
    case("BZMPOP T 2 k1 k2 MIN",            "ZADD k1 1 a 2 b",    "ZRANGE k1 0 -1 WITHSCORES"),
    stream("XREAD BLOCK T STREAMS k1 k2 0 0", "XADD k2 5-1 f v",  "XLEN k2"),
    stream("XREAD COUNT 1 BLOCK T STREAMS k1 k2 k3 0 1-1 3", "XADD k1 5-1 f v", "XLEN k1"),
    stream("XREADGROUP GROUP g c COUNT 3 BLOCK T STREAMS k4 k5 > >", "XADD k5 7-1 f v", "XPENDING k5 g"),
    within("BLMOVE k1 k2 LEFT RIGHT T",     "RPUSH k1 x y",       "LRANGE k2 0 -1"),
    within("BRPOPLPUSH k1 k2 T",            "RPUSH k1 x y",       "LRANGE k2 0 -1"),
    // Errors are the server's own.
    case("BLPOP k1 k2 nonsense",            "PING",               "PING"),
    case("BLPOP k1 k2 -1",                  "PING",               "PING"),
    case("BLPOP k1",                        "PING",               "PING"),
    case("BZPOPMIN k1 k2 1e99",             "PING",               "PING"),
    case("BLMPOP T 2 k1 k2 UP",             "PING",               "PING"),
    case("BLMPOP T 0 k1 LEFT",              "PING",               "PING"),
    case("BLMPOP T 2 k1 k2",                "PING",               "PING"),
    case("BLMPOP x 2 k1 k2",                "PING",               "PING"),
    case("BZMPOP T 2 k1 k2",                "PING",               "PING"),
    case("BLMPOP -2 2 k1 k2 LEFT",          "PING",               "PING"),
    case("BZMPOP T 2 k1 k2 MIN COUNT 0",    "PING",               "PING"),
    case("BLPOP k1 wrong k2 T",             "PING",               "PING"),
    case("BRPOP wrong T",                   "PING",               "PING"),
    stream("XREAD BLOCK T STREAMS k1 wrong $ $", "PING",          "PING"),
    stream("XREAD BLOCK T STREAMS k1 wrong 0 0", "PING",          "PING"),
    stream("XREAD BLOCK T STREAMS k6 wrong 0 0", "PING",          "PING"),
    stream("XREAD BLOCK T STREAMS wrong k6 0 0", "PING",          "PING"),
    stream("XREAD BLOCK x STREAMS k1 k2 0 0", "PING",             "PING"),
    stream("XREAD BLOCK -1 STREAMS k1 k2 0 0", "PING",            "PING"),
    stream("XREAD BLOCK T STREAMS k1 k2 0", "PING",               "PING"),
    stream("XREADGROUP GROUP none c BLOCK T STREAMS k4 k5 > >", "PING", "PING"),
    within("BLMOVE k1 k2 LEFT UP T",        "PING",               "PING"),
    within("BLMOVE wrong k2 LEFT LEFT T",   "PING",               "PING"),
];

const SETUP: &[&str] = &[
    "SET wrong w",
    "XADD k6 1-1 f v",
    "XGROUP CREATE k4 g $ MKSTREAM",
    "XGROUP CREATE k5 g $ MKSTREAM",
];

#[test]
fn replies_are_those_of_a_plain_redis() {
    same(&redis());
}

#[test]
fn replies_are_those_of_a_plain_valkey() {
    same(&valkey());
}

fn same(kind: &ServerKind) {
    let stage = Stage::set(kind, &[]);
    let plain = Server::boot(&kind.path, &[]).unwrap();
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut through = [stage.proxy.client(), stage.proxy.client()];
        let mut direct = [(); 2].map(|()| RawClient::connect(plain.addr()));
        for clients in [&mut through, &mut direct] {
            clients[0].line(hello);
        }
        let blocked = || stage.gauge("slotway_blocked_clients") == 1.0;
        let plainly = || {
            let text = plain.command(&["INFO", "clients"]).unwrap().text();
            text.contains("blocked_clients:1")
        };
        for one_slot in [true, false] {
            for case in CASES.iter().filter(|case| case.anywhere || one_slot) {
                for &how in case.hows() {
                    // At the same time: most of it is waiting.
                    let (got, expected) = std::thread::scope(|scope| {
                        let got = scope.spawn(|| case.run(how, one_slot, &mut through, &blocked));
                        let expected = case.run(how, one_slot, &mut direct, &plainly);
                        (got.join().expect("it is answered"), expected)
                    });
                    assert!(
                        got == expected,
                        "{}, {hello}, {}, {how:?}, in one slot: {one_slot}\ngot      {}\nexpected {}",
                        kind.name,
                        case.command,
                        show(&got),
                        show(&expected)
                    );
                }
            }
        }
    }
    stage.wait_clean();
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// The element is there.
    There,
    /// The time is over.
    Over,
    /// It comes while the client is blocked.
    Later,
}

impl Case {
    /// An error comes at once, and what would wait has nothing to wait for.
    fn hows(&self) -> &'static [How] {
        match self.push {
            "PING" => &[How::Over],
            _ => &[How::There, How::Over, How::Later],
        }
    }

    fn line(&self, line: &str, how: How, one_slot: bool) -> String {
        let time = match (how, self.milliseconds) {
            (How::Over, true) => "30",
            (How::Over, false) => "0.03",
            _ => "0",
        };
        let words = line.split(' ').map(|word| match word {
            "T" => time.to_owned(),
            "k1" | "k2" | "k3" | "k4" | "k5" | "wrong" if one_slot => format!("{{tag}}{word}"),
            word => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Everything that came back, in a row.
    fn run(
        &self,
        how: How,
        one_slot: bool,
        [client, other]: &mut [RawClient; 2],
        is_blocked: &dyn Fn() -> bool,
    ) -> Vec<u8> {
        other.line("FLUSHALL");
        for line in SETUP {
            other.line(&self.line(line, how, one_slot));
        }
        let command = self.line(self.command, how, one_slot);
        let push = self.line(self.push, how, one_slot);
        let mut all = Vec::new();
        match how {
            How::Over => all.extend(client.line(&command)),
            How::Later => {
                send(client, &command);
                wait_until(&command, SHOWN_WITHIN, &Stop::default(), || {
                    is_blocked()
                        .then_some(())
                        .ok_or_else(|| "not blocked".into())
                })
                .unwrap();
                all.extend(other.line(&push));
                all.extend(client.reply());
            }
            How::There => {
                all.extend(other.line(&push));
                all.extend(client.line(&command));
            }
        }
        let look = self.line(self.look, how, one_slot);
        if !look.starts_with("XPENDING") {
            all.extend(other.line(&look));
        }
        all
    }
}

#[test]
fn what_comes_from_now_on_is_settled_once() {
    on_each(|kind| {
        let stage = Stage::set(kind, &[]);
        let mut other = stage.proxy.client();
        other.line("XADD k1 1-1 f old");
        for command in [
            "XREAD BLOCK 0 STREAMS k1 $",
            "XREAD BLOCK 0 STREAMS k2 k1 $ $",
        ] {
            let mut client = stage.blocked(command);
            let id = other.line("XADD k1 * f new");
            let reply = client.reply();
            let expected = [
                b"*1\r\n*2\r\n$2\r\nk1\r\n*1\r\n*2\r\n",
                &id[..],
                b"*2\r\n$1\r\nf\r\n$3\r\nnew\r\n",
            ];
            assert!(reply == expected.concat(), "{command}: {}", show(&reply));
        }
        // Each command is followed by what is behind it, and nothing behind it is executed first.
        let mut client = stage.blocked("BLPOP q1 q2 0");
        send(&mut client, "SET q3 1");
        send(&mut client, "BRPOP {q}1 {q}2 0");
        send(&mut client, "GET q3");
        other.expect("EXISTS q3", b":0\r\n");
        other.expect("RPUSH q2 a", b":1\r\n");
        assert_eq!(
            client.replies(2).concat(),
            b"*2\r\n$2\r\nq2\r\n$1\r\na\r\n+OK\r\n"
        );
        other.expect("RPUSH {q}2 b", b":1\r\n");
        assert_eq!(
            client.replies(2).concat(),
            b"*2\r\n$4\r\n{q}2\r\n$1\r\nb\r\n$1\r\n1\r\n"
        );
        // A destination elsewhere would not be atomic.
        let refused = client.line("BLMOVE q1 q2 LEFT RIGHT 0");
        assert!(refused.starts_with(b"-CROSSSLOT "), "{}", show(&refused));
    });
}
