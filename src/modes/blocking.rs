//! Blocking commands as bytes: how long they wait, and what they are with less time left. With keys in several slots
//! they are emulated (`sweep`).

use crate::resp::{self, Proto, Request, encode};
use bytes::Bytes;
use std::time::Duration;

/// The longest time a server takes, in seconds (its milliseconds are 64 bits).
const SECONDS_MAX: f64 = (i64::MAX / 1000) as f64;

/// A blocking command.
pub struct Blocking {
    request: Bytes,
    pub(super) args: Vec<Bytes>,
    pub(super) family: Family,
    /// The place of the time it waits, if it has one.
    pub(super) timeout_at: Option<usize>,
    /// Whether `args` differ from `request`.
    pub(super) changed: bool,
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
            args: request.args().map(Bytes::copy_from_slice).collect(),
            family,
            timeout_at: timeout_at.filter(|&at| at < request.len()),
            changed: false,
        }
    }

    /// How long it waits.
    pub fn patience(&self) -> Patience {
        let Some(at) = self.timeout_at else {
            return Patience::Unreadable;
        };
        let text = std::str::from_utf8(&self.args[at]).unwrap_or_default();
        let seconds = if self.is_stream() {
            resp::strict_integer(&self.args[at]).map(|ms| ms as f64 / 1000.0)
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

    /// All of it: the client's own bytes, unless a tail was put in.
    pub fn whole(&self) -> Bytes {
        match self.changed {
            true => command(&self.args),
            false => self.request.clone(),
        }
    }

    /// The same command with less time left.
    pub fn with_time_left(&self, left: Duration) -> Bytes {
        let mut args = self.args.clone();
        if let Some(at) = self.timeout_at {
            // 0 would be for ever.
            let ms = left.as_millis().max(1);
            args[at] = match self.is_stream() {
                true => ms.to_string().into(),
                false => format!("{}.{:03}", ms / 1000, ms % 1000).into(),
            };
        }
        command(&args)
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
        let mut args = Vec::new();
        match self.family {
            Family::ListMany | Family::SortedMany => {
                args.extend_from_slice(&self.args[..2]);
                args.push(Bytes::from_static(b"1"));
                args.push(self.args[first].clone());
                args.extend_from_slice(&self.args[first + keys.len()..]);
            }
            Family::Stream | Family::Group => {
                args.extend_from_slice(&self.args[..=first]);
                args.extend(self.args.get(first + keys.len()).cloned());
            }
            _ => {
                args.extend_from_slice(&self.args[..=first]);
                args.extend_from_slice(&self.args[first + keys.len()..]);
            }
        }
        command(&args)
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
    let mut out = Vec::new();
    encode::command(&mut out, words);
    out.into()
}
