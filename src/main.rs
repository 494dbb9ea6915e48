//! The `slotway` binary: arguments → configuration → run → exit code.

mod cli;

use clap::Parser;
use slotway::config::{Loaded, Sources};
use std::process::ExitCode;

/// Measured against the system's allocator: see the benchmark in the README.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    use cli::Command;
    match cli::Arguments::parse().command {
        Command::Run(flags) => match cli::load(&Sources::of_process(flags)) {
            Ok(loaded) => run(loaded),
            Err(code) => code,
        },
        Command::Demo(arguments) => match arguments.load() {
            Ok(loaded) => demo(arguments, loaded),
            Err(code) => code,
        },
        Command::Audit(arguments) => cli::audit::audit(arguments),
        Command::Check(arguments) => cli::check::check(arguments),
        Command::Explain(arguments) => cli::explain::explain(arguments),
        Command::Healthcheck(flags) => cli::healthcheck::healthcheck(&Sources::of_process(flags)),
        Command::Top(arguments) => cli::top::top(arguments),
    }
}

/// Runs the proxy until it is told to stop.
fn run(loaded: Loaded) -> ExitCode {
    if let Err(e) = slotway::observe::log::init(&loaded.config.log) {
        eprintln!("slotway: {e}");
        return ExitCode::FAILURE;
    }
    match slotway::server::run(loaded, |_| ()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("slotway: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a throwaway cluster with the proxy in front until it is told to stop.
fn demo(arguments: cli::DemoArguments, loaded: Loaded) -> ExitCode {
    let Loaded { config, settings } = loaded;
    if let Err(e) = slotway::observe::log::init(&config.log) {
        eprintln!("slotway demo: {e}");
        return ExitCode::FAILURE;
    }
    let options = slotway::demo::Options {
        standalone: arguments.standalone,
        primaries: arguments.primaries.into(),
        replicas: match (arguments.replicas, arguments.standalone) {
            (Some(replicas), _) => replicas.into(),
            (None, true) => 1,
            (None, false) => arguments.primaries.into(),
        },
        server: arguments.server,
        base_port: arguments.base_port,
        dir: arguments.dir,
    };
    let result = slotway::demo::run(&options, config, |config, ready| {
        slotway::server::run(Loaded { config, settings }, |running| {
            ready(&running.listeners, running.admin.as_deref());
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("slotway demo: {e}");
            ExitCode::FAILURE
        }
    }
}
