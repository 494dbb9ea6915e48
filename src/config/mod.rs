//! The configuration: one table of options, four sources, one typed [`Config`].
//!
//! Precedence: flags, then the environment (`SLOTWAY_SECTION_KEY`), then the file (TOML), then defaults. Every problem
//! of every source is reported at once, with its place; no socket is opened here, only the file and the
//! secrets it names are read. The binary calls [`load`], everybody else reads [`Config`].

mod check;
mod environment;
mod file;
mod flags;
mod kind;
mod memory;
mod print;
mod problem;
mod raw;
mod reader;
mod secret;
mod settings;
mod table;
mod typed;
mod units;
mod value;

pub use flags::{Flags, Sources};
pub use kind::Kind;
pub use print::{markdown, template, toml};
pub use problem::{Origin, Problem, Problems};
pub use secret::Secret;
pub use settings::{Setting, Settings};
pub use table::{Change, OPTIONS, OptionSpec, Scope, find, help};
pub use typed::{
    Admin, Auth, AuthMode, Cluster, ClusterMode, Config, CrossSlotTransactions, KeylessScripts,
    Limits, Listen, Log, LogFormat, LogLevel, Observe, Policy, Timeouts, Unavailable, Upstream,
};
pub use value::{ListenAddr, Value};

use std::net::SocketAddr;

/// A valid configuration, and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the proxy reads.
    pub config: Config,
    /// What was written, and where.
    pub settings: Settings,
}

/// Reads every source, or says everything that is wrong with them.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    load_with(sources, check::Seeds::Required)
}

/// The same for who can do without seed nodes: `explain`, and the demo, which boots its own.
pub fn load_without_nodes(sources: &Sources) -> Result<Loaded, Problems> {
    load_with(sources, check::Seeds::Optional)
}

fn load_with(sources: &Sources, seeds: check::Seeds) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let settings = Settings::read(sources, &mut problems);
    let config = Config::build(&settings, &mut problems);
    check::check(&config, &settings, seeds, &mut problems);
    problems.sort_by_key(|problem| match problem.origin {
        Origin::File { line, .. } => line,
        _ => usize::MAX,
    });
    if problems.is_empty() {
        Ok(Loaded { config, settings })
    } else {
        Err(Problems::new(problems))
    }
}

/// Where the admin endpoints are, whatever else is wrong with the configuration; `None`: nowhere.
pub fn admin_listen(sources: &Sources) -> Result<Option<SocketAddr>, Problems> {
    let mut problems = Vec::new();
    let settings = Settings::read(sources, &mut problems);
    let setting = settings.of("admin.listen");
    match setting.value {
        _ if !setting.sound => Err(Problems::new(problems)),
        Value::Address(addr) => Ok(Some(addr)),
        _ => Ok(None),
    }
}

/// A duration as options are written: `2s`, `150ms`, `1m`, `1h`. The error says so.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    units::parse_duration(text)
}

/// The candidate that `text` is most likely a misspelling of, if any is near enough.
fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = (text.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(text, candidate), candidate))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests;
