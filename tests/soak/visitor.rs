//! One client of the soak: a connection that knows its RESP version, and values that name where they belong, so that a
//! reply that crossed is seen whatever it is.

use super::queues::Queues;
use crate::support::{RawClient, encode, show};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::net::SocketAddr;
use std::sync::Arc;

/// What all visitors share.
pub struct Town {
    pub addr: SocketAddr,
    pub queues: Queues,
    /// Of the script that all know.
    pub sha: String,
    pub seed: u64,
}

/// See the module.
pub struct Visitor {
    pub client: RawClient,
    /// No other has the same.
    pub life: u64,
    pub rng: StdRng,
    pub town: Arc<Town>,
    /// RESP2 or RESP3.
    pub proto: u8,
    names: u64,
}

impl Visitor {
    pub fn arrive(town: &Arc<Town>, life: u64) -> Self {
        let mut visitor = Self {
            client: RawClient::connect(town.addr),
            life,
            rng: StdRng::seed_from_u64(town.seed.wrapping_add(life)),
            town: town.clone(),
            proto: 2,
            names: 0,
        };
        if visitor.rng.random() {
            visitor.hello(3);
        }
        visitor
    }

    pub fn hello(&mut self, proto: u8) {
        let reply = self.client.line(&format!("HELLO {proto}"));
        let start = if proto == 3 { b'%' } else { b'*' };
        assert_eq!(reply[0], start, "HELLO {proto}: {}", show(&reply));
        self.proto = proto;
    }

    /// Somebody else, who helps this one.
    pub fn helper(&self) -> RawClient {
        RawClient::connect(self.town.addr)
    }

    /// A key that nobody else uses, in any slot.
    pub fn key(&mut self) -> String {
        self.names += 1;
        format!("own:{}:{}", self.life, self.names)
    }

    /// So many keys that nobody else uses, all in one slot.
    pub fn keys_together(&mut self, count: usize) -> Vec<String> {
        let tag = self.key();
        (0..count).map(|n| format!("{{{tag}}}:{n}")).collect()
    }

    /// A value that says that it belongs to this key or channel, and cannot be made up by accident.
    pub fn value(&mut self, name: &str) -> String {
        self.names += 1;
        stamp(self.town.seed, self.life, self.names, name)
    }

    pub fn send(&mut self, line: &str) {
        self.client.send_lines(&[line]);
    }

    #[track_caller]
    pub fn expect(&mut self, line: &str, reply: &[u8]) {
        self.client.expect(line, reply);
    }

    /// Null as this RESP version has it.
    pub fn null(&self) -> &'static [u8] {
        if self.proto == 3 {
            b"_\r\n"
        } else {
            b"$-1\r\n"
        }
    }

    /// A null array.
    pub fn nothing(&self) -> &'static [u8] {
        if self.proto == 3 {
            b"_\r\n"
        } else {
            b"*-1\r\n"
        }
    }

    /// The number that a push or an array of so many begins with.
    pub fn push(&self, elements: &[&str]) -> Vec<u8> {
        let mut bytes = encode(elements);
        if self.proto == 3 {
            bytes[0] = b'>';
        }
        bytes
    }
}

/// A bulk string.
pub fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

/// Says who made it, for what, and proves it.
fn stamp(seed: u64, life: u64, number: u64, name: &str) -> String {
    format!(
        "{name}|{life}|{number}|{:x}",
        proof(seed, life, number, name)
    )
}

/// Who made this stamp, and how many that had made before, if it is for `name`.
pub fn read_stamp(seed: u64, stamp: &str, name: &str) -> Option<(u64, u64)> {
    let mut parts = stamp.rsplitn(4, '|');
    let proven = u64::from_str_radix(parts.next()?, 16).ok()?;
    let number = parts.next()?.parse().ok()?;
    let life = parts.next()?.parse().ok()?;
    let is_for = parts.next()? == name;
    (is_for && proven == proof(seed, life, number, name)).then_some((life, number))
}

/// FNV-1a.
fn proof(seed: u64, life: u64, number: u64, name: &str) -> u64 {
    let numbers = [seed, life, number].into_iter().flat_map(u64::to_le_bytes);
    numbers
        .chain(name.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}
