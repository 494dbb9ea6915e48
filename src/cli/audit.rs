//! `slotway audit`: what an application would meet on a cluster, told by passing on what it says. In front of one server
//! that is a tap; in front of a cluster it is the proxy with `policy.audit`. The report comes at the end.

use clap::Args;
use slotway::audit::Audit;
use slotway::cluster::NodeAddr;
use slotway::command::CommandTable;
use slotway::config::{self, Config, Flags, Loaded, Sources};
use slotway::explain::Conversation;
use slotway::server::Running;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args, Debug)]
#[command(mut_arg("nodes", |arg| arg.hide(true)))]
pub(crate) struct AuditArguments {
    /// The server, or a node of the cluster, that the application works with
    #[arg(long, value_name = "HOST:PORT", value_parser = addr, conflicts_with = "nodes")]
    upstream: NodeAddr,

    /// Also write the report here at the end: as JSON or a page where the name ends in .json or .html, else as text
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

fn addr(text: &str) -> Result<NodeAddr, &'static str> {
    NodeAddr::parse(text).ok_or("write it as HOST:PORT")
}

/// What is audited.
enum Upstream {
    /// One server, and what it can do.
    Server(Box<CommandTable>),
    Cluster,
}

/// Audits until it is told to stop.
pub(crate) fn audit(arguments: AuditArguments) -> ExitCode {
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("slotway audit: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: AuditArguments) -> Result<(), String> {
    let AuditArguments {
        upstream,
        report,
        flags,
    } = arguments;
    let loaded = config::load_without_nodes(&Sources::of_process(flags));
    let Loaded {
        mut config,
        settings,
    } = loaded.map_err(|problems| problems.to_string())?;
    slotway::observe::log::init(&config.log).map_err(|error| error.to_string())?;
    if let Some(file) = &report {
        // What cannot be written is said now, not after a day.
        let opened = std::fs::File::options()
            .append(true)
            .create(true)
            .open(file);
        opened.map_err(|error| cannot_write(file, &error))?;
    }
    let found = look(&upstream, &config).map_err(|problem| format!("{upstream}: {problem}"))?;
    let mut audit = None;
    let ready = |running: &Running| {
        audit.clone_from(&running.audit);
        say(&upstream, running);
    };
    let ended = match found {
        Upstream::Server(table) => slotway::server::tap(&config, upstream.clone(), *table, ready),
        Upstream::Cluster => {
            config.policy.audit = true;
            config.cluster.nodes = vec![upstream.clone()];
            slotway::server::run(Loaded { config, settings }, ready)
        }
    };
    ended.map_err(|error| error.to_string())?;
    tell(audit, report.as_deref())
}

/// What is there, and what it can do.
fn look(upstream: &NodeAddr, config: &Config) -> Result<Upstream, String> {
    let mut conversation = Conversation::open(upstream, config)?;
    let info = conversation.ask(&["CLUSTER", "INFO"])?;
    if !conversation.is_standalone(&info, config)? {
        return Ok(Upstream::Cluster);
    }
    let builtin = CommandTable::builtin();
    let commands = conversation.ask(&["COMMAND"])?;
    let mut table = match builtin.overlay(&[&commands]) {
        Ok(table) => table,
        Err(error) => {
            tracing::warn!(%error, "the server does not list its commands: those of its modules are taken for unknown");
            builtin
        }
    };
    for problem in table.apply(&config.policy.allow, &config.policy.deny) {
        tracing::warn!(problem, "policy.allow, policy.deny");
    }
    Ok(Upstream::Server(Box::new(table)))
}

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn say(upstream: &NodeAddr, running: &Running) {
    let listeners = running.listeners.join(", ");
    println!(
        "Point the application at {listeners} instead of {upstream}. Ctrl-C ends the audit and prints the report."
    );
    if let Some(admin) = &running.admin {
        println!("The report so far: http://{admin}/audit.html (/audit.txt, /audit as JSON)");
    }
}

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn tell(audit: Option<Arc<Audit>>, file: Option<&Path>) -> Result<(), String> {
    let Some(audit) = audit else {
        return Ok(());
    };
    print!("{}", audit.text());
    let Some(file) = file else {
        return Ok(());
    };
    let text = match file.extension().and_then(|ending| ending.to_str()) {
        Some("json") => format!("{:#}\n", audit.json()),
        Some("html") => audit.html(),
        _ => audit.text(),
    };
    std::fs::write(file, text).map_err(|error| cannot_write(file, &error))
}

fn cannot_write(file: &Path, error: &std::io::Error) -> String {
    format!(
        "the report cannot be written to {}: {error}",
        file.display()
    )
}
