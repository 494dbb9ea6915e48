//! Blocking commands, at the node and emulated over several slots.

use super::queues::Family;
use super::visitor::Visitor;
use crate::support::encode_line;
use crate::support::{encode, show};
use rand::Rng;

/// Seconds that a client waits for a queue that others may empty.
const SHORT_WAIT: &str = "0.05";

/// Waits on queues of its own until somebody pushes.
pub fn own_queue(visitor: &mut Visitor) {
    let keys = match visitor.rng.random() {
        true => visitor.keys_together(2),
        false => vec![visitor.key(), visitor.key(), visitor.key()],
    };
    let command = if visitor.rng.random() {
        "BLPOP"
    } else {
        "BRPOP"
    };
    visitor.send(&format!("{command} {} 0", keys.join(" ")));
    let key = keys.last().unwrap();
    let element = visitor.value(key);
    let mut helper = visitor.helper();
    helper.expect(&format!("RPUSH {key} {element}"), b":1\r\n");
    let got = visitor.client.reply();
    assert_eq!(show(&got), show(&encode(&[key, &element])));
}

/// Waits for entries of streams.
pub fn own_stream(visitor: &mut Visitor) {
    let keys = match visitor.rng.random() {
        true => visitor.keys_together(2),
        false => vec![visitor.key(), visitor.key()],
    };
    visitor.send(&format!(
        "XREAD BLOCK 0 STREAMS {} {} 0-0 0-0",
        keys[0], keys[1]
    ));
    let value = visitor.value(&keys[1]);
    visitor.helper().expect(
        &format!("XADD {} 1-1 field {value}", keys[1]),
        b"$3\r\n1-1\r\n",
    );
    let got = String::from_utf8(visitor.client.reply()).unwrap();
    let both = [keys[1].as_str(), &value].map(|part| got.contains(&format!("\r\n{part}\r\n")));
    assert!(both == [true, true] && !got.contains(&keys[0][..]), "{got}");
    visitor.expect(&format!("DEL {}", keys[1]), b":1\r\n");
}

/// Nobody comes.
pub fn in_vain(visitor: &mut Visitor) {
    let line = match visitor.rng.random() {
        true => format!("BLPOP {} 0.01", visitor.keys_together(2).join(" ")),
        false => format!("BLPOP {} {} 0.01", visitor.key(), visitor.key()),
    };
    let nothing = visitor.nothing();
    visitor.expect(&line, nothing);
}

/// Pushes to queues that all use, and takes from them.
pub fn common_queue(visitor: &mut Visitor) {
    let town = visitor.town.clone();
    let family = &town.queues.0[visitor.rng.random_range(0..town.queues.0.len())];
    push(visitor, family);
    let names = family.names.join(" ");
    let count = family.names.len();
    let line = match visitor.rng.random_range(0..3) {
        0 => format!("BLPOP {names} {SHORT_WAIT}"),
        1 => format!("BRPOP {names} {SHORT_WAIT}"),
        _ => format!("BLMPOP {SHORT_WAIT} {count} {names} LEFT"),
    };
    let reply = visitor.client.line(&line);
    if reply != visitor.nothing() {
        let text = String::from_utf8(reply).unwrap();
        family.popped(text.trim_end().rsplit("\r\n").next().unwrap());
    }
}

fn push(visitor: &mut Visitor, family: &Family) {
    let name = family.names[visitor.rng.random_range(0..family.names.len())];
    let elements = [(); 2].map(|()| visitor.value(name));
    let lines = elements.each_ref().map(|element| {
        family.pushes(element);
        let end = if visitor.rng.random() {
            "LPUSH"
        } else {
            "RPUSH"
        };
        format!("{end} {name} {element}")
    });
    let in_block = visitor.rng.random_ratio(1, 3);
    let lines = lines.iter().map(String::as_str);
    let all: Vec<&str> = match in_block {
        true => ["MULTI"].into_iter().chain(lines).chain(["EXEC"]).collect(),
        false => lines.collect(),
    };
    let bytes: Vec<u8> = all.iter().flat_map(|line| encode_line(line)).collect();
    visitor.client.send(&bytes);
    let replies = visitor.client.replies(all.len());
    let last = replies.last().unwrap();
    let start: &[u8] = if in_block { b"*2\r\n:" } else { b":" };
    assert!(last.starts_with(start), "{all:?}: {}", show(last));
}
