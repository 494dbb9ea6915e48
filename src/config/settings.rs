//! The value of every option and where it was written: the sources laid over each other, lowest first.

use super::flags::Sources;
use super::kind::Kind;
use super::problem::{Origin, Problem};
use super::raw::Raw;
use super::table::{OPTIONS, OptionSpec};
use super::value::Value;
use super::{environment, file};

/// The value of every option, in the order of the table.
#[derive(Clone, Debug)]
pub struct Settings(Vec<Setting>);

/// The value of one option.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Which option.
    pub option: &'static OptionSpec,
    /// Its value.
    pub value: Value,
    /// Where it was written.
    pub origin: Origin,
    /// Whether all that was written for it could be read. If not, a problem says so, and it needs no second one
    /// about a value nobody wrote.
    pub(super) sound: bool,
}

/// What one source says about one option.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) option: &'static OptionSpec,
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

impl Settings {
    /// Every option at its default.
    pub fn defaults() -> Self {
        Self(OPTIONS.iter().map(Setting::default_of).collect())
    }

    /// Reads file, environment and flags, adding what is wrong with them to `problems`.
    pub(super) fn read(sources: &Sources, problems: &mut Vec<Problem>) -> Self {
        let mut settings = Self::defaults();
        let mut assignments = Vec::new();
        if let Some(path) = &sources.file {
            let complete = file::read(path, &mut assignments, problems);
            if !complete {
                settings.0.iter_mut().for_each(|s| s.sound = false);
            }
        }
        environment::read(&sources.variables, &mut assignments, problems);
        sources.read_flags(&mut assignments, problems);
        for assignment in assignments {
            settings.assign(assignment, problems);
        }
        settings
    }

    /// Every setting, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// The setting of the option `name`, which must be in the table.
    pub fn of(&self, name: &str) -> &Setting {
        self.0
            .iter()
            .find(|setting| setting.option.name == name)
            .unwrap_or_else(|| panic!("{name} is not in the table of options"))
    }

    fn assign(&mut self, assignment: Assignment, problems: &mut Vec<Problem>) {
        let Assignment {
            option,
            raw,
            origin,
        } = assignment;
        let Some(setting) = self.0.iter_mut().find(|s| std::ptr::eq(s.option, option)) else {
            return;
        };
        match option.kind.parse(&raw) {
            Ok(value) => {
                setting.value = value;
                setting.origin = origin;
                setting.sound = true;
            }
            Err(error) => {
                setting.sound = false;
                problems.push(Problem::new(&origin, format!("{}: {error}", option.name)));
            }
        }
    }
}

impl Setting {
    fn default_of(option: &'static OptionSpec) -> Self {
        let value = option
            .kind
            .parse(&Raw::Word(option.default.to_owned()))
            .expect("every default is a value of its type: a test of the table");
        Self {
            option,
            value,
            origin: Origin::Default,
            sound: true,
        }
    }

    /// Whether somebody wrote it.
    pub fn is_written(&self) -> bool {
        self.origin != Origin::Default
    }

    /// As a message shows it: without the quotes of TOML.
    pub(super) fn show(&self) -> String {
        match self.option.kind {
            Kind::Size { .. } | Kind::Duration { .. } => self.value.to_toml().replace('"', ""),
            _ => self.value.to_toml(),
        }
    }
}
