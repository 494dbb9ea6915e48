//! Says what would happen to commands: their keys, slots, nodes and plan, or why they are refused and what to do.
//! `slotway explain` prints it, `/explain` answers it. It decides nothing: the answers are those of `resp`, `command`,
//! `cluster`, `route`, `local` and `modes`, which the data path asks as well.

mod ask;
mod cluster;
mod decide;
mod queue;
mod told;
mod words;
mod write;

pub use ask::{Conversation, error_text};
pub use cluster::Known;
pub use told::{Explanation, Key, Verdict};

use crate::config::Config;
use crate::resp::{Decoded, RequestDecoder, RequestLimits, encode, parse_request};

/// Keys and parts that are listed at most; the rest is counted.
const LISTED_MAX: usize = 50;

/// Commands of one conversation that are explained at most.
pub const COMMANDS_MAX: usize = 1000;

/// What is to be explained.
#[derive(Clone, Debug)]
pub enum Said {
    /// A command as typed into redis-cli.
    Line(String),
    /// Its arguments.
    Words(Vec<String>),
}

/// Explains the commands of one client, one after the other: MULTI, WATCH, SUBSCRIBE and the like hold for those behind
/// them. The error says why one is no command.
pub fn explain(said: &[Said], config: &Config, known: &Known) -> Result<Vec<Explanation>, String> {
    if said.len() > COMMANDS_MAX {
        return Err(format!(
            "no more than {COMMANDS_MAX} commands are explained together"
        ));
    }
    let mut conversation = decide::Conversation::new(config, known);
    let mut told = Vec::new();
    for said in said {
        let bytes = match said {
            Said::Line(line) => split_line(line, config)?,
            Said::Words(words) => {
                let mut bytes = Vec::new();
                encode::command(&mut bytes, words);
                bytes
            }
        };
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).ok_or("this is not a command")?;
        let writer = write::Writer::new(request, config, known);
        told.push(match known.table().lookup(&request) {
            Ok(command) => writer.command(command, conversation.next(command, &request)),
            Err(unknown) => writer.unknown(conversation.unknown(unknown.text())),
        });
    }
    Ok(told)
}

/// For a terminal; of several each begins with its command.
pub fn text(told: &[Explanation]) -> String {
    match told {
        [one] => one.text(),
        several => {
            let texts = several
                .iter()
                .map(|one| format!("> {}\n{}", one.said, one.text()));
            texts.collect::<Vec<_>>().join("\n")
        }
    }
}

/// As JSON.
pub fn json(told: &[Explanation]) -> serde_json::Value {
    serde_json::json!({ "commands": told.iter().map(Explanation::json).collect::<Vec<_>>() })
}

/// As it would be typed into redis-cli.
pub fn typed(said: &Said) -> String {
    match said {
        Said::Line(line) => line.clone(),
        Said::Words(words) => {
            let words = words.iter().map(|word| words::typed(word.as_bytes()));
            words.collect::<Vec<_>>().join(" ")
        }
    }
}

/// The canonical form of a line as typed into redis-cli or telnet.
fn split_line(line: &str, config: &Config) -> Result<Vec<u8>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('*') || line.contains(['\r', '\n']) {
        return Err("one command is needed, such as 'MGET a b'".to_owned());
    }
    let buf = format!("{line}\r\n").into_bytes();
    let limit = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let limits = RequestLimits {
        arguments: limit(config.limits.arguments),
        argument: limit(config.limits.argument),
        request: limit(config.limits.request),
        inline: limit(config.limits.inline),
        preauth: false,
    };
    let mut decoder = RequestDecoder::new();
    match decoder.decode(&buf, &limits) {
        Ok(Decoded::Request { .. }) => Ok(decoder.request(&buf).bytes().to_vec()),
        Ok(_) => Err("one command is needed, such as 'MGET a b'".to_owned()),
        Err(error) => Err(format!("a client would get -ERR {error}, and be closed")),
    }
}

#[cfg(test)]
mod tests;
