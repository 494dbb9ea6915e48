//! An explanation as it is given: lines for a terminal, and the same as JSON.

use serde_json::{Value, json};
use std::fmt::Write;

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nodes carry it out.
    Sent,
    /// slotway answers it.
    Answered,
    /// It is kept for EXEC.
    Queued,
    /// The client gets an error of slotway's.
    Refused,
}

/// What would become of one command.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The command as one would type it, cut.
    pub said: String,
    /// What becomes of it.
    pub verdict: Verdict,
    /// The error that the client would get, without the leading `-`; as text, whatever bytes it quotes.
    pub error: Option<String>,
    /// The keys and their slots, in order; not all of very many.
    pub keys: Vec<Key>,
    /// Label and text; an empty label continues the line before.
    pub(super) lines: Vec<(&'static str, String)>,
}

/// A key of a command.
#[derive(Clone, Debug)]
pub struct Key {
    /// As one would type it, cut.
    pub key: String,
    /// Its slot.
    pub slot: u16,
    /// The node that owns the slot, if that is known.
    pub node: Option<String>,
}

impl Verdict {
    fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Answered => "answered",
            Self::Queued => "queued",
            Self::Refused => "refused",
        }
    }
}

impl Explanation {
    /// For a terminal: a label and a text in each line.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (label, text) in &self.lines {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{label:<9}{}", text.trim_end());
        }
        out
    }

    /// As JSON: what a script would look for, and the lines under their labels.
    pub fn json(&self) -> Value {
        let keys = self
            .keys
            .iter()
            .map(|k| json!({"key": k.key, "slot": k.slot, "node": k.node}));
        let mut details: Vec<(&str, Vec<&str>)> = Vec::new();
        for (label, text) in &self.lines {
            match (details.last_mut(), *label) {
                (Some((_, texts)), "") => texts.push(text),
                (Some((last, texts)), label) if *last == label => texts.push(text),
                (_, label) => details.push((label, vec![text])),
            }
        }
        let details: serde_json::Map<String, Value> = details
            .into_iter()
            .map(|(label, texts)| (label.to_owned(), json!(texts)))
            .collect();
        json!({
            "said": self.said,
            "verdict": self.verdict.label(),
            "error": self.error,
            "keys": keys.collect::<Vec<_>>(),
            "details": details,
        })
    }
}
