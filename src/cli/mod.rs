//! The command line: what may be typed, and the commands that only look at things (`audit`, `check`,
//! `explain`, `healthcheck`, `top`). Part of the binary; exit codes are 0, 1 for "no", and clap's 2 for a wrong command line.

pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod healthcheck;
mod probe;
pub(crate) mod top;

use clap::{Args, Parser, Subcommand};
use slotway::config::{self, Flags, ListenAddr, Loaded, Problems, Sources};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes a Redis or Valkey cluster look like one plain Redis
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Options come from flags, then the environment (SLOTWAY_SECTION_KEY), then the file given by --config, \
then defaults. `slotway check --print=markdown` lists them all.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy
    Run(Flags),
    /// Boot a throwaway local cluster and run the proxy in front of it
    Demo(DemoArguments),
    /// Tell what an application would meet on a cluster: passes on what it says to a server, and reports at the end
    Audit(audit::AuditArguments),
    /// Say whether a configuration is valid, and everything that is wrong with it
    Check(check::CheckArguments),
    /// Say what would happen to commands: their slots, nodes and plan, or why they are refused
    Explain(explain::ExplainArguments),
    /// Exit 0 if a running proxy is ready: asks /readyz at admin.listen
    Healthcheck(Flags),
    /// Show what a running proxy does, live: asks /metrics and /topology at admin.listen
    Top(top::TopArguments),
}

#[derive(Args, Debug)]
#[command(mut_arg("listen", |arg| arg.help(format!("{}; repeatable", demo_help("listen.addresses", DEMO_LISTEN)))))]
#[command(mut_arg("admin", |arg| arg.help(demo_help("admin.listen", format!("{DEMO_ADMIN_OFFSET} ports above --listen")))))]
pub(crate) struct DemoArguments {
    /// Primaries of the cluster
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=100))]
    pub(crate) primaries: u16,

    /// One server without cluster support in place of a cluster
    #[arg(long, conflicts_with = "primaries")]
    pub(crate) standalone: bool,

    /// Replicas, shared out among the primaries [default: one for each]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=300))]
    pub(crate) replicas: Option<u16>,

    /// Server program [default: redis-server or valkey-server on PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) server: Option<PathBuf>,

    /// First port of the nodes [default: free ones]
    #[arg(long, value_name = "PORT")]
    pub(crate) base_port: Option<u16>,

    /// Directory for the nodes' files, emptied at the end [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) flags: Flags,
}

/// Where the demo listens unless told otherwise: it has no password, so nobody else is let in.
const DEMO_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6379);

/// The admin endpoint's port is so far above the listener's, as 9379 is above 6379: then two demos on two ports do
/// not meet there either.
const DEMO_ADMIN_OFFSET: u16 = 3000;

/// What `demo --help` says about a flag whose default is another one there.
fn demo_help(name: &str, default: impl std::fmt::Display) -> String {
    let doc = config::find(name).map_or("", |option| option.doc);
    format!("{doc} [default: {default}]")
}

/// Where the demo's admin endpoint is unless told otherwise; on any free port if there is none in the usual place.
fn demo_admin(listeners: &[ListenAddr]) -> SocketAddr {
    let tcp = listeners.iter().find_map(|listener| match listener {
        ListenAddr::Tcp(addr) if addr.port() != 0 => addr.port().checked_add(DEMO_ADMIN_OFFSET),
        _ => None,
    });
    SocketAddr::from((Ipv4Addr::LOCALHOST, tcp.unwrap_or(0)))
}

impl DemoArguments {
    /// The configuration of the proxy; its seed nodes are still to be booted.
    pub(crate) fn load(&self) -> Result<Loaded, ExitCode> {
        let sources = Sources::of_process(self.flags.clone());
        let Loaded {
            mut config,
            settings,
        } = or_print(config::load_without_nodes(&sources))?;
        if !settings.of("listen.addresses").is_written() {
            config.listen.addresses = vec![ListenAddr::Tcp(DEMO_LISTEN)];
        }
        if !settings.of("admin.listen").is_written() {
            config.admin.listen = Some(demo_admin(&config.listen.addresses));
        }
        Ok(Loaded { config, settings })
    }
}

/// Loads the configuration, or prints every problem.
pub(crate) fn load(sources: &Sources) -> Result<Loaded, ExitCode> {
    or_print(config::load(sources))
}

fn or_print(loaded: Result<Loaded, Problems>) -> Result<Loaded, ExitCode> {
    loaded.map_err(|problems| {
        eprintln!("{problems}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demos_on_two_ports_have_two_admin_ports() {
        let admin = |listen: &str| {
            let addr = listen.parse().expect("an address");
            demo_admin(&[ListenAddr::Unix("/s".into()), ListenAddr::Tcp(addr)]).to_string()
        };
        assert_eq!(admin("127.0.0.1:6379"), "127.0.0.1:9379");
        assert_eq!(admin("0.0.0.0:7000"), "127.0.0.1:10000");
        for listen in ["127.0.0.1:0", "127.0.0.1:62536"] {
            assert_eq!(admin(listen), "127.0.0.1:0", "{listen}");
        }
        assert_eq!(demo_admin(&[]).port(), 0);
    }
}
