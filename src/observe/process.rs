//! The `process_*` metrics, read from `/proc/self` when scraped. What cannot be read is left out.

use super::families::{Families, Source};
use super::table::Metric;
use rustix::process::{Resource, getrlimit};
use std::fs;

/// This process, as the kernel sees it.
pub(super) struct Process;

/// Ticks per second of the times in `/proc`: fixed by the kernel's interface, whatever its own clock runs at.
const TICKS_PER_SECOND: f64 = 100.0;

impl Source for Process {
    fn collect(&self, families: &mut Families) {
        let samples = [
            (Metric::ProcessOpenFds, open_fds()),
            (
                Metric::ProcessMaxFds,
                getrlimit(Resource::Nofile).current.map(|n| n as f64),
            ),
        ];
        let stat = fs::read_to_string("/proc/self/stat").ok();
        let stat = stat.as_deref().and_then(Stat::parse);
        let started = stat
            .as_ref()
            .and_then(|s| Some(boot_time()? + s.started_seconds));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let more = [
            (Metric::ProcessCpu, stat.as_ref().map(|s| s.cpu_seconds)),
            (Metric::ProcessStartTime, started),
            (
                Metric::ProcessResident,
                field(&status, "VmRSS:").map(|kib| kib * 1024.0),
            ),
            (
                Metric::ProcessVirtual,
                field(&status, "VmSize:").map(|kib| kib * 1024.0),
            ),
            (Metric::ProcessThreads, field(&status, "Threads:")),
        ];
        for (metric, value) in samples.into_iter().chain(more) {
            if let Some(value) = value {
                families.add(metric, &[], value);
            }
        }
    }
}

/// Resident memory of this process now, in bytes; 0 if it cannot be read.
pub fn resident_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmRSS:").map_or(0, |kib| kib as usize * 1024)
}

struct Stat {
    cpu_seconds: f64,
    /// After boot.
    started_seconds: f64,
}

impl Stat {
    /// The fields of `/proc/self/stat`. Its second one is the program's name in parentheses, which may itself
    /// contain blanks and parentheses, so that counting starts behind the last of them.
    fn parse(text: &str) -> Option<Self> {
        const AFTER_NAME: usize = 3; // number, counted from 1, of the first field behind the name
        let rest = &text[text.rfind(')')? + 1..];
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |number: usize| fields.get(number - AFTER_NAME)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
            started_seconds: ticks(22)? / TICKS_PER_SECOND,
        })
    }
}

/// When the machine was started, in Unix time.
fn boot_time() -> Option<f64> {
    field(&fs::read_to_string("/proc/stat").ok()?, "btime ")
}

/// Since Linux 6.2 the directory's size is the number of open descriptors; before, they must be counted.
fn open_fds() -> Option<f64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size as f64);
    }
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}

/// The number behind `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_program_name_does_not_shift_the_fields() {
        let line = "42 (a) 1 (b) c) S 1 42 42 0 -1 4194304 5 0 0 0 250 50 0 0 20 0 4 0 700 1 2 3";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.cpu_seconds, stat.started_seconds), (3.0, 7.0));
        assert!(Stat::parse("42 (a) S 1").is_none());
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn fields_are_found_at_the_start_of_a_line() {
        let status = "Name:\tVmRSS: 1\nVmRSS:\t   2048 kB\nThreads:\t3\n";
        assert_eq!(field(status, "VmRSS:"), Some(2048.0));
        assert_eq!(field(status, "Threads:"), Some(3.0));
        assert_eq!(field(status, "VmSize:"), None);
    }

    #[test]
    fn this_process_has_descriptors_and_a_start_time() {
        assert!(open_fds().unwrap() >= 3.0);
        assert!(boot_time().unwrap() > 1e9);
    }
}
