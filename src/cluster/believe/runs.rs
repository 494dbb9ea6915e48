//! Something that is said of every slot, and mostly the same of neighbouring ones: kept as runs. A cluster has a run for
//! each of its ranges of slots, so weighing answers costs what the cluster has of those, not 16,384 of everything.

use super::super::SLOTS;
use std::collections::BTreeMap;
use std::ops::Range;

/// A value of each slot, as runs.
pub(super) struct Runs<T> {
    /// By the first slot of each run; that of the first run is 0. A run ends where the next begins.
    by_first: BTreeMap<usize, T>,
}

impl<T: Clone + PartialEq> Runs<T> {
    /// The same of all slots.
    pub(super) fn new(value: T) -> Self {
        Self {
            by_first: BTreeMap::from([(0, value)]),
        }
    }

    /// The value of `slot`, which is one of [`SLOTS`].
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        Some(self.by_first.range(..=slot).next_back()?.1)
    }

    /// Changes the value of one slot.
    pub(super) fn set(&mut self, slot: usize, value: T) {
        let before = self.get(slot).cloned();
        if let Some(before) = before
            && slot + 1 < SLOTS
        {
            self.by_first.entry(slot + 1).or_insert(before);
        }
        self.by_first.insert(slot, value);
    }

    /// Every run, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Range<usize>, &T)> {
        let ends = self.by_first.keys().skip(1).copied().chain([SLOTS]);
        let runs = self.by_first.iter().zip(ends);
        runs.map(|((&first, value), end)| (first..end, value))
    }

    /// Every value, once for each run.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.by_first.values_mut()
    }
}

/// Made of values for ascending first slots: neighbours of one value become one run.
impl<T: Clone + PartialEq> FromIterator<(usize, T)> for Runs<T> {
    fn from_iter<I: IntoIterator<Item = (usize, T)>>(items: I) -> Self {
        let mut runs: Vec<(usize, T)> = Vec::new();
        for (first, value) in items {
            if runs.last().is_none_or(|(_, last)| *last != value) {
                runs.push((first, value));
            }
        }
        Self {
            by_first: runs.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(of: &Runs<u8>) -> Vec<(Range<usize>, u8)> {
        of.iter().map(|(run, value)| (run, *value)).collect()
    }

    #[test]
    fn one_slot_divides_a_run() {
        let mut all = Runs::new(1);
        all.set(5, 2);
        all.set(0, 3);
        all.set(SLOTS - 1, 4);
        let expected = [
            (0..1, 3),
            (1..5, 1),
            (5..6, 2),
            (6..SLOTS - 1, 1),
            (SLOTS - 1..SLOTS, 4),
        ];
        assert_eq!(runs(&all), expected);
        all.set(5, 6);
        assert_eq!(
            [4, 5, 6].map(|slot| all.get(slot).copied()),
            [1, 6, 1].map(Some)
        );
        assert_eq!(all.iter().count(), expected.len());
    }

    #[test]
    fn neighbours_of_one_value_are_one_run() {
        let all: Runs<u8> = [(0, 1), (3, 1), (9, 2), (10, 1)].into_iter().collect();
        assert_eq!(runs(&all), [(0..9, 1), (9..10, 2), (10..SLOTS, 1)]);
    }
}
