//! What a placeholder of a template becomes: keys from a small pool, so that commands meet each other's values;
//! values, numbers and names that are mostly ordinary and now and then at an edge.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::scripts::{EVALS, LIBRARIES, LOADED};

/// The types of value; keys of each have names of their own, and meet commands of another type now and then.
pub const KINDS: &[&str] = &[
    "str", "hash", "list", "set", "zset", "stream", "geo", "bits", "hll",
];

/// The tags of keys that commands use together; each has another owner.
const TAGS: &[&str] = &["a", "b", "g3", "user:17"];

/// Relative expiries in seconds: none ends while the test runs.
const SECONDS: &[&str] = &["1000", "5000", "90000", "0", "-1", "abc"];
/// Moments in seconds since 1970; `0` and `1` are over.
const MOMENTS: &[&str] = &["4000000000", "4100000000", "4200000000"];

/// Draws what placeholders stand for.
pub struct Values;

impl Values {
    /// A hash tag.
    pub fn tag(rng: &mut StdRng) -> String {
        pick(TAGS, rng).to_owned()
    }

    /// How often a group is repeated: mostly a few times, rarely very often.
    pub fn repetitions(rng: &mut StdRng) -> usize {
        match rng.random_range(0..100) {
            0..85 => rng.random_range(1..5),
            85..98 => rng.random_range(5..40),
            _ => rng.random_range(200..1500),
        }
    }

    /// The placeholder `$what`.
    pub fn of(what: &str, kind: &str, tag: Option<&str>, rng: &mut StdRng) -> Vec<u8> {
        match what {
            "k" => key(kind, rng),
            "a" => {
                let kind = pick(KINDS, rng);
                key(kind, rng)
            }
            "t" => {
                let tag = tag.expect("a template with $t has a tag");
                [format!("{{{tag}}}").as_bytes(), &key(kind, rng)].concat()
            }
            "v" => value(rng),
            "n" => number(rng),
            "i" => edgy(rng, |rng| rng.random_range(-6..8).to_string()),
            "o" => edgy(rng, |rng| rng.random_range(0..40).to_string()),
            "O" => edgy(rng, |rng| rng.random_range(0..100_000).to_string()),
            "c" => edgy(rng, |rng| rng.random_range(0..6).to_string()),
            "b" => edgy(rng, |rng| rng.random_range(0..2).to_string()),
            "s" => score(rng),
            "r" => range_end(rng),
            "l" => pick(&["-", "+", "[a", "(b", "[m3", "(m5", "[", "x", ""], rng).into(),
            "f" | "m" => member(rng),
            "x" => stream_id(rng),
            "g" => pick(&["g1", "g2", "g2", "no-such-group"], rng).into(),
            "w" => pick(&["alice", "bob"], rng).into(),
            "e" => pick(SECONDS, rng).into(),
            "E" => pick(&["1000000", "90000000", "0", "x"], rng).into(),
            "A" => pick(MOMENTS, rng).into(),
            "B" => format!("{}000", pick(MOMENTS, rng)).into(),
            "p" => pick(
                &[
                    "*", "str*", "*1", "{a}*", "h?sh0", "[sz]*", "nothing", "\\*", "",
                ],
                rng,
            )
            .into(),
            "u" => edgy(rng, |rng| format!("{:.6}", rng.random_range(-180.0..180.0))),
            "y" => edgy(rng, |rng| format!("{:.6}", rng.random_range(-85.0..85.0))),
            "z" => pick(
                &["i8", "u8", "u4", "i16", "u63", "i64", "u64", "u1", "q"],
                rng,
            )
            .into(),
            "q" => pick(&["EX", "PX", "GET", "x", ""], rng).into(),
            "$" => b"$".into(),
            "eval" => pick(EVALS, rng).into(),
            "body" => LOADED.choose(rng).expect("there are some").0.into(),
            "sha" => LOADED.choose(rng).expect("there are some").1.into(),
            "library" => pick(LIBRARIES, rng).into(),
            other => panic!("no placeholder ${other}"),
        }
    }
}

fn pick<'a>(of: &[&'a str], rng: &mut StdRng) -> &'a str {
    of.choose(rng).expect("no pool is empty")
}

fn key(kind: &str, rng: &mut StdRng) -> Vec<u8> {
    let pure = matches!(kind, "lex" | "int");
    let kind = if !pure && rng.random_bool(0.06) {
        pick(KINDS, rng)
    } else {
        kind
    };
    match rng.random_range(0..400) {
        0 => Vec::new(),
        1 => b"\x00\r\n\xff{".into(),
        2 => b"{}braces".into(),
        _ => format!("{kind}{}", rng.random_range(0..5)).into(),
    }
}

/// A number as text, once in a while one that the servers refuse.
fn edgy(rng: &mut StdRng, number: impl FnOnce(&mut StdRng) -> String) -> Vec<u8> {
    if rng.random_bool(0.04) {
        pick(
            &[
                "abc",
                "",
                "1.5",
                " 1",
                "-1",
                "+1",
                "007",
                "9223372036854775808",
            ],
            rng,
        )
        .into()
    } else {
        number(rng).into()
    }
}

fn number(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..12) {
        0 => pick(
            &[
                "9223372036854775807",
                "-9223372036854775808",
                "0",
                "4294967296",
            ],
            rng,
        )
        .into(),
        1 => pick(
            &[
                "abc",
                "",
                "1.5",
                " 1",
                "1 ",
                "+1",
                "007",
                "-0",
                "9223372036854775808",
            ],
            rng,
        )
        .into(),
        _ => rng.random_range(-100..1000).to_string().into(),
    }
}

fn score(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..20) {
        0 => pick(
            &[
                "inf", "-inf", "+inf", "nan", "abc", "", "1e400", "0x10", "-0",
            ],
            rng,
        )
        .into(),
        1..8 => format!("{}", rng.random_range(-30.0..30.0)).into(),
        _ => rng.random_range(-9..10).to_string().into(),
    }
}

fn range_end(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..10) {
        0 => pick(&["-inf", "+inf", "inf", "(", "abc", "nan"], rng).into(),
        1..4 => [b"(", &score(rng)[..]].concat(),
        _ => score(rng),
    }
}

fn member(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..30) {
        0 => value(rng),
        1..6 => rng.random_range(0..50).to_string().into(),
        6 => format!("m{}", rng.random_range(0..100_000)).into(),
        _ => format!("m{}", rng.random_range(0..12)).into(),
    }
}

fn stream_id(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..24) {
        0 => pick(
            &[
                "abc",
                "0-0",
                "1-",
                "-1",
                "18446744073709551615-1",
                "5-*",
                "",
            ],
            rng,
        )
        .into(),
        1..8 => rng.random_range(0..60).to_string().into(),
        _ => format!("{}-{}", rng.random_range(0..60), rng.random_range(0..4)).into(),
    }
}

/// A value: short text and numbers mostly; empty, binary, and up to 100 KB.
pub fn value(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..100) {
        0..30 => format!("v{}", rng.random_range(0..100)).into(),
        30..50 => number(rng),
        50..60 => format!("{:.3}", rng.random_range(-1e6..1e6)).into(),
        60..65 => Vec::new(),
        65..75 => pick(
            &[
                "\r\n",
                "*1\r\n$4\r\nPING\r\n",
                "-ERR x\r\n",
                "$-1\r\n",
                "\"q\\\" 'x",
                "{a}",
            ],
            rng,
        )
        .into(),
        75..87 => bytes(0..64, rng),
        87..97 => bytes(64..2000, rng),
        97 => bytes(2000..20_000, rng),
        98 => vec![b'x'; rng.random_range(1000..40_000)],
        _ => bytes(60_000..100_000, rng),
    }
}

fn bytes(len: std::ops::Range<usize>, rng: &mut StdRng) -> Vec<u8> {
    let mut out = vec![0; rng.random_range(len)];
    rng.fill(&mut out[..]);
    out
}
