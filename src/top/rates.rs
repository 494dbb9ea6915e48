//! What happened between two scrapes: counters and histograms by difference. Pure; a counter that is lower than it was
//! belongs to a proxy that was started again, and has counted from zero.

use super::scrape::{Sample, Scrape};
use std::collections::BTreeMap;

/// The increase of a counter.
pub fn increase(before: Option<f64>, now: f64) -> f64 {
    match before {
        Some(before) if before <= now => now - before,
        _ => now,
    }
}

/// The increase of each counter of a name, added up by what `key` says of it.
pub fn increases<K: Ord>(
    before: &Scrape,
    now: &Scrape,
    name: &str,
    key: impl Fn(&Sample) -> K,
) -> BTreeMap<K, f64> {
    let by_key = |scrape: &Scrape| {
        let mut sums = BTreeMap::new();
        for sample in scrape.of(name) {
            *sums.entry(key(sample)).or_insert(0.0) += sample.value;
        }
        sums
    };
    let old = by_key(before);
    let new = by_key(now).into_iter();
    new.map(|(key, value)| {
        let increase = increase(old.get(&key).copied(), value);
        (key, increase)
    })
    .collect()
}

/// Buckets of one histogram that are read.
const BUCKETS_MAX: usize = 200;

/// What a histogram observed between two scrapes: upper bounds, ascending, and how many were at most that, cumulative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    buckets: Vec<(f64, f64)>,
}

impl Durations {
    /// The histograms of a name, merged by what `key` says of their samples.
    pub fn between<K: Ord>(
        before: &Scrape,
        now: &Scrape,
        name: &str,
        key: impl Fn(&Sample) -> K,
    ) -> BTreeMap<K, Self> {
        let name = format!("{name}_bucket");
        let old = buckets(before, &name, &key);
        let new = buckets(now, &name, &key).into_iter();
        new.map(|(key, buckets)| {
            let durations = Self::of(old.get(&key).map_or(&[], Vec::as_slice), buckets);
            (key, durations)
        })
        .collect()
    }

    fn of(before: &[(f64, f64)], mut now: Vec<(f64, f64)>) -> Self {
        let find = |bound: f64| before.iter().find(|(b, _)| *b == bound).map(|(_, n)| *n);
        // All buckets are of one process: if one of them began anew, all did.
        let reset = now
            .iter()
            .any(|(bound, n)| find(*bound).is_some_and(|before| before > *n));
        if !reset {
            for (bound, n) in &mut now {
                *n = increase(find(*bound), *n);
            }
        }
        Self { buckets: now }
    }

    /// The value that the share `q` of them did not exceed, as Prometheus' `histogram_quantile` interpolates; `None` if
    /// there were none, or no bucket for all of them.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let (last, finite) = self.buckets.split_last()?;
        let count = last.1;
        if !last.0.is_infinite() || count <= 0.0 {
            return None;
        }
        let rank = q * count;
        let Some(at) = finite.iter().position(|(_, n)| *n >= rank) else {
            // Longer than every bound: the highest is all that is known.
            return finite.last().map(|(bound, _)| *bound);
        };
        let (start, below) = match at {
            0 => (0.0, 0.0),
            _ => finite[at - 1],
        };
        let (end, up_to) = finite[at];
        let inside = up_to - below;
        if inside <= 0.0 {
            return Some(end);
        }
        Some(start + (end - start) * ((rank - below) / inside))
    }
}

/// Bound and count of each bucket, ascending by bound.
fn buckets<K: Ord>(
    scrape: &Scrape,
    name: &str,
    key: impl Fn(&Sample) -> K,
) -> BTreeMap<K, Vec<(f64, f64)>> {
    let mut all: BTreeMap<K, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in scrape.of(name) {
        let bound = match sample.label("le") {
            "+Inf" => f64::INFINITY,
            text => match text.parse::<f64>() {
                Ok(bound) if bound.is_finite() => bound,
                _ => continue,
            },
        };
        let found = all.entry(key(sample)).or_default();
        match found.binary_search_by(|(b, _)| b.total_cmp(&bound)) {
            Ok(at) => found[at].1 += sample.value,
            Err(at) if found.len() < BUCKETS_MAX => found.insert(at, (bound, sample.value)),
            Err(_) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(counts: [u32; 4]) -> Scrape {
        let mut text = String::new();
        for (bound, count) in ["+Inf", "1", "0.1", "2"].iter().zip(counts) {
            text += &format!("h_bucket{{le=\"{bound}\",cmd=\"get\"}} {count}\n");
            text += &format!("h_bucket{{cmd=\"set\",le=\"{bound}\"}} 1000\n");
        }
        Scrape::parse(&text)
    }

    fn get(before: &Scrape, now: &Scrape) -> Durations {
        let mut all = Durations::between(before, now, "h", |s| s.label("cmd").to_owned());
        all.remove("get").unwrap_or_default()
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        // 10 up to 0.1, 30 more up to 1, 10 more up to 2, 1 beyond, after 5 that were there before.
        let (before, now) = (page([5, 5, 5, 5]), page([56, 45, 15, 55]));
        let durations = get(&before, &now);
        let near = |q: f64, expected: f64| {
            let got = durations.quantile(q).unwrap();
            assert!((got - expected).abs() < 1e-9, "{q}: {got}");
        };
        near(0.1, 0.1 * 5.1 / 10.0);
        near(0.5, 0.1 + 0.9 * (25.5 - 10.0) / 30.0);
        near(0.9, 1.0 + (45.9 - 40.0) / 10.0);
        near(1.0, 2.0);
    }

    #[test]
    fn nothing_observed_is_no_quantile() {
        let same = page([5, 5, 5, 5]);
        assert_eq!(get(&same, &same).quantile(0.5), None);
        assert_eq!(get(&same, &Scrape::default()).quantile(0.5), None);
        let cut = Scrape::parse("h_bucket{le=\"1\",cmd=\"get\"} 3\nh_bucket{le=\"x\"} 3\n");
        assert_eq!(get(&same, &cut).quantile(0.5), None);
    }

    #[test]
    fn a_proxy_that_was_started_again_counts_from_zero() {
        let (before, now) = (page([50, 50, 50, 50]), page([4, 4, 4, 4]));
        let after = get(&before, &now);
        let fresh = get(&Scrape::default(), &now);
        assert_eq!(after, fresh);
        let (before, now) = (
            Scrape::parse("a{k=\"x\"} 9\na{k=\"y\"} 1\n"),
            Scrape::parse("a{k=\"x\"} 2\na{k=\"y\"} 4\na{k=\"z\"} 5\n"),
        );
        let found = increases(&before, &now, "a", |s| s.label("k").to_owned());
        let found: Vec<_> = found.iter().map(|(k, n)| (k.as_str(), *n)).collect();
        assert_eq!(found, [("x", 2.0), ("y", 3.0), ("z", 5.0)]);
    }
}
