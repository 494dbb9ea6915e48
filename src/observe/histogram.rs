//! Durations in 16 buckets from 50 µs to 10 s: observed by one writer in two stores, summed when scraped.
//! `worker` and `node` own the histograms, `collector` merges and renders them.

use super::cell::Cell64;

/// Finite bucket bounds.
pub const BUCKETS: usize = 16;

/// Upper bounds (inclusive) of the finite buckets, in microseconds.
///
/// No two lie between the same two powers of two: `bucket` relies on it, and it is checked when compiled.
pub const BOUNDS_MICROS: [u32; BUCKETS] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000, 10_000_000,
];

/// How long things took. One writer.
///
/// There is no count beside the buckets, so that count and `+Inf` bucket of one scrape cannot differ.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// Not cumulative; the last one is what exceeded every bound.
    buckets: [Cell64; BUCKETS + 1],
    sum_micros: Cell64,
}

impl Histogram {
    #[inline]
    pub(super) fn observe(&self, micros: u32) {
        self.buckets[bucket(micros)].add(1);
        self.sum_micros.add(u64::from(micros));
    }
}

/// Histograms of several writers, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HistogramSum {
    buckets: [u64; BUCKETS + 1],
    sum_micros: u64,
}

impl HistogramSum {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, cell) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += cell.value();
        }
        self.sum_micros += histogram.sum_micros.value();
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn sum_seconds(&self) -> f64 {
        seconds(self.sum_micros)
    }

    /// Upper bound in seconds and how many took at most that long, for every finite bucket.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let counts = self.buckets.iter().scan(0, |total, n| {
            *total += n;
            Some(*total)
        });
        BOUNDS_MICROS
            .iter()
            .map(|&b| seconds(u64::from(b)))
            .zip(counts)
    }
}

/// Microseconds as the seconds that are exposed. Divided, not multiplied by 1e-6, so that 50 µs reads `0.00005`.
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The first bucket that `micros` fits into: one look-up by magnitude and one comparison.
#[inline]
fn bucket(micros: u32) -> usize {
    let (first, bound) = BY_MAGNITUDE[(u32::BITS - micros.leading_zeros()) as usize];
    first as usize + usize::from(micros > bound)
}

/// For numbers of so many significant bits: the first bucket they may belong to, and that bucket's bound.
const BY_MAGNITUDE: [(u8, u32); u32::BITS as usize + 1] = {
    let mut table = [(BUCKETS as u8, u32::MAX); u32::BITS as usize + 1];
    let mut bits = 0;
    while bits <= u32::BITS as usize {
        let smallest = if bits == 0 { 0 } else { 1u32 << (bits - 1) };
        let mut at = 0;
        while at < BUCKETS && BOUNDS_MICROS[at] < smallest {
            at += 1;
        }
        if at < BUCKETS {
            table[bits] = (at as u8, BOUNDS_MICROS[at]);
        }
        if at + 1 < BUCKETS {
            let next = BOUNDS_MICROS[at + 1];
            assert!(
                (u32::BITS - next.leading_zeros()) as usize > bits,
                "two bounds in one octave"
            );
        }
        bits += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`bucket`] must agree with, written the obvious way.
    fn by_search(micros: u32) -> usize {
        BOUNDS_MICROS
            .iter()
            .position(|&b| micros <= b)
            .unwrap_or(BUCKETS)
    }

    #[test]
    fn every_edge_falls_into_its_bucket() {
        for (i, &bound) in BOUNDS_MICROS.iter().enumerate() {
            assert_eq!(bucket(bound), i, "{bound}");
            assert_eq!(bucket(bound + 1), i + 1, "{bound} + 1");
            assert_eq!(bucket(bound - 1), i, "{bound} - 1");
        }
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u32::MAX), BUCKETS);
    }

    #[test]
    fn the_table_agrees_with_a_search_at_every_power_of_two_and_between() {
        let edges = (0..32).map(|bit| 1u32 << bit).chain(BOUNDS_MICROS);
        for edge in edges {
            for micros in [
                edge.wrapping_sub(1),
                edge,
                edge + 1,
                edge.saturating_add(edge / 2),
            ] {
                assert_eq!(bucket(micros), by_search(micros), "{micros}");
            }
        }
        for micros in (0..12_000_000).step_by(37) {
            assert_eq!(bucket(micros), by_search(micros), "{micros}");
        }
    }

    #[test]
    fn sums_are_cumulative_in_base_units() {
        let (a, b) = (Histogram::default(), Histogram::default());
        a.observe(50);
        a.observe(51);
        b.observe(20_000_000);
        let mut sum = HistogramSum::default();
        sum.add(&a);
        sum.add(&b);
        assert_eq!(sum.count(), 3);
        assert_eq!(sum.sum_seconds(), 20.000101);
        let rows: Vec<_> = sum.cumulative().collect();
        assert_eq!(rows.len(), BUCKETS);
        assert_eq!(rows[0], (0.00005, 1));
        assert_eq!(rows[1], (0.0001, 2));
        assert_eq!(
            rows[BUCKETS - 1],
            (10.0, 2),
            "what is slower than 10 s is only in +Inf"
        );
    }
}
