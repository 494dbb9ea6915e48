//! What happened: a hash of it always, the words where somebody wants to read them.

use std::fmt::Display;

#[derive(Default)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub fn kept() -> Self {
        Self {
            hash: 0,
            lines: Some(Vec::new()),
        }
    }

    /// `bytes` tells this event from others; `words` are for people.
    pub fn note<D: Display>(
        &mut self,
        at: u64,
        what: u64,
        bytes: &[u8],
        words: impl FnOnce() -> D,
    ) {
        let mut hash = self.hash ^ at.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ what;
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.hash = hash.wrapping_mul(0xFF51_AFD7_ED55_8CCD).rotate_left(31);
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at:6} ms  {}", words()));
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
