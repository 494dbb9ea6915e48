//! Seeded mutations of a corpus, for the short runs: the same seed makes the same inputs.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Longest input that is made, in bytes.
const INPUT_MAX: usize = 4096;
/// Changes to one input, at most.
const CHANGES_MAX: usize = 6;

/// Numbers at which something changes.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "9",
    "10",
    "15",
    "127",
    "128",
    "255",
    "1023",
    "16383",
    "16384",
    "65535",
    "65536",
    "1048576",
    "1048577",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-1",
    "-2",
    "+1",
    "01",
    "",
];

/// Makes inputs out of others.
pub struct Mutator<'a> {
    random: StdRng,
    corpus: &'a [Vec<u8>],
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    /// `words` are what inputs are likely to be made of. The corpus has at least one input.
    pub fn new(seed: u64, corpus: &'a [Vec<u8>], words: &'a [&'a str]) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            corpus,
            words,
        }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.any().to_vec();
        for _ in 0..self.random.random_range(1..=CHANGES_MAX) {
            self.change(&mut input);
        }
        input.truncate(INPUT_MAX);
        input
    }

    fn any(&mut self) -> &'a [u8] {
        self.corpus.choose(&mut self.random).expect("an input")
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.random_range(0..=input.len());
        let end = self.random.random_range(at..=input.len().min(at + 64));
        match self.random.random_range(0..10) {
            0 if at < input.len() => input[at] ^= 1 << self.random.random_range(0..8),
            1 if at < input.len() => input[at] = self.random.random(),
            2 => drop(input.drain(at..end)),
            3 => {
                let copy = input[at..end].to_vec();
                let to = self.random.random_range(0..=input.len());
                input.splice(to..to, copy);
            }
            4 => self.number(input),
            5 => {
                // The end of another one.
                let other = self.any();
                let from = self.random.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            6 => {
                let byte = self.random.random();
                input.insert(at, byte);
            }
            _ => {
                if let Some(word) = self.words.choose(&mut self.random) {
                    let end = if self.random.random() { at } else { end };
                    input.splice(at..end, word.bytes());
                } else if at < input.len() {
                    input[at] = self.random.random();
                }
            }
        }
    }

    /// Another number in place of one.
    fn number(&mut self, input: &mut Vec<u8>) {
        let is_digit = |at: &usize| input[*at].is_ascii_digit();
        let digits: Vec<usize> = (0..input.len()).filter(is_digit).collect();
        let Some(&start) = digits.choose(&mut self.random) else {
            return;
        };
        let len = input[start..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let number = NUMBERS.choose(&mut self.random).expect("a number");
        input.splice(start..start + len, number.bytes());
    }
}
