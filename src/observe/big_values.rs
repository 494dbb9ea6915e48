//! The keys with the largest values that went through: size of a reply, or of an argument, at least `observe.big_value`.

use super::hot_keys::KEY_BYTES_MAX;
use crate::cluster::Slot;
use std::cmp::Reverse;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many are kept for each worker.
pub const BIG_MAX: usize = 128;

/// A value that nobody has read or written for so long is shown no more.
pub const BIG_FOR: Duration = Duration::from_secs(3600);

/// Which way a value went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In a reply.
    Read,
    /// In a request.
    Written,
}

/// A key with a large value.
#[derive(Clone, Debug, PartialEq)]
pub struct BigValue {
    /// The first [`KEY_BYTES_MAX`] bytes of the key; of a command with several, the one that the value is most likely of.
    pub text: Box<[u8]>,
    /// Its length.
    pub bytes: usize,
    /// Its slot.
    pub slot: u16,
    /// Which way the value went.
    pub direction: Direction,
    /// The largest size that was seen, in bytes: of the whole reply, or of the argument.
    pub size: usize,
    /// The command that had it.
    pub command: Arc<str>,
    /// How often it was seen.
    pub count: u64,
    /// When last, since 1970.
    pub last: Duration,
}

/// Written by its worker; the lock is taken for large values, and by whoever asks.
#[derive(Debug, Default)]
pub(super) struct BigValues(Mutex<Vec<BigValue>>);

impl BigValues {
    /// A value of that size went through.
    pub(super) fn saw(
        &self,
        key: &[u8],
        size: usize,
        direction: Direction,
        command: &Arc<str>,
        now: Duration,
    ) {
        let value = BigValue {
            text: key[..key.len().min(KEY_BYTES_MAX)].into(),
            bytes: key.len(),
            slot: Slot::of(key).number(),
            direction,
            size,
            command: command.clone(),
            count: 1,
            last: now,
        };
        add(&mut self.kept(), BIG_MAX, value);
    }

    fn kept(&self) -> MutexGuard<'_, Vec<BigValue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One more, in the place of one that is forgotten or smaller if there is no room.
fn add(kept: &mut Vec<BigValue>, room: usize, value: BigValue) {
    let same = |v: &&mut BigValue| {
        (v.slot, v.direction, v.bytes) == (value.slot, value.direction, value.bytes)
            && v.text == value.text
    };
    if let Some(known) = kept.iter_mut().find(same) {
        if value.size > known.size {
            known.size = value.size;
            known.command = value.command;
        }
        known.count += value.count;
        known.last = known.last.max(value.last);
    } else if kept.len() < room {
        kept.push(value);
    } else {
        let rank = |v: &BigValue| (!is_forgotten(v, value.last), v.size);
        if let Some(least) = kept.iter_mut().min_by_key(|v| rank(v))
            && (is_forgotten(least, value.last) || least.size < value.size)
        {
            *least = value;
        }
    }
}

fn is_forgotten(value: &BigValue, now: Duration) -> bool {
    now.saturating_sub(value.last) > BIG_FOR
}

/// What all workers have seen, the largest first.
pub(super) fn biggest<'a>(
    workers: impl Iterator<Item = &'a BigValues>,
    now: Duration,
) -> Vec<BigValue> {
    let mut all = Vec::new();
    for worker in workers {
        for value in worker.kept().iter().filter(|v| !is_forgotten(v, now)) {
            add(&mut all, usize::MAX, value.clone());
        }
    }
    all.sort_by(|a, b| (Reverse(a.size), &a.text).cmp(&(Reverse(b.size), &b.text)));
    all.truncate(BIG_MAX);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: usize) -> Duration {
        Duration::from_secs(seconds as u64)
    }

    fn shown(values: &[BigValue]) -> Vec<(String, usize, u64)> {
        let shown = values.iter().map(|v| {
            let key = String::from_utf8_lossy(&v.text).into_owned();
            (key, v.size, v.count)
        });
        shown.collect()
    }

    #[test]
    fn the_largest_are_kept_and_those_of_all_workers_are_one() {
        let (one, two) = (BigValues::default(), BigValues::default());
        let (get, set): (Arc<str>, Arc<str>) = ("get".into(), "set".into());
        for n in 0..BIG_MAX + 10 {
            one.saw(
                format!("k{n}").as_bytes(),
                100 + n,
                Direction::Read,
                &get,
                at(n),
            );
        }
        one.saw(b"small", 5, Direction::Read, &get, at(200));
        two.saw(b"k137", 1_000, Direction::Read, &set, at(200));
        two.saw(b"k137", 50, Direction::Written, &set, at(201));
        let all = biggest([&one, &two].into_iter(), at(201));
        assert_eq!(all.len(), BIG_MAX);
        assert_eq!(
            shown(&all)[..2],
            [("k137".into(), 1_000, 2), ("k136".into(), 236, 1)]
        );
        assert_eq!((&*all[0].command, all[0].last), ("set", at(200)));
        assert!(!shown(&all).iter().any(|(key, ..)| key == "small"));
    }

    #[test]
    fn what_was_not_seen_for_long_is_forgotten_and_makes_room() {
        let values = BigValues::default();
        let get: Arc<str> = "get".into();
        for n in 0..BIG_MAX {
            values.saw(
                format!("k{n}").as_bytes(),
                1_000,
                Direction::Read,
                &get,
                at(0),
            );
        }
        let now = BIG_FOR + at(1);
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        values.saw(long.as_bytes(), 10, Direction::Read, &get, now);
        let all = biggest([&values].into_iter(), now);
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].text.len(), all[0].bytes),
            (KEY_BYTES_MAX, long.len())
        );
    }
}
