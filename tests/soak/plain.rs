//! What a plain client does: pipelines, commands over several slots, scripts, scans, other RESP versions.

use super::visitor::{Visitor, bulk};
use crate::support::{encode, encode_line, show};
use rand::Rng;
use rand::seq::IndexedRandom;

/// SET, GET, APPEND, DEL on keys of its own, deep in a pipeline.
pub fn pipeline(visitor: &mut Visitor) {
    let depth = *[1, 4, 30].choose(&mut visitor.rng).unwrap();
    let mut bytes = Vec::new();
    let mut expected: Vec<(String, Vec<u8>)> = Vec::new();
    for _ in 0..depth {
        let key = visitor.key();
        let value = visitor.value(&key);
        let null = visitor.null().to_vec();
        for (line, reply) in [
            (format!("SET {key} {value}"), b"+OK\r\n".to_vec()),
            (format!("GET {key}"), bulk(&value)),
            (format!("ECHO {value}"), bulk(&value)),
            (
                format!("STRLEN {key}"),
                format!(":{}\r\n", value.len()).into_bytes(),
            ),
            (format!("DEL {key}"), b":1\r\n".to_vec()),
            (format!("GET {key}"), null),
        ] {
            bytes.extend(encode_line(&line));
            expected.push((line, reply));
        }
    }
    visitor.client.send(&bytes);
    for (line, reply) in expected {
        let got = visitor.client.reply();
        assert!(got == reply, "{line}: {}", show(&got));
    }
}

/// MSET, MGET, EXISTS, UNLINK of keys in several slots.
pub fn several(visitor: &mut Visitor) {
    let count = visitor.rng.random_range(2..12);
    let keys: Vec<String> = (0..count).map(|_| visitor.key()).collect();
    let values: Vec<String> = keys.iter().map(|key| visitor.value(key)).collect();
    let pairs = keys.iter().zip(&values).flat_map(|(k, v)| [k.as_str(), v]);
    let command = |name| -> Vec<&str> {
        let keys = keys.iter().map(String::as_str);
        [name].into_iter().chain(keys).collect()
    };
    let mset: Vec<&str> = ["MSET"].into_iter().chain(pairs).collect();
    let commands = [
        encode(&mset),
        encode(&command("MGET")),
        encode(&command("UNLINK")),
    ];
    visitor.client.send(&commands.concat());
    assert_eq!(show(&visitor.client.reply()), show(b"+OK\r\n"));
    assert_eq!(show(&visitor.client.reply()), show(&encode(&values)));
    let removed = format!(":{count}\r\n");
    assert_eq!(show(&visitor.client.reply()), show(removed.as_bytes()));
}

/// The body of the script that everybody knows.
pub const SCRIPT: &str =
    "redis.call('SET', KEYS[1], ARGV[1]) return {KEYS[1], redis.call('GET', KEYS[1])}";

pub fn script(visitor: &mut Visitor) {
    let key = visitor.key();
    let value = visitor.value(&key);
    let sha = visitor.town.sha.clone();
    let line = format!("EVALSHA {sha} 1 {key} {value}");
    visitor.expect(&line, &encode(&[&key, &value]));
    visitor.expect(&format!("DEL {key}"), b":1\r\n");
}

/// A few steps of a scan, which is then given up.
pub fn scan(visitor: &mut Visitor) {
    let mut cursor = "0".to_owned();
    for _ in 0..visitor.rng.random_range(1..4) {
        let reply = visitor.client.line(&format!("SCAN {cursor} COUNT 20"));
        let text = String::from_utf8(reply).unwrap();
        let mut lines = text.split("\r\n");
        assert_eq!(lines.next(), Some("*2"), "{text}");
        cursor = lines.nth(1).unwrap().to_owned();
        assert!(cursor.parse::<u64>().is_ok(), "{text}");
        if cursor == "0" {
            return;
        }
    }
}

/// HELLO in mid-connection, and RESET.
pub fn versions(visitor: &mut Visitor) {
    let key = visitor.key();
    for proto in [3, 2, 3] {
        visitor.hello(proto);
        let null = visitor.null();
        visitor.expect(&format!("GET {key}"), null);
    }
    if visitor.rng.random() {
        visitor.expect("RESET", b"+RESET\r\n");
        visitor.proto = 2;
        visitor.expect(&format!("GET {key}"), b"$-1\r\n");
    }
}
