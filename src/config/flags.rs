//! The flags that set options, shared by `run`, `demo`, `check`, `explain`, `healthcheck` and `top`; and [`Sources`],
//! all that a configuration is read from.

use super::file::unknown_option;
use super::problem::{Origin, Problem};
use super::raw::Raw;
use super::settings::Assignment;
use super::table::{find, help};
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Flags that set options.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[arg(long, value_name = "ADDR", help = format!("{}; repeatable", help("listen.addresses")))]
    pub(super) listen: Vec<String>,

    #[arg(long, value_name = "HOST:PORT,…", help = help("cluster.nodes"))]
    pub(super) nodes: Vec<String>,

    #[arg(long, value_name = "ADDR", help = help("admin.listen"))]
    pub(super) admin: Option<String>,

    #[arg(long, value_name = "N", help = help("listen.workers"))]
    pub(super) workers: Option<String>,

    /// Sets any option; values as in TOML, a bare word is a string; repeatable.
    /// `slotway check --print=markdown` lists the options
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// All that a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: Flags,
}

impl Sources {
    /// These flags, the file they name, and the environment of this process.
    pub fn of_process(flags: Flags) -> Self {
        Self {
            file: flags.config.clone(),
            variables: std::env::vars_os().collect(),
            flags,
        }
    }

    pub(super) fn read_flags(
        &self,
        assignments: &mut Vec<Assignment>,
        problems: &mut Vec<Problem>,
    ) {
        let flags = &self.flags;
        let shorthands = [
            ("--listen", "listen.addresses", &flags.listen[..]),
            ("--nodes", "cluster.nodes", &flags.nodes[..]),
            ("--admin", "admin.listen", flags.admin.as_slice()),
            ("--workers", "listen.workers", flags.workers.as_slice()),
        ];
        for (flag, name, values) in shorthands {
            if let (Some(option), false) = (find(name), values.is_empty()) {
                assignments.push(Assignment {
                    option,
                    raw: Raw::Word(values.join(",")),
                    origin: Origin::Flag(flag.to_owned()),
                });
            }
        }
        for set in &flags.set {
            let (name, text) = match set.split_once('=') {
                Some((name, text)) => (name.trim(), text),
                None => {
                    let text = format!("`{set}` is not of the form section.key=value");
                    problems.push(Problem::new(&Origin::Flag("--set".into()), text));
                    continue;
                }
            };
            let origin = Origin::Flag("--set".to_owned());
            let twice = shorthands
                .iter()
                .find(|(_, n, values)| *n == name && !values.is_empty());
            match (find(name), twice) {
                (None, _) => problems.push(Problem::new(&origin, unknown_option(name))),
                (_, Some((flag, ..))) => {
                    problems.push(Problem::new(
                        &origin,
                        format!("{name} is also set by {flag}: use one of them"),
                    ));
                }
                (Some(option), None) => assignments.push(Assignment {
                    option,
                    raw: Raw::from_text(text),
                    origin,
                }),
            }
        }
    }
}
