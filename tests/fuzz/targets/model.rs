//! A server as far as splitting needs one: keys with strings, and what a few commands answer.

use std::collections::BTreeMap;

use slotway::resp::{Proto, Request, encode};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    proto: Proto,
}

impl Model {
    pub fn new(proto: Proto) -> Self {
        Self {
            keys: BTreeMap::new(),
            proto,
        }
    }

    pub fn set(&mut self, key: &[u8], value: &[u8]) {
        self.keys.insert(key.to_vec(), value.to_vec());
    }

    /// Executes a command and answers it.
    pub fn execute(&mut self, request: &Request<'_>) -> Vec<u8> {
        let args: Vec<&[u8]> = request.args().collect();
        let mut out = Vec::new();
        match (args[0].to_ascii_lowercase().as_slice(), &args[1..]) {
            (b"mget", keys) => self.values(keys, b"", &mut out),
            // The path is told with the value, so that a part without it shows.
            (b"json.mget", [keys @ .., path]) => self.values(keys, path, &mut out),
            (b"mset", pairs) => {
                pairs
                    .chunks_exact(2)
                    .for_each(|pair| self.set(pair[0], pair[1]));
                encode::simple(&mut out, "OK");
            }
            (b"msetex", [count, rest @ ..]) => {
                let count: usize = std::str::from_utf8(count).unwrap().parse().unwrap();
                let (pairs, expiry) = rest.split_at(2 * count);
                for pair in pairs.chunks_exact(2) {
                    self.set(pair[0], &[pair[1], &expiry.concat()].concat());
                }
                encode::integer(&mut out, 1);
            }
            (b"del" | b"unlink", keys) => {
                let removed = keys.iter().filter(|key| self.keys.remove(**key).is_some());
                encode::integer(&mut out, removed.count() as i64);
            }
            (b"exists" | b"touch", keys) => {
                let found = keys.iter().filter(|key| self.keys.contains_key(**key));
                encode::integer(&mut out, found.count() as i64);
            }
            (name, _) => panic!("not a command of the model: {}", name.escape_ascii()),
        }
        out
    }

    fn values(&self, keys: &[&[u8]], suffix: &[u8], out: &mut Vec<u8>) {
        encode::array(out, keys.len());
        for key in keys {
            match self.keys.get(*key) {
                Some(value) => encode::bulk(out, &[value, suffix].concat()),
                None => encode::null(out, self.proto),
            }
        }
    }
}
