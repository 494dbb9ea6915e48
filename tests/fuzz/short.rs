//! Short runs: every input of a target's corpus, then seeded mutations of them. An input that fails is shown with the
//! seed that made it, written to a file, and becomes a test when that file is moved into the corpus.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::mutate::Mutator;
use crate::support::{Scenario, is_long, rounds, show};

/// Seed of the short form, so that it is the same every time. `SLOTWAY_SEED` is another.
const SEED: u64 = 1;
/// How often the clock is looked at in a run that ends by time, in inputs.
const CLOCK_EVERY: usize = 64;

/// How long a run is.
#[derive(Clone, Copy)]
pub enum Length {
    /// So many inputs: the same ones every time, unless this is the long form.
    Inputs(usize),
    /// For so long, from a new seed.
    Time(Duration),
}

impl Length {
    /// So many inputs for each repetition, unless `SLOTWAY_FUZZ_SECONDS` says how long.
    pub fn of(inputs: usize) -> Self {
        match std::env::var("SLOTWAY_FUZZ_SECONDS") {
            Ok(seconds) => Self::Time(Duration::from_secs(
                seconds.parse().expect("SLOTWAY_FUZZ_SECONDS is a number"),
            )),
            Err(_) => Self::Inputs(inputs * rounds()),
        }
    }

    fn seed(self) -> u64 {
        match (std::env::var("SLOTWAY_SEED"), self) {
            (Ok(seed), _) => seed.parse().expect("SLOTWAY_SEED is a number"),
            (Err(_), Self::Inputs(_)) if !is_long() => SEED,
            (Err(_), _) => rand::random(),
        }
    }
}

/// What the inputs behind those of the corpus are.
#[derive(Clone, Copy)]
pub enum Inputs<'a> {
    /// Mutations of the corpus, with these words.
    Mutated(&'a [&'a str]),
    /// Drawn anew.
    #[allow(dead_code, reason = "by tests/fuzz_direct.rs only")]
    Drawn(fn(&mut StdRng) -> Vec<u8>),
}

/// Runs a target and records the row of it.
pub fn run(
    name: &str,
    title: &str,
    servers: &str,
    inputs: Inputs<'_>,
    length: Length,
    mut body: impl FnMut(&[u8]),
) {
    let mut row = Scenario::begin(0, title, servers);
    let seed = length.seed();
    row.seeded(seed);
    let since = Instant::now();
    let corpus = corpus(name);
    eprintln!("{name}: {} inputs in the corpus, seed {seed}", corpus.len());
    for input in &corpus {
        one(name, "of the corpus", input, &mut body);
    }
    let words = match inputs {
        Inputs::Mutated(words) => words,
        Inputs::Drawn(_) => &[],
    };
    let mut mutator = Mutator::new(seed, &corpus, words);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut make = || match inputs {
        Inputs::Mutated(_) => mutator.input(),
        Inputs::Drawn(draw) => draw(&mut rng),
    };
    let mut count = 0;
    let goes_on = |inputs: usize| match length {
        Length::Inputs(all) => inputs < all,
        Length::Time(all) => !inputs.is_multiple_of(CLOCK_EVERY) || since.elapsed() < all,
    };
    while goes_on(count) {
        count += 1;
        one(
            name,
            &format!("number {count} of seed {seed}"),
            &make(),
            &mut body,
        );
    }
    row.figure("inputs", corpus.len() + count);
    row.figure("time", format!("{:.1} s", since.elapsed().as_secs_f64()));
    row.passed();
}

fn one(name: &str, which: &str, input: &[u8], body: &mut impl FnMut(&[u8])) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) else {
        return;
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-failures");
    let path = dir.join(format!("{name}-{}", which.replace(' ', "-")));
    let kept = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, input));
    eprintln!(
        "{name}: the input {which} fails: {}\nit is in {} ({kept:?}); keep it in tests/fuzz/corpus/{name}",
        show(input),
        path.display()
    );
    resume_unwind(panic);
}

/// The inputs that are kept for a target, in the order of their names.
pub fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let entries =
        std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}: no corpus", dir.display());
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("an input"))
        .collect()
}
