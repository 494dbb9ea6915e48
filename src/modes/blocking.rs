//! Blocking commands as bytes: how long they wait, and what they are with less time left. With keys in several slots
//! they are emulated (`sweep`).

use crate::resp::{self, Proto, Request, Span, encode, parse_request};
use bytes::Bytes;
use std::time::Duration;

/// The longest time a server takes, in seconds (its milliseconds are 64 bits).
const SECONDS_MAX: f64 = (i64::MAX / 1000) as f64;

/// What a word of a command takes besides itself, in bytes: about so much.
const FRAME_BYTES: usize = 16;

/// A blocking command. It may wait for days, so that it is kept once: what is sent of it is written when it is sent.
pub struct Blocking {
    request: Bytes,
    /// Where its arguments are.
    spans: Box<[Span]>,
    pub(super) family: Family,
    /// The place of the time it waits, if it has one.
    pub(super) timeout_at: Option<usize>,
}

/// How long a command waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Until something comes.
    Forever,
    /// At most so long.
    For(Duration),
    /// It does not say so in a way that we can read: the server says what is wrong.
    Unreadable,
}

/// Commands that are read alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    /// `BLPOP key … timeout`, answered by `[key, element]`; the name of what pops without waiting, and of what puts
    /// an element back.
    List(&'static str, &'static str),
    /// `BZPOPMIN key … timeout`, answered by `[key, member, score]`.
    Sorted(&'static str),
    /// `BLMPOP timeout number key … end [COUNT n]`
    ListMany,
    /// `BZMPOP timeout number key … end [COUNT n]`
    SortedMany,
    /// `XREAD [COUNT n] BLOCK ms STREAMS key … id …`
    Stream,
    /// `XREADGROUP`, the same with GROUP in front.
    Group,
    /// The time is the last argument, and it has a destination besides its source: BLMOVE, BRPOPLPUSH.
    Move,
    /// Another server's or module's: nothing is known of it.
    Unknown,
}

impl Blocking {
    /// The command with that name.
    pub fn new(name: &str, request: &Request<'_>) -> Self {
        let family = match name {
            "blpop" => Family::List("LPOP", "LPUSH"),
            "brpop" => Family::List("RPOP", "RPUSH"),
            "bzpopmin" => Family::Sorted("ZPOPMIN"),
            "bzpopmax" => Family::Sorted("ZPOPMAX"),
            "blmpop" => Family::ListMany,
            "bzmpop" => Family::SortedMany,
            "xread" => Family::Stream,
            "xreadgroup" => Family::Group,
            "blmove" | "brpoplpush" => Family::Move,
            _ => Family::Unknown,
        };
        let timeout_at = match family {
            Family::List(..) | Family::Sorted(_) | Family::Move => Some(request.len() - 1),
            Family::ListMany | Family::SortedMany => Some(1),
            Family::Stream | Family::Group => block_option(request).map(|at| at + 1),
            Family::Unknown => None,
        };
        Self {
            request: Bytes::copy_from_slice(request.bytes()),
            spans: request.spans().into(),
            family,
            timeout_at: timeout_at.filter(|&at| at < request.len()),
        }
    }

    /// Its words.
    pub(super) fn words(&self) -> Request<'_> {
        Request::new(&self.request, &self.spans)
    }

    /// Other words in place of some of its own.
    pub(super) fn reword<'a>(&mut self, others: impl Iterator<Item = (usize, &'a [u8])>) {
        let mut words: Vec<&[u8]> = self.words().args().collect();
        others.for_each(|(at, word)| words[at] = word);
        let request = command(&words);
        let mut spans = Vec::with_capacity(words.len());
        if parse_request(&request, &mut spans).is_some() {
            (self.request, self.spans) = (request, spans.into());
        }
    }

    /// Bytes of memory that it takes besides the request itself.
    pub fn beside(&self) -> usize {
        size_of_val(&*self.spans)
    }

    /// How long it waits.
    pub fn patience(&self) -> Patience {
        let Some(at) = self.timeout_at else {
            return Patience::Unreadable;
        };
        let time = self.words().arg(at);
        let text = std::str::from_utf8(time).unwrap_or_default();
        let seconds = if self.is_stream() {
            resp::strict_integer(time).map(|ms| ms as f64 / 1000.0)
        } else {
            text.parse::<f64>().ok()
        };
        match seconds {
            Some(0.0) => Patience::Forever,
            Some(s) if s > 0.0 && s < SECONDS_MAX => {
                Duration::try_from_secs_f64(s).map_or(Patience::Unreadable, Patience::For)
            }
            _ => Patience::Unreadable,
        }
    }

    /// All of it: the client's own bytes, unless a tail was put in. Shared, not copied.
    pub fn whole(&self) -> Bytes {
        self.request.clone()
    }

    /// The same command with less time left.
    pub fn with_time_left(&self, left: Duration) -> Bytes {
        // 0 would be for ever.
        let ms = left.as_millis().max(1);
        let time = match self.is_stream() {
            true => ms.to_string(),
            false => format!("{}.{:03}", ms / 1000, ms % 1000),
        };
        let mut words: Vec<&[u8]> = self.words().args().collect();
        if let Some(at) = self.timeout_at {
            words[at] = time.as_bytes();
        }
        command(&words)
    }

    /// What a client gets when the time is over.
    pub fn nothing(&self, proto: Proto) -> Bytes {
        let mut reply = Vec::new();
        encode::null_array(&mut reply, proto);
        reply.into()
    }

    /// Whether it can be emulated over keys in several slots. (One with a destination cannot: it would not be atomic.)
    pub fn can_sweep(&self) -> bool {
        !matches!(self.family, Family::Move | Family::Unknown)
    }

    /// The command with its first key alone, so that one node can say what is wrong with the rest.
    pub fn first_key_only(&self, keys: &[u32]) -> Bytes {
        let Some(&first) = keys.first() else {
            return self.request.clone();
        };
        let first = first as usize;
        let all: Vec<&[u8]> = self.words().args().collect();
        let mut words = Vec::new();
        match self.family {
            Family::ListMany | Family::SortedMany => {
                words.extend_from_slice(&all[..2]);
                words.extend([b"1", all[first]]);
                words.extend_from_slice(&all[first + keys.len()..]);
            }
            Family::Stream | Family::Group => {
                words.extend_from_slice(&all[..=first]);
                words.extend(all.get(first + keys.len()));
            }
            _ => {
                words.extend_from_slice(&all[..=first]);
                words.extend_from_slice(&all[first + keys.len()..]);
            }
        }
        command(&words)
    }

    fn is_stream(&self) -> bool {
        matches!(self.family, Family::Stream | Family::Group)
    }
}

/// The place of BLOCK among the options of XREAD and XREADGROUP.
fn block_option(request: &Request<'_>) -> Option<usize> {
    let mut at = 1;
    while at < request.len() {
        let word = request.arg(at);
        let is = |option: &[u8]| word.eq_ignore_ascii_case(option);
        if is(b"BLOCK") {
            return Some(at);
        }
        at += match () {
            () if is(b"STREAMS") => return None,
            () if is(b"GROUP") => 3,
            () if is(b"COUNT") => 2,
            () => 1,
        };
    }
    None
}

pub(super) fn command(words: &[impl AsRef<[u8]>]) -> Bytes {
    let bytes = words.iter().map(|word| word.as_ref().len() + FRAME_BYTES);
    let mut out = Vec::with_capacity(bytes.sum());
    encode::command(&mut out, words);
    out.into()
}
