//! The short and the long form of the scenarios, and the seeds of their random choices. The environment says which:
//! `tests/scenarios.sh` sets it.

/// Repetitions of each fault in the long form.
const LONG_ROUNDS: usize = 20;

/// Whether this is the long form (`SLOTWAY_LONG=1`): everything is repeated, on servers of both kinds, and times are
/// asserted.
pub fn is_long() -> bool {
    std::env::var_os("SLOTWAY_LONG").is_some_and(|v| v == "1")
}

/// How often a fault is repeated: `SLOTWAY_REPETITIONS`, or once, and in the long form so many times.
pub fn rounds() -> usize {
    match number("SLOTWAY_REPETITIONS") {
        Some(rounds) => rounds as usize,
        None if is_long() => LONG_ROUNDS,
        None => 1,
    }
}

/// Of the random choices of a run: `SLOTWAY_SEED`, or drawn. It is printed, so that the run can be repeated.
pub fn seed(whose: &str) -> u64 {
    let seed = number("SLOTWAY_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000_000));
    eprintln!("{whose}: seed {seed}");
    seed
}

/// A number that the environment gives.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}
