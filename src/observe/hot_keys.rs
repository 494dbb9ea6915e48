//! Which keys are asked for most: about one command in [`SAMPLED`] is looked at, and the keys seen most are kept in a small
//! table per worker. A key that is seen takes the place of the rarest one by chance, the less likely the more often that
//! one was seen (random admission: Ben Basat, Einziger, Friedman, Kassner, INFOCOM 2017). Counts are halved every
//! [`HALF_LIFE`], so that the table tells what is hot now.

use super::cell::Cell64;
use crate::cluster::Slot;
use rustc_hash::FxBuildHasher;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One command in so many is looked at, on average: the gaps vary, or a pipeline of the same commands in the same order
/// would always be seen at the same place.
pub const SAMPLED: u64 = 32;

/// Every so often the counts are halved.
pub const HALF_LIFE: Duration = Duration::from_secs(30);

/// So much of a key is kept.
pub const KEY_BYTES_MAX: usize = 128;

/// A worker that keeps no keys.
const NEVER: u64 = u64::MAX;

/// The keys that one worker has seen most. Written by that worker's thread; the lock is taken by it for the commands that
/// are looked at, and by whoever asks.
#[derive(Debug)]
pub(super) struct HotKeys {
    /// Commands until the next look.
    gap: Cell64,
    random: Cell64,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    /// Hash and count of each of `keys`: what is looked at for every key that is seen.
    hashes: Vec<u32>,
    counts: Vec<u64>,
    keys: Vec<Key>,
    room: usize,
    /// No count is less.
    least: u64,
    /// Of all keys that were looked at.
    total: u64,
    aged: Option<Instant>,
    /// What the counts stand for, in seconds, up to `aged`: halved as they are.
    seconds: f64,
}

/// A key, or as much of it as is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    text: Box<[u8]>,
    bytes: usize,
    slot: u16,
}

/// A key that is asked for often.
#[derive(Clone, Debug, PartialEq)]
pub struct HotKey {
    /// Its first [`KEY_BYTES_MAX`] bytes.
    pub text: Box<[u8]>,
    /// Its length.
    pub bytes: usize,
    /// Its slot.
    pub slot: u16,
    /// How often it is asked for, estimated.
    pub per_second: f64,
}

/// The hottest keys, hottest first, and all keys together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hottest {
    /// At most as many as a worker keeps.
    pub keys: Vec<HotKey>,
    /// How often any key is asked for, estimated.
    pub per_second: f64,
}

impl HotKeys {
    /// Keeps so many keys; none: looks at nothing.
    pub(super) fn new(room: usize) -> Self {
        let gap = Cell64::default();
        gap.set(if room == 0 { NEVER } else { SAMPLED });
        let random = Cell64::default();
        random.set(0x9E37_79B9_7F4A_7C15);
        Self {
            gap,
            random,
            table: Mutex::new(Table::new(room)),
        }
    }

    /// Whether this command is to be looked at.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        let left = self.gap.value() - 1;
        self.gap.set(left);
        left == 0
    }

    /// One of `keys` was looked at, chosen by chance: it stands for all of them.
    #[cold]
    pub(super) fn saw(&self, keys: &[&[u8]], now: Instant) {
        self.gap.set(1 + self.draw() % (2 * SAMPLED - 1));
        let at = (self.draw() >> 32) as usize % keys.len().max(1);
        if let Some(key) = keys.get(at) {
            let mut table = self.table();
            table.age(now);
            table.count(key, keys.len() as u64, self.draw());
        }
    }

    fn draw(&self) -> u64 {
        let mut x = self.random.value();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.random.set(x);
        x
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where it is; several are compared at once.
fn find(hashes: &[u32], hash: u32) -> Option<usize> {
    const AT_ONCE: usize = 16;
    let among = |some: &[u32]| some.iter().fold(false, |found, &h| found | (h == hash));
    let some = hashes.chunks(AT_ONCE).position(among)? * AT_ONCE;
    let within = hashes[some..].iter().position(|&h| h == hash)?;
    Some(some + within)
}

impl Key {
    fn new(key: &[u8]) -> Self {
        Self {
            text: key[..key.len().min(KEY_BYTES_MAX)].into(),
            bytes: key.len(),
            slot: Slot::of(key).number(),
        }
    }
}

impl Table {
    fn new(room: usize) -> Self {
        Self {
            hashes: Vec::with_capacity(room),
            counts: Vec::with_capacity(room),
            keys: Vec::with_capacity(room),
            room,
            least: 0,
            total: 0,
            aged: None,
            seconds: 0.0,
        }
    }

    fn age(&mut self, now: Instant) {
        let aged = *self.aged.get_or_insert(now);
        if now.saturating_duration_since(aged) < HALF_LIFE {
            return;
        }
        let halves =
            (now.saturating_duration_since(aged).as_micros() / HALF_LIFE.as_micros()) as u32;
        for _ in 0..halves.min(64) {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total /= 2;
            self.least /= 2;
            self.seconds = (self.seconds + HALF_LIFE.as_secs_f64()) / 2.0;
        }
        self.aged = Some(aged + HALF_LIFE * halves);
    }

    fn count(&mut self, key: &[u8], times: u64, chance: u64) {
        self.total += times;
        let hash = (FxBuildHasher.hash_one(key) >> 32) as u32;
        if let Some(at) = find(&self.hashes, hash) {
            self.counts[at] += times;
        } else if self.keys.len() < self.room {
            self.hashes.push(hash);
            self.counts.push(times);
            self.keys.push(Key::new(key));
        } else if let Some(at) = self.displaced(times, chance) {
            self.hashes[at] = hash;
            self.counts[at] += times;
            self.keys[at] = Key::new(key);
        }
    }

    /// The rarest key, if one that was seen so often takes its place: `times` in its count and `times`. Most draws end
    /// without a look at the counts, by a bound that they are not below.
    fn displaced(&mut self, times: u64, chance: u64) -> Option<usize> {
        let bound = self.least + times;
        if chance % bound >= times {
            return None;
        }
        let at = (0..self.counts.len()).min_by_key(|&at| self.counts[at])?;
        self.least = self.counts[at];
        let again = (chance >> 32) % (self.least + times) < bound;
        again.then_some(at)
    }

    /// For how long these counts would have grown if none had ever been halved.
    fn seconds(&self, now: Instant) -> f64 {
        let since = self
            .aged
            .map_or(Duration::ZERO, |aged| now.saturating_duration_since(aged));
        (self.seconds + since.as_secs_f64()).max(1.0)
    }
}

/// What all workers have seen, put together.
pub(super) fn hottest<'a>(workers: impl Iterator<Item = &'a HotKeys>, now: Instant) -> Hottest {
    let mut rates = HashMap::<Key, f64>::new();
    let (mut all, mut room) = (0.0, 0);
    for worker in workers {
        let mut table = worker.table();
        table.age(now);
        let per_second = |count: u64| (count * SAMPLED) as f64 / table.seconds(now);
        all += per_second(table.total);
        room = room.max(table.room);
        for (key, &count) in table.keys.iter().zip(&table.counts) {
            *rates.entry(key.clone()).or_default() += per_second(count);
        }
    }
    let mut keys: Vec<HotKey> = rates
        .into_iter()
        .filter(|(_, per_second)| *per_second > 0.0)
        .map(|(key, per_second)| HotKey {
            text: key.text,
            bytes: key.bytes,
            slot: key.slot,
            per_second,
        })
        .collect();
    keys.sort_by(|a, b| {
        b.per_second
            .total_cmp(&a.per_second)
            .then_with(|| a.text.cmp(&b.text))
    });
    keys.truncate(room);
    Hottest {
        keys,
        per_second: all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command is looked at `SAMPLED` times less often than it comes: here all that is looked at.
    fn saw(hot: &HotKeys, key: &str, now: Instant) {
        hot.saw(&[key.as_bytes()], now);
    }

    fn names(hottest: &Hottest) -> Vec<String> {
        let names = hottest
            .keys
            .iter()
            .map(|k| String::from_utf8_lossy(&k.text).into_owned());
        names.collect()
    }

    #[test]
    fn gaps_vary_and_are_as_long_as_said_on_average() {
        let hot = HotKeys::new(4);
        let now = Instant::now();
        let (mut gaps, mut since) = (Vec::new(), 0u64);
        while gaps.len() < 20_000 {
            since += 1;
            if hot.is_due() {
                saw(&hot, "k", now);
                gaps.push(std::mem::take(&mut since));
            }
        }
        let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
        assert!((mean - SAMPLED as f64).abs() < 0.5, "{mean}");
        assert!(gaps.contains(&1) && gaps.contains(&(2 * SAMPLED - 1)));
        let off = HotKeys::new(0);
        assert!((0..100_000).all(|_| !off.is_due()));
    }

    /// Zipf: the key of rank r comes 1/r as often as the first.
    #[test]
    fn the_hottest_of_a_hundred_thousand_keys_are_found() {
        const KEYS: usize = 100_000;
        const ROOM: usize = 128;
        let mut bounds = Vec::with_capacity(KEYS);
        let mut sum = 0.0;
        for rank in 1..=KEYS {
            sum += 1.0 / rank as f64;
            bounds.push(sum);
        }
        let hot = HotKeys::new(ROOM);
        let now = Instant::now();
        let mut x = 1u64;
        for _ in 0..200_000 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let at = (x >> 11) as f64 / (1u64 << 53) as f64 * sum;
            let rank = bounds.partition_point(|&b| b <= at);
            saw(&hot, &format!("key:{rank:06}"), now);
        }
        let found = names(&hottest([&hot].into_iter(), now));
        assert_eq!(found.len(), ROOM);
        let recall = |top: usize| {
            let named = (0..top).filter(|rank| found[..top].contains(&format!("key:{rank:06}")));
            named.count()
        };
        assert_eq!(recall(10), 10, "{:?}", &found[..10]);
        assert!(recall(50) >= 45, "{} of 50", recall(50));
    }

    #[test]
    fn what_was_hot_is_forgotten_and_rates_are_told() {
        let hot = HotKeys::new(2);
        let start = Instant::now();
        // 10 a second are looked at.
        for tick in 0..6_000 {
            saw(&hot, "old", start + Duration::from_millis(tick * 100));
        }
        let then = start + Duration::from_secs(600);
        let before = hottest([&hot].into_iter(), then);
        let rate = before.keys[0].per_second;
        let expected = 10.0 * SAMPLED as f64;
        assert!(
            (rate / expected - 1.0).abs() < 0.1,
            "{rate}, expected {expected}"
        );
        assert!((before.per_second - rate).abs() < 1.0);
        for tick in 0..3_000 {
            saw(&hot, "new", then + Duration::from_millis(tick * 100));
        }
        let after = hottest([&hot].into_iter(), then + Duration::from_secs(300));
        assert_eq!(names(&after)[0], "new");
        assert!(
            after.keys[1..].iter().all(|k| k.per_second < 1.0),
            "{after:?}"
        );
        let later = hottest([&hot].into_iter(), then + Duration::from_secs(3_600));
        assert_eq!(later.keys, []);
    }

    #[test]
    fn keys_of_several_workers_are_one_and_long_ones_are_cut() {
        let (one, two) = (HotKeys::new(8), HotKeys::new(8));
        let now = Instant::now();
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        for hot in [&one, &two] {
            saw(hot, "both", now);
            hot.saw(&[long.as_bytes()], now);
        }
        one.saw(&[], now);
        saw(&one, "one", now);
        let all = hottest([&one, &two].into_iter(), now);
        assert_eq!(all.keys.len(), 3);
        let cut = all.keys.iter().find(|k| k.bytes == long.len()).unwrap();
        assert_eq!(cut.text.len(), KEY_BYTES_MAX);
        assert_eq!(cut.slot, Slot::of(long.as_bytes()).number());
        let both = all.keys.iter().find(|k| *k.text == *b"both").unwrap();
        assert_eq!(both.per_second, 2.0 * SAMPLED as f64);
    }
}
