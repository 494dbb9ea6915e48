//! The configuration file: TOML with one table per section. Says which line each value is on; what the values
//! mean is `kind`'s.

use super::nearest;
use super::problem::{Origin, Problem};
use super::raw::Raw;
use super::settings::Assignment;
use super::table::{OPTIONS, OptionSpec, SECTIONS, find};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Adds what the file says. Returns whether all of it could be read as TOML.
pub(super) fn read(
    path: &Path,
    assignments: &mut Vec<Assignment>,
    problems: &mut Vec<Problem>,
) -> bool {
    let mut text = String::new();
    let outcome =
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    let error = match outcome {
        Err(error) => error.to_string(),
        Ok(_) if text.len() as u64 > FILE_BYTES_MAX => "it is longer than 1MB".to_owned(),
        Ok(_) => {
            return Document {
                path: path.into(),
                text: &text,
                broken: BTreeSet::new(),
            }
            .read(assignments, problems);
        }
    };
    problems.push(Problem::new(
        &Origin::Flag("--config".into()),
        format!("cannot read {}: {error}", path.display()),
    ));
    false
}

struct Document<'a> {
    path: Arc<Path>,
    text: &'a str,
    /// Lines with a syntax error: one report each is enough, and what was recovered from them means nothing.
    broken: BTreeSet<usize>,
}

impl Document<'_> {
    fn read(&mut self, assignments: &mut Vec<Assignment>, problems: &mut Vec<Problem>) -> bool {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let line = self.line(error.span().map_or(0, |span| span.start));
            if self.broken.insert(line) {
                problems.push(Problem::new(&self.origin(line), error.message()));
            }
        }
        for (section, value) in table.get_ref() {
            let line = self.line(section.span().start);
            let name = section.get_ref().as_ref();
            let text = match value.get_ref() {
                DeValue::Table(keys) if SECTIONS.contains(&name) => {
                    self.read_section(name, keys, assignments, problems);
                    continue;
                }
                _ if self.is_unsure(line) => continue,
                DeValue::Table(_) => unknown_section(name),
                _ => format!("`{name}` is in no section: write it below a line like [limits]"),
            };
            problems.push(Problem::new(&self.origin(line), text));
        }
        errors.is_empty()
    }

    fn read_section(
        &self,
        section: &str,
        keys: &DeTable<'_>,
        assignments: &mut Vec<Assignment>,
        problems: &mut Vec<Problem>,
    ) {
        for (key, value) in keys {
            let name = format!("{section}.{}", key.get_ref());
            let line = self.line(key.span().start);
            match find(&name) {
                _ if self.broken.contains(&line) => {}
                Some(option) => assignments.push(Assignment {
                    option,
                    raw: Raw::from_toml(value.get_ref()),
                    origin: self.origin(line),
                }),
                None => problems.push(Problem::new(&self.origin(line), unknown_option(&name))),
            }
        }
    }

    /// Whether this is no section at all but what was recovered from syntax errors.
    fn is_unsure(&self, line: usize) -> bool {
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let is_header = text.trim_start().starts_with('[');
        self.broken.contains(&line) || (!self.broken.is_empty() && !is_header)
    }

    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        1 + memchr::memchr_iter(b'\n', before).count()
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File {
            path: Arc::clone(&self.path),
            line,
        }
    }
}

/// What to say about an option that is not in the table.
pub(super) fn unknown_option(name: &str) -> String {
    let (section, key) = name.split_once('.').unwrap_or((name, ""));
    if !SECTIONS.contains(&section) {
        return unknown_section(section);
    }
    let same_key = OPTIONS.iter().find(|o| !key.is_empty() && o.key() == key);
    if OPTIONS.iter().all(|o| o.section() != section) {
        return format!(
            "unknown option `{name}`: this version has no options in section {section}"
        );
    }
    let similar = || {
        let keys = OPTIONS
            .iter()
            .filter(|o| o.section() == section)
            .map(OptionSpec::key);
        let near = nearest(key, keys)?;
        OPTIONS
            .iter()
            .find(|o| o.section() == section && o.key() == near)
    };
    let meant = similar()
        .or(same_key)
        .map_or_else(String::new, |o| format!("; did you mean {}?", o.name));
    format!("unknown option `{name}`{meant}")
}

fn unknown_section(name: &str) -> String {
    let meant = nearest(name, SECTIONS.into_iter())
        .map_or_else(String::new, |s| format!("; did you mean {s}?"));
    format!("unknown section `{name}`{meant}")
}
