//! The options as text: the README's table, a file of defaults to start from, and the configuration in force.

use super::settings::Settings;
use std::fmt::Write;

/// Every option as a table in Markdown, for the README. (Without [`super::Change`]: there is no reload yet.)
pub fn markdown() -> String {
    let mut out = String::from("| option | type | default | per | what it does |\n");
    out.push_str("| --- | --- | --- | --- | --- |\n");
    for setting in Settings::defaults().iter() {
        let option = setting.option;
        let unit = match option.unit {
            "" => String::new(),
            unit => format!(" ({unit})"),
        };
        let cells = [
            format!("`{}`", option.name),
            format!("{}{unit}", option.kind.describe()),
            format!("`{}`", setting.value.to_toml()),
            option.scope.as_str().to_owned(),
            option.doc.to_owned(),
        ];
        for cell in cells {
            let _ = write!(out, "| {} ", cell.replace('|', "\\|"));
        }
        out.push_str("|\n");
    }
    out
}

/// A configuration file with every option at its default, each explained and commented out.
pub fn template() -> String {
    write_toml(&Settings::defaults(), Detail::Explained)
}

/// The configuration in force as a file; where a value is not the default, a comment says where it was written.
pub fn toml(settings: &Settings) -> String {
    write_toml(settings, Detail::Origins)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Explained,
    Origins,
}

fn write_toml(settings: &Settings, detail: Detail) -> String {
    let mut out = String::new();
    let mut section = "";
    for setting in settings.iter() {
        let option = setting.option;
        if option.section() != section {
            section = option.section();
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{section}]");
        }
        let line = format!("{} = {}", option.key(), setting.value.to_toml());
        let _ = match detail {
            Detail::Explained => writeln!(out, "# {}\n# {line}", option.doc),
            Detail::Origins if setting.is_written() => {
                writeln!(out, "{line}  # {}", setting.origin)
            }
            Detail::Origins => writeln!(out, "{line}"),
        };
    }
    out
}
