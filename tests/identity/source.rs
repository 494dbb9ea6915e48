//! Draws sequences: which commands meet, in which pipelines, and how it ends. A seed is a sequence.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::catalog;
use super::catalog_other::{KEYS, SCRIPTS, SERVER};
use super::compare::{self, Mode};
use super::differences::{NOT_SPOILT, difference, is_peculiar};
use super::steps::{Batch, CLIENTS_MAX, Ending, Sequence, Step, ignored, line_args, plain};
use super::template;
use super::values::{KINDS, Values};
use super::wire;
use crate::support;

impl Sequence {
    /// The sequence of a seed, for the server of this name. `commands` are the names of all commands and subcommands that
    /// it has.
    pub fn of(seed: u64, server: &'static str, commands: &[String]) -> Self {
        let mut source = Source {
            rng: StdRng::seed_from_u64(seed),
            tables: Vec::new(),
            server,
            commands,
        };
        source.focus();
        source.sequence()
    }
}

struct Source<'a> {
    rng: StdRng,
    /// The tables that this sequence draws from: few, so that its commands meet the same keys.
    tables: Vec<(&'static str, &'static [&'static str])>,
    server: &'static str,
    commands: &'a [String],
}

impl Source<'_> {
    fn focus(&mut self) {
        for _ in 0..self.rng.random_range(1..4) {
            self.tables
                .push(*catalog::VALUES.choose(&mut self.rng).expect("tables"));
        }
    }

    fn sequence(mut self) -> Sequence {
        let mut left = match self.rng.random_range(0..100) {
            0..70 => self.rng.random_range(5..60),
            70..95 => self.rng.random_range(60..250),
            _ => self.rng.random_range(250..1200),
        };
        let clients = self.rng.random_range(1..=CLIENTS_MAX);
        // Nothing is left of the sequence before.
        let afresh =
            ["FLUSHALL", "FUNCTION FLUSH", "SCRIPT FLUSH"].map(|line| plain(&line_args(line)));
        let mut batches = vec![self.batch(0, afresh.to_vec())];
        if self.rng.random_bool(0.1) {
            let nothing = ["RANDOMKEY", "DBSIZE", "KEYS *"].map(|line| plain(&line_args(line)));
            batches.push(self.batch(0, nothing.to_vec()));
        }
        for client in 0..clients {
            if self.rng.random_bool(0.5) {
                let hello = plain(&line_args("HELLO 3"));
                batches.push(self.batch(client, vec![hello]));
            }
        }
        while left > 0 {
            let length = match self.rng.random_range(0..10) {
                0..2 => 1,
                2..8 => self.rng.random_range(2..30),
                _ => self.rng.random_range(30..=1000),
            };
            let length = length.min(left);
            left -= length;
            let mut steps = Vec::new();
            while steps.len() < length {
                self.steps(&mut steps);
            }
            let client = self.rng.random_range(0..clients);
            batches.push(self.batch(client, steps));
        }
        let ending = match self.rng.random_range(0..10) {
            0 => Ending::HalfClose,
            1 => Ending::Quit,
            2 => Ending::Broken(BROKEN.choose(&mut self.rng).expect("some")),
            _ => Ending::Close,
        };
        Sequence { batches, ending }
    }

    fn batch(&mut self, client: usize, steps: Vec<Step>) -> Batch {
        Batch {
            client,
            steps,
            cuts_seed: self.rng.random(),
        }
    }

    fn steps(&mut self, out: &mut Vec<Step>) {
        match self.rng.random_range(0..1000) {
            0..6 => out.push(self.silenced()),
            6..10 => out.push(Step::Scan(self.scan())),
            10..20 => out.push(ignored(IGNORED.choose(&mut self.rng).expect("some"))),
            20..50 => out.push(self.at_random()),
            50..54 => {
                // With one key there is no doubt which one it is.
                let args = ["FLUSHALL", "SET single 1", "RANDOMKEY"];
                out.extend(args.map(|line| plain(&line_args(line))));
            }
            54..64 => out.push(self.transaction()),
            _ => {
                let args = self.by_template();
                out.push(self.encoded(&args));
            }
        }
    }

    /// From MULTI to its end, on one slot. None of its commands has a reply without an order: they are in EXEC's.
    fn transaction(&mut self) -> Step {
        let tag = Values::tag(&mut self.rng);
        let mut bytes = support::encode(&["MULTI"]);
        let mut replies = 2;
        for _ in 0..self.rng.random_range(0..8) {
            let (kind, table) = *self.tables.choose(&mut self.rng).expect("a table at least");
            let template = table.choose(&mut self.rng).expect("no table is empty");
            let drawn = template::draw_in_one_slot(template, kind, &tag, &mut self.rng);
            let is_exact = compare::mode(&drawn.args) == Mode::Exact;
            if is_exact && !is_peculiar(&drawn.args, self.server) {
                bytes.extend(support::encode(&drawn.args));
                replies += 1;
            }
        }
        let end = ["EXEC", "EXEC", "EXEC", "DISCARD"];
        bytes.extend(support::encode(&[end.choose(&mut self.rng).expect("some")]));
        Step::Command {
            bytes,
            replies,
            mode: Mode::Exact,
        }
    }

    fn by_template(&mut self) -> Vec<Vec<u8>> {
        let kind = *KINDS.choose(&mut self.rng).expect("kinds");
        let (kind, table) = match self.rng.random_range(0..100) {
            0..78 => *self.tables.choose(&mut self.rng).expect("a table at least"),
            78..90 => (self.tables[0].0, KEYS),
            90..94 => (kind, SCRIPTS),
            _ => (kind, SERVER),
        };
        let template = table.choose(&mut self.rng).expect("no table is empty");
        let mut drawn = template::draw(template, kind, &mut self.rng);
        let name = String::from_utf8_lossy(&drawn.args[0]).to_ascii_lowercase();
        if self.rng.random_bool(0.06) && !NOT_SPOILT.contains(&name.as_str()) {
            template::spoil(&mut drawn, &mut self.rng);
        }
        if is_peculiar(&drawn.args, self.server) {
            return line_args("CLIENT GETNAME");
        }
        drawn.args
    }

    /// Any command with any arguments. What may be taken for a key is in one slot, whatever its position means.
    fn at_random(&mut self) -> Step {
        let name = self.commands.choose(&mut self.rng).expect("some");
        let words = name.split('|');
        let mut args: Vec<Vec<u8>> = words.map(|word| word.as_bytes().to_vec()).collect();
        if name == "multi" {
            // What is behind it would be queued.
            args.push(b"more".to_vec());
        } else if difference(name).is_none() {
            let (mut word, tag) = *WORDS.choose(&mut self.rng).expect("some");
            if word == "1" && (name.contains("expire") || name.contains("setex")) {
                // It would end while the test runs.
                word = "90000";
            }
            if word == "GET" && name.starts_with("sort") {
                // Refused by cluster nodes.
                word = "abc";
            }
            if word == "0" && (name.starts_with("eval") || name.starts_with("fcall")) {
                // Scripts without keys are refused until they are there.
                word = "-1";
            }
            for _ in 0..self.rng.random_range(0..7) {
                args.push(match self.rng.random_range(0..4) {
                    0 => word.into(),
                    n => format!("{{{tag}}}{n}").into_bytes(),
                });
            }
        } else if let Some(args_wrong) = wrong_arity(name) {
            args.extend(args_wrong.iter().map(|arg| arg.as_bytes().to_vec()));
        } else {
            args = line_args("PING");
        }
        if is_peculiar(&args, self.server) {
            args = line_args("PING");
        }
        plain(&args)
    }

    /// Commands of a client that wants no replies, and one that has a reply: when it comes, they are done.
    fn silenced(&mut self) -> Step {
        let (first, count, last) = if self.rng.random_bool(0.5) {
            ("CLIENT REPLY SKIP", 1, "PING")
        } else {
            let count = self.rng.random_range(0..5);
            ("CLIENT REPLY OFF", count, "CLIENT REPLY ON")
        };
        let mut bytes = support::encode(&line_args(first));
        for _ in 0..count {
            bytes.extend(support::encode(&self.harmless()));
        }
        bytes.extend(support::encode(&line_args(last)));
        Step::Command {
            bytes,
            replies: 1,
            mode: Mode::Exact,
        }
    }

    /// A command that leaves CLIENT REPLY as it is.
    fn harmless(&mut self) -> Vec<Vec<u8>> {
        loop {
            let args = self.by_template();
            let name = args[0].to_ascii_lowercase();
            if !matches!(name.as_slice(), b"client" | b"reset" | b"hello") {
                return args;
            }
        }
    }

    fn scan(&mut self) -> Vec<Vec<u8>> {
        let options = [
            "",
            "COUNT 1",
            "COUNT 3",
            "COUNT 1000",
            "MATCH str*",
            "MATCH {a}* COUNT 5",
            "TYPE hash",
            "TYPE nosuch",
        ];
        line_args(options.choose(&mut self.rng).expect("some"))
    }

    fn encoded(&mut self, args: &[Vec<u8>]) -> Step {
        let mut args = args.to_vec();
        if self.rng.random_bool(0.1) {
            for byte in &mut args[0] {
                if self.rng.random_bool(0.5) {
                    byte.make_ascii_lowercase();
                }
            }
        }
        let size: usize = args.iter().map(Vec::len).sum();
        if size < 4000 && args.len() < 100 && self.rng.random_bool(0.04) {
            return Step::Command {
                bytes: wire::inline(&args, &mut self.rng),
                replies: 1,
                mode: compare::mode(&args),
            };
        }
        plain(&args)
    }
}

/// Arguments, too many or too few, for commands that are otherwise excluded.
fn wrong_arity(name: &str) -> Option<&'static [&'static str]> {
    match name {
        "unwatch" | "wait" | "monitor" | "swapdb" | "move" => Some(&["a", "b", "c", "d"]),
        "watch" | "blpop" | "brpop" | "blmove" | "blmpop" | "subscribe" | "ssubscribe"
        | "debug" | "migrate" | "config" | "client" | "memory" | "cluster" | "spop" | "scan"
        | "hscan" => Some(&[]),
        _ => None,
    }
}

/// What is no request and no error either.
const IGNORED: &[&[u8]] = &[b"\r\n", b"*0\r\n", b"*-1\r\n", b"\n", b"  \r\n"];

/// What ends a connection.
const BROKEN: &[&[u8]] = &[
    b"*1\r\n$x\r\n",
    b"*1\r\n:1\r\n",
    b"*2\r\n$3\r\nGET\r\n$-1\r\n",
    b"*1\r\n$99999999999\r\n",
    b"GET \"a\r\n",
];

/// A word, and a tag whose slot is that of the word: a command may take either for a key.
const WORDS: &[(&str, &str)] = &[
    ("1", "avbs"),
    ("0", "aoiz"),
    ("-1", "gux"),
    ("90000", "hyt"),
    ("abc", "abc"),
    ("", "afps"),
    ("STREAMS", "afkh"),
    ("COUNT", "afmx"),
    ("GET", "aeyo"),
    ("WITHSCORES", "agwr"),
    ("STORE", "bbo"),
    ("REPLACE", "acbi"),
    ("LEFT", "abbk"),
    ("BYSCORE", "aqum"),
    ("NX", "dbz"),
    ("FIELDS", "fqk"),
];
