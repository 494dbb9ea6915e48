//! Cuts a command whose keys are in several slots into one command per slot, because a cluster refuses
//! several slots in one command even when one node owns them all. Pure: the session sends the parts and
//! `merge` puts the replies together. Whether a command may be split at all is `command`'s business, and
//! a command whose keys share a slot never comes here: it is passed through untouched.

use crate::cluster::Slot;
use crate::command::Split;
use crate::resp::Request;
use std::ops::Range;

/// One command per slot, in the order in which the slots first appear in the original.
///
/// A few allocations whatever the number of keys: all sub-commands share one buffer, and the arguments in
/// it are copies of the client's own bytes.
#[derive(Debug)]
pub struct SplitPlan {
    kind: Split,
    parts: Vec<Part>,
    commands: Vec<u8>,
    positions: Vec<Position>,
}

impl SplitPlan {
    /// What kind of command was split; decides how the replies are merged.
    pub fn kind(&self) -> Split {
        self.kind
    }

    /// How many sub-commands there are; at least one.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Never true: a plan has at least one part.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The slot that all keys of this part are in.
    pub fn slot(&self, part: usize) -> Slot {
        self.parts[part].slot
    }

    /// The sub-command of this part, in canonical form.
    pub fn command(&self, part: usize) -> &[u8] {
        &self.commands[self.parts[part].command.clone()]
    }

    /// Where the elements of this part stood among the original's elements (keys, or pairs), counted from 0.
    pub fn positions(&self, part: usize) -> impl ExactSizeIterator<Item = usize> {
        self.positions[self.parts[part].positions.clone()]
            .iter()
            .map(|p| p.element())
    }

    /// How many elements (keys, or key and value pairs) the original has.
    pub fn elements(&self) -> usize {
        self.positions.len()
    }
}

/// Why a command cannot be split; `Display` is the error for the client, without the leading `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Keys and values do not come in pairs: what the server says.
    #[error("ERR wrong number of arguments for 'mset' command")]
    MsetPairs,
    /// MSETEX whose first argument is not a usable count: what the server says.
    #[error("ERR invalid numkeys value or out of range")]
    NumKeys,
    /// MSETEX with fewer arguments than its count asks for: what the server says.
    #[error("ERR syntax error")]
    Syntax,
    /// MSETEX with NX or XX: all or nothing, which several commands cannot be.
    #[error(
        "CROSSSLOT Keys in request don't hash to the same slot: MSETEX with NX or XX is all or nothing; \
         give its keys one {{hash tag}}, or leave the condition out"
    )]
    Condition,
}

/// Cuts `request` into one sub-command per slot.
pub fn split(kind: Split, request: &Request<'_>) -> Result<SplitPlan, SplitError> {
    let shape = Shape::of(kind, request)?;
    let mut positions: Vec<Position> = (0..shape.elements)
        .map(|i| Position::new(Slot::of(request.arg(shape.first + i * shape.step)), i))
        .collect();
    positions.sort_unstable();

    let mut parts: Vec<Part> = Vec::with_capacity(positions.len().min(PARTS_GUESS));
    let mut start = 0;
    for group in positions.chunk_by(|a, b| a.slot() == b.slot()) {
        let end = start + group.len();
        parts.push(Part {
            slot: group[0].slot(),
            positions: start..end,
            command: 0..0,
        });
        start = end;
    }
    parts.sort_unstable_by_key(|part| positions[part.positions.start].element());

    let mut commands = Vec::with_capacity(shape.size_of(request, parts.len()));
    for part in &mut parts {
        let start = commands.len();
        shape.write(request, &positions[part.positions.clone()], &mut commands);
        part.command = start..commands.len();
    }
    Ok(SplitPlan {
        kind,
        parts,
        commands,
        positions,
    })
}

#[derive(Debug)]
struct Part {
    slot: Slot,
    /// Into [`SplitPlan::positions`].
    positions: Range<usize>,
    /// Into [`SplitPlan::commands`].
    command: Range<usize>,
}

/// An element's slot and its place in the original, in one word so that sorting groups by slot and keeps
/// the order within a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position(u64);

impl Position {
    fn new(slot: Slot, element: usize) -> Self {
        Self(u64::from(slot.number()) << 48 | element as u64)
    }

    fn slot(self) -> Slot {
        Slot::new((self.0 >> 48) as u16).expect("made from a slot")
    }

    fn element(self) -> usize {
        (self.0 & ((1 << 48) - 1)) as usize
    }
}

/// Where a command's elements stand, and which arguments every sub-command repeats.
struct Shape {
    /// The first key's argument index.
    first: usize,
    /// Arguments per element: 1 (key) or 2 (key, value).
    step: usize,
    elements: usize,
    /// MSETEX: a count of the part's keys goes between the name and the keys.
    counted: bool,
    /// Arguments after the elements that every part repeats.
    tail: Range<usize>,
}

impl Shape {
    fn of(kind: Split, request: &Request<'_>) -> Result<Self, SplitError> {
        let len = request.len();
        let plain = Self {
            first: 1,
            step: 1,
            elements: len - 1,
            counted: false,
            tail: len..len,
        };
        match kind {
            Split::Mget | Split::Count => Ok(plain),
            Split::Mset if len.is_multiple_of(2) => Err(SplitError::MsetPairs),
            Split::Mset => Ok(Self {
                step: 2,
                elements: (len - 1) / 2,
                ..plain
            }),
            Split::JsonMget => Ok(Self {
                elements: len.saturating_sub(2),
                tail: len - 1..len,
                ..plain
            }),
            Split::Msetex => Self::of_msetex(request),
        }
    }

    /// `MSETEX numkeys key value [key value …] [NX | XX] [EX s | PX ms | EXAT t | PXAT t | KEEPTTL]`
    fn of_msetex(request: &Request<'_>) -> Result<Self, SplitError> {
        let len = request.len();
        let count = request.get(1).and_then(|n| std::str::from_utf8(n).ok());
        let elements = count.and_then(|n| n.parse::<u32>().ok()).unwrap_or(0) as usize;
        if elements == 0 {
            return Err(SplitError::NumKeys);
        }
        let tail = 2 + 2 * elements..len;
        if tail.start > len {
            return Err(SplitError::Syntax);
        }
        let conditional = tail
            .clone()
            .map(|i| request.arg(i))
            .any(|a| a.eq_ignore_ascii_case(b"nx") || a.eq_ignore_ascii_case(b"xx"));
        if conditional {
            return Err(SplitError::Condition);
        }
        Ok(Self {
            first: 2,
            step: 2,
            elements,
            counted: true,
            tail,
        })
    }

    /// At least what all sub-commands together take: every argument once, and what the parts repeat.
    fn size_of(&self, request: &Request<'_>, parts: usize) -> usize {
        let tail: usize = self.tail.clone().map(|i| request.raw(i).len()).sum();
        let repeated = HEADER_BYTES
            + request.raw(0).len()
            + tail
            + if self.counted { HEADER_BYTES } else { 0 };
        request.bytes().len() + parts * repeated
    }

    fn write(&self, request: &Request<'_>, elements: &[Position], out: &mut Vec<u8>) {
        let arguments =
            1 + usize::from(self.counted) + elements.len() * self.step + self.tail.len();
        let mut digits = itoa::Buffer::new();
        out.push(b'*');
        out.extend_from_slice(digits.format(arguments).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(request.raw(0));
        if self.counted {
            crate::resp::encode::bulk(out, digits.format(elements.len()).as_bytes());
        }
        for element in elements {
            let key = self.first + element.element() * self.step;
            for argument in key..key + self.step {
                out.extend_from_slice(request.raw(argument));
            }
        }
        for argument in self.tail.clone() {
            out.extend_from_slice(request.raw(argument));
        }
    }
}

/// Parts to make room for at once; more grow the list as usual.
const PARTS_GUESS: usize = 1_024;

/// Room for `*N\r\n`, or for a bulk string that is a count.
const HEADER_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{encode, parse_request};
    use proptest::prelude::*;

    fn plan(kind: Split, words: &[&str]) -> Result<SplitPlan, SplitError> {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        let mut spans = Vec::new();
        split(kind, &parse_request(&bytes, &mut spans).unwrap())
    }

    fn words(command: &[u8]) -> Vec<String> {
        let mut spans = Vec::new();
        let request = parse_request(command, &mut spans).expect("sub-commands are canonical");
        request
            .args()
            .map(|a| String::from_utf8(a.to_vec()).unwrap())
            .collect()
    }

    fn texts(plan: &SplitPlan) -> Vec<String> {
        (0..plan.len())
            .map(|i| words(plan.command(i)).join(" "))
            .collect()
    }

    #[test]
    fn one_command_per_slot_in_order_of_first_appearance() {
        let plan = plan(Split::Mget, &["mGet", "b", "{x}1", "a", "{x}2", "b"]).unwrap();
        assert_eq!(texts(&plan), ["mGet b b", "mGet {x}1 {x}2", "mGet a"]);
        let positions: Vec<Vec<usize>> = (0..3).map(|i| plan.positions(i).collect()).collect();
        assert_eq!(positions, [vec![0, 4], vec![1, 3], vec![2]]);
        assert_eq!(plan.slot(1), Slot::of(b"x"));
        assert_eq!(plan.elements(), 5);
    }

    #[test]
    fn pairs_stay_together() {
        let plan = plan(Split::Mset, &["MSET", "a", "1", "b", "2", "a", "3"]).unwrap();
        assert_eq!(texts(&plan), ["MSET a 1 a 3", "MSET b 2"]);
    }

    #[test]
    fn every_part_of_json_mget_has_the_path() {
        let plan = plan(Split::JsonMget, &["JSON.MGET", "a", "b", "$.x"]).unwrap();
        assert_eq!(texts(&plan), ["JSON.MGET a $.x", "JSON.MGET b $.x"]);
    }

    #[test]
    fn msetex_counts_the_keys_of_each_part_and_repeats_the_expiry() {
        let plan = plan(
            Split::Msetex,
            &[
                "MSETEX", "3", "{x}1", "1", "b", "2", "{x}2", "3", "EX", "10",
            ],
        )
        .unwrap();
        assert_eq!(
            texts(&plan),
            ["MSETEX 2 {x}1 1 {x}2 3 EX 10", "MSETEX 1 b 2 EX 10"]
        );
    }

    #[test]
    fn what_a_server_refuses_is_refused_in_its_words() {
        let error = |kind, words: &[&str]| plan(kind, words).unwrap_err().to_string();
        let arguments = "ERR wrong number of arguments for 'mset' command";
        assert_eq!(error(Split::Mset, &["MSET", "a", "1", "b"]), arguments);
        let numkeys = "ERR invalid numkeys value or out of range";
        for bad in ["0", "-1", "x", "", "99999999999999"] {
            assert_eq!(error(Split::Msetex, &["MSETEX", bad, "a", "1"]), numkeys);
        }
        assert_eq!(
            error(Split::Msetex, &["MSETEX", "2", "a", "1"]),
            "ERR syntax error"
        );
        for flag in ["NX", "xx"] {
            let words = ["MSETEX", "2", "a", "1", "b", "2", "EX", "5", flag];
            assert!(error(Split::Msetex, &words).starts_with("CROSSSLOT Keys in request"));
        }
    }

    proptest! {
        /// Every element is in exactly one part, that of its slot, and parts keep the original's order.
        #[test]
        fn nothing_is_lost_and_nothing_moves(keys in prop::collection::vec("[a-d{}]{0,4}", 1..60)) {
            let mut all = vec!["DEL"];
            all.extend(keys.iter().map(String::as_str));
            let plan = plan(Split::Count, &all).unwrap();
            let mut seen = vec![false; keys.len()];
            let mut firsts = Vec::new();
            for part in 0..plan.len() {
                let positions: Vec<usize> = plan.positions(part).collect();
                prop_assert!(positions.is_sorted());
                let command = words(plan.command(part));
                prop_assert_eq!(command.len(), positions.len() + 1);
                for (word, &at) in command[1..].iter().zip(&positions) {
                    prop_assert_eq!(word, &keys[at]);
                    prop_assert_eq!(Slot::of(word.as_bytes()), plan.slot(part));
                    prop_assert!(!std::mem::replace(&mut seen[at], true));
                }
                firsts.push(positions[0]);
            }
            prop_assert!(firsts.is_sorted());
            prop_assert!(seen.iter().all(|s| *s));
        }
    }
}
