//! `slotway top`: shows what a running proxy does.

use clap::Args;
use slotway::admin::reachable;
use slotway::config::{Flags, Sources, admin_listen, duration};
use slotway::top::{Options, live, once};
use std::process::ExitCode;
use std::time::Duration;

/// Bounds of `--interval`.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const INTERVAL_MAX: Duration = Duration::from_secs(600);

#[derive(Args, Debug)]
pub(crate) struct TopArguments {
    /// Between two looks at the proxy: 100ms to 10m
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,

    /// Print one interval as plain text and end
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    flags: Flags,
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        interval if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) => Ok(interval),
        _ => Err("it must be from 100ms to 10m".to_owned()),
    }
}

/// Success if the proxy answered, or the user had seen enough.
#[expect(clippy::print_stdout, reason = "printing is what it is for")]
pub(crate) fn top(arguments: TopArguments) -> ExitCode {
    // As in `healthcheck`: of the configuration only this option matters.
    let addr = match admin_listen(&Sources::of_process(arguments.flags)) {
        Ok(Some(addr)) => reachable(addr),
        Ok(None) => {
            eprintln!("slotway top: admin.listen is off, there is nobody to ask");
            return ExitCode::FAILURE;
        }
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    let options = Options {
        addr,
        interval: arguments.interval,
    };
    let result = if arguments.once {
        once(&options).map(|text| print!("{text}"))
    } else {
        live(&options)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("slotway top: {problem}");
            ExitCode::FAILURE
        }
    }
}
