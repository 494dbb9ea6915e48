//! Replies of several nodes as one, whatever the nodes say: always exactly one valid reply, and where the nodes agree
//! in form, the one that the rule says.

use slotway::command::Merge;
use slotway::resp::{self, ReplyScanner};
use slotway::route::{Facts, Gathering, questions};

const MERGES: &[Merge] = &[
    Merge::Sum,
    Merge::AllOk,
    Merge::Concat,
    Merge::Union,
    Merge::And,
    Merge::Or,
    Merge::Min,
    Merge::Max,
    Merge::First,
    Merge::RandomKey,
    Merge::ScriptExists,
    Merge::FunctionStats,
    Merge::NumSub,
    Merge::Slowlog,
    Merge::Info,
    Merge::ConfigGet,
];

/// Nodes that answer, at most.
const NODES_MAX: usize = 8;

/// An input is a stream of replies, behind two bytes that choose the rule, a number of the reply that asks for less, and a
/// random number.
pub fn run(input: &[u8]) {
    let [rule, facts, stream @ ..] = input else {
        return;
    };
    let mut replies = Vec::new();
    let mut rest = stream;
    while let Ok(Some(len)) = ReplyScanner::new().scan(rest) {
        replies.push(&rest[..len]);
        rest = &rest[len..];
    }
    let merge = MERGES[usize::from(*rule) % MERGES.len()];
    replies.truncate(NODES_MAX * questions(merge));
    let targets = replies.len() / questions(merge);
    replies.truncate(targets * questions(merge));
    if targets == 0 {
        return;
    }
    let facts = Facts {
        clients: 3,
        clients_max: 10_000,
        port: 6379,
        random: u64::from(*facts) << 56 | u64::from(*facts),
    };
    let limit = usize::from(*rule / 16);
    let merged = merged(
        Gathering::of_fan_out(merge, targets, limit),
        &replies,
        &facts,
    );
    expected(merge, &replies, &merged);
    if merge == Merge::ScriptExists {
        let known = vec![true, false];
        self::merged(
            Gathering::of_script_exists(targets, known),
            &replies,
            &facts,
        );
    }
    let kept = self::merged(Gathering::of_parts(replies.len()), &replies, &facts);
    let ranges = resp::elements(&kept).expect("an array");
    let elements: Vec<&[u8]> = ranges.into_iter().map(|range| &kept[range]).collect();
    assert_eq!(elements, replies, "kept as they are");
}

fn merged(mut gathering: Gathering, replies: &[&[u8]], facts: &Facts) -> Vec<u8> {
    for (part, reply) in replies.iter().enumerate().rev() {
        assert_eq!(gathering.put(part, reply), part == 0);
    }
    let _ = gathering.partial();
    let mut out = b"before".to_vec();
    gathering.finish(facts, &mut out);
    let out = out
        .strip_prefix(b"before")
        .expect("what was there is not touched");
    assert_eq!(
        ReplyScanner::new().scan(out),
        Ok(Some(out.len())),
        "one reply"
    );
    out.to_vec()
}

/// What integers and errors come to.
fn expected(merge: Merge, replies: &[&[u8]], merged: &[u8]) {
    let error = replies
        .iter()
        .find(|reply| matches!(resp::kind(reply), Some(b'-' | b'!')));
    if let (Some(error), false) = (error, merge == Merge::First) {
        assert_eq!(merged, *error, "the first error");
        return;
    }
    let integers: Option<Vec<i128>> = replies
        .iter()
        .map(|reply| resp::integer(reply).map(i128::from))
        .collect();
    let Some(integers) = integers else {
        return;
    };
    let folded = match merge {
        Merge::Sum => integers.iter().sum(),
        Merge::Min => *integers.iter().min().expect("a node"),
        Merge::Max => *integers.iter().max().expect("a node"),
        _ => return,
    };
    match i64::try_from(folded) {
        Ok(number) => assert_eq!(merged, format!(":{number}\r\n").as_bytes()),
        // A sum on its way may be too large although the whole one is not: an error either way.
        Err(_) => assert!(merged.starts_with(b"-ERR slotway: ")),
    }
}
