//! One row of the scenario table: what was done to a cluster under load, and the figures of it.
//!
//! A row is printed, and appended as a line of JSON to the file that `SLOTWAY_SCENARIOS` names; `tests/scenarios.sh`
//! makes the table of them. A row that is dropped before [`Scenario::passed`] is a failure, and so is one that was
//! begun and has no end.

use serde_json::json;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Instant;

/// See the module.
pub struct Scenario {
    number: u8,
    what: String,
    servers: String,
    seed: Option<u64>,
    since: Instant,
    figures: Vec<(String, String)>,
    passed: bool,
}

impl Scenario {
    /// Begins one of the numbered scenarios of `tests/scenarios.sh`; 0 is what has no number there (fuzzing,
    /// simulation, limits). `what` tells variants of one number apart; `servers` is the kind of server, or "-".
    pub fn begin(number: u8, what: &str, servers: &str) -> Self {
        let scenario = Self {
            number,
            what: what.into(),
            servers: servers.into(),
            seed: None,
            since: Instant::now(),
            figures: Vec::new(),
            passed: false,
        };
        scenario.write("begun");
        scenario
    }

    /// Of its random choices.
    pub fn seeded(&mut self, seed: u64) {
        self.seed = Some(seed);
    }

    /// Something measured. A number with its unit, such as `183 ms`, is summed up over repetitions (median, worst).
    pub fn figure(&mut self, name: &str, value: impl Display) {
        self.figures.push((name.into(), value.to_string()));
    }

    /// Everything held.
    pub fn passed(mut self) {
        self.passed = true;
    }

    fn write(&self, result: &str) {
        let row = json!({
            "scenario": self.number,
            "what": self.what,
            "servers": self.servers,
            "seed": self.seed,
            "seconds": self.since.elapsed().as_secs_f64(),
            "figures": self.figures,
            "result": result,
        });
        if result != "begun" {
            eprintln!("scenario {row}");
        }
        let Some(path) = std::env::var_os("SLOTWAY_SCENARIOS") else {
            return;
        };
        // One write of a whole line: tests of several processes append to the file at the same time.
        let mut line = row.to_string();
        line.push('\n');
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            eprintln!("SLOTWAY_SCENARIOS={}: {error}", path.display());
        }
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        self.write(if self.passed { "passed" } else { "FAILED" });
    }
}
