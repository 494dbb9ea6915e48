//! Chance: small variations, so that many proxies do not all do the same at the same moment, and numbers that nobody can
//! guess.

use std::cell::Cell;

/// A generator for timing only (xorshift64, seeded by the standard library's random hash keys, or by a simulation).
pub struct Jitter(Cell<u64>);

impl Default for Jitter {
    fn default() -> Self {
        Self(Cell::new(seed()))
    }
}

#[cfg(feature = "simulation")]
fn seed() -> u64 {
    super::simulated::next_seed()
}

#[cfg(not(feature = "simulation"))]
fn seed() -> u64 {
    unguessable() | 1
}

/// A number that nobody can guess; in a simulation, one that no other call has got.
#[cfg(feature = "simulation")]
pub fn unguessable() -> u64 {
    super::simulated::next_word()
}

/// A number that nobody can guess.
#[cfg(not(feature = "simulation"))]
pub fn unguessable() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}

impl Jitter {
    /// A number in `low..high`.
    pub fn between(&self, low: f64, high: f64) -> f64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        low + (high - low) * (x >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_range_and_varies() {
        let jitter = Jitter::default();
        let drawn: Vec<f64> = (0..1_000).map(|_| jitter.between(0.8, 1.2)).collect();
        assert!(drawn.iter().all(|d| (0.8..1.2).contains(d)));
        assert!(drawn.iter().any(|&d| d < 0.9) && drawn.iter().any(|&d| d > 1.1));
    }
}
