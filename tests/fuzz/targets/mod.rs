//! What is fuzzed without a socket: one function per target. It takes any bytes and panics when a property does not
//! hold. `tests/fuzz.rs` runs them on seeded mutations of the corpus, the package in `tests/fuzz` under libFuzzer.

mod merging;
mod model;
mod reference;
mod replies;
mod requests;
mod source;
mod split;
mod topology;

/// One thing that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Also the name of its corpus.
    pub name: &'static str,
    /// What the table of scenarios calls it.
    #[allow(dead_code, reason = "libFuzzer records no rows")]
    pub title: &'static str,
    /// Panics when a property does not hold.
    pub run: fn(&[u8]),
    /// What its inputs are likely to be made of.
    pub words: &'static [&'static str],
}

/// Every target that needs no socket.
pub const TARGETS: &[Target] = &[
    Target {
        name: "requests",
        title: "fuzz: request decoder",
        run: requests::run,
        words: requests::WORDS,
    },
    Target {
        name: "replies",
        title: "fuzz: reply scanner",
        run: replies::run,
        words: replies::WORDS,
    },
    Target {
        name: "topology",
        title: "fuzz: topology parsers",
        run: topology::run,
        words: topology::WORDS,
    },
    Target {
        name: "split",
        title: "fuzz: split and merge",
        run: split::run,
        words: &[],
    },
    Target {
        name: "merging",
        title: "fuzz: merge of lying replies",
        run: merging::run,
        words: replies::WORDS,
    },
];
