//! What a reply must be, by what nodes have done; and what a client may be told instead.

use super::{Answer, Asked, Oracle, Verdict, show};
use crate::plan::{Channel, HOPS_USUAL, Op, Reach};
use crate::request::PAD;
use crate::wire::{self, OK, Proto};

/// With ASK while it lasts, with MOVED when it is over.
const HOPS_PER_MOVE: usize = 2;

/// `timeouts.command`, in milliseconds.
const COMMAND_TIMEOUT_MS: u64 = 5_000;

/// `timeouts.unavailable`, in milliseconds: the `cluster-node-timeout` of the nodes, and two seconds.
const UNAVAILABLE_MS: u64 = 3_000;

/// Said to who subscribes at a slow node: a dial, a handshake and an answer may take longer than that.
const UNANSWERED: &str = "not subscribed, its node has not answered";

/// How errors begin where memory is short.
const SHORT: [&str; 2] = ["-OOM slotway", "-EXECABORT"];

impl Oracle {
    /// A client got the last reply to a command.
    pub fn answered(&mut self, number: usize, reply: &[u8]) -> Verdict {
        let asked = &self.asked[number];
        let error = |what: &str| {
            Err(format!(
                "command {number} ({:?}) got {what}: {}",
                asked.op,
                show(reply)
            ))
        };
        if reply[0] == b'-' {
            return self.failed(number, reply);
        }
        let once = |n: usize| asked.done.len() == n;
        let is_nothing = reply == asked.proto.nil_array();
        let mut answer = Answer::Done;
        let right = match &asked.op {
            Op::Ping => is_pong(asked, reply),
            Op::Hello(Proto::Two) => reply[0] == b'*',
            Op::Hello(Proto::Three) => reply[0] == b'%',
            Op::Feed(_) | Op::Publish(_) => once(1) && reply == asked.done[0].2,
            Op::Sweep(..) if is_nothing => {
                answer = Answer::NotDone;
                true
            }
            Op::Sweep(..) => {
                let items = wire::elements(reply);
                let content = |at: usize| items.get(at).and_then(|item| wire::content(item));
                let popped = content(1).and_then(|element| self.popped.remove(element));
                items.len() == 2 && popped.is_some() && popped.as_deref() == content(0)
            }
            Op::Pop(..) | Op::Watched(_) if is_nothing => {
                answer = Answer::NotDone;
                once(0)
            }
            Op::Pop(..) => once(1) && reply == asked.done[0].2,
            Op::Watched(_) => {
                let watch = &asked.watch;
                if watch.confirmed && watch.broken {
                    return error("EXEC although what it watched had changed");
                }
                once(1) && reply == wire::array(&[OK.to_vec()])
            }
            Op::Subscribe(channel) | Op::Unsubscribe(channel) => {
                let subscribes = matches!(asked.op, Op::Subscribe(_));
                let right = is_confirmation(asked, *channel, subscribes, reply);
                let (client, channel) = (asked.client, *channel);
                self.channels.answered(client, channel, subscribes);
                right
            }
            Op::Unwatched(..) => once(0) && reply == OK,
            Op::Set(_) => once(1) && reply == OK,
            Op::Push(_) => once(1) && reply == asked.done[0].2,
            Op::Read(_) if asked.stale => {
                return error("what was read before an earlier write of its client was done");
            }
            Op::Read(_) => asked.done.last().is_some_and(|d| d.2 == reply),
            Op::Mset(_) => once(asked.segments) && reply == OK,
            Op::Multi(_) => {
                let done: Vec<Vec<u8>> = asked.done.iter().map(|d| d.2.clone()).collect();
                once(2) && reply == wire::array(&done)
            }
            Op::Get(_) => self.is_value(asked, &asked.keys[0], reply),
            Op::Mget(_) => {
                let items = wire::elements(reply);
                let mut pairs = asked.keys.iter().zip(&items);
                items.len() == asked.keys.len() && pairs.all(|(k, v)| self.is_value(asked, k, v))
            }
            Op::Incr(_) => {
                let counter = self.counters.entry(asked.keys[0].clone()).or_default();
                integer(reply)
                    .is_some_and(|v| counter.executed.contains(&v) && counter.acked.insert(v))
            }
        };
        if !right {
            return error("what it cannot have answered");
        }
        self.asked[number].answer = Some(answer);
        Ok(())
    }

    /// HELLO was refused: what the client has sent since is answered in the version before.
    fn speaks_as_before(&mut self, number: usize) {
        let client = self.asked[number].client;
        let before = self.asked[..number].iter().rfind(|a| a.client == client);
        let proto = before.map(|asked| asked.proto).unwrap_or_default();
        self.asked[number].proto = proto;
        let since = self.asked[number + 1..].iter_mut();
        for asked in since.filter(|asked| asked.client == client) {
            if let Op::Hello(_) = asked.op {
                return;
            }
            asked.proto = proto;
        }
        self.protos.insert(client, proto);
    }

    /// A client got one of the replies before the last: so many are left with it.
    pub fn inner(&mut self, number: usize, left: usize, reply: &[u8]) -> Verdict {
        let asked = &mut self.asked[number];
        let place = asked.replies - left;
        let expected: &[u8] = match (&asked.op, place) {
            (Op::Watched(_) | Op::Unwatched(..), 0) => {
                asked.watch.confirmed = reply == OK;
                if asked.watch.confirmed || reply[0] == b'-' {
                    return Ok(());
                }
                OK
            }
            (Op::Watched(_) | Op::Unwatched(..), 1) | (_, 0) => OK,
            // As a server says it, and EXEC says so again.
            (_, 1..) if self.padding > 0 && reply.starts_with(b"-OOM ") => return Ok(()),
            _ => b"+QUEUED\r\n",
        };
        match reply == expected {
            true => Ok(()),
            false => {
                let (what, got) = (self.describe(number), show(reply));
                Err(format!("{what} got {got} inside of MULTI"))
            }
        }
    }

    /// A message came to a client between its replies.
    pub fn message(&mut self, client: usize, reply: &[u8]) -> Verdict {
        let items = wire::elements(reply);
        let content = |at: usize| items.get(at).and_then(|item| wire::content(item));
        let payload = content(2).and_then(|p| p.strip_prefix(b"n"));
        let number = payload.and_then(|p| std::str::from_utf8(p).ok()?.parse().ok());
        let channel = content(1).and_then(|name| self.names.get(name));
        let proto = self.protos.get(&client).copied().unwrap_or_default();
        let (Some(number), Some(&channel)) = (number, channel) else {
            return Err(format!("client {client} heard {}", show(reply)));
        };
        if reply[0] != head(proto) {
            return Err(format!(
                "client {client} heard {} in another version",
                show(reply)
            ));
        }
        let once = self.strict || (self.once && channel.reach == Reach::Everywhere);
        self.channels.hears(client, channel, number, once)
    }

    /// Whether a key can have had this value: nothing, or what a command wrote to it.
    fn is_value(&self, asked: &Asked, key: &[u8], reply: &[u8]) -> bool {
        if reply == asked.proto.nil() {
            return true;
        }
        let value = wire::content(reply).and_then(|v| std::str::from_utf8(v).ok());
        let number = value.and_then(|v| v.trim_start_matches(PAD).strip_prefix('n'));
        let number = number.and_then(|n| n.parse::<usize>().ok());
        let writer = number.and_then(|n| self.asked.get(n));
        writer.is_some_and(|w| w.keys.iter().any(|k| k == key) && !w.done.is_empty())
    }

    fn failed(&mut self, number: usize, reply: &[u8]) -> Verdict {
        self.errors += 1;
        let text = String::from_utf8_lossy(reply);
        let asked = &mut self.asked[number];
        let unknown = text.contains("outcome unknown");
        let several =
            asked.segments > 1 || asked.keys.len() > 1 || matches!(asked.op, Op::Multi(_));
        // Some of its keys have moved, and what came behind it on one of them was executed (invariant 3).
        let halfway = several && ["TRYAGAIN", "ASK "].iter().any(|word| text.contains(word));
        let cause = text.rsplit("because of: ").next().unwrap_or(&text);
        let cause = cause.trim_start_matches('-');
        if cause.starts_with("MOVED ") || cause.starts_with("ASK ") {
            return Err(format!(
                "command {number} ({:?}) got what is not for clients: {}",
                asked.op,
                show(reply)
            ));
        }
        // Only who was sent on may be told so: a request that no reply comes to was lost.
        let waited = self.now - asked.at;
        let subscribes = matches!(asked.op, Op::Subscribe(_) | Op::Unsubscribe(_));
        let late = self.slow
            && ((waited >= COMMAND_TIMEOUT_MS && text.contains("was on the move for longer than"))
                || (waited >= UNAVAILABLE_MS && subscribes && text.contains(UNANSWERED)));
        let gives_up = text.contains("have sent it on more than");
        if gives_up && asked.segments == 1 && asked.tells_hops() && asked.hops <= self.hops_max {
            return Err(format!(
                "command {number} ({:?}) was given up after {} redirections: {}",
                asked.op,
                asked.hops,
                show(reply)
            ));
        }
        // A command that is at a slow node while its slot goes from node to node.
        let moves = HOPS_PER_MOVE * (self.moves - asked.moves);
        let outrun = self.slow && moves > self.hops_max;
        let astray = gives_up && (self.hops_max < HOPS_USUAL || outrun);
        let overtaken = self.came_back && text.contains("and a later command of this connection");
        // What was refused is in front of EXEC, or not kept.
        let short = self.padding > 0 && SHORT.iter().any(|word| text.starts_with(word));
        if self.strict && !halfway && !late && !astray && !overtaken && !short {
            return Err(format!(
                "command {number} ({:?}) got an error under mere moves: {}",
                asked.op,
                show(reply)
            ));
        }
        if !unknown
            && !asked.done.is_empty()
            && asked.segments == 1
            && !matches!(asked.op, Op::Read(_))
        {
            return Err(format!(
                "command {number} ({:?}) was executed, and its client told otherwise: {}",
                asked.op,
                show(reply)
            ));
        }
        if let Op::Subscribe(channel) | Op::Unsubscribe(channel) = asked.op {
            self.channels.refused(asked.client, channel);
        }
        if let Op::Hello(_) = asked.op {
            self.speaks_as_before(number);
        }
        let asked = &mut self.asked[number];
        asked.answer = Some(if unknown {
            Answer::Unknown
        } else {
            Answer::NotDone
        });
        if let Op::Incr(_) = asked.op
            && !unknown
        {
            let counter = self.counters.entry(asked.keys[0].clone()).or_default();
            counter.refused += 1;
        }
        Ok(())
    }
}

impl Asked {
    /// Whether a node that sends it on can be told from one that sends on another command.
    fn tells_hops(&self) -> bool {
        matches!(
            self.op,
            Op::Set(_) | Op::Read(_) | Op::Push(_) | Op::Feed(_) | Op::Pop(..) | Op::Watched(_)
        )
    }
}

/// A subscribed client of RESP2 gets another one.
fn is_pong(asked: &Asked, reply: &[u8]) -> bool {
    reply == b"+PONG\r\n"
        || (asked.proto == Proto::Two && reply == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")
}

fn is_confirmation(asked: &Asked, channel: Channel, subscribes: bool, reply: &[u8]) -> bool {
    let items = wire::elements(reply);
    let word: &[u8] = match (channel.reach, subscribes) {
        (Reach::Everywhere, true) => b"subscribe",
        (Reach::Everywhere, false) => b"unsubscribe",
        (Reach::Shard, true) => b"ssubscribe",
        (Reach::Shard, false) => b"sunsubscribe",
    };
    reply[0] == head(asked.proto)
        && items.len() == 3
        && wire::content(items[0]) == Some(word)
        && wire::content(items[1]) == Some(&asked.keys[0])
}

/// How a message begins.
fn head(proto: Proto) -> u8 {
    match proto {
        Proto::Two => b'*',
        Proto::Three => b'>',
    }
}

pub(super) fn integer(reply: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(reply.strip_prefix(b":")?).ok()?;
    text.trim_end().parse().ok()
}

/// What a client may be told where only slots move: not even that no reply came, for then the proxy has lost the request.
#[test]
fn a_request_that_was_lost_is_no_mere_move() {
    let judge_at = |now: u64, op: Op, slow: bool, reply: &str| {
        let mut oracle = Oracle {
            strict: true,
            slow,
            ..Oracle::default()
        };
        let (number, ..) = oracle.ask(0, op, &["{t0}".to_owned()]);
        oracle.now = now;
        oracle.answered(number, reply.as_bytes()).is_ok()
    };
    let judge = |slow, reply: &str| judge_at(COMMAND_TIMEOUT_MS, Op::Set(0), slow, reply);
    let lost = "-ERR slotway: no reply in time (timeouts.command, or others); outcome unknown\r\n";
    let moving = "-CLUSTERDOWN slotway: not executed, its slot was on the move for longer than timeouts.command\r\n";
    assert!(!judge(true, lost) && !judge(false, lost));
    assert!(judge(true, moving) && !judge(false, moving));
    let channel = Channel {
        reach: Reach::Shard,
        tag: 0,
    };
    let unanswered = format!("-CLUSTERDOWN slotway: {UNANSWERED}; try again later\r\n");
    let judge = |now, slow| judge_at(now, Op::Subscribe(channel), slow, &unanswered);
    assert!(judge(UNAVAILABLE_MS, true));
    assert!(!judge(UNAVAILABLE_MS - 1, true) && !judge(UNAVAILABLE_MS, false));
}
