//! Queues of transactions: what is queued, refused, split and answered.

use super::*;
use crate::resp::{encode, parse_request};

const LIMITS: QueueLimits = QueueLimits {
    commands: 9,
    bytes: 1_000,
};

fn bytes(line: &str) -> Vec<u8> {
    let words: Vec<&str> = line.split(' ').collect();
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &words);
    bytes
}

fn with<T>(line: &str, f: impl FnOnce(&Request<'_>) -> T) -> T {
    let (bytes, mut spans) = (bytes(line), Vec::new());
    f(&parse_request(&bytes, &mut spans).unwrap())
}

fn send(queue: &mut Queue, line: &str, key: &str, slots: Slots) -> Result<(), NotQueued> {
    let slot = (!key.is_empty()).then(|| Slot::of(key.as_bytes()));
    with(line, |request| {
        queue.send(request, slot, false, slots, &LIMITS)
    })
}

fn ping(queue: &mut Queue) {
    with("PING", |r| queue.answer(Some(Local::Ping), r, &LIMITS)).unwrap();
}

fn exec(queue: Queue, loads: &[Vec<u8>]) -> (Vec<Block>, Assembly) {
    queue.exec(loads, |_, _, out| encode::simple(out, "PONG"))
}

fn blocks(lines: &[&[&str]]) -> Vec<Vec<u8>> {
    let block = |lines: &&[&str]| lines.iter().flat_map(|line| bytes(line)).collect();
    lines.iter().map(block).collect()
}

fn all(blocks: &[Block]) -> Vec<Vec<u8>> {
    blocks.iter().map(|b| b.bytes.clone()).collect()
}

#[test]
fn one_slot_makes_one_block_and_its_reply_passes_untouched() {
    let mut queue = Queue::default();
    send(&mut queue, "PUBLISH c m", "", Slots::One).unwrap();
    send(&mut queue, "SET a 1", "a", Slots::One).unwrap();
    let other = send(&mut queue, "SET b 1", "b", Slots::One);
    assert_eq!(other, Err(NotQueued::OtherSlot));
    assert_eq!(queue.first_keyed(), Some(&bytes("SET a 1")[..]));
    let (made, assembly) = exec(queue, &[]);
    let lines: &[&str] = &["MULTI", "PUBLISH c m", "SET a 1", "EXEC"];
    assert_eq!(all(&made), blocks(&[lines]));
    assert_eq!((made[0].slot, made[0].inner), (Some(Slot::of(b"a")), 3));
    let reply = b"*2\r\n:0\r\n-MOVED 1 h:1\r\n";
    assert!(matches!(assembly.finish(&[reply]), Cow::Borrowed(r) if r == reply));
}

#[test]
fn our_own_answers_are_put_where_they_belong_and_loads_are_left_out() {
    let mut queue = Queue::default();
    ping(&mut queue);
    send(&mut queue, "SET a 1", "a", Slots::One).unwrap();
    ping(&mut queue);
    send(&mut queue, "GET a", "a", Slots::One).unwrap();
    let (made, assembly) = exec(queue, &[bytes("SCRIPT LOAD x")]);
    let lines: &[&str] = &["MULTI", "SCRIPT LOAD x", "SET a 1", "GET a", "EXEC"];
    assert_eq!(all(&made), blocks(&[lines]));
    assert_eq!(made[0].inner, 4);
    let reply = assembly.finish(&[b"*3\r\n$1\r\nS\r\n+OK\r\n$1\r\n1\r\n"]);
    let expected = b"*4\r\n+PONG\r\n+OK\r\n+PONG\r\n$1\r\n1\r\n";
    assert_eq!(&reply[..], expected, "{}", reply.escape_ascii());
    let error = b"-EXECABORT x\r\n";
    assert_eq!(&assembly.finish(&[error])[..], error);
    let odd = assembly.finish(&[b"*1\r\n+OK\r\n"]);
    assert!(odd.starts_with(b"-ERR slotway: outcome unknown"));
}

#[test]
fn only_our_own_commands_need_no_node() {
    let mut queue = Queue::default();
    with("UNWATCH", |r| queue.answer(None, r, &LIMITS)).unwrap();
    ping(&mut queue);
    let (made, assembly) = exec(queue, &[]);
    assert_eq!(made, []);
    assert_eq!(&assembly.finish(&[])[..], b"*2\r\n+OK\r\n+PONG\r\n");
    let (_, empty) = exec(Queue::default(), &[]);
    assert_eq!(&empty.finish(&[])[..], b"*0\r\n");
}

#[test]
fn several_slots_make_several_blocks() {
    let mut queue = Queue::default();
    for (line, key) in [("SET a 1", "a"), ("SET b 1", "b"), ("PUBLISH c m", "")] {
        send(&mut queue, line, key, Slots::Several).unwrap();
        ping(&mut queue);
    }
    send(&mut queue, "GET b", "b", Slots::Several).unwrap();
    let (made, assembly) = exec(queue, &[]);
    let a: &[&str] = &["MULTI", "SET a 1", "PUBLISH c m", "EXEC"];
    let b: &[&str] = &["MULTI", "SET b 1", "GET b", "EXEC"];
    assert_eq!(all(&made), blocks(&[a, b]));
    assert_eq!((made[0].inner, made[1].inner), (3, 3));
    let reply = assembly.finish(&[b"*2\r\n:1\r\n:2\r\n", b"*2\r\n:3\r\n:4\r\n"]);
    let expected: &[u8] = b"*7\r\n:1\r\n+PONG\r\n:3\r\n+PONG\r\n:2\r\n+PONG\r\n:4\r\n";
    assert_eq!(&reply[..], expected, "{}", reply.escape_ascii());
    let reply = assembly.finish(&[b"-E\r\n", b"*2\r\n:3\r\n:4\r\n"]);
    let expected: &[u8] = b"*7\r\n-E\r\n+PONG\r\n:3\r\n+PONG\r\n-E\r\n+PONG\r\n:4\r\n";
    assert_eq!(&reply[..], expected, "{}", reply.escape_ascii());
    assert_eq!(&assembly.finish(&[b"-E\r\n", b"-F\r\n"])[..], b"-E\r\n");
}

#[test]
fn a_queue_is_bounded_and_an_aborted_one_holds_nothing() {
    let mut queue = Queue::default();
    for _ in 0..LIMITS.commands {
        send(&mut queue, "SET a 1", "a", Slots::One).unwrap();
    }
    let full = send(&mut queue, "SET a 1", "a", Slots::One);
    assert_eq!(full, Err(NotQueued::Full(Limit::TransactionCommands)));
    queue.abort();
    assert!(queue.is_aborted() && queue.held() == 0);
    send(&mut queue, "SET b 1", "b", Slots::One).unwrap();
    assert_eq!(queue.held(), 0);
    let long = format!("SET a {}", "x".repeat(LIMITS.bytes));
    let full = send(&mut Queue::default(), &long, "a", Slots::One);
    assert_eq!(full, Err(NotQueued::Full(Limit::TransactionBytes)));
}
