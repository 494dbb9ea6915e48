//! The targets of `tests/fuzz/targets` under libFuzzer, guided by coverage. `SLOTWAY_FUZZ_TARGET` names the one that runs.
#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use targets::{TARGETS, Target};

static TARGET: OnceLock<&Target> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("SLOTWAY_FUZZ_TARGET").expect("SLOTWAY_FUZZ_TARGET names a target");
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.unwrap_or_else(|| panic!("no target is called {name}"));
        if std::env::var_os("SLOTWAY_FUZZ_WORDS").is_some() {
            dictionary(target.words);
        }
        let _ = TARGET.set(target);
    },
    |input: &[u8]| {
        (TARGET.get().expect("set by init").run)(input);
    }
);

/// Prints the words as a dictionary for libFuzzer, and ends.
fn dictionary(words: &[&str]) {
    for word in words {
        let escaped: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        println!("\"{escaped}\"");
    }
    std::process::exit(0);
}
