//! What a source wrote, before the type of the option is looked at: bare text from flags and the environment,
//! TOML values from the file (and from `--set`). Read by `kind`.

use toml::de::DeValue;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    /// Bare text, from a flag or the environment: may be of any type, lists are split at commas.
    Word(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer as text (without the prefix of its radix), and its radix.
    Integer(String, u32),
    /// A TOML boolean.
    Bool(bool),
    /// A TOML array.
    List(Vec<Raw>),
    /// A TOML value that no option takes: what it is called.
    Other(&'static str),
}

impl Raw {
    /// What a flag or the environment says: a TOML string or array where it is one, else a bare word. (Numbers
    /// and booleans stay words, so that the password user `007` is not a number.)
    pub(super) fn from_text(text: &str) -> Self {
        let text = text.trim();
        match DeValue::parse(text) {
            Ok(value) if text.starts_with(['[', '"', '\'']) => Self::from_toml(value.get_ref()),
            _ => Self::Word(text.to_owned()),
        }
    }

    /// A value of a TOML document.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(n) => Self::Integer(n.as_str().to_owned(), n.radix()),
            DeValue::Boolean(on) => Self::Bool(*on),
            DeValue::Array(items) => Self::List(
                items
                    .iter()
                    .map(|item| Self::from_toml(item.get_ref()))
                    .collect(),
            ),
            other => Self::Other(other.type_str()),
        }
    }

    /// The text of a word or string.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Word(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Text where text is wanted.
    pub(super) fn string(&self) -> Result<&str, String> {
        self.text()
            .ok_or_else(|| format!("{} must be in quotes", self.show()))
    }

    pub(super) fn boolean(&self) -> Result<bool, String> {
        match self {
            Self::Bool(on) => Ok(*on),
            Self::Word(word) if word == "true" => Ok(true),
            Self::Word(word) if word == "false" => Ok(false),
            _ => Err(format!("{} is not true or false", self.show())),
        }
    }

    pub(super) fn integer(&self) -> Result<u64, String> {
        let parsed = match self {
            Self::Word(text) => match DeValue::parse(text).as_ref().map(|v| v.get_ref()) {
                Ok(DeValue::Integer(n)) => u64::from_str_radix(n.as_str(), n.radix()).ok(),
                _ => None,
            },
            Self::Integer(text, radix) => u64::from_str_radix(text, *radix).ok(),
            _ => None,
        };
        parsed.ok_or_else(|| format!("{} is not a whole number ≥ 0", self.show()))
    }

    /// Octal digits as text, or an octal integer of TOML: a decimal one is a mistake.
    pub(super) fn octal(&self) -> Result<u64, String> {
        let digits = match self {
            Self::Word(text) => Some(text.strip_prefix("0o").unwrap_or(text)),
            Self::Text(text) | Self::Integer(text, 8) => Some(text.as_str()),
            _ => None,
        };
        digits
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| u64::from_str_radix(text, 8).ok())
            .ok_or_else(|| format!("{} is not in octal: write \"700\" or 0o700", self.show()))
    }

    /// The texts of a list; a single text is split at its commas.
    pub(super) fn items(&self) -> Result<Vec<&str>, String> {
        match self {
            Self::Word(text) | Self::Text(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect()),
            Self::List(items) => items.iter().map(Self::string).collect(),
            _ => Err(format!("{} is not a list", self.show())),
        }
    }

    /// The value as messages quote it, cut to a readable length.
    pub(super) fn show(&self) -> String {
        const SHOWN_CHARS: usize = 60;
        let text = match self {
            Self::Word(text) => format!("`{text}`"),
            Self::Text(text) => format!("{text:?}"),
            Self::Integer(text, 8) => format!("0o{text}"),
            Self::Integer(text, 16) => format!("0x{text}"),
            Self::Integer(text, 2) => format!("0b{text}"),
            Self::Integer(text, _) => text.clone(),
            Self::Bool(on) => on.to_string(),
            Self::List(_) => "a list".to_owned(),
            Self::Other(kind) => format!("a {kind}"),
        };
        match text.char_indices().nth(SHOWN_CHARS) {
            Some((cut, _)) => format!("{}…", &text[..cut]),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_word_is_text_and_toml_is_toml() {
        let list =
            |items: &[&str]| Raw::List(items.iter().map(|i| Raw::Text((*i).into())).collect());
        assert_eq!(Raw::from_text("8MB"), Raw::Word("8MB".into()));
        assert_eq!(Raw::from_text("\"8 MB\""), Raw::Text("8 MB".into()));
        assert_eq!(Raw::from_text(r#"["config|set"]"#), list(&["config|set"]));
        assert_eq!(Raw::from_text("[::1]:6379"), Raw::Word("[::1]:6379".into()));
        assert_eq!(Raw::from_text("007"), Raw::Word("007".into()));
        assert_eq!(Raw::from_text("true"), Raw::Word("true".into()));
        assert_eq!(Raw::from_text(""), Raw::Word(String::new()));
    }

    #[test]
    fn octal_is_octal_or_refused() {
        assert_eq!(Raw::Word("700".into()).octal(), Ok(0o700));
        assert_eq!(Raw::Word("0o700".into()).octal(), Ok(0o700));
        assert_eq!(Raw::Text("0770".into()).octal(), Ok(0o770));
        assert_eq!(Raw::Integer("700".into(), 8).octal(), Ok(0o700));
        assert!(Raw::Integer("700".into(), 10).octal().is_err());
        assert!(Raw::Word("789".into()).octal().is_err());
    }

    #[test]
    fn types_of_the_file_are_strict() {
        assert_eq!(
            Raw::Text("4".into()).integer().unwrap_err(),
            "\"4\" is not a whole number ≥ 0"
        );
        assert_eq!(
            Raw::Text("true".into()).boolean().unwrap_err(),
            "\"true\" is not true or false"
        );
        assert_eq!(
            Raw::Integer("7".into(), 10).string().unwrap_err(),
            "7 must be in quotes"
        );
        assert_eq!(Raw::Integer("10".into(), 16).integer(), Ok(16));
        assert!(Raw::Integer("-1".into(), 10).integer().is_err());
        assert_eq!(Raw::Word("1_000".into()).integer(), Ok(1000));
        assert!(Raw::Word(String::new()).integer().is_err());
        assert!(Raw::Word("-1".into()).integer().is_err());
        assert_eq!(Raw::Word("x".repeat(100)).show().chars().count(), 61);
    }
}
