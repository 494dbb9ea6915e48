//! A command that is split by slot, its parts executed in any order, and their replies merged: the reply, and what is
//! stored, are those of the whole command on one server. An error of one part is the reply; a reply that does not fit
//! is never guessed at.

use std::collections::HashSet;

use slotway::cluster::Slot;
use slotway::command::Split;
use slotway::resp::{self, Proto, ReplyScanner, Request, encode, parse_request};
use slotway::route::{Facts, Gathering, SplitPlan, split};

use super::model::Model;
use super::source::Source;

/// Most elements of a command.
const ELEMENTS_MAX: usize = 24;

const COMMANDS: &[(&str, Split)] = &[
    ("MGET", Split::Mget),
    ("mset", Split::Mset),
    ("DEL", Split::Count),
    ("Unlink", Split::Count),
    ("EXISTS", Split::Count),
    ("TOUCH", Split::Count),
    ("JSON.MGET", Split::JsonMget),
    ("MSETEX", Split::Msetex),
];

const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"",
    b"\r\n",
    b"{a}1",
    b"{a}2",
    b"x{b}",
    b"{}a",
    b"{",
    b"}{",
    b"{a",
    b"$1\r\na\r\n",
    b"\0",
];

/// What a part may answer besides what it should.
const OTHER: &[&[u8]] = &[
    b"-ERR no\r\n",
    b"-MOVED 1 a:1\r\n",
    b"!5\r\nERR x\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"$-1\r\n",
    b"_\r\n",
    b":1\r\n",
    b":-9223372036854775808\r\n",
    b":9223372036854775807\r\n",
    b"+OK\r\n",
    b"+QUEUED\r\n",
    b"*1\r\n$-1\r\n",
    b"*2\r\n:1\r\n:2\r\n",
    b"~1\r\n:1\r\n",
    b"%1\r\n:1\r\n:2\r\n",
    b"*1\r\n*2\r\n:1\r\n:2\r\n",
    b"#t\r\n",
    b"|1\r\n+a\r\n+b\r\n*1\r\n:1\r\n",
];

pub fn run(input: &[u8]) {
    let mut source = Source::new(input);
    let proto = *source.one(&[Proto::Resp2, Proto::Resp3]);
    let mut model = Model::new(proto);
    for _ in 0..source.below(8) {
        let key = *source.one(KEYS);
        model.set(key, source.bytes(6));
    }
    let (kind, words) = command(&mut source);
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &words);
    let mut spans = Vec::new();
    let request = parse_request(&bytes, &mut spans).expect("encoded");
    let plan = split(kind, &request).expect("well formed");
    complete(&plan, kind, &request);

    let mut whole = model.clone();
    let expected = whole.execute(&request);
    let parts = plan.len();
    let mut replies: Vec<Vec<u8>> = vec![Vec::new(); parts];
    for &part in &order(&mut source, parts) {
        let mut spans = Vec::new();
        let command = parse_request(plan.command(part), &mut spans).expect("canonical");
        replies[part] = model.execute(&command);
    }
    assert_eq!(model, whole, "what is stored");
    let elements = plan.elements();
    let changed = source.below(parts + 1);
    if let Some(reply) = replies.get_mut(changed) {
        *reply = source.one(OTHER).to_vec();
    }
    let order = order(&mut source, parts);
    let merged = merged(plan, &order, &replies);
    let error = replies
        .iter()
        .find(|reply| matches!(resp::kind(reply), Some(b'-' | b'!')));
    match error {
        Some(error) => assert_eq!(merged, *error, "the first part's error"),
        None if changed >= parts => assert_eq!(
            merged.escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        ),
        None => fits(kind, &merged, elements),
    }
}

/// A command whose keys are among few, so that they share slots and repeat.
fn command(source: &mut Source<'_>) -> (Split, Vec<Vec<u8>>) {
    let (name, kind) = *source.one(COMMANDS);
    let elements = 1 + source.below(ELEMENTS_MAX);
    let mut words = vec![name.as_bytes().to_vec()];
    if kind == Split::Msetex {
        words.push(elements.to_string().into_bytes());
    }
    for _ in 0..elements {
        words.push(source.one(KEYS).to_vec());
        if matches!(kind, Split::Mset | Split::Msetex) {
            words.push(source.bytes(4).to_vec());
        }
    }
    match kind {
        Split::JsonMget => words.push(b"$.p".to_vec()),
        Split::Msetex if source.byte() % 2 == 1 => words.extend([b"EX".to_vec(), b"10".to_vec()]),
        _ => {}
    }
    (kind, words)
}

/// Every element is in one part, that of its slot, in the order of the original; no slot has two parts.
fn complete(plan: &SplitPlan, kind: Split, request: &Request<'_>) {
    let first = if kind == Split::Msetex { 2 } else { 1 };
    let step = if matches!(kind, Split::Mset | Split::Msetex) {
        2
    } else {
        1
    };
    let mut seen = vec![false; plan.elements()];
    let mut slots = HashSet::new();
    for part in 0..plan.len() {
        assert!(slots.insert(plan.slot(part)), "two parts of one slot");
        let positions: Vec<usize> = plan.positions(part).collect();
        assert!(!positions.is_empty() && positions.is_sorted());
        let mut spans = Vec::new();
        let command = parse_request(plan.command(part), &mut spans).expect("canonical");
        for (at, position) in positions.into_iter().enumerate() {
            assert!(
                !std::mem::replace(&mut seen[position], true),
                "element {position} twice"
            );
            for argument in 0..step {
                let original = request.arg(first + position * step + argument);
                assert_eq!(command.arg(first + at * step + argument), original);
            }
            assert_eq!(Slot::of(command.arg(first + at * step)), plan.slot(part));
        }
    }
    assert!(
        seen.into_iter().all(|seen| seen),
        "an element is in no part"
    );
}

/// Some order of so many.
fn order(source: &mut Source<'_>, count: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..count).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let at = source.below(left.len());
        order.push(left.remove(at));
    }
    order
}

/// The merged reply; replies arrive in this order.
fn merged(plan: SplitPlan, order: &[usize], replies: &[Vec<u8>]) -> Vec<u8> {
    let mut gathering = Gathering::of_split(plan);
    for (at, &part) in order.iter().enumerate() {
        assert_eq!(gathering.put(part, &replies[part]), at + 1 == order.len());
    }
    let mut out = Vec::new();
    gathering.finish(&Facts::default(), &mut out);
    assert_eq!(
        ReplyScanner::new().scan(&out),
        Ok(Some(out.len())),
        "one reply"
    );
    out
}

/// Something was answered that no server would: an error, or a reply of the command's own form.
fn fits(kind: Split, merged: &[u8], elements: usize) {
    let fits = match kind {
        Split::Mget | Split::JsonMget => merged.starts_with(format!("*{elements}\r\n").as_bytes()),
        Split::Mset => merged == b"+OK\r\n",
        Split::Count | Split::Msetex => merged.starts_with(b":"),
    };
    assert!(
        fits || merged.starts_with(b"-ERR slotway: "),
        "{}",
        merged.escape_ascii()
    );
}
