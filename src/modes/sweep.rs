//! A blocking command whose keys are in several slots, emulated by commands that do not block, and the replies these
//! become.
//!
//! Never two nodes at once: a sweep goes through the keys in the client's order and takes one step after the other,
//! so nothing is popped twice. When to sweep again is the caller's business.

use super::blocking::{Blocking, Family, command};
use crate::cluster::Slot;
use crate::resp::{self, Proto, encode};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// A blocking command over keys in several slots, as sweeps of commands that do not block.
pub struct Sweep {
    steps: Rc<Steps>,
    proto: Proto,
    /// Streams: what this sweep has found, with the place of the key.
    found: Vec<(usize, Vec<u8>)>,
    first: bool,
}

/// The commands of a sweep, in order: where each goes, and which keys are in it. Their bytes are written when one is sent.
pub struct Steps {
    command: Rc<Blocking>,
    /// The places of the keys in the command, in the order of the steps.
    places: Box<[u32]>,
    /// The places in the client's order.
    keys: Range<usize>,
    steps: Box<[Step]>,
}

/// One of them, with keys from one place of `places` up to another.
struct Step {
    slot: Slot,
    from: u32,
    to: u32,
}

/// What a step's reply means.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Go on with the next step.
    Nothing,
    /// That is the reply.
    Reply(Bytes),
}

/// A question to ask before the first sweep: which is the last entry of a stream?
pub struct Tail {
    /// Where it is asked.
    pub slot: Slot,
    /// Its bytes.
    pub request: Bytes,
    /// Which of the ids it is for.
    at: usize,
}

impl Blocking {
    /// Whether it may say "what comes from now on".
    pub fn may_have_tails(&self) -> bool {
        self.family == Family::Stream
    }

    /// The ids that mean "what comes from now on", to be asked for once and put in by [`Self::answer_tails`].
    pub fn tails(&self, keys: &[u32]) -> Vec<Tail> {
        if !self.may_have_tails() {
            return Vec::new();
        }
        let words = self.words();
        let tail = |&key: &u32| {
            let at = key as usize + keys.len();
            let name = words.arg(key as usize);
            (words.get(at)? == b"$").then(|| Tail {
                slot: Slot::of(name),
                request: command(&[&b"XREVRANGE"[..], name, b"+", b"-", b"COUNT", b"1"]),
                at,
            })
        };
        keys.iter().filter_map(tail).collect()
    }

    /// The replies to such questions.
    pub fn answer_tails(&mut self, answers: &[(Tail, Bytes)]) {
        if answers.is_empty() {
            return;
        }
        self.reword(answers.iter().map(|(tail, reply)| {
            let id = nested(reply, &[0, 0]).and_then(resp::bulk);
            (tail.at, id.unwrap_or(b"0-0"))
        }));
    }

    /// What a server says to a command over these keys without waiting for anything, where the commands of a sweep
    /// would say something else.
    pub fn misworded(&self, keys: &[u32]) -> Option<&'static str> {
        let behind = keys.last().map_or(0, |&last| last as usize + 1);
        let lacks_end = matches!(self.family, Family::ListMany | Family::SortedMany)
            && behind >= self.words().len();
        lacks_end.then_some("ERR syntax error")
    }
}

impl Steps {
    /// Those of a command whose keys are at these places.
    fn new(command: &Rc<Blocking>, keys: &[u32]) -> Self {
        let words = command.words();
        let slot = |&at: &u32| (Slot::of(words.arg(at as usize)), at);
        let mut places: Vec<(Slot, u32)> = keys.iter().map(slot).collect();
        let alone = match command.family {
            // A key at a time.
            Family::List(..) | Family::Sorted(_) => true,
            // A run of keys that share a slot.
            Family::ListMany | Family::SortedMany => false,
            // All of a slot, in the order of their first keys.
            _ => {
                let mut first = BTreeMap::new();
                for (slot, at) in &places {
                    first.entry(*slot).or_insert(*at);
                }
                places.sort_by_key(|(slot, _)| first[slot]);
                false
            }
        };
        let mut to = 0;
        let steps = places.chunk_by(|a, b| !alone && a.0 == b.0).map(|run| {
            let from = to;
            to += run.len() as u32;
            let slot = run[0].0;
            Step { slot, from, to }
        });
        Self {
            steps: steps.collect(),
            places: places.iter().map(|(_, at)| *at).collect(),
            keys: keys
                .first()
                .map_or(0..0, |&first| first as usize..first as usize + keys.len()),
            command: command.clone(),
        }
    }

    /// How many there are.
    #[expect(
        clippy::len_without_is_empty,
        reason = "there is a key, and a step for it"
    )]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Where one goes.
    pub fn slot(&self, step: usize) -> Slot {
        self.steps[step].slot
    }

    /// Its bytes.
    pub fn request(&self, step: usize) -> Bytes {
        let all = self.command.words();
        let keys = self.places(step).iter().map(|&at| at as usize);
        let count;
        let words: Vec<&[u8]> = match self.command.family {
            Family::List(pop, _) | Family::Sorted(pop) => vec![pop.as_bytes(), self.key(step)],
            family @ (Family::ListMany | Family::SortedMany) => {
                let pop: &[u8] = match family {
                    Family::ListMany => b"LMPOP",
                    _ => b"ZMPOP",
                };
                count = keys.len().to_string();
                let behind = self.keys.end..all.len();
                let words = keys.chain(behind).map(|at| all.arg(at));
                [pop, count.as_bytes()].into_iter().chain(words).collect()
            }
            _ => {
                let block = self.command.timeout_at.map_or(0..0, |at| at - 1..at + 1);
                let options = (0..self.keys.start).filter(|at| !block.contains(at));
                let ids = keys.clone().map(|at| at + self.keys.len());
                let words = options.chain(keys).chain(ids);
                words.filter_map(|at| all.get(at)).collect()
            }
        };
        command(&words)
    }

    /// What puts back what a step has popped, to the same end and in the same order; `None`: it took nothing away.
    pub fn undo(&self, step: usize, reply: &[u8]) -> Option<Bytes> {
        undo(&self.command, self.key(step), reply)
    }

    fn places(&self, step: usize) -> &[u32] {
        let Step { from, to, .. } = self.steps[step];
        &self.places[from as usize..to as usize]
    }

    /// Its first key.
    fn key(&self, step: usize) -> &[u8] {
        self.command.words().arg(self.places(step)[0] as usize)
    }
}

impl Sweep {
    /// The sweeps for a command whose keys are at those places.
    pub fn new(command: &Rc<Blocking>, keys: &[u32], proto: Proto) -> Self {
        Self {
            steps: Rc::new(Steps::new(command, keys)),
            proto,
            found: Vec::new(),
            first: true,
        }
    }

    /// The commands of one sweep, in order.
    pub fn steps(&self) -> Rc<Steps> {
        self.steps.clone()
    }

    /// Bytes of memory that it takes besides the command.
    pub fn held(&self) -> usize {
        let Steps { places, steps, .. } = &*self.steps;
        let found = self.found.iter().map(|(_, part)| part.len());
        size_of_val(&**places)
            + size_of_val(&**steps)
            + self.found.capacity() * size_of::<(usize, Vec<u8>)>()
            + found.sum::<usize>()
    }

    fn family(&self) -> Family {
        self.steps.command.family
    }

    /// A step's reply.
    pub fn put(&mut self, step: usize, reply: &[u8]) -> Found {
        match reply.first() {
            Some(b'-') => self.error(reply),
            _ if resp::is_null(reply) => Found::Nothing,
            _ => self.element(step, reply),
        }
    }

    /// The sweep is over.
    pub fn end(&mut self) -> Found {
        self.first = false;
        if self.found.is_empty() {
            return Found::Nothing;
        }
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|(at, _)| *at);
        let mut reply = Vec::new();
        match self.proto {
            Proto::Resp2 => encode::array(&mut reply, found.len()),
            Proto::Resp3 => encode::map(&mut reply, found.len(), self.proto),
        }
        found.iter().for_each(|(_, part)| reply.extend(part));
        Found::Reply(reply.into())
    }

    fn error(&mut self, reply: &[u8]) -> Found {
        // Once it waits, a server's blocking command takes no notice of a key that becomes something else.
        if !self.first && reply.starts_with(b"-WRONGTYPE") {
            return Found::Nothing;
        }
        // What was already delivered to a consumer must reach the client.
        if self.family() == Family::Stream {
            return Found::Reply(Bytes::copy_from_slice(reply));
        }
        match self.end() {
            Found::Nothing => Found::Reply(Bytes::copy_from_slice(reply)),
            found => found,
        }
    }

    fn element(&mut self, step: usize, reply: &[u8]) -> Found {
        let mut out = Vec::new();
        match self.family() {
            Family::List(..) => {
                encode::array(&mut out, 2);
                encode::bulk(&mut out, self.steps.key(step));
                out.extend_from_slice(reply);
            }
            Family::Sorted(_) => {
                let Some([member, score]) = pair(reply) else {
                    return Found::Nothing;
                };
                encode::array(&mut out, 3);
                encode::bulk(&mut out, self.steps.key(step));
                out.extend_from_slice(&reply[member.start..score.end]);
            }
            Family::Stream | Family::Group => {
                self.collect(reply);
                return Found::Nothing;
            }
            _ => out.extend_from_slice(reply),
        }
        Found::Reply(out.into())
    }

    /// Notes what one slot's streams had.
    fn collect(&mut self, reply: &[u8]) {
        let Some(elements) = resp::elements(reply) else {
            return;
        };
        let step = if reply[0] == b'%' { 2 } else { 1 };
        for part in elements.chunks_exact(step) {
            let name = match step {
                2 => resp::bulk(&reply[part[0].clone()]),
                _ => nested(&reply[part[0].clone()], &[0]).and_then(resp::bulk),
            };
            let part = &reply[part[0].start..part[step - 1].end];
            let words = self.steps.command.words();
            let mut keys = self.steps.keys.clone();
            let at = keys.find(|&at| Some(words.arg(at)) == name);
            let at = at.unwrap_or(self.steps.keys.end);
            self.found.push((at, part.to_vec()));
        }
    }
}

fn undo(blocking: &Blocking, key: &[u8], reply: &[u8]) -> Option<Bytes> {
    if resp::is_null(reply) || reply.first() == Some(&b'-') {
        return None;
    }
    match blocking.family {
        Family::List(_, push) => {
            let element = resp::bulk(reply)?;
            Some(command(&[push.as_bytes(), key, element]))
        }
        Family::Sorted(_) => {
            let [member, score] = pair(reply)?;
            let (member, score) = (resp::bulk(&reply[member])?, number(&reply[score])?);
            Some(command(&[&b"ZADD"[..], key, score, member]))
        }
        Family::ListMany => {
            let key = nested(reply, &[0]).and_then(resp::bulk)?;
            let popped = nested(reply, &[1])?;
            let words = blocking.words();
            let keys = words.get(2).and_then(resp::strict_integer)?;
            let end = words.get(3 + usize::try_from(keys).ok()?)?;
            let push = match end.eq_ignore_ascii_case(b"RIGHT") {
                true => "RPUSH",
                false => "LPUSH",
            };
            let elements = resp::elements(popped)?;
            let mut words = vec![push.as_bytes(), key];
            // Popped from the end inwards: the last one goes back first.
            words.extend(
                elements
                    .into_iter()
                    .rev()
                    .filter_map(|e| resp::bulk(&popped[e])),
            );
            Some(command(&words))
        }
        Family::SortedMany => {
            let key = nested(reply, &[0]).and_then(resp::bulk)?;
            let popped = nested(reply, &[1])?;
            let mut words = vec![&b"ZADD"[..], key];
            for one in resp::elements(popped)? {
                let one = &popped[one];
                let [member, score] = pair(one)?;
                words.extend([number(&one[score])?, resp::bulk(&one[member])?]);
            }
            Some(command(&words))
        }
        // What a group was given stays pending for its consumer, as with a server whose client vanished.
        Family::Stream | Family::Group | Family::Move | Family::Unknown => None,
    }
}

/// The two elements of an array of two.
fn pair(reply: &[u8]) -> Option<[Range<usize>; 2]> {
    resp::elements(reply)?.try_into().ok()
}

/// The element of an element … of a reply.
fn nested<'a>(mut reply: &'a [u8], path: &[usize]) -> Option<&'a [u8]> {
    for &at in path {
        reply = &reply[resp::elements(reply)?.get(at)?.clone()];
    }
    Some(reply)
}

/// A bulk string's or a double's text.
fn number(reply: &[u8]) -> Option<&[u8]> {
    match reply.strip_prefix(b",") {
        Some(double) => double.strip_suffix(b"\r\n"),
        None => resp::bulk(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommandTable, Keys};
    use crate::modes::Patience;
    use crate::resp::parse_request;
    use std::time::Duration;

    fn read(line: &str) -> (Blocking, Keys) {
        let bytes = command(&line.split(' ').collect::<Vec<_>>());
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        let table = CommandTable::builtin();
        let found = table.lookup(&request).unwrap();
        let mut keys = Keys::new();
        found.keys(&request, &mut keys).unwrap();
        (Blocking::new(&found.name, &request), keys)
    }

    fn steps(line: &str) -> Vec<String> {
        let (blocking, keys) = read(line);
        let steps = Steps::new(&Rc::new(blocking), &keys);
        let words = |step: usize| {
            let bytes = steps.request(step);
            let mut spans = Vec::new();
            let request = parse_request(&bytes, &mut spans).unwrap();
            let words = request.args().map(String::from_utf8_lossy);
            words.collect::<Vec<_>>().join(" ")
        };
        (0..steps.len()).map(words).collect()
    }

    #[test]
    fn the_steps_are_in_the_order_of_the_keys() {
        assert_eq!(
            steps("BRPOP b {a}1 {a}2 0"),
            ["RPOP b", "RPOP {a}1", "RPOP {a}2"]
        );
        assert_eq!(
            steps("BLMPOP 0 4 {a}1 {a}2 b {a}3 LEFT COUNT 2"),
            [
                "LMPOP 2 {a}1 {a}2 LEFT COUNT 2",
                "LMPOP 1 b LEFT COUNT 2",
                "LMPOP 1 {a}3 LEFT COUNT 2"
            ]
        );
        assert_eq!(
            steps("XREADGROUP GROUP g block COUNT 2 BLOCK 5 NOACK STREAMS {a}1 b {a}2 1 2 3"),
            [
                "XREADGROUP GROUP g block COUNT 2 NOACK STREAMS {a}1 {a}2 1 3",
                "XREADGROUP GROUP g block COUNT 2 NOACK STREAMS b 2"
            ]
        );
    }

    #[test]
    fn the_time_is_read_as_the_servers_read_it() {
        let patience = |line: &str| read(line).0.patience();
        assert_eq!(patience("BLPOP a 0"), Patience::Forever);
        assert_eq!(
            patience("BLPOP a 0.5"),
            Patience::For(Duration::from_millis(500))
        );
        assert_eq!(
            patience("BZMPOP 2e1 1 a MIN"),
            Patience::For(Duration::from_secs(20))
        );
        assert_eq!(
            patience("XREAD BLOCK 20 STREAMS a 0"),
            Patience::For(Duration::from_millis(20))
        );
        for odd in ["-1", "nan", "inf", "1e40", "x", " 1"] {
            let request = command(&["BLPOP", "a", odd]);
            let mut spans = Vec::new();
            let request = parse_request(&request, &mut spans).unwrap();
            assert_eq!(
                Blocking::new("blpop", &request).patience(),
                Patience::Unreadable,
                "{odd}"
            );
        }
        let left = Duration::from_micros(1_234_567);
        let (blocking, _) = read("BLPOP a 5");
        assert_eq!(
            blocking.with_time_left(left),
            command(&["BLPOP", "a", "1.234"])
        );
        let (blocking, _) = read("XREAD BLOCK 9 STREAMS a 0");
        assert_eq!(
            blocking.with_time_left(left),
            command(&["XREAD", "BLOCK", "1234", "STREAMS", "a", "0"])
        );
        assert_eq!(
            blocking.with_time_left(Duration::from_nanos(1)),
            command(&["XREAD", "BLOCK", "1", "STREAMS", "a", "0"])
        );
    }

    #[test]
    fn what_a_step_took_is_put_back_to_the_same_end() {
        let undone = |line: &str, reply: &[u8]| {
            let (blocking, keys) = read(line);
            let steps = Steps::new(&Rc::new(blocking), &keys);
            let bytes = steps.undo(0, reply);
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = |words: &[&str]| Some(String::from_utf8_lossy(&command(words)).into_owned());
        assert_eq!(
            undone("BLPOP a b 0", b"$1\r\nx\r\n"),
            text(&["LPUSH", "a", "x"])
        );
        assert_eq!(undone("BRPOP a b 0", b"$-1\r\n"), None);
        assert_eq!(
            undone(
                "BLMPOP 0 2 right b LEFT",
                b"*2\r\n$5\r\nright\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n"
            ),
            text(&["LPUSH", "right", "y", "x"])
        );
        assert_eq!(
            undone("BZPOPMAX a b 0", b"*2\r\n$1\r\nx\r\n,inf\r\n"),
            text(&["ZADD", "a", "inf", "x"])
        );
    }
}
