//! A blocking command whose keys are in several slots, emulated by commands that do not block, and the replies these
//! become.
//!
//! Never two nodes at once: a sweep goes through the keys in the client's order and takes one step after the other,
//! so nothing is popped twice. When to sweep again is the caller's business.

use super::blocking::{Blocking, Family, command};
use crate::cluster::Slot;
use crate::resp::{self, Proto, encode};
use bytes::Bytes;
use std::ops::Range;
use std::rc::Rc;

/// A blocking command over keys in several slots, as sweeps of commands that do not block.
pub struct Sweep {
    family: Family,
    proto: Proto,
    steps: Rc<[Step]>,
    /// Streams: their names in the client's order.
    keys: Vec<Bytes>,
    /// Streams: what this sweep has found, with the place of the key.
    found: Vec<(usize, Vec<u8>)>,
    first: bool,
}

/// One command of a sweep.
pub struct Step {
    /// Where it goes.
    pub slot: Slot,
    /// Its bytes.
    pub request: Bytes,
    /// Its first key.
    key: Bytes,
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
    /// The ids that mean "what comes from now on", to be asked for once and put in by [`Self::answer_tail`].
    pub fn tails(&self, keys: &[u32]) -> Vec<Tail> {
        if self.family != Family::Stream {
            return Vec::new();
        }
        let tail = |&key: &u32| {
            let at = key as usize + keys.len();
            let name = self.args[key as usize].clone();
            (self.args.get(at)?.as_ref() == b"$").then(|| {
                let words = [&b"XREVRANGE"[..], &name, b"+", b"-", b"COUNT", b"1"];
                Tail {
                    slot: Slot::of(&name),
                    request: command(&words),
                    at,
                }
            })
        };
        keys.iter().filter_map(tail).collect()
    }

    /// The reply to such a question.
    pub fn answer_tail(&mut self, tail: &Tail, reply: &[u8]) {
        let id = nested(reply, &[0, 0]).and_then(resp::bulk);
        self.args[tail.at] = Bytes::copy_from_slice(id.unwrap_or(b"0-0"));
        self.changed = true;
    }

    /// What a server says to a command over these keys without waiting for anything, where the commands of a sweep
    /// would say something else.
    pub fn misworded(&self, keys: &[u32]) -> Option<&'static str> {
        let behind = keys.last().map_or(0, |&last| last as usize + 1);
        let lacks_end = matches!(self.family, Family::ListMany | Family::SortedMany)
            && behind >= self.args.len();
        lacks_end.then_some("ERR syntax error")
    }

    /// The sweeps for this command, whose keys are at those places.
    pub fn sweep(&self, keys: &[u32], proto: Proto) -> Sweep {
        let places: Vec<usize> = keys.iter().map(|&k| k as usize).collect();
        let steps: Vec<Step> = match self.family {
            Family::List(pop, _) | Family::Sorted(pop) => {
                let step = |&at: &usize| self.step(&[at], |key| vec![pop.into(), key]);
                places.iter().map(step).collect()
            }
            Family::ListMany => self.many("LMPOP", &places),
            Family::SortedMany => self.many("ZMPOP", &places),
            _ => self.streams(&places),
        };
        Sweep {
            family: self.family,
            proto,
            steps: steps.into(),
            keys: places.iter().map(|&at| self.args[at].clone()).collect(),
            found: Vec::new(),
            first: true,
        }
    }

    fn step(&self, places: &[usize], words: impl Fn(Bytes) -> Vec<Bytes>) -> Step {
        let key = self.args[places[0]].clone();
        Step {
            slot: Slot::of(&key),
            request: command(&words(key.clone())),
            key,
        }
    }

    /// One step for each run of keys that share a slot.
    fn many(&self, pop: &'static str, places: &[usize]) -> Vec<Step> {
        let slot = |at: &usize| Slot::of(&self.args[*at]);
        let behind = places.last().map_or(0, |last| last + 1);
        places
            .chunk_by(|a, b| slot(a) == slot(b))
            .map(|run| {
                self.step(run, |_| {
                    let mut words: Vec<Bytes> = vec![pop.into(), run.len().to_string().into()];
                    words.extend(run.iter().map(|&at| self.args[at].clone()));
                    words.extend_from_slice(&self.args[behind..]);
                    words
                })
            })
            .collect()
    }

    /// One step for each slot, in the order of their first keys.
    fn streams(&self, places: &[usize]) -> Vec<Step> {
        let mut by_slot: Vec<(Slot, Vec<usize>)> = Vec::new();
        for &at in places {
            let slot = Slot::of(&self.args[at]);
            match by_slot.iter_mut().find(|(known, _)| *known == slot) {
                Some((_, group)) => group.push(at),
                None => by_slot.push((slot, vec![at])),
            }
        }
        let block = self.timeout_at.map_or(0..0, |at| at - 1..at + 1);
        let front = places.first().copied().unwrap_or_default();
        by_slot
            .iter()
            .map(|(_, group)| {
                self.step(group, |_| {
                    let options = (0..front).filter(|at| !block.contains(at));
                    let ids = group.iter().map(|at| at + places.len());
                    let words = options.chain(group.iter().copied()).chain(ids);
                    words.filter_map(|at| self.args.get(at).cloned()).collect()
                })
            })
            .collect()
    }
}

impl Sweep {
    /// The commands of one sweep, in order.
    pub fn steps(&self) -> Rc<[Step]> {
        self.steps.clone()
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
        if self.family == Family::Stream {
            return Found::Reply(Bytes::copy_from_slice(reply));
        }
        match self.end() {
            Found::Nothing => Found::Reply(Bytes::copy_from_slice(reply)),
            found => found,
        }
    }

    fn element(&mut self, step: usize, reply: &[u8]) -> Found {
        let mut out = Vec::new();
        match self.family {
            Family::List(..) => {
                encode::array(&mut out, 2);
                encode::bulk(&mut out, &self.steps[step].key);
                out.extend_from_slice(reply);
            }
            Family::Sorted(_) => {
                let Some([member, score]) = pair(reply) else {
                    return Found::Nothing;
                };
                encode::array(&mut out, 3);
                encode::bulk(&mut out, &self.steps[step].key);
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
            let at = self.keys.iter().position(|key| Some(&key[..]) == name);
            self.found
                .push((at.unwrap_or(self.keys.len()), part.to_vec()));
        }
    }
}

/// What puts back what a step has popped, to the same end and in the same order; `None`: it took nothing away.
pub fn undo(blocking: &Blocking, step: &Step, reply: &[u8]) -> Option<Bytes> {
    if resp::is_null(reply) || reply.first() == Some(&b'-') {
        return None;
    }
    match blocking.family {
        Family::List(_, push) => {
            let element = resp::bulk(reply)?;
            Some(command(&[push.as_bytes(), &step.key, element]))
        }
        Family::Sorted(_) => {
            let [member, score] = pair(reply)?;
            let (member, score) = (resp::bulk(&reply[member])?, number(&reply[score])?);
            Some(command(&[&b"ZADD"[..], &step.key, score, member]))
        }
        Family::ListMany => {
            let key = nested(reply, &[0]).and_then(resp::bulk)?;
            let popped = nested(reply, &[1])?;
            let keys = blocking.args.get(2).and_then(|n| resp::strict_integer(n))?;
            let end = blocking.args.get(3 + usize::try_from(keys).ok()?)?;
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
        let sweep = blocking.sweep(&keys, Proto::Resp2);
        let words = |step: &Step| {
            let mut spans = Vec::new();
            let request = parse_request(&step.request, &mut spans).unwrap();
            let words = request.args().map(String::from_utf8_lossy);
            words.collect::<Vec<_>>().join(" ")
        };
        sweep.steps().iter().map(words).collect()
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
            let steps = blocking.sweep(&keys, Proto::Resp2).steps();
            undo(&blocking, &steps[0], reply)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
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
