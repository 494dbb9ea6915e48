//! `slotway check`: whether a configuration is valid, and how it reads.

use super::{load, probe};
use clap::{Args, ValueEnum};
use slotway::config::{self, Flags, Sources};
use std::process::ExitCode;

#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// Also contact the seed nodes
    #[arg(long)]
    probe: bool,

    /// Print the options
    #[arg(long, value_name = "AS", num_args = 0..=1, require_equals = true, default_missing_value = "toml")]
    print: Option<Print>,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Print {
    /// The configuration in force, as a file, with the origin of each value
    Toml,
    /// A file of all defaults, each explained and commented out
    Template,
    /// A table of all options
    Markdown,
}

/// Checks, prints, and says whether all is well.
#[expect(clippy::print_stdout, reason = "printing is what it is for")]
pub(crate) fn check(arguments: CheckArguments) -> ExitCode {
    match arguments.print {
        // These two describe slotway, not a configuration: there need not be one.
        Some(Print::Markdown) => print!("{}", config::markdown()),
        Some(Print::Template) => print!("{}", config::template()),
        Some(Print::Toml) | None => return check_configuration(arguments),
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn check_configuration(arguments: CheckArguments) -> ExitCode {
    let loaded = match load(&Sources::of_process(arguments.flags)) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match arguments.print {
        Some(_) => print!("{}", config::toml(&loaded.settings)),
        None => println!("the configuration is valid"),
    }
    match arguments.probe {
        true => probe::probe(&loaded.config),
        false => ExitCode::SUCCESS,
    }
}
