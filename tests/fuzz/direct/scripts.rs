//! Scripts of what changes the state of a client, drawn from a seed: what it may do, which protocol it speaks, what is queued,
//! watched and subscribed, whether it wants replies.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::pair::PASSWORD;
use crate::support::encode;
use crate::wire;

/// Most commands of a script.
const COMMANDS_MAX: usize = 40;

/// What is said, and how often. `K` is a key, `V` a value, `C` a channel, `N` a name, `P` a password, right or wrong, `R` a
/// version of the protocol. Of several mistakes in one HELLO, Redis 7.0 tells of the first, having done what is in front of
/// it: such a HELLO has a name that is right, and is left as it is.
const LINES: &[(u32, &str)] = &[
    (8, "PING"),
    (4, "PING V"),
    (3, "ECHO V"),
    (10, "GET K"),
    (10, "SET K V"),
    (4, "INCR K"),
    (2, "RPUSH K V"),
    (2, "MGET K K"),
    (2, "DEL K"),
    (4, "AUTH P"),
    (5, "AUTH default P"),
    (1, "AUTH other P"),
    (3, "HELLO"),
    (9, "HELLO R"),
    (1, "HELLO 4"),
    (1, "HELLO x"),
    (4, "HELLO R AUTH default P"),
    (1, "HELLO R AUTH other P"),
    (1, "HELLO R AUTH default"),
    (2, "HELLO R SETNAME N"),
    (2, "HELLO R AUTH default P SETNAME me"),
    (1, "HELLO R NOSUCH"),
    (12, "MULTI"),
    (12, "EXEC"),
    (4, "DISCARD"),
    (6, "WATCH K"),
    (2, "WATCH K K"),
    (4, "UNWATCH"),
    (4, "SUBSCRIBE C"),
    (1, "SUBSCRIBE C C"),
    (3, "UNSUBSCRIBE C"),
    (3, "UNSUBSCRIBE"),
    (2, "PSUBSCRIBE C"),
    (2, "PUNSUBSCRIBE"),
    (2, "SSUBSCRIBE C"),
    (2, "SUNSUBSCRIBE"),
    (1, "SUNSUBSCRIBE C"),
    (5, "RESET"),
    (3, "CLIENT SETNAME N"),
    (6, "CLIENT GETNAME"),
    (3, "CLIENT REPLY ON"),
    (1, "CLIENT REPLY OFF"),
    (3, "CLIENT REPLY SKIP"),
    (1, "CLIENT REPLY V"),
    (3, "SELECT 0"),
    (2, "SELECT 1"),
    (1, "SELECT V"),
    (1, "QUIT"),
    (1, "NOSUCH V"),
    (1, "CLIENT NOSUCH"),
];

const KEYS: &[&str] = &["{t}a", "{t}b", "{t}c"];
const VALUES: &[&str] = &["1", "x", "", "\r\n+OK\r\n", "two words", "-7"];
const CHANNELS: &[&str] = &["c", "d", "*"];
const NAMES: &[&str] = &["me", "", "you", "no name", "new\nline"];
const PASSWORDS: &[&str] = &[PASSWORD, PASSWORD, "wrong", ""];
const VERSIONS: &[&str] = &["2", "3"];

/// The next one, as it is sent.
pub fn script(rng: &mut StdRng) -> Vec<u8> {
    let mut out = Vec::new();
    if rng.random() {
        out.extend(encode(&["AUTH", PASSWORD]));
    }
    let mut is_silent = false;
    for _ in 0..rng.random_range(1..=COMMANDS_MAX) {
        let mut args = command(rng);
        let line = args.join(&b' ').to_ascii_uppercase();
        match line.as_slice() {
            b"CLIENT REPLY OFF" => is_silent = true,
            b"CLIENT REPLY ON" | b"RESET" => is_silent = false,
            // What slotway refuses inside MULTI would not be seen.
            b"MULTI" if is_silent => args[0] = b"PING".to_vec(),
            _ => {}
        }
        if rng.random_ratio(1, 8) {
            out.extend(wire::inline(&args, rng));
        } else {
            out.extend(encode(&args));
        }
    }
    out
}

fn command(rng: &mut StdRng) -> Vec<Vec<u8>> {
    let line = LINES.choose_weighted(rng, |(weight, _)| *weight);
    let line = line.expect("a line").1;
    let mut args: Vec<Vec<u8>> = line.split(' ').map(|word| fill(word, rng)).collect();
    match rng.random_range(0..40) {
        0 | 1 if line.starts_with("HELLO R ") => {}
        0 if args.len() > 1 => drop(args.pop()),
        1 if line.contains("SUBSCRIBE") => args.push(b"e".to_vec()),
        1 => args.push(KEYS[0].into()),
        2 => args[0].make_ascii_lowercase(),
        _ => {}
    }
    args
}

fn fill(word: &str, rng: &mut StdRng) -> Vec<u8> {
    let words = match word {
        "K" => KEYS,
        "V" => VALUES,
        "C" => CHANNELS,
        "N" => NAMES,
        "P" => PASSWORDS,
        "R" => VERSIONS,
        word => return word.into(),
    };
    words.choose(rng).expect("a word").as_bytes().to_vec()
}
